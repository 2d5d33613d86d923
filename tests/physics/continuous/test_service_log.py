from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.service_log import QUANTILES, ServiceLog
from tests.controllers.continuous.states import workload
from tests.physics.continuous.pairs import same
from tests.physics.continuous.test_core import core_of

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
WORKLOAD = workload(rate=3.0, e2el=0.5, e2el_per_token=0.05)
ONES = np.ones((5, 3), dtype=np.int64)


@pytest.fixture(scope="module")
def course():
    """Outcomes with the times when their steps begin, and the core at the end."""
    core = core_of(SCENARIO, 5, "static", workload=WORKLOAD)
    outcomes = []
    for _ in range(150):
        demand, begun = core.state.demand, core.state.time
        late = (demand.due < begun[:, None]) & (demand.wanted > 0) & (np.arange(3) > 0)  # the first device never drops
        outcomes.append((core.step(ms.ContinuousDecision(6 * ONES, ONES, drop=late)), begun))
    return outcomes, core


def logged(outcomes, warm_up=0.0):
    log = ServiceLog(5, 3, warm_up)
    for outcome, begun in outcomes:
        log.add(outcome, begun)
    return log


def test_every_request_is_counted_once(course):
    outcomes, core = course
    log = logged(outcomes)
    late, demand = core.overdue(core.state.time), core.state.demand
    log.close(np.ones(5, dtype=np.bool_), late)
    run = log.result()
    assert min(count.sum() for count in (run.dropped, run.in_time, run.finished - run.in_time, late)) > 0
    np.testing.assert_array_equal(run.arrivals, run.finished + run.dropped + (demand.output > 0) + demand.queue)
    np.testing.assert_array_equal(run.in_time + run.missed, run.finished + run.dropped + late)
    np.testing.assert_array_equal(run.time, core.state.time)
    np.testing.assert_array_equal(run.drafted, sum(outcome.draft_length for outcome, _ in outcomes))
    ended = run.in_time.sum(-1) + run.missed.sum(-1)
    np.testing.assert_allclose(run.share_missed, run.missed.sum(-1) / ended)
    np.testing.assert_allclose(run.request_goodput * run.time, run.in_time.sum(-1))
    np.testing.assert_allclose(run.tokens_in_time * run.time, run.timely_tokens.sum(-1))
    np.testing.assert_allclose(run.least_served * run.time, run.timely_tokens.min(-1))
    assert (run.timely_tokens <= run.tokens).all()


def test_quantiles_and_warm_up(course):
    outcomes, _ = course
    run, steps = (
        logged(outcomes).result(),
        ms.physics.ContinuousOutcome.joined([outcome[None] for outcome, _ in outcomes]),
    )
    served = steps.served
    for env in range(5):
        gaps, finished = served.gap[:, env], served.finished[:, env]
        np.testing.assert_allclose(run.latency.gap[env], np.quantile(gaps[gaps > 0.0], QUANTILES))
        for name in ("e2el", "ttft"):
            expected = np.quantile(getattr(served, name)[:, env][finished], QUANTILES)
            np.testing.assert_allclose(getattr(run.latency, name)[env], expected)
    per_token = (served.e2el / np.maximum(served.output, 1))[served.finished]
    np.testing.assert_allclose(run.pooled.per_token, np.quantile(per_token, QUANTILES))
    warm, counted = logged(outcomes, 4.0).result(), np.array([begun for _, begun in outcomes]) >= 4.0
    np.testing.assert_array_equal(warm.finished, (served.finished * counted[..., None]).sum(0))
    np.testing.assert_allclose(warm.time, (steps.duration * counted).sum(0))
    empty = ServiceLog(2, 3).result()
    for name in ("tokens_in_time", "request_goodput", "share_missed", "least_served"):
        assert (getattr(empty, name) == 0.0).all()
    assert (empty.latency.e2el == 0.0).all()
    assert (empty.pooled.gap == 0.0).all()


def test_environments_are_separate(course):
    outcomes, _ = course
    whole, log = logged(outcomes).result(), ServiceLog(5, 3)
    half = len(outcomes) // 2
    later = logged(outcomes[half:]).result()
    for step, (outcome, begun) in enumerate(outcomes):
        if step == half:
            log.reset(np.array([1, 4]))
        log.add(outcome, begun, playing=np.array([True, True, False, True, True]))
    for envs, expected in (([0, 3], whole[[0, 3]]), ([1, 4], later[[1, 4]])):
        same(replace(log.result(np.array(envs)), pooled=expected.pooled), expected)
    assert log.result().time[2] == 0.0
