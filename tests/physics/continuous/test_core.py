"""Rounds as a special case, parallel environments, and bad decisions."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.acceptance import ByRequest
from multispin_env.physics.continuous import queues
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.registry import SCENARIOS, SERVERS
from tests.controllers.continuous.states import workload as make_workload
from tests.physics.continuous.pairs import DISCIPLINES, LAWS, joined, random_order, same


def core_of(scenario, num_envs=1, law="independent", discipline="serial", drawn=False, seed=0, **parts):
    """A core after a reset; tokens are drawn if there is a workload."""
    system = replace(ContinuousSystem.of(scenario.replace(channel=law), discipline), **parts)
    core = ContinuousCore(system, num_envs, drawn=drawn or system.workload is not None)
    for env in range(num_envs):
        core.seed(env, np.random.default_rng(seed + env))
    core.reset()
    return core


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(
    ("preset", "server"),
    [*((preset, None) for preset in SCENARIOS.names()), *(("qwen3.5", server) for server in SERVERS.names())],
)
def test_a_batch_of_all_devices_is_a_round(preset, server, ahead):
    named = {} if server is None else {"server": server, "min_draft_length": 0, "payload": "ids"}
    scenario = ms.Scenario.preset(preset, num_users=6, round_trip_time=0.005, draft_ahead=ahead, **named)
    core = core_of(scenario, 8, discipline="reserved")
    if ahead:
        core.hold(core.state.system.changed(head_start=np.random.default_rng(5).uniform(0.0, 9.0, (8, 6))))
    optimal = ms.make_controller("optimal", scenario)
    for _ in range(4):
        state = core.state.system
        round_decision = optimal(state)
        expected = ms.expected_outcome(scenario, state, round_decision)
        share = round_decision.bandwidth / scenario.total_bandwidth
        together = ms.ContinuousDecision(
            round_decision.draft_length, np.full((8, 6), ms.physics.Join.WAIT), share=share
        )
        outcome = core.step(together)
        np.testing.assert_allclose(outcome.tokens, expected.tokens, rtol=1e-12)
        np.testing.assert_allclose(outcome.duration, expected.round_latency, rtol=1e-12)
        assert outcome.verified.all()
        assert (core.state.phase == ms.physics.Phase.FREE).all()
        assert (core.state.spectral_efficiency != state.spectral_efficiency).all()  # a new channel each round


def test_rounds_wait_for_the_largest_number_of_repetitions():
    loss = {"access_delay": (0.03, 0.0, 0.01, 0.0, 0.02), "upload_loss": 0.3, "repeat_time": 0.02}
    scenario = ms.Scenario.preset("llama2", num_users=5, **loss)
    core, optimal = core_of(scenario, 250, discipline="reserved"), ms.make_controller("optimal", scenario)
    most = []
    for _ in range(6):
        state, decision = core.state, optimal(core.state)
        together = ms.Decision(decision.draft_length, decision.share * scenario.total_bandwidth)
        expected = ms.expected_outcome(scenario, state.system, together)
        waited = core.step(decision).duration - (expected.round_latency - scenario.uplink.repeat_delay)
        most.append(waited / scenario.repeat_time)
    assert np.rint(most) == pytest.approx(np.array(most), abs=1e-9)
    assert scenario.repeat_time * np.mean(most) == pytest.approx(scenario.uplink.repeat_delay, rel=0.05)
    assert np.mean(np.rint(most) == 0.0) == pytest.approx(0.7**5, abs=0.03)


WORKLOAD = make_workload(rate=3.0, ttft=0.5, tpot=0.1)


@pytest.mark.parametrize("workload", [None, WORKLOAD])
def test_without_hits_drafting_ahead_changes_no_bit(workload):
    never = (ms.Task(name="never accepted", acceptance_rate=0.0),)
    scenario = ms.Scenario.preset("llama2", num_users=5, min_draft_length=0, tasks=never)
    plain, ahead = (core_of(scenario.replace(draft_ahead=ahead), 4, workload=workload) for ahead in (False, True))
    rng = np.random.default_rng(3)
    for _ in range(30):
        decision = joined([random_order(scenario, "serial", rng) for _ in range(4)])
        first, second = plain.step(decision), ahead.step(decision)
        assert not second.hit.any()
        same(first, second.changed(drafted_ahead=first.drafted_ahead))
        same(plain.state, ahead.state)


def test_head_starts_of_new_requests_and_of_held_states():
    scenario = ms.Scenario.preset("llama2", num_users=5, min_draft_length=0, draft_ahead=True)
    decision = ms.ContinuousDecision(np.full((4, 5), 1), np.full((4, 5), ms.physics.Join.WAIT))
    for mean_rounds in (1.0, np.inf):  # a request ends with each draft, or never
        core = core_of(scenario, 4, acceptance=ByRequest(0.0, mean_rounds))
        core.step(decision)
        assert core.state.head_start.any() == (mean_rounds > 1.0)
        chains = core.state.head_start + 1.0
        core.step(decision, np.array([True, False, False, False]))
        assert not core.state.head_start[0].any()
        core.reset()
        assert not core.state.head_start.any()
        held = core.state.system.changed(head_start=chains)
        core.hold(held)
        assert (core.state.head_start == chains).all()
    serving = core_of(scenario, 4, workload=WORKLOAD)
    serving.hold(held)  # no device has a request
    assert not serving.state.head_start.any()
    state = core.state.changed(head_start=chains)
    assert (checked_continuous_state(scenario, state).head_start == chains).all()
    for changed, bad, message in (
        (scenario, state.changed(head_start=chains - 9.0), r"numbers in \[0, 25\], got -\d"),
        (scenario.replace(draft_ahead=False), state, "zeros where draft_ahead is False, got "),
    ):
        with pytest.raises(ValueError, match=rf"^head_start\[0, 0\]: expected {message}"):
            checked_continuous_state(changed, bad)


def test_endless_requests_share_their_arrays():
    core = core_of(ms.Scenario.preset("llama2", num_users=3), 2)
    core.step(GOOD, np.array([True, False]))
    core.reset(np.array([1]))
    demand = core.state.demand
    assert demand is ms.physics.Demand.endless((2, 3))
    same(core.state[0].copy().demand, ms.physics.Demand.endless((3,)))
    assert core.step(GOOD).served is ms.physics.Served.nothing((2, 3))
    with pytest.raises(ValueError, match="read-only"):
        demand.wanted[0] = 1
    same(demand[0], demand.changed(queue=demand.queue)[0])
    same(ms.physics.ContinuousState.joined([core.state[:1], core.state[1:]]), core.state)


def test_a_state_may_hold_requests_of_both_kinds():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    state = core_of(scenario).state
    endless = state.demand.wanted[0, 0]
    demand = state.demand.changed(wanted=np.array([[endless, 5, 0]]), output=np.array([[endless, 7, 0]]))
    same(checked_continuous_state(scenario, state.changed(demand=demand)).demand, demand)


def decisions(core, rng, discipline="serial"):
    decision = joined([random_order(core.system.scenario, discipline, rng) for _ in range(core.num_envs)])
    if core.queues is None:
        return decision
    serving = core.state.demand.output > 0
    return replace(decision, drop=serving & (rng.random(serving.shape) < 0.3) & (rng.random() < 0.5))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("workload", [None, WORKLOAD, make_workload("think", 3.0)], ids=["endless", "open", "closed"])
def test_parallel_environments_equal_single_ones(workload, law):
    """Also with resets in the middle."""
    loss = {"upload_loss": 0.4, "repeat_time": 0.05} if law == "gauss-markov" else {}
    scenario = ms.Scenario.preset("qwen3.5", num_users=5, acceptance="by-request", **loss)
    rng = np.random.default_rng(3)
    sizes = ((3, 10), (1, 10), (1, 11), (1, 12))
    parallel, *singles = (core_of(scenario, size, law, seed=seed, workload=workload) for size, seed in sizes)
    for step in range(40):
        decision, over = decisions(parallel, rng), np.array([step == 11, False, step % 10 == 9])
        outcome = parallel.step(decision, over)
        for env, core in enumerate(singles):
            if over[env]:
                core.reset()
            else:
                same(core.step(decision[env : env + 1])[0], outcome[env])
            same(core.state[0], parallel.state[env])


GOOD = ms.ContinuousDecision(np.full((2, 3), 4), np.full((2, 3), 1))


def order(**change):
    return replace(GOOD, **change)


NEVER_STARTS = r"decision\[0\]: expected a batch that can start, got one that waits forever"
BAD = [
    (order(draft_length=np.full((2, 2), 4)), r"draft_length: expected shape \(2, 3\), got \(2, 2\)"),
    (order(draft_length=np.full((2, 3), 2.5)), r"draft_length\[0, 0\]: expected integers in 1..25, got 2.5"),
    (order(join=np.full((2, 3), 3)), r"join\[0, 0\]: expected integers in 0..2, got 3.0"),
    (order(join=np.array([[1, 1, 1], [0, 0, 0]])), r"join\[1, 0\]: expected 1 or 2 for at least one device, got 0"),
    (order(timeout=np.array([0.1, -0.1])), r"timeout\[1\]: expected seconds ≥ 0, got -0.1"),
    (order(timeout=np.array([0.1])), r"timeout: expected shape \(2,\), got \(1,\)"),
    (order(least_batch=np.array([1, 4])), r"least_batch\[1\]: expected integers in 1..3, got 4.0"),
    (order(aim=np.zeros(3)), r"aim: expected shape \(2, 3\), got \(3,\)"),
    (order(drop=np.array([[0, 0, 1], [0, 0, 0]])), r"drop\[0, 2\]: expected False for a device without .*, got True"),
]
BAD_ON = {
    "serial": [
        (order(priority=np.full((2, 3), np.nan)), r"priority\[0, 0\]: expected numbers, got nan"),
        (order(priority=np.full((2, 3), np.inf)), r"priority\[0, 0\]: expected finite numbers, got inf"),
    ],
    "shared": [(order(share=np.full((2, 3), -0.1)), r"share\[0, 0\]: expected numbers ≥ 0, got -0.1")],
    "reserved": [
        (order(share=np.full((2, 3), 0.4)), r"sum of share\[0\]: expected at most 1, got 1.2\d*"),
        (order(share=np.array([[0.0, 0.5, 0.5]] * 2), join=np.array([[2, 0, 0], [1, 1, 1]])), NEVER_STARTS),
    ],
}


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_bad_decisions_change_nothing(discipline):
    core = core_of(ms.Scenario.preset("llama2", num_users=3), 2, discipline=discipline)
    for decision, message in BAD + BAD_ON[discipline]:
        before = core.state
        with pytest.raises(ValueError, match=f"^{message}$"):
            core.step(decision)
        assert core.state is before
    core.step(order(drop=np.zeros((2, 3), dtype=bool)))


@pytest.mark.parametrize("arrivals", ["poisson", "think"])
def test_a_refusal_changes_nothing(arrivals, monkeypatch):
    loss = {"upload_loss": 0.5, "repeat_time": 0.1}
    scenario, workload = ms.Scenario.preset("llama2", num_users=3, **loss), make_workload(arrivals, 300.0)
    tried, other = (core_of(scenario, discipline="reserved", workload=workload) for _ in range(2))
    good = replace(GOOD, draft_length=GOOD.draft_length[:1], join=GOOD.join[:1])
    refused, most = 0, queues.MOST_REQUESTS
    for step in range(60):
        before, copied, serving = tried.state, tried.state.copy(), tried.state.demand.output > 0
        decision = replace(good, drop=serving & [True, False, False] & (step % 3 > 0))
        with pytest.raises(ValueError, match="waits forever"):  # without a share no upload ends
            tried.step(replace(good, share=np.zeros((1, 3)), drop=serving))
        if not serving.all():
            with pytest.raises(ValueError, match=r"^drop\[0, .\]: expected .*, got "):
                tried.step(replace(good, drop=~serving))
        monkeypatch.setattr(queues, "MOST_REQUESTS", 0)  # no more than the requests drawn so far
        try:
            outcome = tried.step(decision)
        except ValueError as error:
            assert "requests: expected at most" in str(error)  # noqa: PT017  (most steps need no more)
            refused += 1
            same(tried.state, copied)
        monkeypatch.setattr(queues, "MOST_REQUESTS", most)
        if tried.state is before:
            outcome = tried.step(decision)
        same(outcome, other.step(decision))
        same(tried.state, other.state)
    assert refused


def test_as_many_requests_as_allowed_are_held(monkeypatch):
    tables = queues.Queues(make_workload("think", 300.0), 1, 2)
    monkeypatch.setattr(queues, "MOST_REQUESTS", 64)
    tables._grow()
    assert tables._gap.shape == (2, 32)
    with pytest.raises(ValueError, match=r"^requests: expected at most 64 of all devices"):
        tables._grow()
    assert tables._gap.shape == (2, 32)
