"""The barrier as a special case, common random numbers, and bad decisions."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.acceptance import ByRequest
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.physics.radio import GaussMarkov
from multispin_env.registry import SCENARIOS
from tests.physics.continuous.pairs import DISCIPLINES, joined, random_order, same

SERVERS = [None, *ms.registry.SERVERS.names()]


def core_of(
    scenario, num_envs=1, law="independent", discipline="serial", drawn=False, seed=0, workload=None, acceptance=None
):
    system = ContinuousSystem.of(scenario.replace(channel=law), discipline, workload=workload)
    system = system if acceptance is None else replace(system, acceptance=acceptance)
    core = ContinuousCore(system, num_envs, drawn=drawn)
    for env in range(num_envs):
        core.seed(env, np.random.default_rng(seed + env))
    core.reset()
    return core


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("preset", SCENARIOS.names())
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
        outcome = core.step(
            ms.ContinuousDecision(round_decision.draft_length, np.full((8, 6), ms.Join.WAIT), share=share)
        )
        np.testing.assert_allclose(outcome.tokens, expected.tokens, rtol=1e-12)
        np.testing.assert_allclose(outcome.duration, expected.round_latency, rtol=1e-12)
        assert outcome.verified.all()
        assert (core.state.phase == ms.Phase.FREE).all()
        assert (core.state.spectral_efficiency != state.spectral_efficiency).all()  # a new channel each round


WORKLOAD = ms.Workload.at_load(90.0, arrivals=ms.make_arrivals("poisson"), lengths=ms.make_lengths("geometric"))


@pytest.mark.parametrize("workload", [None, WORKLOAD])
def test_without_hits_drafting_ahead_changes_no_bit(workload):
    never = (ms.Task(name="never accepted", acceptance_rate=0.0),)
    scenario = ms.Scenario.preset("llama2", num_users=5, min_draft_length=0, tasks=never)
    plain, ahead = (
        core_of(scenario.replace(draft_ahead=ahead), 4, drawn=workload is not None, workload=workload)
        for ahead in (False, True)
    )
    rng = np.random.default_rng(3)
    for _ in range(30):
        decision = joined([random_order(scenario, "serial", rng) for _ in range(4)])
        first, second = plain.step(decision), ahead.step(decision)
        assert not second.hit.any()
        same(first, second.changed(drafted_ahead=first.drafted_ahead))
        same(plain.state, ahead.state)


def test_head_starts_of_new_requests_and_of_held_states():
    scenario = ms.Scenario.preset("llama2", num_users=5, min_draft_length=0, draft_ahead=True)
    decision = ms.ContinuousDecision(np.full((4, 5), 1), np.full((4, 5), ms.Join.WAIT))
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
    serving = core_of(scenario, 4, drawn=True, workload=WORKLOAD)
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
    assert demand is ms.Demand.endless((2, 3))
    assert core.state[0].copy().demand is ms.Demand.endless((3,))
    assert core.step(GOOD).served is ms.Served.nothing((2, 3))
    with pytest.raises(ValueError, match="read-only"):
        demand.wanted[0] = 1
    same(demand[0], demand.changed(queue=demand.queue)[0])
    same(ms.ContinuousState.joined([core.state[:1], core.state[1:]]), core.state)


def cycles_of(core, rng, steps):
    """Channels of each device in its cycles, then tokens."""
    scenario, users = core.system.scenario, core.system.scenario.num_users
    channels, tokens = [[float(r)] for r in core.state.spectral_efficiency[0]], [[] for _ in range(users)]
    for _ in range(steps):
        decision = random_order(scenario, "serial", rng) | {"draft_length": [scenario.max_draft_length] * users}
        outcome = core.step(joined([decision]))
        for k in np.flatnonzero(outcome.verified[0]):
            channels[k].append(float(core.state.spectral_efficiency[0, k]))
            tokens[k].append(float(outcome.tokens[0, k]))
    return channels + tokens


def test_random_numbers_do_not_depend_on_decisions():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    first, second = (cycles_of(core_of(scenario, drawn=True), np.random.default_rng(s), 60) for s in (1, 2))
    for one, other in zip(first, second, strict=True):
        common = min(len(one), len(other))
        assert common >= 3
        assert one[:common] == other[:common]
    assert [*map(len, first)] != [*map(len, second)]


def test_gauss_markov_forgets_with_time():
    law, rng = GaussMarkov(coherence_time=0.2), np.random.default_rng(4)
    gain = law.first_gain(np.ones(200_000), law.draw(rng, 1, 200_000)[0])
    for elapsed in (0.0, 0.1, 5.0):
        fresh = law.draw(rng, 1, gain.size)[0]
        later = law.next_gain(gain, np.ones_like(gain), fresh, np.full(gain.shape, elapsed))
        assert np.corrcoef(gain, later)[0, 1] == pytest.approx(np.exp(-2.0 * elapsed / 0.2), abs=0.01)
        assert later.mean() == pytest.approx(1.0, abs=0.01)


GOOD = ms.ContinuousDecision(np.full((2, 3), 4), np.full((2, 3), 1))


def order(**change):
    return replace(GOOD, **change)


NEVER_STARTS = r"decision\[0\]: expected a batch that starts, got one that waits without limit"
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
