from itertools import pairwise

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rendering.traces import request_marks
from multispin_env.evaluation.cases import Episodes
from multispin_lab.explore import timelines
from multispin_lab.explore.timelines import TICKS, play, timeline


def played(env_id, name, episodes=2, seed=0, **arguments):
    config = ms.EnvConfig.of(env_id, action="full", **{"num_users": 3, "rho": 1.0, **arguments})
    return play(Episodes(config, episodes, seed), name)


@pytest.fixture(scope="module")
def busy():
    return played("MultiSpin/Serving-v0", "greedy+deadlines", load=1.5, horizon=6.0, warm_up=0.0, seed=2).trace


def unpacked(flat):
    """Triples (activity, begin, end) in ticks."""
    rows, time = [], 0
    for what, gap, length in np.reshape(flat, (-1, 3)).tolist():
        rows.append((what, time + gap, time + gap + length))
        time += gap + length
    return rows


def painted(trace, user):
    """Activity of a device in each tick, step by step; -1 without a request."""
    done = np.full(round(trace.duration * TICKS), -1)
    for number, outcome in enumerate(trace.outcomes):
        begin = trace.ends[number - 1] if number else 0.0
        end, idle = float(outcome.duration), float(outcome.served.idle_time[user])
        steps = [(idle, 0), (max(outcome.drafted_at[user], idle), 1), (max(outcome.uploaded_at[user], idle), 2)]
        if outcome.verified[user]:
            steps.append((float(outcome.start_delay), 3))
        for after, what in steps:
            done[round((begin + min(after, end)) * TICKS) : round((begin + end) * TICKS)] = what
    return done


def test_devices_do_what_the_passages_say(busy):
    for user, flat in enumerate(timeline(busy)["devices"]):
        drawn, rows = np.full(round(busy.duration * TICKS), -1), unpacked(flat)
        for what, begin, end in rows:
            drawn[begin:end] = what
        assert (drawn == painted(busy, user)).all()
        assert set(drawn.tolist()) == {-1, 0, 1, 2, 3}
        assert not [entry for entry, two in pairwise(rows) if entry[0] == two[0] and entry[2] == two[1]]


def test_the_server_and_the_curves(busy, monkeypatch):
    drawn = timeline(busy)
    assert [what for what, _, _ in unpacked(drawn["server"])] == [int(entry.batch_size) for entry in busy.outcomes]
    assert [end for _, _, end in unpacked(drawn["server"])] == drawn["ends"]
    assert drawn["ends"][-1] == drawn["shown"] == round(busy.duration * TICKS)
    rates = np.array(drawn["gained"]) * TICKS / drawn["ends"]
    assert rates == pytest.approx(busy.means, rel=1e-3)
    monkeypatch.setattr(timelines, "MAX_STRETCHES", 4 * 3 * 5)  # of a long episode, the end is left out
    drawn = timeline(busy)
    assert len(drawn["ends"]) == 5
    assert drawn["shown"] == round(busy.ends[4] * TICKS)
    assert max(end for flat in drawn["devices"] for _, _, end in unpacked(flat)) <= drawn["shown"]


def answered(trace):
    return [(outcome, user) for outcome in trace.outcomes for user in np.flatnonzero(outcome.served.finished)]


def test_requests_and_those_that_wait(busy):
    drawn = timeline(busy)
    assert drawn["marks"] == [[round(mark.time * TICKS), *mark[1:]] for mark in request_marks(busy, 0.0, busy.duration)]
    here = np.zeros(3, dtype=int)
    for outcome, waiting in zip(busy.outcomes, drawn["waiting"], strict=True):
        here += outcome.served.arrivals - outcome.served.dropped - outcome.served.finished
        assert waiting == np.maximum(here - 1, 0).sum()
    assert max(drawn["waiting"]) > 0
    assert len(drawn["answers"]) == len(answered(busy)) > 0
    assert sum(answer[1] for answer in drawn["answers"]) == sum(
        int(entry.served.in_time.sum()) for entry in busy.outcomes
    )
    values = [[entry.served.ttft[k], entry.served.tpot[k], entry.served.e2el[k]] for entry, k in answered(busy)]
    assert np.array(drawn["answers"])[:, 2:] == pytest.approx(np.array(values), abs=5e-5)


ARGUMENTS = {"channel": "static", "horizon": 2.0}


@pytest.mark.parametrize(
    ("env_id", "name", "more"),
    [
        ("MultiSpin/Continuous-v0", "optimal", {}),  # on an uplink of its own
        ("MultiSpin/Serving-v0", "load-aware", {"load": 0.8, "warm_up": 0.5}),
    ],
)
def test_as_the_comparison_plays_them(env_id, name, more):
    result, trace = played(env_id, name, episodes=3, seed=5, **ARGUMENTS, **more)
    expected = Episodes(ms.EnvConfig.of(env_id, num_users=3, rho=1.0, **ARGUMENTS, **more), 3, seed=5).play(name)
    assert (result.tokens == expected.tokens).all()
    assert (result.time == expected.time).all()
    assert len(set(result.time.tolist())) == 3
    assert result.episode.keys() == expected.episode.keys()
    assert all((result.episode[key] == expected.episode[key]).all() for key in result.episode)
    assert ("waiting" in timeline(trace)) == (env_id == "MultiSpin/Serving-v0")  # others have no queue
    assert trace.duration == pytest.approx(result.time[0], rel=1e-12)  # the first is kept whole
    assert timeline(trace)["gained"] == pytest.approx(trace.gained, abs=0.0051)
    assert env_id != "MultiSpin/Continuous-v0" or trace.gained[-1] == pytest.approx(result.tokens[0].sum(), rel=1e-12)
    assert trace.title == name
