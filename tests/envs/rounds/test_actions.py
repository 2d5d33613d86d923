import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rounds.encodings import residual_factor
from multispin_env.registry import ENCODINGS

FASTER = {"algorithm1": {"phi_points": 10, "lambda_points": 10}}


def codec(name, scenario, common=False):
    return ENCODINGS.load(name)(scenario, common)


@pytest.mark.parametrize("controller", ms.controller_names("rounds"))
@pytest.mark.parametrize("encoding", ["residual", "shares"])
@pytest.mark.parametrize("users", [1, 8, 20])
def test_every_controller_is_encoded_and_decoded(encoding, controller, users, preset):
    scenario = ms.Scenario.preset(preset, num_users=users)
    state = ms.sample_state(scenario, np.random.default_rng(0), 100)
    decision = ms.make_controller(controller, scenario, **FASTER.get(controller, {}))(state)
    found = codec(encoding, scenario)
    action = found.encode(decision, state)
    assert action.dtype == np.float32
    assert found.space.contains(action[0])
    back = found.decode(action, state)
    assert (back.draft_length == decision.draft_length).all()
    assert back.bandwidth == pytest.approx(decision.bandwidth, rel=1e-5)  # float32 actions
    again = found.decode(found.encode(back, state), state)
    assert again.bandwidth == pytest.approx(back.bandwidth, rel=1e-5)


def test_lengths_encoding_takes_the_equal_latency_root(scenario, rng):
    state = ms.sample_state(scenario, rng, 50)
    decision = ms.make_controller("optimal", scenario)(state)
    found = codec("lengths", scenario)
    back = found.decode(found.encode(decision, state), state)
    assert (back.draft_length == decision.draft_length).all()
    assert back.bandwidth == pytest.approx(decision.bandwidth, rel=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
@pytest.mark.parametrize(("low", "high"), [(0, 25), (1, 1), (1, 2), (1, 200), (0, 1)])
def test_every_length_is_reached_and_inverted(encoding, low, high, rng):
    scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=low, max_draft_length=high)
    found = codec(encoding, scenario)
    state = ms.sample_state(scenario, rng)
    for length in range(low, high + 1):
        decision = ms.Decision(np.array([length]), np.array([1e7 if length else 0.0]))
        assert found.decode(found.encode(decision, state), state).draft_length == length
    ends = [found.decode(np.full((1, found.columns), x), state).draft_length[0] for x in (-1.0, 1.0)]
    assert ends == [low, high]


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_any_action_is_a_feasible_decision(encoding, scenario, rng):
    found = codec(encoding, scenario)
    state = ms.sample_state(scenario, rng, 200)
    corners = rng.choice([-1.0, 0.0, 1.0], (200, 20, found.columns))
    decision = found.decode(corners, state)
    outcome = ms.expected_outcome(scenario, state, decision)
    assert np.isfinite(outcome.goodput).all()
    assert (outcome.goodput > 0).all()


def test_zero_residual_is_the_closed_form(scenario, rng):
    state = ms.sample_state(scenario, rng, 10)
    action = rng.uniform(-1, 1, (10, 20, 2))
    action[..., 1] = 0.0
    closed = codec("lengths", scenario).decode(action[..., :1], state)
    assert (codec("residual", scenario).decode(action, state).bandwidth == closed.bandwidth).all()


def test_unused_bandwidth_is_spent(scenario, rng):
    state = ms.sample_state(scenario, rng)
    decision = ms.Decision(np.full(20, 4), np.full(20, 1e5))
    found = codec("residual", scenario)
    assert found.decode(found.encode(decision, state), state).bandwidth.sum() == pytest.approx(1e7)


def test_common_length_is_the_mean_of_the_column(scenario, rng):
    state = ms.sample_state(scenario, rng)
    found = codec("lengths", scenario, common=True)
    x = rng.uniform(-1, 1, (20, 1))
    length = found.decode(x, state).draft_length
    assert (length == length[0]).all()
    assert length[0] == codec("lengths", scenario).decode(np.full((20, 1), x.mean()), state).draft_length[0]
    mixed = ms.Decision(np.arange(1, 21), np.full(20, 5e5))
    with pytest.raises(ValueError, match=r"draft_length\[1\]: expected one common length in this environment, got 2"):
        found.encode(mixed, state)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_bad_actions(encoding, scenario, rng):
    found = codec(encoding, scenario)
    state = ms.sample_state(scenario, rng)
    action = np.zeros((20, found.columns))
    for value in (np.nan, np.inf, 1.5, -2.0):
        action[3, 0] = value
        with pytest.raises(ValueError, match=rf"action\[3, 0\]: expected numbers in \[-1, 1\], got {value}"):
            found.decode(action, state)
    with pytest.raises(
        ValueError, match=rf"action: expected shape \(20, {found.columns}\), got \(19, {found.columns}\)"
    ):
        found.check_shape(np.zeros((19, found.columns)), 20)
    with pytest.raises(ValueError, match="sum of bandwidth"):
        found.encode(ms.Decision(np.ones(20), np.full(20, 1e6)), state)


def test_encodings_by_hand(rng):
    """The scales between their ends: 5 or 13 of 1..25 in the middle, and shares as a softmax of ln(1e4) x."""
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = ms.sample_state(scenario, rng)
    for encoding, middle in (("lengths", 5), ("residual", 5), ("shares", 13)):
        found = codec(encoding, scenario)
        assert found.real_lengths(np.zeros((2, found.columns))) == pytest.approx([middle] * 2)
    shares = codec("shares", scenario).decode(np.array([[0.0, 0.5], [0.0, 0.25]]), state).bandwidth
    assert shares[0] / shares[1] == pytest.approx(10.0)
    assert shares.sum() == pytest.approx(1e7)
    factor = np.exp(np.log(1e4) * np.sinh(5.0 * 0.3) / np.sinh(5.0))
    assert residual_factor(np.array(0.3)) == pytest.approx(factor)


def test_rounding_beyond_the_edge_is_clipped(scenario, rng):
    found, state = codec("residual", scenario), ms.sample_state(scenario, rng)
    at, beyond, far = (np.full((20, 2), 1.0 + more) for more in (0.0, 0.9e-6, 1.1e-6))
    assert (found.decode(beyond, state).bandwidth == found.decode(at, state).bandwidth).all()
    with pytest.raises(ValueError, match=r"action\[0, 0\]: expected numbers in \[-1, 1\], got 1\.0000011"):
        found.decode(far, state)
