"""Rules that production servers use: legal in any state, and the formulas that they stand for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.controllers.continuous.admission import Admission
from multispin_env.controllers.continuous.cycles import device_rates, estimated_rates, present
from multispin_env.controllers.continuous.tetris import by_survival
from multispin_env.controllers.continuous.value_density import densities, waited_for
from multispin_env.physics.continuous.calendar import started
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Demand, Join, Phase
from multispin_env.physics.continuous.validation import check_drop, checked_order
from multispin_env.physics.workload import Arriving, ServiceLevel

RULES = ("earliest-deadline", "value-density", "turbospec", "tetris", "ema-tiers", "plus-two-minus-one")
LAWS = (
    {},
    {"server": "a100-32b"},
    {"verification_pieces": ((0.0, 0.001),), "padded_verification": True, "round_trip_time": 0.02},
    {"min_draft_length": 0},
)


class Requests:
    """Poisson requests of geometric length."""

    closed = False
    level = ServiceLevel(ttft=1.0, e2el=0.3, e2el_per_token=0.06)

    def open(self, rng, users):
        def more(rows):
            output = rng.geometric(1 / 20, (rows, users))
            return Arriving(rng.exponential(1.0, (rows, users)), rng.integers(0, 50, (rows, users)), output)

        return more


def made(name, scenario):
    if name == "admission":
        return Admission(scenario, base=ms.make_scheduler("turbospec", scenario))
    return ms.make_scheduler(name, scenario)


def core_of(scenario, copies, seed=0):
    core = ContinuousCore(ContinuousSystem.of(scenario, workload=Requests()), copies, drawn=True)
    for copy, generator in enumerate(np.random.default_rng(seed).spawn(copies)):
        core.seed(copy, generator)
    core.reset()
    return core


@st.composite
def states(draw, users):
    """Any state with requests that the door of schedulers lets in, some of it far from what a core would reach."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 3)), users)
    phase = rng.choice(draw(st.sampled_from([(0, 1, 2, 3, 4), (4,), (0,), (3, 4), (0, 4)])), shape)
    has, under_way = phase != Phase.IDLE, (phase != Phase.IDLE) & (phase != Phase.FREE)
    output = rng.integers(1, 300, shape) * has
    wanted = np.where(rng.random(shape) < 0.5, output, (output * rng.random(shape)).astype(int).clip(1)) * has
    time = rng.random(shape[0]) * 100.0
    due = np.where(has & (rng.random(shape) < 0.8), time[:, None] + rng.normal(0.0, 5.0, shape), np.inf)
    drafted = rng.integers(0, 9, shape)
    first_due = np.where(rng.random(shape) < 0.5, due - 1.0, np.inf)
    demand = Demand(
        *(wanted, output, rng.integers(0, 99, shape) * has, time[:, None] * has * 0.5, first_due, due),
        *(rng.integers(0, 3, shape) * has, drafted, (drafted * rng.random(shape)).astype(int)),
    )
    alpha = rng.choice([0.0, 0.3, 0.9, 1.0], shape) if draw(st.booleans()) else rng.random(shape)
    work = rng.choice([0.0, 0.01, 3.0], (2, *shape))
    return ms.ContinuousState(
        rng.choice([1e-3, 0.01, 10.0], shape),
        rng.choice([1e-4, 0.5, 8.0], shape),
        *(alpha, phase, rng.integers(1, 26, shape) * under_way),
        *(work[0] * (phase == Phase.DRAFTING), work[1] * under_way * (phase != Phase.READY), np.zeros(shape)),
        *(np.zeros(shape, dtype=np.int64), rng.integers(0, 2, shape[0]), time, demand),
    )


@pytest.mark.parametrize("name", (*RULES, "admission"))
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_orders_are_legal_in_any_state(name, data):
    """With requests and without, whatever the law; and a batch gets what its states get one by one."""
    scenario = ms.Scenario.preset("llama2", num_users=4, **data.draw(st.sampled_from(LAWS)))
    state = data.draw(states(4))
    if data.draw(st.booleans()):
        state = state.changed(demand=None, phase=state.phase % 4)
    together = made(name, scenario)
    with np.errstate(all="raise", under="ignore"):
        order = together(state)
    core = ContinuousSystem.of(scenario)
    check_drop(checked_order(scenario, core.uplink, order, len(state.time)), state)
    busy = state.phase != Phase.IDLE
    assert ((order.join > Join.LEAVE).any(-1) & ((order.join > 0) & busy | ~busy.any(-1)[:, None]).any(-1)).all()
    for copy in range(len(state.time)):
        alone = made(name, scenario)(state[copy])
        for field in ("draft_length", "join", "priority", "drop"):
            assert np.array_equal(
                getattr(alone, field), None if getattr(order, field) is None else getattr(order, field)[copy]
            )


@pytest.mark.parametrize("name", (*RULES, "admission"))
def test_a_system_goes_on_and_single_is_batch(name):
    """Rules with memory too: what one copy was shown does not reach another."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, acceptance="by-request")
    core, batch = core_of(scenario, 3), made(name, scenario)
    alone, finished = [made(name, scenario) for _ in range(3)], 0
    for step in range(150):
        order = batch(core.state)
        for copy, scheduler in enumerate(alone):
            own = scheduler(core.state[copy])
            assert (own.draft_length == order.draft_length[copy]).all()
            assert (own.join == order.join[copy]).all()
        over = np.zeros(3, dtype=np.bool_)
        over[1] = step == 70
        finished += core.step(order, over).served.finished.sum()
    assert finished > 20


# ------------------------------------------------------------------ lengths by estimated goodput


def slow_rates(scenario, pace, air, alpha, weight, lengths):
    """`device_rates` of one copy and one choice of lengths, device by device."""
    users = range(len(pace))
    count = sum(weight)
    mean = sum(w * length for w, length in zip(weight, lengths, strict=True)) / count
    drafted = max(lengths) if scenario.padded_verification else mean
    order = sorted(users, key=lambda k: lengths[k] * air[k])
    size, upload = count / 2, [lengths[k] * air[k] for k in users]
    for _ in range(30):
        server = float(scenario.pass_time(size, size * (drafted + 1)))
        cycle = [scenario.round_trip_time + lengths[k] * pace[k] + upload[k] + 1.5 * server for k in users]
        load = 0.0
        for k in order:
            upload[k] = 0.5 * (upload[k] + lengths[k] * air[k] / (1.0 - min(load, 0.97)))
            load += weight[k] * lengths[k] * air[k] / cycle[k]
        back = server * sum(weight[k] / cycle[k] for k in users)
        size = 0.5 * (size + min(max(back, 1.0), max(count, 1.0)))
    return [sum(alpha[k] ** j for j in range(lengths[k] + 1)) / cycle[k] for k in users]


@pytest.mark.parametrize("law", LAWS)
def test_rates_against_a_slow_computation(law):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=2e6, **law)
    core, rng = core_of(scenario, 2), np.random.default_rng(0)
    lengths = rng.integers(1, 20, (2, 3, 5))
    weight = rng.integers(0, 2, (2, 5)) + np.array([1, 0, 0, 0, 0]) / 2
    rates = device_rates(scenario, core.state, lengths, weight)
    air = scenario.bits_per_token / (scenario.total_bandwidth * core.state.spectral_efficiency)
    for copy in range(2):
        pace, alpha = core.state.draft_time[copy], core.state.acceptance_rate[copy]
        for case in range(3):
            slow = slow_rates(scenario, pace, air[copy], alpha, weight[copy], lengths[copy, case])
            assert rates[copy, case] == pytest.approx(slow, rel=1e-9)
    totals = estimated_rates(scenario, core.state, lengths, weight)
    assert totals == pytest.approx((rates * weight[:, None]).sum(-1), rel=1e-9)


def in_phase(state, phase):
    """The state with these phases, everybody with a request or without."""
    has = phase != Phase.IDLE
    demand = state.demand.changed(wanted=100 * has, output=100 * has, due=np.where(has, 50.0, np.inf))
    return state.changed(phase=phase, demand=demand)


def test_turbospec_takes_the_best_length_for_who_is_there():
    scenario = ms.Scenario.preset("llama2", num_users=6, server="a100-7b-gemm")
    core, lengths = core_of(scenario, 1), np.arange(1, 26)
    chosen = []
    for idle in (0, 3, 5, 6):
        state = in_phase(core.state, np.where(np.arange(6) < idle, Phase.IDLE, Phase.FREE)[None])
        weight = present(state)
        assert weight.sum() == pytest.approx(max(6 - idle, 1))
        goodput = [
            (device_rates(scenario, state, np.full((1, 1, 6), length), weight) * weight).sum() for length in lengths
        ]
        chosen.append(ms.make_scheduler("turbospec", scenario)(state).draft_length)
        assert (chosen[-1] == lengths[np.argmax(goodput)]).all()
    assert len({int(length[0, 0]) for length in chosen}) > 1  # the load matters


@given(seed=st.integers(0, 2**32), budget=st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_the_budget_goes_to_the_likeliest_tokens(seed, budget):
    """Against taking them one by one, as TETRIS does."""
    rng = np.random.default_rng(seed)
    alpha = rng.choice([0.0, 0.5, 0.7, 0.9, 1.0, rng.random()], 5)
    alive = alpha[:, None] ** np.arange(1, 7)
    counted = rng.random(5) < 0.8
    counted[0] = True
    lengths = by_survival(alive[None], counted[None], np.array([[budget]]))[0, 0]
    slow, least = [0] * 5, np.inf
    for _ in range(budget):
        next_ones = [(alive[k, slow[k]], -k, k) for k in range(5) if counted[k] and slow[k] < 6]
        if not next_ones or max(next_ones)[0] == 0.0:
            least = min(least, 0.0)
            break
        survival, _, best = max(next_ones)
        slow[best], least = slow[best] + 1, survival
    assert lengths[counted].sum() == sum(slow)
    taken = [alive[k, : lengths[k]].sum() for k in range(5) if counted[k]]
    assert sum(taken) == pytest.approx(sum(alive[k, : slow[k]].sum() for k in range(5)), abs=1e-12)
    outside = np.flatnonzero(~counted)
    assert (lengths[outside] == ((alive[outside] >= least) & (alive[outside] > 0.0)).sum(-1)).all()


def test_tetris_finds_the_best_budget_and_drafts_nothing_that_nobody_wants():
    scenario = ms.Scenario.preset("llama2", num_users=4, server="a100-7b-gemm")
    state = in_phase(core_of(scenario, 1).state, np.zeros((1, 4), dtype=np.int64))
    state = state.changed(acceptance_rate=np.array([[0.95, 0.5, 0.8, 0.95]]))
    state = state.changed(demand=state.demand.changed(wanted=np.array([[100, 100, 100, 4]])))
    best = ms.make_scheduler("tetris", scenario)(state).draft_length
    assert best[0, 0] > best[0, 2] > best[0, 1]
    assert best[0, 3] == 3

    def rate(length):
        return estimated_rates(scenario, state, length[:, None])[0, 0]

    for budget in range(1, 26):
        other = ms.make_scheduler("tetris", scenario, budget=budget)(state).draft_length
        assert other.sum() <= max(4 * budget, 4)
        assert rate(other) <= rate(best)


# ------------------------------------------------------------------ memory


def shown(core, drafted, accepted, batch):
    """The state with counts of the last verification."""
    shape = core.state.phase.shape
    demand = core.state.demand.changed(
        drafted=np.broadcast_to(drafted, shape), accepted=np.broadcast_to(accepted, shape)
    )
    return core.state.changed(demand=demand, batch=np.broadcast_to(batch, shape[:1]))


def test_two_more_or_one_less():
    core = core_of(ms.Scenario.preset("llama2", num_users=3), 2)
    scheduler = ms.make_scheduler("plus-two-minus-one", core.system.scenario, start=4)
    assert (scheduler(shown(core, 0, 0, 0)).draft_length == 4).all()
    walk = [((4, 4, 0), (4, 3, 0)), ((6, 3, 0), (6, 3, 0)), ((8, 0, 4), (7, 0, 0))]
    expected = [(6, 3, 4), (8, 5, 4), (7, 5, 3)]
    for (drafted, accepted), lengths in zip(walk, expected, strict=True):
        assert (scheduler(shown(core, drafted, accepted, 1)).draft_length == lengths).all()
    for full, end in ((True, 25), (False, 1)):
        for _ in range(30):
            order = scheduler(shown(core, 5, 5 * full, 1))
        assert (order.draft_length == end).all()


def slow_tier(scheduler, counts):
    """The walk of one device through tiers, one verification after the other."""
    lengths, tier, seen = list(scheduler.tiers), len(scheduler.tiers) // 2, 0
    average = lengths[tier] - 1.0
    for accepted in counts:
        average = (1 - scheduler.smoothing) * average + scheduler.smoothing * accepted
        seen += 1
        if seen <= scheduler.warm_up or (seen - scheduler.warm_up) % scheduler.interval:
            continue
        if tier > 0 and average <= lengths[tier - 1] - 0.5 + scheduler.down:
            tier -= 1
        elif tier < len(lengths) - 1 and average > lengths[tier] - 0.5 + scheduler.up:
            tier += 1
    return lengths[tier]


def test_tiers_against_a_slow_walk():
    core, rng = core_of(ms.Scenario.preset("llama2", num_users=6), 4), np.random.default_rng(0)
    scheduler = ms.make_scheduler(
        "ema-tiers", core.system.scenario, tiers=(2, 3, 5, 8), up=0.1, down=-0.3, interval=2, warm_up=3
    )
    counts = [[[] for _ in range(6)] for _ in range(4)]
    scheduler(shown(core, 0, 0, 0))
    visited = set()
    for step in range(80):
        high = step % 40 < 20
        drafted = rng.integers(0, 3, (4, 6)) * 4
        accepted = np.minimum(rng.integers(2 if high else 0, 9 if high else 3, (4, 6)), 8) * (drafted > 0)
        order = scheduler(shown(core, drafted, accepted, 1))
        for copy, user in np.ndindex(4, 6):
            if drafted[copy, user]:
                counts[copy][user].append(int(accepted[copy, user]))
            assert order.draft_length[copy, user] == slow_tier(scheduler, counts[copy][user])
        visited |= set(order.draft_length.ravel().tolist())
    assert visited == {2, 3, 5, 8}


@pytest.mark.parametrize("name", ["ema-tiers", "plus-two-minus-one"])
def test_memory_ends_with_an_episode_another_batch_or_reset(name):
    core = core_of(ms.Scenario.preset("llama2", num_users=2), 3)
    scheduler = ms.make_scheduler(name, core.system.scenario)
    first = scheduler(shown(core, 0, 0, 0)).draft_length

    def learn():
        for _ in range(40):
            order = scheduler(shown(core, 4, 0, 1))
        assert (order.draft_length < first).all()

    learn()
    after = scheduler(shown(core, 0, 0, np.array([0, 1, 0]))).draft_length
    assert (after[[0, 2]] == first[0]).all()
    assert (after[1] < first[1]).all()
    learn()
    assert (scheduler(shown(core, 0, 0, 1)[:2]).draft_length == first[:2]).all()
    learn()
    scheduler.reset()
    assert (scheduler(shown(core, 0, 0, 1)).draft_length == first).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.74, 0.9, 0.97, 1.0])
def test_without_counts_lengths_rest_where_the_walk_would(alpha):
    """The middle of a long walk of +2 and −1, and a tier that does not move at the mean of what is accepted."""
    scenario = ms.Scenario.preset("llama2", num_users=1)
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    core = ContinuousCore(ContinuousSystem.of(scenario, "static"), 1, drawn=False)
    core.hold(replace(state, acceptance_rate=np.full((1, 1), alpha)))
    length = int(ms.make_scheduler("plus-two-minus-one", scenario)(core.state).draft_length[0, 0])
    assert length in (1, 25) or 2 * alpha**length >= 1 - alpha**length > 0 or alpha == 1.0
    assert length == 25 or 2 * alpha ** (length + 1) < 1 - alpha ** (length + 1)
    tiers = ms.make_scheduler("ema-tiers", scenario)
    rest = int(tiers(core.state).draft_length[0, 0])
    mean = sum(alpha**j for j in range(1, rest + 1))
    tier = np.array(tiers.tiers.index(rest))
    assert tiers.moved(tier, np.array(mean)) == tier


# ------------------------------------------------------------------ batches, deadlines, admission


def test_the_uplink_goes_by_deadline():
    core = core_of(ms.Scenario.preset("llama2", num_users=4), 1)
    state = in_phase(core.state, np.array([[Phase.FREE, Phase.FREE, Phase.FREE, Phase.IDLE]]))
    due, first = np.array([[9.0, 7.0, 8.0, np.inf]]), np.array([[np.inf, np.inf, 1.0, np.inf]])
    order = ms.make_scheduler("earliest-deadline", core.system.scenario)(
        state.changed(demand=state.demand.changed(due=due, first_due=first))
    )
    assert order.priority.argsort().tolist() == [[2, 1, 0, 3]]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_whom_a_batch_waits_for_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    scenario = ms.Scenario.preset("llama2", num_users=5, server=rng.choice(["", "a100-32b"]))
    ends = np.where(rng.random(5) < 0.2, np.inf, rng.choice([0.0, 0.01, 0.3], 5) * rng.random(5))
    weight, length = rng.random(5) * 30.0, rng.integers(1, 9, 5)
    prompt = rng.integers(0, 20, 5)
    waited = waited_for(scenario, ends[None], 0.4, weight[None], length[None], prompt[None])[0]
    slow, at = [], 0.0
    for k in np.argsort(ends, kind="stable"):
        tokens = sum(length[j] + 1 + prompt[j] for j in [*slow, k])
        loss = 0.4 * weight[k] * scenario.pass_time(len(slow) + 1, tokens)
        if not np.isfinite(ends[k]) or (slow and loss < (ends[k] - at) * sum(weight[j] for j in slow)):
            break
        slow, at = [*slow, k], ends[k]
    assert np.flatnonzero(waited).tolist() == sorted(slow)


def test_density_is_worth_for_the_time_that_is_added():
    scenario = ms.Scenario.preset("llama2", num_users=3, server="a100-7b-gemm")
    length, prompt = np.array([[3, 9, 1]]), np.array([[0, 0, 700]])
    there, value = np.array([[True, False, True]]), np.array([[2.0, 5.0, 1.0]])
    each, of_pass = densities(scenario, value, there, length, prompt)
    both, first, last = (float(scenario.pass_time(0, n)) for n in (706, 4, 702))
    everybody = float(scenario.pass_time(0, 716))
    assert each[0] == pytest.approx([2.0 / (both - last), 5.0 / (everybody - both), 1.0 / (both - first)])
    assert of_pass == pytest.approx(3.0 / both)


def test_a_late_request_is_left_where_it_costs_more_than_it_brings():
    """A long prompt makes the pass long; it is taken once nobody else is there, or if its request is in time."""
    scenario = ms.Scenario.preset("llama2", num_users=3, server="a100-32b")
    state = in_phase(core_of(scenario, 1).state, np.full((1, 3), Phase.READY))
    state = state.changed(draft_length=np.full((1, 3), 5))
    demand = state.demand.changed(prompt=np.array([[400, 0, 0]]), due=np.array([[-1.0, 60.0, 60.0]]))
    scheduler = ms.make_scheduler("value-density", scenario, late=0.1)
    joins = [
        scheduler(state.changed(demand=each)).join[0].tolist()
        for each in (demand, demand.changed(due=np.full((1, 3), 60.0)), demand.changed(queue=np.array([[1, 0, 0]])))
    ]
    assert joins == [[Join.LEAVE, Join.WAIT, Join.WAIT], [Join.WAIT] * 3, [Join.WAIT] * 3]
    alone = in_phase(state, np.array([[Phase.READY, Phase.IDLE, Phase.IDLE]]))
    order = scheduler(alone.changed(demand=alone.demand.changed(due=np.array([[-1.0, np.inf, np.inf]]))))
    assert order.join[0].tolist() == [Join.WAIT, Join.TAKE, Join.TAKE]


def test_admission_drops_what_would_be_late_and_has_not_begun():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = in_phase(core_of(scenario, 1).state, np.array([[0, 0, 0, Phase.IDLE]]))
    base = ms.make_scheduler("turbospec", scenario)
    length = base(state).draft_length
    rate = device_rates(scenario, state, length[:, None], present(state))[0, 0]
    demand = state.demand.changed(due=100.0 / rate[None] + [[1e-6, -1e-6, -1e-6, np.inf]])
    demand = demand.changed(output=demand.output + [[0, 0, 1, 0]])  # the third has one token
    order = Admission(scenario, base=base)(state.changed(demand=demand))
    assert order.drop.tolist() == [[False, True, False, False]]
    assert (order.draft_length == length).all()
    assert not Admission(scenario, base=base, margin=0.9)(state.changed(demand=demand)).drop.any()
    soon = demand.changed(due=np.full((1, 4), np.inf), first_due=np.array([[0.01, 5.0, 0.01, np.inf]]))
    assert Admission(scenario, base=base)(state.changed(demand=soon)).drop.tolist() == [[True, False, False, False]]


def test_admission_is_like_its_base():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    assert Admission(scenario, base=ms.make_scheduler("barrier", scenario)).discipline == "reserved"
    core = core_of(scenario, 1)
    base = ms.make_scheduler("plus-two-minus-one", scenario)
    scheduler = Admission(scenario, base=base)
    for batch in (0, 1, 1):
        order = scheduler(shown(core, 2, 2, batch))
    assert (order.draft_length > base.start).all()
    scheduler.reset()
    assert (scheduler(shown(core, 0, 0, 1)).draft_length == base.start).all()


def test_under_load_admission_brings_more_tokens_in_time():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    base = ms.make_scheduler("plus-two-minus-one", scenario)
    totals = []
    for scheduler in (base, Admission(scenario, base=base)):
        core, total = core_of(scenario, 8), np.zeros(8)
        while (core.state.time < 12.0).any():
            served = core.step(scheduler(core.state)).served
            total += (served.output * served.in_time).sum(-1) * (core.state.time < 12.0)
        totals.append(total.mean())
    assert totals[1] > 1.1 * totals[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ema-tiers", {"tiers": (3, 3)}, "tiers: expected rising lengths ≥ 1"),
        ("ema-tiers", {"down": 1.0}, "down: expected a finite number in"),
        ("ema-tiers", {"first": 4}, r"first: expected an integer in 0\.\.3, got 4"),
        ("plus-two-minus-one", {"start": 0}, r"start: expected an integer in 1\.\.25, got 0"),
        ("tetris", {"budget": -1.0}, "budget: expected a finite number in"),
        ("value-density", {"least": 0.7}, "least: expected a finite number in"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        ms.make_scheduler(name, ms.Scenario.preset("llama2", num_users=3), **options)


def test_a_draft_that_is_cut_is_the_one_that_starts():
    """What `value-density` expects of a draft is what the core makes of the order."""
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = in_phase(core_of(scenario, 1).state, np.zeros((1, 2), dtype=np.int64))
    state = state.changed(demand=state.demand.changed(wanted=np.array([[3, 1]])))
    from multispin_env.controllers.continuous.value_density import under_way

    order = ms.make_scheduler("value-density", scenario)(state)
    begun = started(scenario, state, order, None, state.demand.wanted - 1)
    assert (under_way(scenario, state, order.draft_length) == begun.draft_length).all()
