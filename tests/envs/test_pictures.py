from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering import continuous
from multispin_env.envs.rendering.canvas import Area, Layout
from multispin_env.envs.rendering.charts import History, Round, Scales, View
from multispin_env.envs.rendering.continuous import (
    Axes,
    Mark,
    Trace,
    TraceFilm,
    TracePicture,
    draw_trace,
    request_marks,
)
from multispin_env.envs.rendering.renderers import Histories, Picture
from multispin_env.envs.simulator import Step
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.continuous.types import ContinuousOutcome, Served
from multispin_env.physics.types import Decision, Outcome

ARRIVED, DROPPED, IN_TIME, LATE = continuous.ARRIVED, continuous.DROPPED, continuous.IN_TIME, continuous.LATE
TWO, THREE = (ms.Scenario.preset("llama2", num_users=users, total_bandwidth=8e6) for users in (2, 3))


class Strokes:
    """Canvas that lists all drawing calls; letters are 10 pixels wide."""

    width, height = 800, 450

    def __init__(self):
        self.all = []

    def __getattr__(self, kind):
        return lambda *parts: self.all.append((kind, *parts))

    def text(self, text, *parts):
        self.all.append(("text", text, *parts))
        return 10 * len(text)


def drawn(picture, views, clock=None):
    picture.canvas = Strokes()
    picture.draw(views, clock)
    return picture.canvas


def make_round(lengths, tokens, draft_time, upload_time, bandwidth=None):
    draft, upload, gained = np.array(draft_time), np.array(upload_time), np.array(tokens)
    latency = (draft + upload).max() + 0.1
    shares = np.ones(len(lengths)) if bandwidth is None else np.array(bandwidth)
    outcome = Outcome(gained.sum(), gained, latency, draft, upload, draft + upload, 0.1)
    return Round(Decision(np.array(lengths), shares), outcome, gained, ChainRound(*np.zeros((3, len(lengths)))))


ROUND = make_round([3, 1], [2.5, 2.0], [0.1, 0.2], [0.2, 0.05], [6e6, 2e6])
"""0.4 s, in which 4.5 tokens are gained: 11.25 tokens/s."""


def view_of(last=ROUND, tokens_drawn=False, goodput=(10.0, 11.25), reference=(), title=""):
    scales = Scales(0.424, 8e6, 20.0, 4, 4) if last else Scales()
    return View(TWO, tokens_drawn, last, goodput, reference, "optimum", scales, title)


def outcome(tokens, lengths, drafted, uploaded, start, verifying, served=None):
    tokens, lengths = np.array(tokens), np.array(lengths)
    times = (np.array(drafted), np.array(uploaded), np.zeros(3), start, verifying, start + verifying)
    rest = (Served.nothing((3,)) if served is None else served, np.zeros(3), np.zeros(3), np.zeros(3, bool))
    return ContinuousOutcome(tokens, lengths, tokens > 0, *times, *rest)


def served(**fields):
    flags = ("dropped", "finished", "in_time")
    arrays = {name: np.array(x, bool if name in flags else None) for name, x in fields.items()}
    return Served.nothing((3,)).changed(**arrays)


ENDLESS = (
    outcome([3.0, 1.0, 0.0], [4, 2, 0], [0.1, 0.2, 0.5], [0.2, 0.2, 0.7], 0.3, 0.1),
    outcome([0.0, 2.0, 2.0], [0, 3, 1], [0.0, 0.1, 0.1], [0.0, 0.2, 0.3], 0.4, 0.2),
)
"""4 tokens until 0.4 s, and 4 until 1 s."""

REQUESTS = (
    served(arrivals=[1, 3, 0], idle_time=[0.1, 0.25, 0.4]),
    served(arrivals=[1, 0, 0], idle_time=[0, 0, 0.4 + 0.2], finished=[1, 1, 0], in_time=[1, 0, 0], output=[5, 9, 0]),
    served(idle_time=[0.4, 0, 0.4], dropped=[1, 0, 0]),
)
SERVED = (
    outcome([3, 0, 0], [4, 0, 0], [0.2, 0.35, 0], [0.3, 0.45, 0], 0.3, 0.1, REQUESTS[0]),
    outcome([2, 1, 0], [4, 0, 0], [0.1, 0, 0], [0.2, 0, 0], 0.4, 0.2, REQUESTS[1]),
    outcome([0, 2, 0], [0, 4, 0], [0, 0.1, 0], [0, 0.2, 0], 0.2, 0.2, REQUESTS[2]),
)
"""Until 0.4, 1 and 1.4 s. Two requests of the second device wait, and then one."""

TRACE = Trace(THREE, True, ENDLESS)
SERVING = Trace(THREE, True, SERVED, serving=True)

PICTURES = {
    "a round": (Picture, [view_of()], None),
    "before the first": (Picture, [view_of(None, goodput=())], None),
    "during a round": (Picture, [view_of(tokens_drawn=True, title="left")], 0.15),
    "two rounds": (Picture, [view_of(title="left", reference=(9.0, 8.0)), view_of(title="right")], 0.3),
    "no barrier": (TracePicture, [TRACE], None),
    "nothing verified yet": (TracePicture, [TRACE], 0.35),
    "two traces": (TracePicture, [TRACE, Trace(THREE, False, ENDLESS[:1], "other")], 0.9),
    "requests": (TracePicture, [SERVING], None),
    "scrolled": (TracePicture, [Trace(THREE, True, SERVED * 4, serving=True)], 5.5),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_inside_their_canvas(name):
    picture, views, clock = PICTURES[name]
    canvas = drawn(picture(), views, clock)
    boxes = np.array([stroke[1:5] for stroke in canvas.all if stroke[0] in ("rectangle", "outline")])
    assert len(boxes) > 2
    assert (boxes > -1e-9).all()
    assert (boxes[:, 1] + boxes[:, 3] <= Strokes.height).all()


def test_scales_of_recent_rounds_and_of_the_last_duration():
    history = History()
    assert history.scales == Scales(0.0, 0.0, 0.0, 8, 16)
    history.add(make_round([9, 2], [3.0, 1.0], [0.1, 0.2], [0.1, 0.2], [7e6, 1e6]), 7.0)  # 8 tokens/s in 0.5 s
    assert history.scales == pytest.approx((0.5, 8e6, 10.0, 10, 16))
    history.add(make_round([3, 3], [1.0, 1.0], [0.05, 0.05], [0.05, 0.05], [1e6, 1e6]), 17.0)  # 10 tokens/s in 0.2 s
    assert (history.goodput, history.optimum) == ([8.0, 9.0], [7.0, 12.0])
    assert history.scales == pytest.approx((0.2, 8e6, 16.0, 10, 16))
    for rounds, shown, bandwidth in ((12, 16, 8e6), (17, 32, 1e6), (33, 64, 1e6)):
        while len(history.goodput) < rounds:
            history.add(make_round([2], [1.0], [0.1], [0.1], [1e6]), None)
        assert (history.scales.rounds, history.scales.bandwidth) == (shown, bandwidth)
    history = History(by_time=True)
    history.add(make_round([9, 2], [3.0, 1.0], [0.1, 0.2], [0.1, 0.2]), None)  # 4 tokens in 0.5 s
    history.add(make_round([3, 3], [1.0, 1.0], [0.05, 0.05], [0.05, 0.05]), None)  # 2 tokens in 0.2 s
    assert history.goodput == pytest.approx([4.0 / 0.5, 6.0 / 0.7])


def step_of(tokens, optimum=None):
    gained, ones, zeros = np.array(tokens), np.ones((2, 2)), np.zeros(2)
    outcome = Outcome(gained.sum(-1), gained, np.ones(2), 0.4 * ones, 0.4 * ones, 0.8 * ones, np.full(2, 0.2))
    info = {"accepted_tokens": gained} | ({} if optimum is None else {"optimal_goodput": np.array(optimum)})
    decision = Decision(gained.astype(np.int64), ones.copy())
    return Step({}, zeros, zeros > 0.0, zeros > 0.0, zeros, info, decision, outcome)


def test_records_are_separate_and_views_do_not_change():
    histories = Histories(EnvConfig.of("MultiSpin/Heterogeneous-v0", TWO, reward="sampled"), num_envs=2)
    step = step_of([[1.0, 2.0], [3.0, 4.0]], [5.0, 8.0])
    histories.add(step)
    view = histories.view()
    step.decision.draft_length[:] = 99
    step.info["accepted_tokens"][:] = 99
    histories.add(step_of([[1.0, 1.0], [2.0, 2.0]]), np.array([False, True]))
    assert [histories.view(env).goodput for env in range(2)] == [(3.0, 2.5), ()]
    assert (view.goodput, view.reference, view.reference_name) == ((3.0,), (5.0,), "optimum (expected)")
    assert view.last.decision.draft_length.tolist() == view.last.tokens.tolist() == [1, 2]
    histories.begin(np.array([0]))
    assert histories.view(0).goodput == ()


def test_rates_and_steps_at_a_time():
    assert TRACE.ends == pytest.approx([0.4, 1.0])
    assert [TRACE.num_finished(time) for time in (0.0, 0.39, 0.4, 0.99, 1.0, 9.0)] == [0, 0, 1, 1, 2, 2]
    assert [TRACE.rate(time) for time in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 10.0, 8.0])
    assert [len(list(TRACE.steps_between(0.0, end))) for end in (0.0, 0.4, 0.41, 1.0)] == [0, 1, 2, 2]
    assert [begin for _, begin, _ in TRACE.steps_between(0.4, 1.0)] == pytest.approx([0.4])


def test_events_of_requests():
    assert request_marks(SERVING, 0.0, 2.0) == [
        Mark(0.1, 0, ARRIVED),
        *(Mark(0.25, 1, ARRIVED), Mark(0.4, 1, ARRIVED)),  # two more arrived before the verification ended
        *(Mark(1.0, 0, ARRIVED), Mark(1.0, 0, IN_TIME), Mark(1.0, 1, LATE)),
        Mark(1.0, 0, DROPPED),
    ]
    assert request_marks(SERVING, 0.0, 0.2) == [Mark(0.1, 0, ARRIVED)]  # not the future
    assert [waiting.tolist() for waiting in SERVING.waiting] == [[0, 2, 0], [0, 1, 0], [0, 1, 0]]
    assert (SERVING.gained, SERVING.missed) == ([0.0, 5.0, 5.0], [0, 1, 2])
    both_late = SERVED[1].changed(served=SERVED[1].served.changed(in_time=np.zeros(3, bool)))
    assert Trace(THREE, True, [SERVED[0], both_late], serving=True).missed == [0, 2]


def test_axes_fit_all_traces():
    """Rates are up to 10 and 40 tokens/s; steps last 0.4 and 0.6 s, or 0.1 s."""
    fast = Trace(THREE, True, [ENDLESS[0].changed(duration=np.array(0.1))] * 3)
    for pair in ((TRACE, fast), (fast, TRACE)):
        assert Axes.of(*pair) == (pytest.approx(2.0), 1.0, fast.axis_end(), TRACE.num_cells)
    assert fast.axis_end() >= 1.1 * 40.0 > TRACE.axis_end()
    assert [Axes.of(replace(fast, serving=serving)).window for serving in (False, True)] == [1.0, 2.0]


@pytest.mark.parametrize("clock", [3.35, 3.5, 3.9])
def test_bars_are_at_their_times_and_cut_at_both_ends(clock):
    """Verifications take the last 0.1 s until 0.4 s and the last 0.2 s until 1 s of each second."""
    canvas, area, trace = Strokes(), Area(0.0, 0.0, 700.0, 400.0), Trace(THREE, True, ENDLESS * 4)
    axes, times = Axes.of(trace), Layout.of(area).times
    draw_trace(canvas, area, trace, None, axes, clock)
    row, start = times.height / (3 + continuous.SERVER), clock - axes.window
    bars = [stroke for stroke in canvas.all if stroke[0] == "rectangle" and stroke[1] < times.right]
    assert {int((bar[2] - times.y) / row) for bar in bars} == {0, 1, 2, 3}
    seconds = [[start + (x - times.x) / times.width * axes.window for x in (bar[1], bar[1] + bar[3])] for bar in bars]
    assert np.min(seconds) >= start - 1e-9
    assert np.max(seconds) <= clock + 1e-9
    passes = [(second + begin, second + end) for second in range(4) for begin, end in ((0.3, 0.4), (0.8, 1.0))]
    shown = [(max(begin, start), min(end, clock)) for begin, end in passes if start < end and begin < clock]
    pairs = [pair for pair, bar in zip(seconds, bars, strict=True) if bar[2] > times.y + 3 * row]
    assert np.array(pairs) == pytest.approx(np.array(shown))


@pytest.mark.parametrize(
    ("steps", "begin", "end"),
    [
        (ENDLESS * 8, 2.0, 8.0),  # from a full window
        (ENDLESS, 0.5, 1.0),  # from the middle
        (ENDLESS[:1], 0.4, 0.4),  # from the first tokens
    ],
)
def test_begin_and_end_of_films(steps, begin, end):
    film = TraceFilm([Trace(THREE, True, ENDLESS * 9)], [Trace(THREE, True, steps)])
    frames = film.frames()
    assert [frame.clock for frame in frames] == pytest.approx([*np.arange(begin, end, continuous.STEP), end])
    assert [frame.times for frame in frames] == [1] * (len(frames) - 1) + [continuous.END]
    first, last = (film.draw(frame).array() for frame in (frames[0], frames[-1]))
    assert (first != last).any() == (begin < end)
