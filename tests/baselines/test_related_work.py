"""Rules of production servers and of other papers, against their descriptions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.baselines.related_work import lengths_by_survival
from multispin_env.controllers.continuous.greedy import estimated_rates, present
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Phase
from tests.controllers.continuous.states import LAWS, core_of, in_phase, shown

RULES = ("earliest-deadline", "turbospec", "tetris", "ema-tiers", "plus-two-minus-one")


@pytest.mark.parametrize("name", ["ema-tiers", "plus-two-minus-one"])
def test_environments_of_a_batch_are_independent(name):
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, acceptance="by-request")
    core, batch = core_of(scenario, 3), ms.make_controller(name, scenario)
    alone, finished = [ms.make_controller(name, scenario) for _ in range(3)], 0
    for step in range(60):
        decision = batch(core.state)
        for env, controller in enumerate(alone):
            single = controller(core.state[env])
            assert (single.draft_length == decision.draft_length[env]).all()
            assert (single.join == decision.join[env]).all()
        finished += core.step(decision, np.array([False, step == 30, False])).served.finished.sum()
    assert finished > 5


def test_the_uplink_goes_by_deadline():
    core = core_of(ms.Scenario.preset("llama2", num_users=4), 1)
    state = in_phase(core.state, np.array([[Phase.FREE, Phase.FREE, Phase.FREE, Phase.IDLE]]))
    due, first = np.array([[9.0, 7.0, 8.0, np.inf]]), np.array([[np.inf, np.inf, 1.0, np.inf]])
    state = state.changed(demand=state.demand.changed(due=due, first_due=first))
    decision = ms.make_controller("earliest-deadline", core.system.scenario)(state)
    assert decision.priority.argsort().tolist() == [[2, 1, 0, 3]]


@pytest.mark.parametrize("longest", [1, 4])
@pytest.mark.parametrize("name", RULES)
def test_rules_decide_with_short_drafts(name, longest):
    scenario = ms.Scenario.preset("llama2", num_users=3, max_draft_length=longest)
    core, controller = core_of(scenario, 2), ms.make_controller(name, scenario)
    for _ in range(3):
        decision = controller(core.state)
        assert ((decision.draft_length >= 1) & (decision.draft_length <= longest)).all()
        core.step(decision)


def test_two_more_or_one_less():
    core = core_of(ms.Scenario.preset("llama2", num_users=3), 2)
    controller = ms.make_controller("plus-two-minus-one", core.system.scenario, start=4)
    assert (controller(shown(core, 0, 0, 0)).draft_length == 4).all()
    walk = [((4, 4, 0), (4, 3, 0)), ((6, 3, 0), (6, 3, 0)), ((8, 0, 4), (7, 0, 0))]
    expected = [(6, 3, 4), (8, 5, 4), (7, 5, 3)]
    for (drafted, accepted), lengths in zip(walk, expected, strict=True):
        assert (controller(shown(core, drafted, accepted, 1)).draft_length == lengths).all()
    for accepted, end in ((5, 25), (0, 1)):
        decisions = [controller(shown(core, 5, accepted, 1)) for _ in range(30)]
        assert (decisions[-1].draft_length == end).all()


def slow_tier(controller, counts):
    lengths, tier = list(controller.tiers), len(controller.tiers) // 2
    average = lengths[tier] - 1.0
    for seen, accepted in enumerate(counts, 1):
        average = (1 - controller.smoothing) * average + controller.smoothing * accepted
        if seen > controller.warm_up and (seen - controller.warm_up) % controller.interval == 0:
            if tier > 0 and average <= lengths[tier - 1] - 0.5 + controller.down:
                tier -= 1
            elif tier < len(lengths) - 1 and average > lengths[tier] - 0.5 + controller.up:
                tier += 1
    return lengths[tier]


def test_tiers_against_a_slow_walk():
    core, rng = core_of(ms.Scenario.preset("llama2", num_users=6), 4), np.random.default_rng(0)
    options = {"tiers": (2, 3, 5, 8), "up": 0.1, "down": -0.3, "interval": 2, "warm_up": 3}
    controller = ms.make_controller("ema-tiers", core.system.scenario, **options)
    counts, visited = {index: [] for index in np.ndindex(4, 6)}, set()
    controller(shown(core, 0, 0, 0))
    for step in range(80):
        drafted = rng.integers(0, 3, (4, 6)) * 4
        low, high = (2, 9) if step % 40 < 20 else (0, 3)
        accepted = np.minimum(rng.integers(low, high, (4, 6)), 8) * (drafted > 0)
        length = controller(shown(core, drafted, accepted, 1)).draft_length
        for index, history in counts.items():
            history += [int(accepted[index])] * int(drafted[index] > 0)
            assert length[index] == slow_tier(controller, history)
        visited |= set(length.ravel().tolist())
    assert visited == {2, 3, 5, 8}


@pytest.mark.parametrize("name", ["ema-tiers", "plus-two-minus-one"])
def test_memory_ends_with_an_episode_another_batch_or_reset(name):
    core = core_of(ms.Scenario.preset("llama2", num_users=2), 3)
    controller = ms.make_controller(name, core.system.scenario)
    first = controller(shown(core, 0, 0, 0)).draft_length

    def learn():
        for _ in range(40):
            decision = controller(shown(core, 4, 0, 1))
        assert (decision.draft_length < first).all()

    learn()
    after = controller(shown(core, 0, 0, np.array([0, 1, 0]))).draft_length
    assert (after[[0, 2]] == first[0]).all()
    assert (after[1] < first[1]).all()
    learn()
    assert (controller(shown(core, 0, 0, 1)[:2]).draft_length == first[:2]).all()
    learn()
    controller.reset()
    assert (controller(shown(core, 0, 0, 1)).draft_length == first).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.74, 0.9, 0.97, 1.0])
def test_lengths_without_counts_are_fixed_points(alpha):
    scenario = ms.Scenario.preset("llama2", num_users=1)
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    core = ContinuousCore(ContinuousSystem.of(scenario.replace(channel="static")), 1, drawn=False)
    core.hold(replace(state, acceptance_rate=np.full((1, 1), alpha)))
    length = int(ms.make_controller("plus-two-minus-one", scenario)(core.state).draft_length[0, 0])
    assert length in (1, 25) or 2 * alpha**length >= 1 - alpha**length > 0 or alpha == 1.0
    assert length == 25 or 2 * alpha ** (length + 1) < 1 - alpha ** (length + 1)
    tiers = ms.make_controller("ema-tiers", scenario)
    rest = int(tiers(core.state).draft_length[0, 0])
    mean = sum(alpha**j for j in range(1, rest + 1))
    tier = np.array(tiers.tiers.index(rest))
    assert tiers.next_tier(tier, np.array(mean)) == tier


def slow_rate(scenario, pace, air, alpha, weight, lengths):
    users = range(len(pace))
    count = sum(weight)
    mean = sum(w * length for w, length in zip(weight, lengths, strict=True)) / count
    drafted = max(lengths) if scenario.padded_verification else mean
    order = sorted(users, key=lambda k: lengths[k] * air[k])
    size, upload = count / 2, [lengths[k] * air[k] for k in users]
    repeats = scenario.repeat_time * scenario.upload_loss / (1.0 - scenario.upload_loss)
    delays = scenario.access_delay or [0.0] * len(pace)
    waiting = [scenario.round_trip_time + (delays[k] + repeats if lengths[k] else 0.0) for k in users]
    for _ in range(100):
        server = float(scenario.law.time(size, size * (drafted + 1)))
        drafts = [length * time for length, time in zip(lengths, pace, strict=True)]
        if scenario.draft_ahead:  # after a hit, the draft of half of the wait and of the pass less a token is left
            left = [max((upload[k] + 0.75 * server) / pace[k] - 1.0, 0.0) for k in users]
            saved = [alpha[k] ** (lengths[k] + 1) * min(left[k], lengths[k]) * pace[k] for k in users]
            drafts = [draft - less for draft, less in zip(drafts, saved, strict=True)]
        cycle = [waiting[k] + drafts[k] + upload[k] + 1.5 * server for k in users]
        load = 0.0
        for k in order:
            upload[k] = 0.5 * (upload[k] + lengths[k] * air[k] / (1.0 - min(load, 0.97)))
            load += weight[k] * lengths[k] * air[k] / cycle[k]
        back = server * sum(weight[k] / cycle[k] for k in users)
        size = 0.5 * (size + min(max(back, 1.0), max(count, 1.0)))
    return sum(weight[k] * sum(alpha[k] ** j for j in range(lengths[k] + 1)) / cycle[k] for k in users)


@pytest.mark.parametrize("law", LAWS)
def test_rates_against_a_slow_computation(law):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=2e6, **law)
    if scenario.access_delay:
        scenario = scenario.replace(access_delay=(0.0, 0.05, 0.01, 0.02, 0.0))
    core, rng = core_of(scenario, 2), np.random.default_rng(0)
    lengths = rng.integers(scenario.min_draft_length, 20, (2, 3, 5))
    weight = rng.integers(0, 2, (2, 5)) + np.array([1, 0, 0, 0, 0]) / 2
    rates = estimated_rates(scenario, core.state, lengths, weight)
    air = scenario.bits_per_token / (scenario.total_bandwidth * core.state.spectral_efficiency)
    for env, case in np.ndindex(2, 3):
        arrays = core.state.draft_time[env], air[env], core.state.acceptance_rate[env], weight[env], lengths[env, case]
        assert rates[env, case] == pytest.approx(slow_rate(scenario, *arrays), rel=1e-8)


def test_turbospec_takes_the_best_length_for_the_load():
    scenario = ms.Scenario.preset("llama2", num_users=6)
    core, lengths, selected = core_of(scenario, 1), np.arange(1, 26), set()
    for idle in (0, 3, 5, 6):
        state = in_phase(core.state, np.where(np.arange(6) < idle, Phase.IDLE, Phase.FREE)[None])
        weight = present(state)
        assert weight.sum() == pytest.approx(max(6 - idle, 1))
        goodput = [estimated_rates(scenario, state, np.full((1, 1, 6), length), weight)[0, 0] for length in lengths]
        best = int(lengths[np.argmax(goodput)])
        assert (ms.make_controller("turbospec", scenario)(state).draft_length == best).all()
        selected.add(best)
    assert len(selected) > 1


@given(seed=st.integers(0, 2**32), budget=st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_the_budget_goes_to_the_tokens_most_likely_to_survive(seed, budget):
    rng = np.random.default_rng(seed)
    alpha = rng.choice([0.0, 0.5, 0.7, 0.9, 1.0, rng.random()], 5)
    alive = alpha[:, None] ** np.arange(1, 7)
    counted = rng.random(5) < 0.8
    counted[0] = True
    lengths = lengths_by_survival(alive[None], counted[None], np.array([[budget]]))[0, 0]
    slow, least = [0] * 5, np.inf
    for _ in range(budget):  # one by one, as in TETRIS
        options = [(alive[k, slow[k]], -k) for k in range(5) if counted[k] and slow[k] < 6]
        survival, device = max(options, default=(0.0, 0))
        least = min(least, survival)
        if survival == 0.0:
            break
        slow[-device] += 1
    assert lengths[counted].sum() == sum(slow)
    total, expected = (sum(alive[k, : count[k]].sum() for k in range(5) if counted[k]) for count in (lengths, slow))
    assert total == pytest.approx(expected, abs=1e-12)
    outside = alive[~counted]
    assert (lengths[~counted] == ((outside >= least) & (outside > 0.0)).sum(-1)).all()


def test_tetris_finds_the_best_budget_and_drafts_no_token_after_the_end():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = in_phase(core_of(scenario, 1).state, np.zeros((1, 4), dtype=np.int64))
    demand = state.demand.changed(wanted=np.array([[100, 100, 100, 4]]))
    state = state.changed(acceptance_rate=np.array([[0.95, 0.5, 0.8, 0.95]]), demand=demand)
    best = ms.make_controller("tetris", scenario)(state).draft_length
    assert best[0, 0] > best[0, 2] > best[0, 1]
    assert best[0, 3] == 3

    def rate(length):
        return estimated_rates(scenario, state, length[:, None], np.ones((1, 4)))[0, 0]

    for budget in range(1, 26):
        other = ms.make_controller("tetris", scenario, budget=budget)(state).draft_length
        assert other.sum() <= max(4 * budget, 4)
        assert rate(other) <= rate(best)
