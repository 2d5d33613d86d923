"""Every request is counted once; quantiles are NumPy's; copies are apart; what began before the warm-up is left out."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.service_log import QUANTILES, ServiceLog
from multispin_env.physics.workload import ServiceLevel
from tests.physics.continuous.pairs import same
from tests.physics.continuous.test_requests import Wild, served_core

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
LEVEL = ServiceLevel(e2el=0.5, e2el_per_token=0.05)
EVERYBODY = np.ones((5, 3), dtype=np.int64)


def played(steps=150):
    """Steps with the times when they begin, and the core at the end."""
    core = served_core(SCENARIO, Wild(level=LEVEL, gap=1.0, together=0.0, output=40), 5, "static")
    outcomes = []
    for _ in range(steps):
        demand, begun = core.state.demand, core.state.time
        late = (demand.due < begun[:, None]) & (demand.wanted > 0) & (np.arange(3) > 0)  # the first never drops
        outcomes.append((core.step(ms.ContinuousDecision(6 * EVERYBODY, EVERYBODY, drop=late)), begun))
    return outcomes, core


@pytest.fixture(scope="module")
def course():
    return played()


def logged(outcomes, warm_up=0.0):
    log = ServiceLog(5, 3, warm_up)
    for outcome, begun in outcomes:
        log.add(outcome, begun)
    return log


def test_every_request_is_counted_once(course):
    outcomes, core = course
    log = logged(outcomes)
    late, demand = core.overdue(core.state.time), core.state.demand
    cut = (demand.output > 0) + demand.queue - late
    log.close(np.ones(5, dtype=np.bool_), late)
    run = log.result()
    assert run.dropped.sum() > 0
    assert run.in_time.sum() > 0
    assert (run.finished - run.in_time).sum() > 0
    assert late.sum() > 0
    np.testing.assert_array_equal(run.arrivals, run.finished + run.dropped + late + cut)
    np.testing.assert_array_equal(run.in_time + run.missed, run.finished + run.dropped + late)
    np.testing.assert_array_equal(run.time, core.state.time)
    ended = run.in_time.sum(-1) + run.missed.sum(-1)
    np.testing.assert_allclose(run.share_missed, run.missed.sum(-1) / ended)
    np.testing.assert_allclose(run.request_goodput * run.time, run.in_time.sum(-1))
    np.testing.assert_allclose(run.tokens_in_time * run.time, run.timely_tokens.sum(-1))
    np.testing.assert_allclose(run.least_served * run.time, run.timely_tokens.min(-1))
    assert (run.timely_tokens <= run.tokens).all()


def test_quantiles_are_those_of_the_requests(course):
    outcomes, _ = course
    run = logged(outcomes).result()
    for copy in range(5):
        served = [outcome.served[copy] for outcome, _ in outcomes]
        finished, gaps = (np.array([getattr(each, name) for each in served]) for name in ("finished", "gap"))
        np.testing.assert_allclose(run.latency.gap[copy], np.quantile(gaps[gaps > 0.0], QUANTILES))
        for name in ("e2el", "ttft"):
            expected = np.quantile(np.array([getattr(each, name) for each in served])[finished], QUANTILES)
            np.testing.assert_allclose(getattr(run.latency, name)[copy], expected)
    per_token = np.concatenate(
        [(p.served.e2el / np.maximum(p.served.output, 1))[p.served.finished] for p, _ in outcomes]
    )
    np.testing.assert_allclose(run.pooled.per_token, np.quantile(per_token, QUANTILES))
    warm = logged(outcomes, 4.0).result()  # what began before is left out
    counted = [(one, begun >= 4.0) for one, begun in outcomes]
    np.testing.assert_array_equal(warm.finished, sum(one.served.finished * late[:, None] for one, late in counted))
    np.testing.assert_allclose(warm.time, sum(one.duration * late for one, late in counted))
    nothing = ServiceLog(2, 3).result()
    for name in ("tokens_in_time", "request_goodput", "share_missed", "least_served"):
        assert (getattr(nothing, name) == 0.0).all()
    assert (nothing.latency.e2el == 0.0).all()
    assert (nothing.pooled.gap == 0.0).all()


def test_copies_are_apart(course):
    outcomes, _ = course
    whole, log = logged(outcomes).result(), ServiceLog(5, 3)
    half = len(outcomes) // 2
    later = logged(outcomes[half:]).result()
    for number, (outcome, begun) in enumerate(outcomes):
        if number == half:
            log.reset(np.array([1, 4]))
        log.add(outcome, begun, playing=np.array([True, True, False, True, True]))
    pairs = [(log.result(np.array(own)), other[own]) for own, other in (([0, 3], whole), ([1, 4], later))]
    for one, other in pairs:
        same(replace(one, pooled=other.pooled), other)
    assert log.result().time[2] == 0.0
