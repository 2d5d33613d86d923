from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import multispin_env as ms
from multispin_lab.models.contender import LiveRound
from multispin_lab.models.verdict import (
    GOODPUT,
    PASS,
    ROUND,
    TOKENS,
    _draw_rounds,
    _rounds_before,
    block_length,
    verdict_cells,
    verdict_lines,
)

USERS = 2


def made(number, gained=(2, 3), predicted=(2.5, 2.5), measured=0.2, request=(0, 0)):
    return LiveRound(
        draft_length=np.array([4, 0]),
        bandwidth=np.array([1e6, 0.0]),
        request=np.array(request),
        age=np.array([number, number]),
        predicted=np.array(predicted),
        drafting=np.array([0.2, 0.0]),
        uploading=np.array([0.1, 0.0]),
        round_trip=0.1,
        predicted_pass=0.1,
        deciding=0.001,
        played=SimpleNamespace(
            accepted=np.array([1, 0]), gained=np.array(gained), verification_time=measured, accepting_time=0.0
        ),
    )


def contender(name, rounds):
    return SimpleNamespace(name=name, rounds=rounds, scenario=ms.Scenario.preset("llama2", num_users=USERS))


def two(count=12):
    rng = np.random.default_rng(0)
    first = [made(k, rng.integers(1, 6, 2), measured=0.1 + 0.1 * rng.random()) for k in range(count)]
    return [contender("a", first), contender("b", [made(k) for k in range(count)])]


def test_each_quantity_is_what_it_says():
    contenders = two()
    lines = verdict_lines(contenders)
    assert [(line.contender, line.quantity) for line in lines] == [
        *((name, quantity) for name in "ab" for quantity in (TOKENS, PASS, ROUND, GOODPUT)),
        ("a / b", "goodput"),
    ]
    rounds = contenders[0].rounds
    gained = sum(entry.played.gained.sum() for entry in rounds)
    seconds = sum(entry.played.verification_time + 0.3 + 0.1 for entry in rounds)
    tokens, passes, whole, goodput = lines[:4]
    assert tokens.realised.mean == pytest.approx(gained / 24)
    assert tokens.predicted.mean == pytest.approx(2.5)
    assert passes.realised.mean == pytest.approx(1e3 * sum(entry.played.verification_time for entry in rounds) / 12)
    assert (passes.predicted.mean, whole.predicted.mean) == pytest.approx((100.0, 500.0))
    assert whole.realised.mean == pytest.approx(1e3 * seconds / 12)
    assert goodput.realised.mean == pytest.approx(gained / seconds)
    assert goodput.predicted.mean == pytest.approx(10.0)
    for line in lines:
        assert line.difference.mean == pytest.approx(line.realised.mean - line.predicted.mean)
        assert line.ratio.mean == pytest.approx(line.realised.mean / line.predicted.mean)
        assert line.realised.low - 1e-9 <= line.realised.mean <= line.realised.high + 1e-9
    assert lines[-1].realised.mean == pytest.approx(goodput.realised.mean / (5 / 0.6))
    assert lines[4].realised == pytest.approx((2.5, 2.5, 2.5))  # nothing random in b
    header, rows = verdict_cells(lines)
    assert (len(header), rows[5][:3]) == (6, ("b", PASS, "100.0"))


@pytest.mark.parametrize(
    ("count", "number", "expected"),
    [(40, (0, 0), 6), (40, (9, 9), 4), (40, (79, 79), 1), (3, (0, 0), 1)],
)
def test_a_block_is_as_long_as_a_request_but_there_are_some(count, number, expected):
    rounds = [made(k, request=number) for k in range(count)]
    assert block_length([contender("a", rounds)]) == expected


def test_the_timeline_ends_with_the_window():
    rounds = [made(k) for k in range(100)]  # 0.6 s each
    assert [len(_rounds_before(window, rounds)) for window in (1.3, 1e3)] == [3, 60]


def test_the_timeline_shows_each_token_when_it_is_drafted():
    axes = Figure().subplots()
    _draw_rounds(axes, [made(0), made(1)])  # 600 ms each, 200 of which draft four tokens, then 100 upload them
    drawn = {
        bars.get_label(): np.array(sorted((bar.get_x(), bar.get_width()) for bar in bars if bar.get_width() > 0.0))
        for bars in axes.containers
    }
    assert drawn["drafting, accepted"] == pytest.approx(np.array([(0, 50), (600, 50)]))
    refused = [(begin + token, 50) for begin in (0, 600) for token in (50, 100, 150)]
    assert drawn["drafting, refused"] == pytest.approx(np.array(refused))
    assert drawn["uploading"] == pytest.approx(np.array([(200, 100), (800, 100)]))
