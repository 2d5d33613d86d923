"""Certified optimum for rate curves, access delays and repeated uploads against enumeration."""

import math
from dataclasses import fields
from itertools import product

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.physics.links import RateCurves
from multispin_env.registry import LINKS
from multispin_env.solver.equalization import equal_finish_on
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import make_problem
from tests import reference
from tests.hostile import unchecked
from tests.physics.test_links import LOSSY
from tests.strategies import KINDS, Numbers, instances

UPLINKS = {
    "power": {"link": "power"},
    "limit": {"link": "power", "efficiency_limit": 1.5},
    "own": {"link": "lossy"},
    "late": {"access_delay": (0.0, 0.05, 0.2)},
    "late power": {"link": "power", "access_delay": 0.03},
    "repeats": {"upload_loss": 0.3, "repeat_time": 0.02},
    "all": {"link": "power", "access_delay": (0.3, 0.0, 0.01), "upload_loss": 0.1, "repeat_time": 0.008},
}


@pytest.fixture(scope="module", autouse=True)
def lossy():
    LINKS.register("lossy", LOSSY)
    yield
    LINKS.unregister("lossy")


def own_rate(scenario):
    def rate(share, efficiency):
        snr = math.expm1(efficiency * math.log(2.0)) * scenario.power_bandwidth / scenario.total_bandwidth
        return 0.9 * share * min(4.4, math.log1p(0.5 * snr / share) / math.log(2.0))

    return rate


RATES = {"density": reference.density_rate, "power": reference.power_rate, "lossy": own_rate}


def best(scenario, state, weights=None, fixed=None, tpot=None, rounds=None):
    """Value and lengths of the best decision, by trying every one; ``rounds`` are all of them."""
    weights = np.ones(scenario.num_users) if weights is None else weights
    found = (0.0, None)

    def most(tokens):
        return 1.000_001 * (weights * tokens).sum() / found[0] if found[0] else np.inf  # else it is not the best

    for lengths, tokens, time in rounds or reference.linked_rounds(
        scenario, state, RATES[scenario.link](scenario), fixed, most
    ):
        if tpot is None or (time <= tpot * tokens * (1.0 + 1e-11)).all():
            value = (weights * tokens).sum() / time
            found = (value, lengths) if value > found[0] else found
    return found


def agrees(scenario, state, weights=None, fixed=None, tpot=None, rounds=None):
    """Compare optimum, bound and played decision with enumeration."""
    value, lengths = best(scenario, state, weights, fixed, tpot, rounds)
    options = {"weights": weights, "fixed_length": fixed, "tpot": tpot, "certify": 1e-9}
    decision = ms.make_controller("optimal", scenario, **options)(state)
    assert tpot is None or decision.feasible == (lengths is not None)
    if not value:
        return
    outcome = ms.expected_outcome(scenario, state, decision)
    played = (outcome.tokens * (1.0 if weights is None else weights)).sum() / outcome.round_latency
    assert value * (1.0 - 2e-9) <= decision.value <= value * (1.0 + 1e-10)
    assert decision.bound >= value * (1.0 - 1e-11)
    assert decision.certified
    assert played == pytest.approx(float(decision.value), rel=1e-10)
    if tpot is None:
        bound = float(ms.upper_bound(scenario, state, weights, fixed))
        assert value * (1.0 - 1e-11) <= bound <= value * (1.0 + 1.1e-6)
        quick = ms.make_controller("optimal", scenario, weights=weights, fixed_length=fixed)(state)
        outcome = ms.expected_outcome(scenario, state, quick)
        played = (outcome.tokens * (1.0 if weights is None else weights)).sum() / outcome.round_latency
        assert played >= value * (1.0 - 6e-4)


@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
@pytest.mark.parametrize("uplink", UPLINKS)
def test_optimum_is_that_of_enumeration(uplink, preset, low, rng):
    scenario = ms.Scenario.preset(preset, num_users=3, min_draft_length=low, max_draft_length=3, **UPLINKS[uplink])
    for weights in (None, np.array([0.0, 1.0, 5.0])):
        agrees(scenario, ms.sample_state(scenario, rng), weights)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_optimum_on_servers_that_count_tokens_and_with_weak_devices(uplink, rng):
    law = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0}
    law["verification_pieces"] = ((0.02, 0.001), (0.0, 0.004))
    base = ms.Scenario.preset("llama2", num_users=3, min_draft_length=0, max_draft_length=3, **UPLINKS[uplink])
    for scenario in (base.replace(**law), base.replace(**law, padded_verification=True)):
        agrees(scenario, ms.sample_state(scenario, rng))
    weak = base.replace(transmit_snr_db=-20.0, min_draft_length=1)
    agrees(weak, ms.sample_state(weak, rng))
    agrees(base, ms.sample_state(base, rng), fixed=np.array([-1, 0, 2]))
    agrees(base, ms.sample_state(base, rng), fixed=np.array([0, 0, 0]))


@pytest.mark.parametrize("uplink", UPLINKS)
def test_optimum_with_a_tpot(uplink, rng):
    scenario = ms.Scenario.preset("llama2", num_users=3, min_draft_length=0, max_draft_length=3, **UPLINKS[uplink])
    state = ms.sample_state(scenario, rng)
    rounds = list(reference.linked_rounds(scenario, state, RATES[scenario.link](scenario)))
    least = min((time / tokens.min()) for _, tokens, time in rounds)
    assert least_tpot(make_problem(scenario, state)).tpot[0] == pytest.approx(least, rel=1e-10)
    for factor in (0.999, 1.001, 1.05, 1.3, 3.0):
        agrees(scenario, state, tpot=factor * least, rounds=rounds)


@st.composite
def uplinks(draw, kind):
    rng = Numbers(draw)
    scenario, state, weights = draw(instances(kind, users=draw(st.integers(1, 3)), most=40))
    users = scenario.num_users
    changes = {"link": str(rng.choice(["density", "power", "power", "lossy"]))}
    if changes["link"] == "power":
        changes["efficiency_limit"] = float(rng.choice([0.0, 0.5, 7.4]))
    if changes["link"] == "lossy":  # whose rates have errors of 1e-16 / SNR
        changes["power_bandwidth"] = scenario.total_bandwidth
    if draw(st.booleans()):
        changes["access_delay"] = tuple(rng.choice([0.0, 1e-5, 0.02, 1.0], users).tolist())
    if draw(st.booleans()):
        changes |= {"upload_loss": float(rng.choice([1e-6, 0.1, 0.9])), "repeat_time": float(rng.choice([1e-3, 0.1]))}
    return unchecked(scenario, **changes), state, weights


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, phases=[Phase.generate])  # to shrink takes minutes
@given(data=st.data())
def test_optimum_of_hostile_systems(kind, data):
    scenario, state, weights = data.draw(uplinks(kind))
    agrees(scenario, state, weights)


@pytest.mark.parametrize("name", ["power", "limit", "own", "late power"])
def test_equal_latency_is_the_root_of_the_shares(name, rng):
    for users in (1, 2, 7):
        uplink = {**UPLINKS[name], "transmit_snr_db": float(rng.choice([-20.0, 0.0, 30.0]))}
        scenario = ms.Scenario.preset("llama2", num_users=users, **uplink)
        state, lengths = ms.sample_state(scenario, rng), rng.integers(0, 9, users)
        expected = reference.linked_latency(scenario, state, RATES[scenario.link](scenario), lengths.tolist())
        problem = make_problem(scenario, state)
        assert problem.latency(lengths[None, None])[0, 0] == pytest.approx(expected, rel=1e-11)
        curves, drafting = RateCurves.of(scenario, state.spectral_efficiency), problem.drafting(lengths)[0]
        share = equal_finish_on(curves, drafting, problem.band_time * lengths).share
        assert share.sum() == pytest.approx(1.0 if lengths.any() else 0.0, rel=1e-12)
        assert ((share > 0.0) == (lengths > 0)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("efficiency", [1e-13, 1e-30, 1e-200])
def test_a_device_with_hardly_any_signal_has_a_finite_time(efficiency, low):
    scenario = ms.Scenario.preset("llama2", num_users=3, link="power", min_draft_length=low)
    state = ms.SystemState(np.full(3, 0.012), np.array([efficiency, 3.0, 5.0]), np.full(3, 0.8))
    decision = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    goodput = ms.expected_outcome(scenario, state, decision).goodput
    assert 0.0 < decision.value == pytest.approx(float(goodput), rel=1e-12)
    assert decision.value <= decision.bound < 1e3


@pytest.mark.parametrize("band", [9.257e13, 1e9, 1e12, 1e18])
def test_a_tiny_share_of_a_wide_band_has_all_digits(band):
    scenario = ms.Scenario.preset("llama2", num_users=2, link="power", total_bandwidth=band, max_draft_length=8)
    state = ms.SystemState(np.array([8.1898, 0.0037345]), np.array([0.83061, 34.2201]), np.array([0.9, 0.9]))
    decision = ms.make_controller("optimal", scenario, certify=1e-9)(state)
    assert decision.bandwidth.sum() == pytest.approx(band, rel=1e-15)
    assert ms.expected_outcome(scenario, state, decision).goodput == pytest.approx(decision.value, rel=1e-12)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_decisions_do_not_depend_on_their_batch(uplink):
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, min_draft_length=0, max_draft_length=6, **UPLINKS[uplink])
    state = ms.sample_state(scenario, 4, 4)
    for options in ({}, {"certify": 1e-6}, {"certify": 1e-6, "tpot": 0.2}):
        controller = ms.make_controller("optimal", scenario, **options)
        whole = controller(state)
        for i in range(0, 4, 2):
            alone, part = controller(state[i]), controller(state[i : i + 2])
            for field in fields(whole):
                values = getattr(whole, field.name)
                if np.ndim(values):
                    assert (getattr(alone, field.name) == values[i]).all()
                    assert (getattr(part, field.name) == values[i : i + 2]).all()


def test_no_drafts_where_repetitions_cost_more(rng):
    scenario = ms.Scenario.preset(
        "llama2", num_users=3, server="a100-32b", payload="ids", min_draft_length=0, upload_loss=0.5, repeat_time=0.2
    )
    state = ms.sample_state(scenario, rng, 20)
    silent = 3 / (scenario.verification_time + scenario.round_trip_time)
    lengths = []
    for name, options in (
        *(("optimal", {}), ("optimal", {"certify": 1e-6}), ("homogeneous", {}), ("uniform-bandwidth", {})),
        ("optimal", {"certify": 1e-6, "tpot": 1.0}),
    ):
        decision = ms.make_controller(name, scenario, **options)(state)
        outcome = ms.expected_outcome(scenario, state, decision)
        idle = ~decision.draft_length.any(-1)
        assert outcome.goodput[idle] == pytest.approx(silent, rel=1e-12)
        assert (outcome.goodput >= silent * (1.0 - 1e-12)).all()
        assert not decision.bandwidth[idle].any()
        lengths.append(idle.mean())
    assert min(lengths) > 0.5
    assert (ms.upper_bound(scenario, state) >= silent).all()
    certified = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    assert (certified.bound >= silent).all()
    assert certified.certified.all()
    drafts = ms.make_controller("optimal", scenario.replace(repeat_time=1e-6), certify=1e-6)(state)
    assert drafts.draft_length.any(-1).all()


@pytest.mark.parametrize("server", ["", "a100-7b-gemm"])
@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("uplink", UPLINKS)
def test_common_lengths_and_equal_shares_are_those_of_enumeration(uplink, low, server, rng):
    system = {"num_users": 3, "min_draft_length": low, "max_draft_length": 3, "server": server}
    scenario = ms.Scenario.preset("llama2", **system, **UPLINKS[uplink])
    rate = RATES[scenario.link](scenario)
    for _ in range(2):
        state = ms.sample_state(scenario, rng)
        alike = [reference.linked_rounds(scenario, state, rate, [length] * 3) for length in range(low, 4)]
        common = max(tokens.sum() / time for ((_, tokens, time),) in alike)
        found = ms.expected_outcome(scenario, state, ms.make_controller("homogeneous", scenario)(state)).goodput
        assert float(found) == pytest.approx(common, rel=1e-9)
        band, delays = scenario.bits_per_token / scenario.total_bandwidth, np.zeros(3) + (scenario.access_delay or 0.0)
        sent = np.array([band / rate(1.0 / 3.0, r) for r in state.spectral_efficiency])
        equal = 0.0
        for lengths in product(range(low, 4), repeat=3):
            tokens = sum(map(reference.expected_tokens, lengths, state.acceptance_rate))
            each = np.array(lengths) * (state.draft_time + sent) + delays * (np.array(lengths) > 0)
            wait = scenario.uplink.repeat_delay if any(lengths) else 0.0
            equal = max(equal, tokens / (each.max() + wait + reference.server_time(scenario, lengths)))
        found = ms.expected_outcome(scenario, state, ms.make_controller("uniform-bandwidth", scenario)(state)).goodput
        assert float(found) == pytest.approx(equal, rel=1e-9)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_every_controller_of_rounds_plays_a_round_that_fits(uplink):
    scenario = ms.Scenario.preset("llama2", num_users=3, min_draft_length=0, **UPLINKS[uplink])
    state = ms.sample_state(scenario, 2, 30)
    bound = ms.upper_bound(scenario, state)
    for name in ("optimal", "homogeneous", "uniform-bandwidth", "fixed", "algorithm1", "random"):
        decision = ms.make_controller(name, scenario)(state)
        assert (decision.bandwidth.sum(-1) <= scenario.total_bandwidth * (1.0 + 1e-9)).all()
        assert (ms.expected_outcome(scenario, state, decision).goodput <= bound * (1.0 + 1e-9)).all()


@pytest.mark.parametrize("low", [0, 1])
def test_energy_prices_with_repetitions_are_those_of_enumeration(low, rng):
    scenario = ms.Scenario.preset(
        "llama2", num_users=2, min_draft_length=low, max_draft_length=5, upload_loss=0.4, repeat_time=0.1
    )
    for price in (0.01, 0.3, 1.0, 2.0):
        state = ms.sample_state(scenario, rng)
        air = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
        joules = scenario.draft_energy + scenario.transmit_power / 0.6 * air
        value = max(
            (tokens.sum() - price * (joules * lengths).sum()) / time
            for lengths, tokens, time in reference.linked_rounds(scenario, state, reference.density_rate(scenario))
        )
        decision = ms.make_controller("optimal", scenario, energy_price=price, certify=1e-8)(state)
        assert value * (1.0 - 1e-11) <= decision.bound
        assert float(decision.value) == pytest.approx(value, rel=2e-8)
        quick = ms.make_controller("optimal", scenario, energy_price=price)(state)
        outcome = ms.expected_outcome(scenario, state, quick)
        earned = (outcome.total_tokens - price * (joules * quick.draft_length).sum()) / outcome.round_latency
        assert earned >= value * (1.0 - 1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_density_without_delays_and_repetitions_is_untouched(seed):
    scenario = ms.Scenario.preset("llama2", num_users=5)
    state = ms.sample_state(scenario, seed, 20)
    plain = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    for changes in ({"power_bandwidth": 1e6}, {"repeat_time": 0.1}, {"access_delay": (0.0,) * 5}):
        same = ms.make_controller("optimal", scenario.replace(**changes), certify=1e-6)(state)
        for name in ("draft_length", "bandwidth", "value", "bound"):
            assert (getattr(same, name) == getattr(plain, name)).all()
    later = scenario.replace(round_trip_time=0.03)
    late = ms.make_controller("optimal", later, certify=1e-9)(state)
    delayed = ms.make_controller("optimal", scenario.replace(access_delay=0.03), certify=1e-9)(state)
    assert delayed.value == pytest.approx(late.value, rel=2e-9)  # equal delays are a longer round trip
