import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.actions import LIMIT
from multispin_env.registry import ENCODINGS
from tests.families import RULES

FASTER = {"algorithm1": {"phi_points": 10, "lambda_points": 10}}
UNEQUAL = ("fixed", "random", "uniform-bandwidth")
"""Controllers whose devices finish at very different times, which `"residual"` can't express in all states."""


def codec_of(name, scenario, common=False):
    return ENCODINGS.load(name)(scenario, common)


@pytest.mark.parametrize(
    ("encoding", "controller"),
    [
        (encoding, controller)
        for encoding in ("residual", "shares")
        for controller in RULES
        if encoding == "shares" or controller not in UNEQUAL
    ],
)
@pytest.mark.parametrize("users", [1, 8, 20])
def test_encode_and_decode_decisions_of_controllers(encoding, controller, users, preset):
    scenario = ms.Scenario.preset(preset, num_users=users)
    state = ms.sample_state(scenario, np.random.default_rng(0), 100)
    decision = ms.make_controller(controller, scenario, **FASTER.get(controller, {}))(state)
    codec = codec_of(encoding, scenario)
    action = codec.encode(decision, state)
    assert action.dtype == np.float32
    assert codec.space.contains(action[0])
    decoded = codec.decode(action, state)
    assert (decoded.draft_length == decision.draft_length).all()
    assert decoded.bandwidth == pytest.approx(decision.bandwidth, rel=2e-5)  # float32 actions
    again = codec.decode(codec.encode(decoded, state), state)
    assert again.bandwidth == pytest.approx(decoded.bandwidth, rel=2e-5)
    if controller == "optimal":
        lengths = codec_of("lengths", scenario)
        decoded = lengths.decode(lengths.encode(decision, state), state)
        assert (decoded.draft_length == decision.draft_length).all()
        assert decoded.bandwidth == pytest.approx(decision.bandwidth, rel=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
@pytest.mark.parametrize(("low", "high"), [(0, 25), (1, 1), (1, 2), (1, 200), (0, 1)])
def test_all_lengths(encoding, low, high, rng):
    scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=low, max_draft_length=high)
    codec = codec_of(encoding, scenario)
    state = ms.sample_state(scenario, rng)
    for length in range(low, high + 1):
        decision = ms.Decision(np.array([length]), np.array([1e7 if length else 0.0]))
        assert codec.decode(codec.encode(decision, state), state).draft_length == length
    ends = [codec.decode(np.full((1, codec.columns), x), state).draft_length[0] for x in (-LIMIT, LIMIT)]
    assert ends == [low, high]


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_all_actions_are_feasible(encoding, scenario, rng):
    codec = codec_of(encoding, scenario)
    state = ms.sample_state(scenario, rng, 200)
    corners = rng.choice([-LIMIT, 0.0, LIMIT], (200, 20, codec.columns))
    decision = codec.decode(corners, state)
    outcome = ms.expected_outcome(scenario, state, decision)
    assert ((outcome.goodput > 0.0) & (outcome.goodput < np.inf)).all()


@pytest.mark.parametrize("users", [2, 3, 20])
def test_a_starved_device_keeps_its_bandwidth(users, rng):
    scenario = ms.Scenario.preset("llama2", num_users=users)
    state, codec = ms.sample_state(scenario, rng, 100), codec_of("shares", scenario)
    corners = rng.choice([-LIMIT, 0.0, LIMIT], (100, users, 2))
    corners[:users, :, 1] = np.where(np.eye(users) > 0.0, -LIMIT, LIMIT)
    decision = codec.decode(corners, state)
    again = codec.decode(codec.encode(decision, state), state)
    assert again.bandwidth == pytest.approx(decision.bandwidth, rel=5e-5)


def test_zero_residual_is_the_closed_form(scenario, rng):
    state = ms.sample_state(scenario, rng, 10)
    action = rng.uniform(-LIMIT, LIMIT, (10, 20, 2))
    action[..., 1] = 0.0
    closed, codec = codec_of("lengths", scenario).decode(action[..., :1], state), codec_of("residual", scenario)
    assert (codec.decode(action, state).bandwidth == closed.bandwidth).all()
    unused = ms.Decision(closed.draft_length, 0.9 * closed.bandwidth)
    assert codec.decode(codec.encode(unused, state), state).bandwidth.sum(-1) == pytest.approx(1e7)
    unequal = ms.Decision(np.tile([1, 25], (10, 10)), np.full((10, 20), 5e5))
    with pytest.raises(ValueError, match=r'^bandwidth\[\d+, \d+\]: expected .*; action="shares" has all, got '):
        codec.encode(unequal, state)


def test_common_length_is_the_mean_of_the_column(scenario, rng):
    state = ms.sample_state(scenario, rng)
    codec = codec_of("lengths", scenario, common=True)
    x = rng.uniform(-LIMIT, LIMIT, (20, 1))
    length = codec.decode(x, state).draft_length
    assert (length == length[0]).all()
    assert length[0] == codec_of("lengths", scenario).decode(np.full((20, 1), x.mean()), state).draft_length[0]
    mixed = ms.Decision(np.arange(1, 21), np.full(20, 5e5))
    with pytest.raises(ValueError, match=r"draft_length\[1\]: expected one common length in this environment, got 2"):
        codec.encode(mixed, state)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_bad_actions(encoding, scenario, rng):
    codec = codec_of(encoding, scenario)
    state = ms.sample_state(scenario, rng)
    edge, above = (codec.decode(np.full((20, codec.columns), x), state).bandwidth for x in (LIMIT, LIMIT + 4e-6))
    assert (edge == above).all()  # rounding errors are clipped
    action = np.zeros((20, codec.columns))
    for value in (np.nan, np.inf, 5.5, -6.0, 5.000006):
        action[3, 0] = value
        with pytest.raises(ValueError, match=rf"action\[3, 0\]: expected numbers in \[-5, 5\], got {value}"):
            codec.decode(action, state)
    with pytest.raises(ValueError, match=rf"action: expected shape \(20, {codec.columns}\), got \(19, "):
        codec.check_shape(np.zeros((19, codec.columns)), 20)
    with pytest.raises(ValueError, match="sum of bandwidth"):
        codec.encode(ms.Decision(np.ones(20), np.full(20, 1e6)), state)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_rows_of_a_large_batch_are_decoded_alone_to_the_same_bits(encoding, scenario, rng):
    codec, state = codec_of(encoding, scenario), ms.sample_state(scenario, rng, 100)
    action = rng.uniform(-LIMIT, LIMIT, (100, *codec.space.shape)).astype(np.float32)
    action[:4] = np.array([-LIMIT, -4.75, 4.75, LIMIT])[:, None, None]  # where pieces of "shares" begin and end
    together = codec.decode(action, state)
    for row in range(100):
        alone = codec.decode(action[row], state[row])
        assert (alone.draft_length == together.draft_length[row]).all()
        assert (alone.bandwidth == together.bandwidth[row]).all()


def test_encodings_by_hand(rng):
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = ms.sample_state(scenario, rng)
    for encoding in ENCODINGS.names():
        codec = codec_of(encoding, scenario)
        assert codec.real_lengths(np.zeros((2, codec.columns))) == pytest.approx([5.0] * 2)
    shares = codec_of("shares", scenario).decode(np.array([[0.0, 3.0], [0.0, 1.0]]), state).bandwidth
    assert shares[0] / shares[1] == pytest.approx(np.exp(0.6))
    assert shares.sum() == pytest.approx(1e7)
