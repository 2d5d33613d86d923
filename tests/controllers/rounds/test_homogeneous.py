import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

import multispin_env as ms
from multispin_env.controllers.rounds.homogeneous import homogeneous_draft_length, lambert_excess


def best_common(alpha, theta, t_ver, longest):
    values = [reference.expected_tokens(length, alpha) / (length * theta + t_ver) for length in range(1, longest + 1)]
    return 1 + int(np.argmax(values)), values


@given(
    alpha=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-9, 1 - 1e-12, 1.0])),
    theta=st.floats(1e-5, 1e2),
    t_ver=st.floats(1e-5, 1e3),
)
def test_closed_form_is_the_best_length(alpha, theta, t_ver):
    _, values = best_common(alpha, theta, t_ver, 60)
    found = int(homogeneous_draft_length(np.array(alpha), np.array(theta), t_ver, 60))
    assert values[found - 1] == pytest.approx(max(values), rel=1e-12)


def test_controller_equals_closed_form_for_common_acceptance(scenario, rng):
    state = ms.sample_state(scenario, rng, 100)
    alpha = np.broadcast_to(rng.uniform(0.05, 0.99, (100, 1)), state.draft_time.shape)
    state = ms.SystemState(state.draft_time, state.spectral_efficiency, alpha)
    decision = ms.make_controller("homogeneous", scenario)(state)
    token_latency = (state.draft_time + scenario.bits_per_token / (decision.bandwidth * state.spectral_efficiency))[
        :, 0
    ]
    closed = homogeneous_draft_length(alpha[:, 0], token_latency, scenario.verification_time)
    assert (decision.draft_length == closed[:, None]).all()


def test_best_of_all_common_lengths(scenario, rng):
    state = ms.sample_state(scenario, rng, 20)
    decision = ms.make_controller("homogeneous", scenario)(state)
    found = ms.expected_outcome(scenario, state, decision).goodput
    for length in range(1, 26):  # ϑ*, hence the bandwidth, is the same for every common length
        other = ms.Decision(np.full_like(decision.draft_length, length), decision.bandwidth)
        assert (ms.expected_outcome(scenario, state, other).goodput <= found * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("alpha", "theta", "t_ver", "message"),
    [
        (1.5, 1.0, 1.0, r"acceptance_rate: expected numbers in \[0, 1\], got 1\.5"),
        (0.5, 0.0, 1.0, r"token_latency: expected numbers > 0, got 0\.0"),
        (0.5, 1.0, -1.0, r"verification_time: expected numbers > 0, got -1\.0"),
        (np.nan, 1.0, 1.0, "acceptance_rate: expected finite numbers, got nan"),
    ],
)
def test_bad_input(alpha, theta, t_ver, message):
    with pytest.raises(ValueError, match=message):
        homogeneous_draft_length(np.array(alpha), np.array(theta), t_ver)


def test_excess_of_many_at_once():
    """Those that are done early do not end it for the others."""
    u = np.array([0.0, 1e-12, 1e-3, 0.5, 3.0, 40.0, 600.0, 1e3, 1e6, 1e300])
    s = lambert_excess(u)
    assert (s >= 0.0).all()
    assert s[0] == 0.0
    assert s - np.log1p(s) == pytest.approx(u, rel=1e-12, abs=1e-17)
    assert s[1] == pytest.approx(np.sqrt(2e-12), rel=1e-3)
    within = u[2:7]  # beyond, SciPy underflows
    assert s[2:7] == pytest.approx(-lambertw(-np.exp(-1.0 - within), -1).real - 1.0, rel=1e-11)
