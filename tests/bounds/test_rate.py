"""Bound on every policy, against every periodic schedule of tiny systems, and against exact results."""

from functools import lru_cache

import numpy as np
import pytest
from scipy import integrate, optimize

import multispin_env as ms
from multispin_env.bounds.rate import (
    DEEP_FADES,
    _add_uploads,
    add_idle,
    add_skips,
    fading_states,
    make_kinds,
    make_systems,
)
from multispin_env.bounds.rate_program import Program, add_set, add_times, make_rates, useful_sets
from multispin_env.draft import expected_tokens
from multispin_env.solver.problem import user_times
from tests.controllers.continuous import periodic
from tests.hostile import unchecked

LAWS = {
    "paper": {},
    "no draft": {"min_draft_length": 0},
    "tokens": {"server": "a100-32b", "min_draft_length": 0, "payload": "ids"},
    "padded": {"server": "a100-32b", "padded_verification": True},
    "round trip": {"round_trip_time": 0.05},
    "delay": {"access_delay": 0.04, "round_trip_time": 0.01},
    "roofline": {"verification_pieces": ((0.05, 0.0), (0.0, 0.01))},
}
ROUNDING = 1.0 + 1e-9
FADING = {"channel": "independent"}


def tiny(seed, users, longest, **law):
    rng = np.random.default_rng(seed)
    scenario = ms.Scenario.preset(
        ("llama2", "qwen3.5")[seed % 2],
        num_users=users,
        total_bandwidth=float(rng.choice([0.5e6, 1e6, 2e6, 4e6, 8e6])),
        max_draft_length=longest,
        **law,
    )
    state = ms.sample_state(scenario, rng)
    pace = state.draft_time * 10.0 ** rng.uniform(-0.5, 0.5, users)
    return scenario, ms.SystemState(pace, state.spectral_efficiency, rng.choice([0.3, 0.6, 0.8, 0.9, 0.96], users))


def best_found(scenario, state, batches):
    def verification_time(lengths):
        longest = max(lengths) * len(lengths) if scenario.padded_verification else sum(lengths)
        return float(scenario.law.time(len(lengths), longest + len(lengths)))

    lengths = range(scenario.min_draft_length, scenario.max_draft_length + 1)
    known = lru_cache(lambda lengths: verification_time(lengths))
    arrays = (state.draft_time, user_times(scenario, state)[1], state.acceptance_rate)
    system = (*(array.tolist() for array in arrays), lambda lengths: known(tuple(lengths)))
    return periodic.best_rate(
        scenario.num_users, batches, lengths, *system, delay=scenario.round_trip_time + sum(scenario.access_delay)
    )


def alone(scenario, state):
    """Return tokens/s (..., K) of each device with its own server and band."""
    draft, air = user_times(scenario, state)
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    tokens = expected_tokens(lengths, state.acceptance_rate[..., None])
    wait = sum(scenario.access_delay) + scenario.repeat_time * scenario.upload_loss / (1.0 - scenario.upload_loss)
    cycle = (draft + air)[..., None] * lengths + scenario.round_trip_time + scenario.law.time(1, lengths + 1)
    cycle += wait * (lengths > 0)
    return (tokens / cycle).max(-1)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("users", "longest"), [(2, 4), (3, 2)])
def test_no_periodic_schedule_is_above(law, users, longest):
    scenario, state = tiny(len(law), users, longest, **LAWS[law])
    best, bound = best_found(scenario, state, 2), float(ms.rate_bound(scenario, state).value)
    assert 0.8 * bound < best <= bound * ROUNDING
    if not scenario.verification_pieces:
        tight = float(ms.rate_bound(scenario, state, tight=True).value)
        assert best <= tight * ROUNDING
        assert tight <= bound * ROUNDING


def test_tight_is_nearly_reached_where_two_devices_take_turns():
    systems = [tiny(seed, 2, 4) for seed in (5, 6, 15, 16)]
    ratios = [best_found(*system, 2) / ms.rate_bound(*system, tight=True).value for system in systems]
    assert max(ratios) > 0.99
    assert min(ratios) > 0.9


@pytest.mark.parametrize(("seed", "users"), [(2, 3), (34, 4), (40, 5)])
def test_tight_is_the_bound_with_the_rows_of_all_uploads(seed, users):
    """`rate_bound` adds the rows that are violated, one after the other."""
    scenario, state = tiny(seed, users, 3)
    (system,), unit = make_systems(scenario, state, "static", None, True, False)
    kinds = make_kinds(system)
    rates = make_rates(system, len(kinds.skips))
    add_times(rates)
    for member in useful_sets(system):
        add_set(rates, system, member)
    add_skips(rates, kinds)
    slack = add_idle(rates, system, kinds)
    without = rates.program.solve().bound
    spare = np.maximum(kinds.skipped_time[:, None] - system.drafting[:, 0], 0.0)
    for index in range(users):
        limits = spare[:, kinds.before == index]
        for limit in np.unique(limits[np.isfinite(limits)]):
            _add_uploads(rates, system, kinds, slack, spare, index, limit)
    bound = rates.program.solve().bound
    assert bound < without / 1.001
    assert ms.rate_bound(scenario, state, tight=True).value * unit == pytest.approx(bound, rel=1e-6)


def test_periodic_tables_that_are_known():
    single = ([0.1], [0.2], [0.5], lambda lengths: 0.4)
    assert periodic.rate([(2,)], *single) == pytest.approx(1.75 / 1.0)
    pair = ([0.1, 0.1], [0.0, 0.0], [1.0, 1.0], lambda lengths: 0.3)
    assert periodic.rate([(3, None), (None, 3)], *pair) == pytest.approx(8.0 / 0.6)
    assert periodic.rate([(3, 3)], *pair) == pytest.approx(8.0 / 0.6)
    busy = ([0.1, 0.1], [0.5, 0.5], [1.0, 1.0], lambda lengths: 0.01)
    assert periodic.rate([(1, 1)], *busy) == pytest.approx(4.0 / 1.11)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("loss", [{}, {"upload_loss": 0.3, "repeat_time": 0.1}])
def test_one_device_is_exact(law, loss):
    scenario, state = tiny(3, 1, 25, **LAWS[law], **loss)
    bound, exact = ms.rate_bound(scenario, state).value, alone(scenario, state)[0]
    assert exact / ROUNDING <= bound == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_between_the_barrier_and_all_alone(law):
    scenario = ms.Scenario.preset("qwen3.5", num_users=6, total_bandwidth=5e6, **LAWS[law])
    state = ms.sample_state(scenario, np.random.default_rng(1), size=2)
    bound, separate = ms.rate_bound(scenario, state).value, alone(scenario, state)
    barrier = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    assert bound.shape == (2,)
    assert (bound <= separate.sum(-1) * ROUNDING).all()
    assert (bound >= separate.max(-1) / ROUNDING).all()
    assert (bound > barrier).all()


@pytest.mark.parametrize("server", [pytest.param("b200-70b", marks=pytest.mark.slow), "rtx-pro-6000-8b"])
def test_no_rule_is_above_on_servers_from_tables(server):
    fields = {"num_users": 6, "total_bandwidth": 2e6, "min_draft_length": 0, "payload": "ids"}
    scenario = ms.Scenario.preset("qwen3.5", server=server, **fields)
    state = ms.sample_state(scenario, np.random.default_rng(1), size=2)
    bound = ms.rate_bound(scenario, state).value
    for name in ("optimal", "greedy", "groups", "own-pace"):
        rate = ms.long_run(ms.make_controller(name, scenario), state, warm_up=0.2, horizon=1.0).rate
        assert (rate <= bound * ROUNDING).all(), name


def test_more_of_anything_is_not_worse():
    scenario = ms.Scenario.preset("qwen3.5", num_users=5, total_bandwidth=1e6)
    state = ms.sample_state(scenario, np.random.default_rng(2))
    bound = ms.rate_bound(scenario, state).value
    half = {name: getattr(scenario, name) / 2.0 for name in ("verification_fixed_time", "verification_time_per_draft")}
    for more in ({"total_bandwidth": 2e6}, half, {"payload": "ids"}):
        assert ms.rate_bound(scenario.replace(**more), state).value > 1.05 * bound
    assert ms.rate_bound(scenario.replace(max_draft_length=2), state).value < bound


@pytest.mark.parametrize("factor", [1e-6, 1e3])
@pytest.mark.parametrize("draft_ahead", [False, True])
def test_time_has_no_scale(factor, draft_ahead):
    scenario = ms.Scenario.preset("llama2", num_users=4, draft_ahead=draft_ahead)
    state = ms.sample_state(scenario, np.random.default_rng(3))
    slower = unchecked(
        scenario,
        verification_fixed_time=scenario.verification_fixed_time * factor,
        verification_time_per_draft=scenario.verification_time_per_draft * factor,
        total_bandwidth=scenario.total_bandwidth / factor,
    )
    expected = ms.rate_bound(scenario, state).value / factor
    stretched = state.changed(draft_time=state.draft_time * factor)
    assert ms.rate_bound(slower, stretched).value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("draft_ahead", [False, True])
def test_prices_add_up_to_the_bound(draft_ahead):
    scenario = ms.Scenario.preset("qwen3.5", num_users=6, total_bandwidth=1e6, draft_ahead=draft_ahead)
    state = ms.sample_state(scenario, np.random.default_rng(4), size=3)
    prices = ms.rate_bound(scenario, state)
    total = prices.server + prices.uplink + prices.device.sum(-1)
    np.testing.assert_allclose(total, prices.value, rtol=1e-12)
    assert (prices.device >= 0.0).all()
    assert (np.minimum(prices.server, prices.uplink) > 0.0).all()
    np.testing.assert_array_equal(prices[1].device, ms.rate_bound(scenario, state[1]).device)
    gained = ms.rate_bound(scenario.replace(total_bandwidth=1.02e6), state).value - prices.value
    assert (gained >= (1.0 - 1.0 / 1.02) * prices.uplink * 0.9).all()  # w also shrinks in the device's own time


def fading_alone(scenario, state, mean_gain):
    """Return the root of E max_l [E N − ρ (l (T + u) + V)] = 0 by quadrature, with no fade below the last state."""
    lengths = np.arange(1, scenario.max_draft_length + 1)
    tokens = expected_tokens(lengths, state.acceptance_rate)
    log_gain = np.linspace(np.log(1e-12), np.log(40.0), 40_001)
    gain = np.exp(log_gain)
    bits = scenario.bits_per_token / scenario.total_bandwidth
    air = bits * np.log(2.0) / np.log1p(scenario.transmit_snr * mean_gain * np.maximum(gain, -np.log1p(-DEEP_FADES)))
    cycle = lengths * (state.draft_time + air)[:, None] + scenario.law.time(1, 0)

    def surplus(rate):
        return integrate.trapezoid((tokens - rate * cycle).max(-1) * gain * np.exp(-gain), log_gain)

    return optimize.brentq(surplus, 0.01, 1e3, xtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_device_in_a_fading_channel(seed):
    scenario, state = tiny(seed, 1, 10)
    exact = fading_alone(scenario, state, 0.3)
    bound = float(ms.rate_bound(scenario, state, channel="independent", mean_gain=np.array([0.3])).value)
    assert exact * (1.0 - 1e-6) <= bound <= 1.0005 * exact


@pytest.mark.parametrize(("k", "mean_gain"), [(0, 0.2), (1, 0.5)])
def test_states_of_the_channel_keep_the_mean(k, mean_gain):
    scenario = ms.Scenario.preset("llama2", num_users=2)
    times, probability = (array[k] for array in fading_states(scenario, np.array([0.2, 0.5])))
    assert probability.sum() == pytest.approx(1.0, rel=1e-12)
    assert (probability > 0.0).all()
    bits = scenario.bits_per_token / scenario.total_bandwidth

    def capped(log_gain):
        gain = np.exp(log_gain)
        air = bits * np.log(2.0) / np.log1p(scenario.transmit_snr * mean_gain * gain)
        return min(air, times[-1]) * gain * np.exp(-gain)

    mean = integrate.quad(capped, -40.0, 4.0, limit=500, points=[np.log(DEEP_FADES)], epsabs=1e-14)[0]
    assert (times * probability).sum() == pytest.approx(mean, rel=1e-7)


def test_weak_channels_lower_the_bound_and_efficiencies_are_not_used():
    scenario = ms.Scenario.preset("qwen3.5", num_users=4, total_bandwidth=2e6)
    state = ms.sample_state(scenario, np.random.default_rng(5))
    other = state.changed(spectral_efficiency=2.0 * state.spectral_efficiency)
    cases = ((state, 0.3), (state, 0.03), (other, 0.3))
    fading, weak, same = (ms.rate_bound(scenario, s, **FADING, mean_gain=np.full(4, g)).value for s, g in cases)
    assert weak < fading == same


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(6))
def test_hostile_systems_have_a_finite_bound(seed):
    rng = np.random.default_rng(seed)
    users = int(rng.integers(1, 5))
    scenario = ms.Scenario.preset("llama2", num_users=users, min_draft_length=int(rng.integers(2)))
    state = ms.SystemState(
        10.0 ** rng.uniform(-8, 6, users), 10.0 ** rng.uniform(-200, 8, users), rng.choice([0.0, 0.5, 1.0], users)
    )
    bound = ms.rate_bound(scenario, state).value
    assert alone(scenario, state).max() / ROUNDING <= bound <= alone(scenario, state).sum() * (1.0 + 1e-6)
    assert ms.rate_bound(scenario, state, tight=True).value <= bound * (1.0 + 1e-6)
    faded = ms.rate_bound(scenario, state, **FADING, mean_gain=10.0 ** rng.uniform(-100, 3, users)).value
    assert np.isfinite(faded)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {"channel": "independnt"}, "channel: expected one of .*did you mean 'independent'"),
        ({}, {"channel": "gauss-markov"}, r"channel: expected one of \['static', .*, 'scenario'\], got 'gauss-m"),
        ({"channel": "gauss-markov"}, {"channel": "scenario"}, "channel: expected a scenario with .*, got 'gauss-ma"),
        ({"channel": "independent"}, {"channel": "scenario"}, "mean_gain: expected an array of shape"),
        ({}, FADING, r"mean_gain: expected an array of shape \(2,\) for channel 'independent'"),
        ({}, {**FADING, "mean_gain": [0.1, np.nan]}, r"mean_gain\[1\]: expected finite numbers, got nan"),
        ({}, {**FADING, "mean_gain": [0.1, 0.0]}, r"mean_gain\[1\]: expected numbers > 0, got 0"),
        ({}, {**FADING, "mean_gain": [0.1] * 3}, "mean_gain: expected a shape that broadcasts"),
        ({}, {"mean_gain": [0.1, 0.2]}, "mean_gain: expected None in static channels"),
        ({}, {**FADING, "mean_gain": [0.1, 0.2], "tight": True}, "tight: expected False in channels"),
        ({}, {"tight": 1}, "tight: expected True or False, got 1"),
        ({}, {"barrier": 1}, "barrier: expected True or False, got 1"),
        ({"draft_ahead": True}, {"tight": True}, "tight: expected False where draft_ahead is True, got True"),
        ({"server": "a100-32b"}, {"tight": True}, "tight: expected False where a pass takes longer for each of its"),
        ({"num_users": 257}, {}, "num_users of rate_bound: expected an integer in 1..256, got 257"),
        ({"num_users": 200, "max_draft_length": 10_000}, {}, "max_draft_length .* 200 devices: .* in 1..1309"),
        ({"num_users": 20, "max_draft_length": 1000}, {**FADING, "mean_gain": 1.0}, "max_draft_length .* in 1..545"),
    ],
)
def test_bad_arguments_are_refused_before_a_program_is_built(fields, options, message, monkeypatch):
    monkeypatch.setattr(Program, "variables", None)  # none is made
    scenario = ms.Scenario.preset("llama2", **{"num_users": 2, **fields})
    state = ms.sample_state(scenario, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        ms.rate_bound(scenario, state, **options)
