"""Rules without the barrier: head starts, cycles, budgets, deadlines, idle devices."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.cycle import Cycle
from multispin_env.controllers.continuous.greedy import MAX_LAXITY, Deadlines, min_time_to_tokens
from multispin_env.controllers.continuous.groups import best_num_groups
from multispin_env.controllers.continuous.under_way import Background
from multispin_env.physics.chains import longest_sent, sending_time
from tests.alike import equal
from tests.controllers.continuous.states import LIMITS, core_of, workload

SYSTEMS = {
    "paper": {},
    "ids": {"server": "a100-32b", "payload": "ids", "min_draft_length": 0},
    "padded": {"verification_pieces": ((0.0, 0.001),), "padded_verification": True, "round_trip_time": 0.02},
    "after verification": {"draft_ahead": False},
}


def ahead(system="paper", users=4, **fields):
    return ms.Scenario.preset("qwen3.5", **{"num_users": users, "draft_ahead": True, **SYSTEMS[system], **fields})


def core_for(rule, work=None, num_envs=3):
    return core_of(rule.scenario, num_envs, 5, discipline=rule.discipline, workload=work)


def visited(rule, work=None, num_envs=3, steps=20):
    core = core_for(rule, work, num_envs)
    for _ in range(steps):
        core.step(rule(core.state))
    return core.state


SCENARIO = ms.Scenario.preset("qwen3.5", num_users=5, total_bandwidth=5e6)
RULES = ("optimal", "synchronous", "greedy", "groups", "prices", "own-pace", "load-aware")


@pytest.fixture(scope="module")
def state():
    work = workload(rate=12.0, mean_output=20.0, ttft=1.0, e2el=0.5, e2el_per_token=0.11)
    return visited(ms.make_controller("greedy", SCENARIO), work, 6, 40)


def test_the_longest_draft_that_is_sent_in_time():
    rng = np.random.default_rng(0)
    time, pace, air = rng.uniform(0.0, 0.3, 200), rng.uniform(0.005, 0.02, 200), rng.uniform(1e-4, 0.02, 200)
    chain = rng.uniform(0.0, 9.0, 200) * (rng.random(200) < 0.7)
    scenario, none = ahead(), np.zeros(200)
    most = longest_sent(scenario, time, pace, air, chain)
    slow = [max(n - a, 0.0) * t + n * u for n, a, t, u in zip(most, chain, pace, air, strict=True)]
    assert sending_time(scenario, most, pace, air, chain) == pytest.approx(np.array(slow), rel=1e-12)
    assert sending_time(scenario, most, pace, air, chain) == pytest.approx(time, rel=1e-12)
    plain = scenario.replace(draft_ahead=False)
    assert (longest_sent(scenario, time, pace, air, none) == longest_sent(plain, time, pace, air, none)).all()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "name",
    [
        "optimal",
        *ms.controller_names("continuous", ms.Scenario.preset("llama2")),
        "groups+deadlines",
        "optimal+deadlines",
    ],
)
def test_decisions_keep_a_system_going(name, system):
    """With endless requests, and with requests that end, so that some devices are idle."""
    for work in (None, workload(rate=1.5, **LIMITS)):
        rule = ms.make_controller(name, ahead(system))
        core, idle, tokens = core_for(rule, work), False, 0.0
        with np.errstate(invalid="raise", divide="raise", over="raise"):
            for _ in range(15):
                tokens += core.step(rule(core.state)).tokens.sum(0)
                idle |= bool((core.state.phase == ms.physics.Phase.IDLE).any())
        assert (tokens > 0.0).all()
        assert idle == (work is not None)
        if name not in ("ema-tiers", "plus-two-minus-one"):  # these have memory
            assert equal(rule(core.state)[1], rule(core.state[1]))


@pytest.mark.parametrize("name", ["synchronous", "minedraft", "prices", "own-pace", "load-aware"])
def test_chains_are_sent(name):
    """Ids take no time to send, so a device sends its chain, and lengths depend on it."""
    rule = ms.make_controller(name, ahead("ids", 6))
    state = visited(rule)
    none, some, many = (rule(state.changed(head_start=np.full(state.phase.shape, chain))) for chain in (0.0, 4.0, 12.0))
    free = state.phase == ms.physics.Phase.FREE
    assert (some.draft_length[free] >= 4).all()
    assert (many.draft_length[free] != none.draft_length[free]).any()


@pytest.mark.parametrize("draft_ahead", [True, False])
def test_cycles(draft_ahead):
    scenario = ahead("ids", round_trip_time=0.01, draft_ahead=draft_ahead)
    state = visited(ms.make_controller("own-pace", scenario), workload(rate=6.0))
    cycle = Cycle.of(scenario, state)
    best, first, saved = cycle.best_length(), min_time_to_tokens(scenario, state), 0.3 if draft_ahead else 0.0
    work = Background.of(scenario, state, np.zeros_like(state.busy)).add(state, state.busy, best, 0)
    assert len(set(state.busy.sum(-1))) > 1
    for env, device in np.ndindex(best.shape):
        half = max(state.busy[env].sum() / 2, 1.0)
        verification = 2.0 * scenario.law.time(half, half * (np.arange(26) + 1))
        pace, alpha, chain = (x[env, device] for x in (state.draft_time, state.acceptance_rate, state.head_start))
        upload = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency[env, device])
        tokens = [sum(alpha**i for i in range(n + 1)) for n in range(26)]

        def spent(chain, saved=saved, pace=pace, alpha=alpha, upload=upload, verification=verification):
            times = [max(n - chain, 0.0) * pace + 3.0 * n * upload + verification[n] for n in range(26)]
            left = [min(max(chain + time / pace - n - 1.0, 0.0), 25.0) for n, time in enumerate(times)]
            return [time + 0.01 - saved * alpha ** (n + 1) * left[n] * pace for n, time in enumerate(times)]

        rate = max(n / s for n, s in zip(tokens, spent(0.0), strict=True))
        drafts = [max(length - chain, 0.0) * pace for length in range(26)]
        length = best[env, device]
        assert length == np.argmax([n - rate * s for n, s in zip(tokens, spent(chain), strict=True)])
        per_token = spent(chain, 0.0)[length] / tokens[length]
        assert cycle.time_per_token(best)[env, device] == pytest.approx(per_token, rel=1e-12)
        assert not state.busy[env, device] or work.release[env, device] == pytest.approx(0.01 + drafts[length])
        if state.phase[env, device] == ms.physics.Phase.FREE:
            assert first[env, device] == pytest.approx(0.01 + scenario.law.time(1, 1))


def test_one_group_is_tried():
    assert best_num_groups(ahead("ids", 8)) == 1
    assert ms.make_controller("groups", ahead("ids", 8)).num_groups == 1
    assert ms.make_controller("groups", ahead("ids", 8), groups=2).num_groups == 2
    assert best_num_groups(ahead("ids", 8, draft_ahead=False)) in (2, 3)
    few = ms.Scenario.preset("qwen3.5", num_users=2, server="a100-32b", payload="ids", min_draft_length=0)
    assert best_num_groups(few) == 1  # batches of one device waste the fixed time of a pass


def test_budget_of_greedy(state):
    assert (ms.make_controller("greedy", SCENARIO, draft_length=3)(state).draft_length == 3).all()
    length = ms.make_controller("greedy", SCENARIO, budget=0.5)(state).draft_length
    upload = SCENARIO.bits_per_token / (SCENARIO.total_bandwidth * state.spectral_efficiency)
    pace, time = state.draft_time + 2.0 * upload, 0.5 * SCENARIO.verification_time
    within = (length * pace <= time) | (length == 1)
    likely = state.acceptance_rate**length >= 0.1
    assert (within & (likely | (length == 1))).all()
    longer = length + 1
    assert ((longer * pace > time) | (state.acceptance_rate**longer < 0.1) | (length == 25)).all()


def test_laxities_and_drops(state):
    due = state.demand.due.copy()
    due[:, 0], due[:, 1] = np.inf, -1e9  # batches count more than any laxity
    state = state.changed(demand=state.demand.changed(due=due))
    demand, now = state.demand, state.time[:, None]
    base = ms.make_controller("groups", SCENARIO)
    before = base(state)
    decision = Deadlines(SCENARIO, base, need=0.05)(state)
    laxity = demand.due - now - 0.05 * demand.wanted
    upload = SCENARIO.bits_per_token / (SCENARIO.total_bandwidth * state.spectral_efficiency)
    begun = (state.phase != ms.physics.Phase.FREE) & (state.phase != ms.physics.Phase.IDLE)
    first = np.where(begun, state.drafting_left + state.air_left, state.draft_time + upload)
    first += SCENARIO.verification_fixed_time + SCENARIO.verification_time_per_draft
    laxity = np.clip(np.minimum(laxity, demand.first_due - now - first), -MAX_LAXITY, MAX_LAXITY)
    busy = state.phase != ms.physics.Phase.IDLE
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
    alone = Deadlines(SCENARIO, ms.make_controller("greedy", SCENARIO), need=0.025, haste=2.0)  # it has no priorities
    assert alone(state).priority == pytest.approx(laxity)
    for late in (-1e-6, 1e-6):
        near = demand.changed(due=now + 0.05 * demand.wanted - late, first_due=np.full(busy.shape, np.inf))
        assert (alone(state.changed(demand=near)).drop == (busy & (late > 0.0))).all()


BASES = {"load-aware": "own-pace", "earliest-deadline": "greedy", "turbospec": "greedy"}


@pytest.mark.parametrize("name", ["groups+deadlines", "optimal+deadlines", *BASES])
def test_deadlines_change_nothing_with_endless_requests(name):
    state = ms.sample_state(SCENARIO, np.random.default_rng(0), 3)
    plain, changed = (
        ms.long_run(ms.make_controller(rule, SCENARIO), state, warm_up=0.5, horizon=2.0).rate
        for rule in (BASES.get(name, name.removesuffix("+deadlines")), name)
    )
    assert (plain == changed).all()


def test_load_aware_is_own_pace_with_deadlines(state):
    assert equal(*(ms.make_controller(name, SCENARIO)(state) for name in ("load-aware", "own-pace+deadlines")))


def test_no_batch_waits_for_idle_devices():
    """With one request in the system its device has the server to itself."""
    for name in RULES:
        controller = ms.make_controller(name, SCENARIO)
        core = core_for(controller, workload(rate=0.002, mean_output=20.0))
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
    core = core_for(ms.make_controller(name, scenario, **options), workload(rate=3.0, mean_output=20.0))
    for _ in range(40):
        outcome = core.step(ms.make_controller(name, scenario, **options)(core.state))
        assert np.isfinite(outcome.duration).all()
