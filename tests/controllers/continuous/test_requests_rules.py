"""Rules for requests with deadlines: cycles, budgets, drops, idle devices."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.greedy import MAX_LAXITY, Deadlines
from tests.alike import equal
from tests.controllers.continuous.states import core_of, workload

SCENARIO = ms.Scenario.preset("qwen3.5", num_users=5, total_bandwidth=5e6)
RULES = ("optimal", "synchronous", "greedy", "groups", "prices", "own-pace", "load-aware")


def core_for(controller, num_envs=4, rate=3.0):
    work = workload(rate=rate, mean_output=20.0, ttft=1.0, e2el=0.5, e2el_per_token=0.11)
    return core_of(controller.scenario, num_envs, discipline=controller.discipline, workload=work)


@pytest.fixture(scope="module")
def state():
    rule = ms.make_controller("greedy", SCENARIO)
    core = core_for(rule, 6, 12.0)
    for _ in range(40):
        core.step(rule(core.state))
    return core.state


def test_budget_of_greedy(state):
    length = ms.make_controller("greedy", SCENARIO, budget=0.5)(state).draft_length
    upload = SCENARIO.bits_per_token / (SCENARIO.total_bandwidth * state.spectral_efficiency)
    pace, time = state.draft_time + 2.0 * upload, 0.5 * SCENARIO.verification_time
    within = (length * pace <= time) | (length == 1)
    likely = state.acceptance_rate**length >= 0.1
    assert (within & (likely | (length == 1))).all()
    longer = length + 1
    assert ((longer * pace > time) | (state.acceptance_rate**longer < 0.1) | (length == 25)).all()


def test_laxities_and_drops(state):
    demand, now = state.demand, state.time[:, None]
    base = ms.make_controller("groups", SCENARIO)
    before = base(state)
    decision = Deadlines(SCENARIO, base, need=0.05)(state)
    laxity = demand.due - now - 0.05 * demand.wanted
    upload = SCENARIO.bits_per_token / (SCENARIO.total_bandwidth * state.spectral_efficiency)
    begun = (state.phase != ms.Phase.FREE) & (state.phase != ms.Phase.IDLE)
    first = np.where(begun, state.drafting_left + state.air_left, state.draft_time + upload)
    first += SCENARIO.verification_fixed_time + SCENARIO.verification_time_per_draft
    laxity = np.clip(np.minimum(laxity, demand.first_due - now - first), -MAX_LAXITY, MAX_LAXITY)
    busy = state.phase != ms.Phase.IDLE
    assert (decision.drop == (busy & (laxity < 0.0))).all()
    assert decision.drop.any()
    assert not decision.drop.all()
    more = Deadlines(SCENARIO, base, need=0.2)(state).drop
    assert (more != decision.drop).any()
    both = Deadlines(SCENARIO, Deadlines(SCENARIO, base, need=0.2), need=0.05)(state).drop
    assert (both == decision.drop | more).all()
    assert (decision.draft_length == before.draft_length).all()
    assert (decision.join == before.join).all()
    for row in range(len(laxity)):
        ranked = sorted(range(5), key=lambda k: (before.priority[row, k], laxity[row, k]))
        assert (np.diff(decision.priority[row, ranked]) >= 0).all()


def test_batches_count_more_than_laxity(state):
    base = ms.make_controller("groups", SCENARIO, groups=2)
    position = base(state).priority
    first = position == position.min(-1, keepdims=True)
    due = np.where(first, np.inf, -1e9)  # only others are urgent
    state = state.changed(demand=state.demand.changed(due=due, first_due=np.full(due.shape, np.inf)))
    priority = Deadlines(SCENARIO, base, need=0.05)(state).priority
    assert (~first).any(-1).any()
    assert (np.where(first, priority, -np.inf).max(-1) <= np.where(first, np.inf, priority).min(-1)).all()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("groups", "groups+deadlines"),
        ("optimal", "optimal+deadlines"),
        ("own-pace", "load-aware"),
        ("greedy", "earliest-deadline"),
        ("greedy", "turbospec"),
    ],
)
def test_deadlines_change_nothing_where_requests_are_endless(name, other):
    state = ms.sample_state(SCENARIO, np.random.default_rng(0), 3)
    plain, changed = (
        ms.long_run_rate(ms.make_controller(which, SCENARIO), state, warm_up=0.5, horizon=2.0)
        for which in (name, other)
    )
    assert (plain == changed).all()


def test_load_aware_is_own_pace_with_deadlines(state):
    assert equal(*(ms.make_controller(name, SCENARIO)(state) for name in ("load-aware", "own-pace+deadlines")))


def test_no_batch_waits_for_idle_devices():
    """With one request in the system its device has the server to itself."""
    for name in RULES:
        controller = ms.make_controller(name, SCENARIO)
        core = core_for(controller, rate=0.002)
        alone = 0
        for _ in range(30):
            working = (core.state.demand.wanted > 0).sum(-1)
            assert (working <= 1).all()
            outcome = core.step(controller(core.state))
            assert (outcome.duration[working == 1] < 1.0).all(), name
            alone += (working == 1).sum()
        assert alone > 30


@pytest.mark.parametrize("name", ["homogeneous", "algorithm1"])
def test_a_late_draft_is_uploaded_where_the_round_wants_none(name):
    """A request that arrives during a pass starts a draft; the next round may give its device no bandwidth."""
    scenario = ms.Scenario.preset("llama2", num_users=6, min_draft_length=0, total_bandwidth=1e5)
    options = {"phi_points": 8, "lambda_points": 8} if name == "algorithm1" else {}
    core = core_for(ms.make_controller(name, scenario, **options), 2)
    for _ in range(40):
        outcome = core.step(ms.make_controller(name, scenario, **options)(core.state))
        assert np.isfinite(outcome.duration).all()
