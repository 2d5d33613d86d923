"""Certificates of the bound without the barrier."""

import json

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.certificates.check_rate import bound
from multispin_env.registry import SCENARIOS


def drawn(seed, users, name="llama2", **fields):
    scenario = ms.Scenario.preset(name, num_users=users, **fields)
    return scenario, ms.sample_state(scenario, seed)


@pytest.mark.parametrize("barrier", [False, True])
@pytest.mark.parametrize("users", [1, 2, 3, 8])
@pytest.mark.parametrize("name", SCENARIOS.names())
def test_the_prices_prove_the_bound(name, users, barrier):
    scenario, state = drawn(users, users, name, round_trip_time=0.01, total_bandwidth=3e6, draft_time_spread=0.6)
    record = ms.rate_certificate(scenario, state, barrier=barrier)
    assert float(bound(record)) == pytest.approx(ms.rate_bound(scenario, state, barrier=barrier).value, rel=1e-9)
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("users", [1, 2, 3, 8])
def test_independent_fading(users):
    scenario, state = drawn(1, users)
    options = {"channel": "independent", "mean_gain": np.linspace(0.3, 9.0, users)}
    proven = float(bound(ms.rate_certificate(scenario, state, **options)))
    assert proven == pytest.approx(ms.rate_bound(scenario, state, **options).value, rel=1e-4)


def moved(item, rng, spread):
    """Other prices for those of a certificate."""
    if isinstance(item, str):
        return (float.fromhex(item) * np.exp(spread * rng.normal()) + (rng.random() < 0.1) * 9.0 * rng.random()).hex()
    if isinstance(item, dict):
        return {name: part if name == "devices" else moved(part, rng, spread) for name, part in item.items()}
    return [moved(part, rng, spread) for part in item]


@pytest.mark.parametrize("seed", range(4))
def test_any_prices_are_valid(seed):
    """Weak duality: other prices prove no less than the optimum of the program, and no rule is above them."""
    scenario, state = drawn(seed, 3, total_bandwidth=1e6, max_draft_length=6)
    record, rng = ms.rate_certificate(scenario, state), np.random.default_rng(seed)
    best = float(bound(record))
    for spread in [0.0, 1e-6, 1e-3, 0.1, 2.0] * 20:
        assert float(bound({**record, "prices": moved(record["prices"], rng, spread)})) >= best * (1.0 - 1e-9)
    for name in ms.controller_names("continuous", scenario):
        rate = ms.long_run(ms.make_controller(name, scenario), state, warm_up=0.2, horizon=1.0).rate
        assert rate <= best * (1.0 + 1e-9), name


def test_refusals():
    scenario, state = drawn(0, 2)
    ahead, tokens = scenario.replace(draft_ahead=True), scenario.replace(server="a100-32b")
    for system in (ahead, tokens):
        with pytest.raises(ValueError, match="scenario: expected passes of constant time and no drafting ahead"):
            ms.rate_certificate(system, ms.sample_state(system, 0))
    with pytest.raises(ValueError, match=r"state: expected the state of one system, shape \(K,\), got shape \(3, 2\)"):
        ms.rate_certificate(scenario, ms.sample_state(scenario, 0, 3))
    scenario = scenario.replace(repeat_time=0.008)
    for name, value in (("link", "power"), ("access_delay", 0.01), ("upload_loss", 0.1)):
        with pytest.raises(ValueError, match=f"^{name}: expected .* for certificates, got"):
            ms.rate_certificate(scenario.replace(**{name: value}), state)
