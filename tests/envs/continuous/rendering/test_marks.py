"""Every mark of requests, where it is, and how many wait."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous.rendering.panel import Axes, draw_trace
from multispin_env.envs.continuous.rendering.picture import TracePicture
from multispin_env.envs.continuous.rendering.requests import ARRIVED, DROPPED, IN_TIME, LATE, Mark, marks_of
from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering import style
from multispin_env.physics.continuous.types import Served
from tests.envs.continuous.rendering.test_traces import AREA, outcome, rows_of
from tests.envs.rendering.strokes import Strokes


def served(arrivals, idle_time, dropped=(0, 0, 0), finished=(0, 0, 0), in_time=(0, 0, 0), output=(0, 0, 0)):
    numbers = [np.array(values) for values in (arrivals, dropped, finished, in_time, output)]
    arrivals, dropped, finished, in_time, output = numbers
    nothing = np.zeros(3)
    flags = dropped.astype(bool), nothing, finished.astype(bool), in_time.astype(bool)
    return Served(arrivals, *flags, output, *[nothing] * 4, np.array(idle_time))


PASSAGES = (
    outcome([3.0, 0.0, 0.0], [4, 0, 0], [0.2, 0.35, 0.0], [0.3, 0.45, 0.0], 0.3, 0.1).changed(
        served=served([1, 3, 0], [0.1, 0.25, 0.4])
    ),
    outcome([2.0, 1.0, 0.0], [4, 0, 0], [0.1, 0.0, 0.0], [0.2, 0.0, 0.0], 0.4, 0.2).changed(
        served=served([1, 0, 0], [0.0, 0.0, 0.4 + 0.2], finished=[1, 1, 0], in_time=[1, 0, 0], output=[5, 9, 0])
    ),
    outcome([0.0, 2.0, 0.0], [0, 4, 0], [0.0, 0.1, 0.0], [0.0, 0.2, 0.0], 0.2, 0.2).changed(
        served=served([0, 0, 0], [0.4, 0.0, 0.4], dropped=[1, 0, 0])
    ),
)
"""Until .4, 1 and 1.4 s. Two of the second device's requests wait, and then one."""

TRACE = Trace(ms.Scenario.preset("llama2", num_users=3, total_bandwidth=8e6), True, PASSAGES, serving=True)


def drawn(clock):
    strokes = Strokes()
    draw_trace(strokes, AREA, TRACE, None, Axes(window=2.0, horizon=2.0, rate=20.0, cells=8), clock)
    return strokes


def test_marks_are_where_things_happen():
    assert marks_of(TRACE, 0.0, 2.0) == [
        Mark(0.1, 0, ARRIVED),
        *(Mark(0.25, 1, ARRIVED), Mark(0.4, 1, ARRIVED)),  # two more arrived before the verification ended
        *(Mark(1.0, 0, ARRIVED), Mark(1.0, 0, IN_TIME), Mark(1.0, 1, LATE)),
        Mark(1.0, 0, DROPPED),
    ]
    assert marks_of(TRACE, 0.0, 0.2) == [Mark(0.1, 0, ARRIVED)]  # the future is not seen
    assert [mark.time for mark in marks_of(TRACE, 0.3, 0.9)] == [0.4]


def test_what_waits_what_counts_and_what_is_missed():
    assert [waiting.tolist() for waiting in TRACE.waiting] == [[0, 2, 0], [0, 1, 0], [0, 1, 0]]
    assert [begin for begin, *_ in TRACE.queues(0.0, 2.0)] == pytest.approx([0.4, 1.0])
    assert TRACE.gained == [0.0, 5.0, 5.0]
    assert TRACE.missed == [0, 1, 2]
    assert [text for text, *_ in drawn(1.4).texts][1] == "4 tokens/s in time, 2 missed"


def test_an_idle_device_has_an_empty_row_and_drafts_from_its_request_on():
    pieces = [piece for piece in rows_of(drawn(1.4)) if piece[3] not in (style.INK, style.PAPER)]
    half = [(row, 2 * left, 2 * right, colour) for row, left, right, colour in pieces]  # two seconds are seen
    assert [piece for piece in half if piece[0] == 2] == []
    assert [piece[1:] for piece in half if piece[0] == 0][:4] == [
        (100, 200, style.DRAFTING),
        (200, 300, style.UPLOADING),
        (300, 400, style.VERIFYING),
        (400, 500, style.DRAFTING),
    ]
    assert min(left for row, left, *_ in half if row == 1) == 250
    assert max(right for row, _, right, _ in half if row == 0) == 1000


def test_strokes_of_marks():
    strokes = drawn(1.4)
    bars = strokes.of("rectangle", style.INK)
    row = 120.0 / 4.4
    assert [(x, width) for x, _, width, _, _ in bars] == [
        (pytest.approx(124.0 + 0.4 * 212.0, abs=2e-3), pytest.approx(0.6 * 212.0, abs=2e-3)),
        (pytest.approx(124.0 + 212.0, abs=2e-3), pytest.approx(0.4 * 212.0, abs=2e-3)),
    ]
    assert [height for *_, height, _ in bars] == pytest.approx([0.2 * row, 0.1 * row], abs=2e-3)
    assert len(strokes.of("disc", style.INK)) == 1 + 1  # in time, and the end of the curve
    assert len(strokes.of("disc", style.REFUSED)) == 1
    assert [(x, y) for x, y, *_ in strokes.of("disc", style.REFUSED)] == [
        (pytest.approx(336.0), pytest.approx(94.0 + 1.5 * row, abs=2e-3))
    ]


def test_pictures_have_a_second_line_below_where_requests_end():
    pictures = {}
    for serving in (True, False):
        picture = TracePicture()
        picture.canvas = Strokes()
        picture.draw([Trace(TRACE.scenario, True, PASSAGES, serving=serving)])
        pictures[serving] = [text for text, *_ in picture.canvas.texts]
    assert set(pictures[True]) - set(pictures[False]) >= {"answered in time", "late", "dropped", "requests that wait"}
    assert "drafting" in pictures[True]
