import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.rounds.ahead import PRICE_FACTORS, best_price_factor
from multispin_env.physics.types import checked_decision
from tests.families import RULES
from tests.solver.test_ahead import LAWS, drawn


def head_started(law: str = "tokens", users: int = 5, count: int = 6) -> tuple[ms.Scenario, ms.SystemState]:
    scenario, state = drawn(law, users, count, 25)
    return scenario, state.changed(head_start=state.head_start * 0.24)


def options_of(name: str) -> dict[str, object]:
    return {"ahead-price": {"rho": 150.0}, "algorithm1": {"phi_points": 15, "lambda_points": 15}}.get(name, {})


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", RULES)
def test_decisions_are_feasible_with_head_starts(name: str, law: str) -> None:
    scenario, state = head_started(law)
    controller = ms.make_controller(name, scenario, **options_of(name))
    decision = checked_decision(scenario, controller(state))
    assert decision.draft_length.shape == state.draft_time.shape
    outcome = ms.expected_outcome(scenario, state, decision)
    waits = outcome.draft_time + outcome.upload_time
    if law == "tokens":
        assert (ms.long_run(controller, state[:3], warm_up=0.1, horizon=0.5).rate > 0.0).all()
    if name not in ("fixed", "uniform-bandwidth", "random"):  # all drafts arrive together
        late = waits.max(-1, keepdims=True)
        np.testing.assert_allclose(np.where(decision.draft_length > 0, waits, late), late + 0.0 * waits, rtol=1e-9)


def test_optimal_is_the_best_price_of_its_own_goodput() -> None:
    """With ρ = N/τ and β = 0, the maximum of F is 0, at the best goodput (Dinkelbach)."""
    scenario, state = head_started("flat", 8, 20)
    best = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    priced = ms.make_controller("ahead-price", scenario, rho=best, chain_weight=0.0)(state)
    np.testing.assert_allclose(ms.expected_outcome(scenario, state, priced).goodput, best, rtol=2e-3)


def test_rho_is_for_each_state() -> None:
    scenario, state = head_started("flat", 5, 6)
    rho = np.linspace(50.0, 300.0, 6)
    together = ms.make_controller("ahead-price", scenario, rho=rho)(state).draft_length
    alone = [ms.make_controller("ahead-price", scenario, rho=r)(state[i]).draft_length for i, r in enumerate(rho)]
    np.testing.assert_array_equal(together, alone)
    assert together.sum(-1)[0] > together.sum(-1)[-1]


def test_the_price_is_found_once_for_a_scenario() -> None:
    scenario, state = head_started("flat", 4, 3)
    controller = ms.make_controller("ahead-price", scenario)
    lengths = controller(state).draft_length
    assert best_price_factor(scenario, controller.chain_weight) in PRICE_FACTORS
    best_price_factor.cache_clear()
    np.testing.assert_array_equal(controller(state).draft_length, lengths)


def test_weights_count() -> None:
    scenario, state = head_started("flat", 4, 5)
    weights = np.array([5.0, 1.0, 1.0, 1.0])
    for name, options in (("optimal", {}), ("ahead-price", {"rho": 120.0})):
        plain = ms.make_controller(name, scenario, **options)(state).draft_length
        favoured = ms.make_controller(name, scenario, weights=weights, **options)(state).draft_length
        assert favoured[:, 0].sum() > plain[:, 0].sum()


@pytest.mark.parametrize("option", [{"certify": 1e-6}, {"tpot": 0.1}, {"fixed_length": np.ones(5, dtype=np.int64)}])
def test_optimal_refuses_what_it_cannot_do_with_head_starts(option: dict[str, object]) -> None:
    scenario, state = head_started()
    controller = ms.make_controller("optimal", scenario, **option)
    with pytest.raises(ValueError, match=rf"^head_start\[.*expected zeros for .*{next(iter(option))}"):
        controller(state)
    for function in (ms.upper_bound, ms.sensitivities):
        with pytest.raises(ValueError, match=r"head_start\[.*\]: expected zeros"):
            function(scenario, state)
    none = ms.SystemState(state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    plain = ms.make_controller("optimal", scenario.replace(draft_ahead=False), **option)
    np.testing.assert_array_equal(controller(none).draft_length, plain(none).draft_length)
