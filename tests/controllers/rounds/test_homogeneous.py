import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import lambertw

import multispin_env as ms
from multispin_env.controllers.rounds.homogeneous import Algorithm1
from multispin_env.physics.links import lambert_excess
from tests import reference


def test_excess_of_many_at_once():
    u = np.array([0.0, 1e-12, 1e-3, 0.5, 3.0, 40.0, 600.0, 1e3, 1e6, 1e300])
    s = lambert_excess(u)
    assert s[0] == 0.0
    assert s - np.log1p(s) == pytest.approx(u, rel=1e-12, abs=1e-17)
    assert s[1] == pytest.approx(np.sqrt(2e-12), rel=1e-3)
    within = u[2:7]  # beyond, SciPy underflows
    assert s[2:7] == pytest.approx(-lambertw(-np.exp(-1.0 - within), -1).real - 1.0, rel=1e-11)


def test_relaxed_length_solves_its_own_problem(scenario, rng):
    """Equation (37) against a scalar optimiser of gain − λ w_k(l) for the first λ of the grid."""
    state = ms.sample_state(scenario, rng, 1)
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    phi = np.array([8 * (state.draft_time + 20 * token_time).max()])
    wide = scenario.replace(max_draft_length=200)
    lengths = Algorithm1(wide, lambda_points=2, epsilon=1e-3)._column(state, token_time, phi)[0, 0]
    alpha, draft, token = state.acceptance_rate[0], state.draft_time[0], token_time[0]
    room = phi[0] - draft
    price = 1e-3 * (room**2 * -np.log(alpha) * alpha**2 / (token * phi[0] * (1 - alpha))).max()
    for k in range(20):

        def loss(length, k=k):
            share = token[k] * length / (phi[0] - length * draft[k])
            return price * share - (1 - alpha[k] ** (length + 1)) / (1 - alpha[k])

        top = phi[0] / draft[k] * (1 - 1e-9)
        best = minimize_scalar(loss, bounds=(0, top), method="bounded", options={"xatol": 1e-8}).x
        assert abs(lengths[k] - np.clip(best, 1, 200)) <= 0.5 + 1e-4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("impossible", [0.0, 5e-324, 1e-300])
@pytest.mark.parametrize("law", [{}, {"server": "a100-32b"}, {"server": "a100-32b", "padded_verification": True}])
def test_drafts_that_are_never_accepted_are_as_short_as_they_may_be(law, impossible, rng):
    for low, rest in ((0, []), (1, []), (1, [0.9]), (1, [1.0])):
        alpha = np.array([impossible, impossible, *rest])
        scenario = ms.Scenario.preset(
            "llama2", num_users=len(alpha), min_draft_length=low, max_draft_length=5, total_bandwidth=1e6
        ).replace(**law)
        drawn = ms.sample_state(scenario, rng)
        state = ms.SystemState(drawn.draft_time, drawn.spectral_efficiency, alpha)
        decision = ms.make_controller("algorithm1", scenario)(state)
        assert decision.draft_length[:2].tolist() == [low, low]
        result = float(ms.expected_outcome(scenario, state, decision).goodput)
        assert result == pytest.approx(reference.best_goodput(scenario, state), rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bandwidth", [1e3, 1e7, 1e11])
def test_extremes_give_feasible_decisions(bandwidth):
    scenario = ms.Scenario.preset("llama2", num_users=3, total_bandwidth=bandwidth)
    controller = ms.make_controller("algorithm1", scenario, phi_points=8, lambda_points=8)
    for alpha in (0.0, 1e-300, 1e-9, 0.5, 1 - 1e-9, 1.0):
        state = ms.SystemState([0.01, 10.0, 0.01], [20.0, 1.0, 1e-3], [alpha, 0.5, alpha])
        assert ms.expected_outcome(scenario, state, controller(state)).goodput > 0
