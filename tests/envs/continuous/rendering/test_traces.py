"""What pictures remember of an episode without the barrier, and every stroke of its rows."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous.rendering.film import END, STEP, TraceFilm
from multispin_env.envs.continuous.rendering.panel import Axes, draw_trace
from multispin_env.envs.continuous.rendering.traces import Trace, Traces
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.layout import Area
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS
from tests.envs.rendering.strokes import Strokes

AREA = Area(100.0, 50.0, 700.0, 302.0)
"""Of a panel whose lines of time are 424 pixels wide and 120 high, for three rows and a server of 1.4."""


def outcome(tokens, lengths, drafted, uploaded, start, verifying):
    tokens, lengths = np.array(tokens), np.array(lengths)
    return ms.ContinuousOutcome(
        tokens,
        lengths,
        tokens > 0,
        np.array(drafted),
        np.array(uploaded),
        np.zeros(3),
        start,
        verifying,
        start + verifying,
        ms.Served.nothing((3,)),
    )


PASSAGES = (
    outcome([3.0, 1.0, 0.0], [4, 2, 0], [0.1, 0.2, 0.5], [0.2, 0.2, 0.7], 0.3, 0.1),
    outcome([0.0, 2.0, 2.0], [0, 3, 1], [0.0, 0.1, 0.1], [0.0, 0.2, 0.3], 0.4, 0.2),
)
"""4 tokens until .4 s, and 4 until 1 s."""


def trace(outcomes=PASSAGES, title="", drawn=True):
    return Trace(ms.Scenario.preset("llama2", num_users=3, total_bandwidth=8e6), drawn, outcomes, title)


def panel(clock, other=None, **options):
    strokes, own = Strokes(), trace(**options)
    draw_trace(strokes, AREA, own, other, Axes(window=1.0, horizon=2.0, rate=20.0, cells=8), clock)
    return strokes


def test_rates_change_when_a_verification_ends():
    own = trace()
    assert own.ends == pytest.approx([0.4, 1.0])
    assert [own.over(time) for time in (0.0, 0.39, 0.4, 0.99, 1.0, 9.0)] == [0, 0, 1, 1, 2, 2]
    assert [own.rate(time) for time in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 10.0, 8.0])
    assert own.curve("so far", 1.0, 2.0) == ("so far", [(0.2, pytest.approx(10.0)), (0.5, pytest.approx(8.0))])
    assert own.curve("so far", 0.5, 2.0).points == [(0.2, pytest.approx(10.0))]
    assert (own.duration, own.most_cells, own.highest(9.0)) == (pytest.approx(1.0), 8, 12.0)
    assert (trace(()).duration, trace(()).rate(1.0), trace(()).highest(1.0)) == (0.0, 0.0, 1.0)


def test_axes_fit_both():
    slow = trace((outcome([9.0, 1.0, 0.0], [12, 2, 0], [0.1] * 3, [0.2] * 3, 0.3, 0.2),) * 5)
    assert Axes.of(trace(), slow) == pytest.approx((2.5, 2.5, 24.0, 13))
    assert Axes.of(trace(())) == (1.0, 1.0, 1.0, 8)


ROWS = 120.0 / 4.4


def rows_of(strokes):
    """Rectangles of the lines of time, as row, left and right in milliseconds, and colour; the server has row 3."""
    pieces = [stroke for stroke in strokes.of("rectangle") if stroke[0] < 548.0]
    rows = [min(int((y - 94.0) / ROWS), 3) for _, y, *_ in pieces]
    return [
        (row, round((x - 124.0) / 0.424), round((x + width - 124.0) / 0.424), colour)
        for row, (x, _, width, _, colour) in zip(rows, pieces, strict=True)
    ]


def test_what_everybody_does():
    draft, upload, wait, verify = style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING
    assert rows_of(panel(1.0)) == [
        *((0, 0, 100, draft), (0, 100, 200, upload), (0, 200, 300, wait), (0, 300, 400, verify), (0, 400, 1000, wait)),
        *((1, 0, 200, draft), (1, 200, 300, wait), (1, 300, 400, verify)),
        *((1, 400, 500, draft), (1, 500, 600, upload), (1, 600, 800, wait), (1, 800, 1000, verify)),
        *((2, 0, 400, draft), (2, 400, 500, draft), (2, 500, 700, upload), (2, 700, 800, wait), (2, 800, 1000, verify)),
        *((3, 300, 400, verify), (3, 800, 1000, verify)),
    ]


def test_time_scrolls_and_the_future_is_not_seen():
    early = rows_of(panel(0.35))
    assert [piece for piece in early if piece[0] == 0][-1] == (0, 300, 350, style.VERIFYING)
    assert max(piece[2] for piece in early) == 350
    late = rows_of(panel(1.4))
    assert min(piece[1] for piece in late) == 0
    assert [piece for piece in late if piece[0] == 3 and piece[2] > piece[1]] == [(3, 400, 600, style.VERIFYING)]


def test_texts():
    strokes = panel(1.0, trace(title="other"), title="mine")
    texts = [text for text, *_ in strokes.texts]
    assert texts[:2] == ["mine", "8 tokens/s"]
    assert [text for text, x, *_ in strokes.texts if x < 124.0 and len(text) == 1] == ["1", "2", "3", "S"]
    assert "so far 8.0 tokens/s" in texts
    assert "other 8.0 tokens/s" in texts
    assert [text for text, x, *_ in strokes.texts if x > 548.0 and text.isdigit()] == ["3", "2", "2"]
    assert [text for text, *_ in panel(0.1).texts][1] == "before the first batch"


def test_tokens_are_those_of_the_last_verified_draft():
    cells = [stroke for stroke in panel(1.0).of("rectangle", style.ACCEPTED) if stroke[0] > 548.0]
    assert len(cells) == 4 + 3 + 1  # one for each place of a draft, also where its width is 0
    assert len([cell for cell in cells if cell[2] > 0]) == 2 + 1 + 1


class Step:
    def __init__(self, *outcomes):
        parts = (
            np.stack([np.asarray(getattr(one, name)) for one in outcomes])
            for name in ms.ContinuousOutcome.__slots__
            if name != "served"
        )
        self.outcome = ms.ContinuousOutcome(*parts, ms.Served.nothing((len(outcomes), 3)))


def test_copies_have_episodes_of_their_own():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    settings = Settings(scenario, ENVIRONMENTS.load("MultiSpin/Continuous-v0")(), reward="sampled")
    traces = Traces(settings, 2)
    traces.add(Step(PASSAGES[0], PASSAGES[1]))
    before = traces.view(0)
    traces.add(Step(PASSAGES[1], PASSAGES[0]), np.array([False, True]))
    assert [len(traces.view(copy).outcomes) for copy in (0, 1)] == [2, 0]
    assert len(before.outcomes) == 1
    assert before.drawn
    traces.begin(np.array([0]))
    assert traces.view(0).outcomes == ()


def test_a_film_ends_with_the_shorter_episode():
    film = TraceFilm([trace()], [trace(PASSAGES[:1])])
    frames = film.frames()
    assert [frame.clock for frame in frames] == pytest.approx([*np.arange(0.0, 0.4, STEP), 0.4])
    assert [frame.times for frame in frames] == [1] * (len(frames) - 1) + [END]
    first, last = (film.draw(frame).array() for frame in (frames[0], frames[-1]))
    assert first.shape == (450, 800, 3)
    assert (first != last).any()
