"""Estimates of goodput, and the lengths that are best by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.controllers.continuous.greedy import estimated_rates, present
from multispin_env.controllers.continuous.related_work import by_survival
from multispin_env.physics.continuous.types import Phase
from tests.controllers.continuous.served import LAWS, core_of, in_phase


def slow_rate(scenario, pace, air, alpha, weight, lengths):
    """The estimate for one copy and one choice of lengths, device by device."""
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
    return sum(weight[k] * sum(alpha[k] ** j for j in range(lengths[k] + 1)) / cycle[k] for k in users)


@pytest.mark.parametrize("law", LAWS)
def test_rates_against_a_slow_computation(law):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=2e6, **law)
    core, rng = core_of(scenario, 2), np.random.default_rng(0)
    lengths = rng.integers(1, 20, (2, 3, 5))
    weight = rng.integers(0, 2, (2, 5)) + np.array([1, 0, 0, 0, 0]) / 2
    rates = estimated_rates(scenario, core.state, lengths, weight)
    air = scenario.bits_per_token / (scenario.total_bandwidth * core.state.spectral_efficiency)
    for copy in range(2):
        pace, alpha = core.state.draft_time[copy], core.state.acceptance_rate[copy]
        for case in range(3):
            slow = slow_rate(scenario, pace, air[copy], alpha, weight[copy], lengths[copy, case])
            assert rates[copy, case] == pytest.approx(slow, rel=1e-9)


def test_turbospec_takes_the_best_length_for_who_is_there():
    scenario = ms.Scenario.preset("llama2", num_users=6)
    core, lengths = core_of(scenario, 1), np.arange(1, 26)
    chosen = []
    for idle in (0, 3, 5, 6):
        state = in_phase(core.state, np.where(np.arange(6) < idle, Phase.IDLE, Phase.FREE)[None])
        weight = present(state)
        assert weight.sum() == pytest.approx(max(6 - idle, 1))
        goodput = [estimated_rates(scenario, state, np.full((1, 1, 6), length), weight)[0, 0] for length in lengths]
        chosen.append(ms.make_controller("turbospec", scenario)(state).draft_length)
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
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = in_phase(core_of(scenario, 1).state, np.zeros((1, 4), dtype=np.int64))
    state = state.changed(acceptance_rate=np.array([[0.95, 0.5, 0.8, 0.95]]))
    state = state.changed(demand=state.demand.changed(wanted=np.array([[100, 100, 100, 4]])))
    best = ms.make_controller("tetris", scenario)(state).draft_length
    assert best[0, 0] > best[0, 2] > best[0, 1]
    assert best[0, 3] == 3

    def rate(length):
        return estimated_rates(scenario, state, length[:, None], np.ones((1, 4)))[0, 0]

    for budget in range(1, 26):
        other = ms.make_controller("tetris", scenario, budget=budget)(state).draft_length
        assert other.sum() <= max(4 * budget, 4)
        assert rate(other) <= rate(best)
