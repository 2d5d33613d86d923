import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering import traces
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.renderers import Film, Renderer
from multispin_env.envs.rendering.traces import (
    ARRIVED,
    DROPPED,
    IN_TIME,
    LATE,
    Activity,
    Axes,
    Mark,
    Round,
    RoundsTrace,
    Stretch,
    Trace,
    lanes,
    request_marks,
)
from multispin_env.envs.simulator import Step
from multispin_env.physics.continuous.types import ContinuousOutcome, Served
from multispin_env.physics.types import Decision, Outcome

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


def drawn(traces, clocks):
    picture = Picture()
    picture.canvas = Strokes()
    return picture.draw(traces, clocks), picture.layouts(traces)


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


def rounds_of(*rounds, scenario=THREE, by_time=False, title=""):
    """Trace of rounds (outcome, goodput, optimum, largest bandwidth in MHz)."""
    records = [Round(step, goodput, best, np.array([1.0, bar, 1.0])) for step, goodput, best, bar in rounds]
    return RoundsTrace(scenario, True, [record.outcome for record in records], title, rounds=records, by_time=by_time)


FIRST = outcome([3.0, 1.0, 2.0], [4, 2, 1], [0.1, 0.2, 0.1], [0.2, 0.25, 0.3], 0.3, 0.1), 15.0, 14.0, 7.0
SECOND = outcome([2.0, 2.0, 1.0], [9, 3, 1], [0.1, 0.2, 0.1], [0.3, 0.3, 0.4], 0.4, 0.1), 10.0, 18.0, 2.0
ROUNDS = rounds_of(FIRST, SECOND)
"""Until 0.4 and 0.9 s, with 6 and 5 tokens."""

PICTURES = {
    "a round": ([ROUNDS], [0.9]),
    "before the first": ([rounds_of()], [0.0]),
    "during a round": ([rounds_of(FIRST, SECOND, title="left")], [0.55]),
    "two rounds": ([rounds_of(FIRST, SECOND, title="left"), rounds_of(SECOND, FIRST, title="right")], [0.5, 0.6]),
    "batteries": ([rounds_of(FIRST, scenario=THREE.replace(battery_rounds=20, min_draft_length=0))], [0.4]),
    "no barrier": ([TRACE], [1.0]),
    "nothing verified yet": ([TRACE], [0.35]),
    "two traces": ([TRACE, Trace(THREE, False, ENDLESS[:1], "other")], [0.9, 0.9]),
    "requests": ([SERVING], [1.4]),
    "scrolled": ([Trace(THREE, True, SERVED * 4, serving=True)], [5.5]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_inside_their_canvas(name):
    canvas, _ = drawn(*PICTURES[name])
    boxes = np.array([stroke[1:5] for stroke in canvas.all if stroke[0] in ("rectangle", "outline")])
    assert len(boxes) > 2
    assert (boxes > -1e-9).all()
    assert (boxes[:, 1] + boxes[:, 3] <= Strokes.height).all()


def test_a_round_is_a_step_of_all_devices_with_goodput_optimum_and_bandwidth():
    assert ROUNDS.means == pytest.approx([15.0, 12.5])
    assert ROUNDS.optima == pytest.approx([14.0, 16.0])
    assert rounds_of(FIRST, SECOND, by_time=True).means == pytest.approx([6 / 0.4, 11 / 0.9])
    assert [ROUNDS.interval(clock, 9.0)[0] for clock in (0.3, 0.4, 0.41, 0.9)] == pytest.approx([0.0, 0.0, 0.4, 0.4])
    assert [ROUNDS.status(clock) for clock in (0.3, 0.4, 0.9)] == [
        "round 1",
        "round 1: 15 tokens/s",
        "round 2: 10 tokens/s",
    ]
    assert rounds_of().status(0.0) == "before the first round"
    assert [ROUNDS.bars(clock)[1] for clock in (0.4, 0.5)] == [7.0, 2.0]
    *devices, server = lanes(ROUNDS, 0.4, 0.85)
    names, begins, ends, _ = zip(*devices[0], strict=True)
    assert names == tuple(Activity)
    assert begins == pytest.approx((0.4, 0.5, 0.7, 0.8))
    assert ends == pytest.approx((0.5, 0.7, 0.8, 0.85))
    assert server == [Stretch(Activity.VERIFYING, pytest.approx(0.8), 0.85, 3)]
    far = rounds_of((FIRST[0].changed(duration=np.array(0.45)), *FIRST[1:]))  # 0.05 s of them the round trip
    assert [lane[-1].end for lane in lanes(far, 0.0, 0.45)] == pytest.approx([0.4] * 4)


def test_axes_of_recent_rounds_and_of_the_last_duration():
    assert rounds_of().axes(0.0) == (1.0, 8, 1.0, 8, 8.0)
    assert ROUNDS.axes(0.4) == pytest.approx((0.4, 8, 20.0, 8, 8.0))
    assert ROUNDS.axes(0.9) == pytest.approx((0.5, 8, 20.0, 10, 8.0))
    long = rounds_of(SECOND, *[(FIRST[0], 15.0, None, 1.0)] * 12)
    assert [(long.axes(end).cells, long.axes(end).bar) for end in long.ends[-2:]] == [(10, 2.0), (8, 1.0)]
    assert long.axes(0.0).horizon == 13


def test_the_dashed_curve_is_that_of_the_other_or_of_the_optimum():
    left, right = (rounds_of(*rounds, title=name) for name, rounds in (("left", (FIRST,)), ("right", (SECOND,))))
    for sides, clocks, expected in (
        ([left, right], [0.4, 0.5], ["mean goodput 15.0", "right 10.0", "mean goodput 10.0", "left 15.0"]),
        ([left, right], [0.4, 0.4], ["mean goodput 15.0", "mean goodput (tokens/s)", "left 15.0"]),
        ([left], [0.4], ["mean goodput 15.0", "optimum (expected) 14.0"]),
    ):
        texts = [stroke[1] for stroke in drawn(sides, clocks)[0].all if stroke[0] == "text"]
        curves = [text.removesuffix(" tokens/s") for text in texts if "(tokens/s)" in text or ".0 tokens/s" in text]
        assert curves == expected


def step_of(tokens, optimum=None):
    gained, ones, zeros = np.array(tokens), np.ones((2, 2)), np.zeros(2)
    outcome = Outcome(gained.sum(-1), gained, np.ones(2), 0.4 * ones, 0.4 * ones, 0.8 * ones, np.full(2, 0.2))
    info = {"accepted_tokens": gained} | ({} if optimum is None else {"optimal_goodput": np.array(optimum)})
    decision = Decision(gained.astype(np.int64), 4e6 * ones)
    return Step({}, zeros, zeros > 0.0, zeros > 0.0, zeros, info, decision, outcome)


def test_records_are_separate_and_views_do_not_change():
    renderer = Renderer(EnvConfig.of("MultiSpin/Heterogeneous-v0", TWO, reward="sampled"), num_envs=2)
    step = step_of([[1.0, 2.0], [3.0, 4.0]], [5.0, 8.0])
    renderer.add(step)
    view = renderer.view()
    for array in (step.decision.draft_length, step.decision.bandwidth, step.info["accepted_tokens"]):
        array[:] = 99
    renderer.add(step_of([[1.0, 1.0], [2.0, 2.0]]), np.array([False, True]))
    assert [renderer.view(env).means for env in range(2)] == [[3.0, 2.5], []]
    assert (view.means, view.optima, view.bars(1.0).tolist()) == ([3.0], [5.0], [4.0, 4.0])
    played = view.outcomes[0]
    assert played.draft_length.tolist() == played.tokens.tolist() == [1, 2]
    assert (played.start_delay, played.duration, played.batch_size) == (0.8, 1.0, 2)
    renderer.begin(np.array([0]))
    assert renderer.view(0).means == []


def test_rates_and_steps_at_a_time():
    assert TRACE.ends == pytest.approx([0.4, 1.0])
    assert [TRACE.num_finished(time) for time in (0.0, 0.39, 0.4, 0.99, 1.0, 9.0)] == [0, 0, 1, 1, 2, 2]
    assert TRACE.means == pytest.approx([10.0, 8.0])
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
        axes = Axes.of(pair, (0.0, 0.0))
        assert axes == (pytest.approx(2.0), 1.0, fast.axes(0.0).rate, 8, 0.0)
    assert fast.axes(0.0).rate >= 1.1 * 40.0 > TRACE.axes(0.0).rate
    windows = [Trace(THREE, True, fast.outcomes, serving=serving).axes(0.0).window for serving in (False, True)]
    assert windows == [1.0, 2.0]


@pytest.mark.parametrize("clock", [3.35, 3.5, 3.9])
def test_bars_are_at_their_times_and_cut_at_both_ends(clock):
    """Verifications take the last 0.1 s until 0.4 s and the last 0.2 s until 1 s of each second."""
    trace = Trace(THREE, True, ENDLESS * 4)
    canvas, ((_, times, server, *_),) = drawn([trace], [clock])
    window = trace.axes(clock).window
    bars = [stroke for stroke in canvas.all if stroke[0] == "rectangle" and times.y < stroke[2] < server.bottom]
    bars = [bar for bar in bars if bar[1] < times.right]
    assert {int((bar[2] - times.y) / times.height * 3) for bar in bars} == {0, 1, 2, 3}
    start = clock - window
    seconds = [[start + (x - times.x) / times.width * window for x in (bar[1], bar[1] + bar[3])] for bar in bars]
    assert np.min(seconds) >= start - 1e-9
    assert np.max(seconds) <= clock + 1e-9
    passes = [(second + begin, second + end) for second in range(4) for begin, end in ((0.3, 0.4), (0.8, 1.0))]
    shown = [(max(begin, start), min(end, clock)) for begin, end in passes if start < end and begin < clock]
    pairs = [pair for pair, bar in zip(seconds, bars, strict=True) if bar[2] > server.y]
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
    film = Film(Trace(THREE, True, ENDLESS * 9), Trace(THREE, True, steps))
    frames = film.frames()
    clocks = [*np.arange(begin, end, traces.FRAME_TIME), end]
    assert np.array([frame.clocks for frame in frames]) == pytest.approx(np.repeat(clocks, 2).reshape(-1, 2))
    assert [frame.times for frame in frames] == [1] * (len(frames) - 1) + [traces.END]
    first, last = (film.draw(frame).array() for frame in (frames[0], frames[-1]))
    assert (first != last).any() == (begin < end)


def test_films_of_rounds_end_with_the_shorter_episode():
    """The second round takes 0.5 s on the left and 0.4 s on the right."""
    frames = rounds_of(FIRST, SECOND, FIRST).film(rounds_of(SECOND, FIRST))
    assert [frame.times for frame in frames] == [traces.JUDGED, *[1] * traces.MOVES, traces.END]
    assert (frames[0].clocks, frames[-1].clocks) == ((0.4, 0.5), (0.9, 0.9))
    elapsed = np.array([frame.clocks for frame in frames[1:]]) - np.array([0.4, 0.5])
    assert elapsed[:, 0] == pytest.approx(np.linspace(0.0, 0.5, traces.MOVES + 2)[1:])
    assert elapsed[:, 1] == pytest.approx(np.minimum(elapsed[:, 0], 0.4))
