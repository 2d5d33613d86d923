import numpy as np
import pytest

import multispin_env as ms

T, R, A = [0.010, 0.020], [4.0, 2.0], [0.5, 1.0]


@pytest.fixture
def two():
    return ms.Scenario.preset("llama2", num_users=2, total_bandwidth=1e6)


@pytest.fixture
def state():
    return ms.SystemState(draft_time=T, spectral_efficiency=R, acceptance_rate=A)


def decide(length, bandwidth):
    return ms.Decision(draft_length=np.asarray(length), bandwidth=np.asarray(bandwidth))


def test_by_hand(two, state):
    outcome = ms.expected_outcome(two, state, decide([2, 1], [4e5, 6e5]))
    upload = [2 * 31_744 / (4e5 * 4.0), 31_744 / (6e5 * 2.0)]
    assert outcome.draft_time == pytest.approx([0.02, 0.02])
    assert outcome.upload_time == pytest.approx(upload)
    assert outcome.tokens == pytest.approx([1.75, 2.0])
    latency = 0.02 + max(upload) + 0.02268 + 2 * 0.01272
    assert outcome.round_latency == pytest.approx(latency)
    assert outcome.goodput == pytest.approx(3.75 / latency)
    assert outcome.verification_time == two.verification_time


def test_batches_broadcast(two, state):
    outcome = ms.expected_outcome(two, state, decide(np.ones((5, 3, 2)), np.full(2, 5e5)))
    assert outcome.goodput.shape == (5, 3)
    assert outcome.tokens.shape == (5, 3, 2)


def test_sampled_mean_is_the_expectation(two, state):
    many = ms.SystemState(*(np.tile(x, (20_000, 1)) for x in (T, R, A)))
    decision = decide([3, 3], [5e5, 5e5])
    drawn = ms.sampled_outcome(two, many, decision, np.random.default_rng(0)).goodput
    exact = ms.expected_outcome(two, state, decision).goodput
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_no_draft_is_one_server_token(state):
    scenario = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0)
    outcome = ms.expected_outcome(scenario, state, decide([0, 0], [0.0, 0.0]))
    assert outcome.goodput == pytest.approx(scenario.autoregressive_goodput)
    assert (outcome.upload_time == 0).all()


def test_scaling_all_times_scales_goodput_inversely(two, state):
    slow = ms.SystemState(np.array(T) * 3, np.array(R) / 3, np.array(A))
    times = {name: 3 * getattr(two, name) for name in ("verification_fixed_time", "verification_time_per_draft")}
    decision = decide([2, 5], [5e5, 5e5])
    fast = ms.expected_outcome(two, state, decision).goodput
    assert ms.expected_outcome(two.replace(**times), slow, decision).goodput == pytest.approx(fast / 3)


@pytest.mark.parametrize(
    ("length", "bandwidth", "message"),
    [
        ([0, 1], [5e5, 5e5], r"draft_length\[0\]: expected integers in 1\.\.25, got 0\.0"),
        ([1, 1.5], [5e5, 5e5], r"draft_length\[1\]: expected integers in 1\.\.25, got 1\.5"),
        ([1, 1], [5e5, 0.0], r"bandwidth\[1\]: expected numbers > 0 Hz, got 0\.0"),
        ([1, 1], [6e5, 6e5], r"sum of bandwidth: expected at most 1e\+06 Hz, got 1200000\.0"),
        ([1, 1, 1], [5e5, 5e5], r"draft_length: expected shape \(\.\.\., 2\), one entry a user, got \(3,\)"),
    ],
)
def test_bad_decision(two, state, length, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        ms.expected_outcome(two, state, decide(length, bandwidth))


def test_budget_has_a_tolerance_for_rounding(two, state):
    ms.expected_outcome(two, state, decide([1, 1], [5e5, 5e5 * (1 + 1.9e-6)]))
    with pytest.raises(ValueError, match=r"sum of bandwidth: expected at most 1e\+06 Hz, got 1000001\."):
        ms.expected_outcome(two, state, decide([1, 1], [5e5, 5e5 * (1 + 2.1e-6)]))


def test_who_drafts_nothing_may_have_bandwidth_or_none(state):
    scenario = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0, total_bandwidth=1e6)
    for bandwidth in ([0.0, 1e6], [5e5, 5e5]):
        outcome = ms.expected_outcome(scenario, state, decide([0, 1], bandwidth))
        assert outcome.upload_time == pytest.approx([0.0, 31_744 / (bandwidth[1] * 2.0)])
        assert outcome.tokens == pytest.approx([1.0, 2.0])
    with pytest.raises(ValueError, match=r"bandwidth\[0\]: expected numbers > 0 Hz, got -1\.0"):
        ms.expected_outcome(scenario, state, decide([0, 1], [-1.0, 5e5]))
    with pytest.raises(ValueError, match=r"bandwidth\[1\]: expected numbers > 0 Hz, got 0\.0"):
        ms.expected_outcome(scenario, state, decide([0, 1], [5e5, 0.0]))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("draft_time", [0.0, 0.1], r"draft_time\[0\]: expected numbers > 0, got 0\.0"),
        ("spectral_efficiency", [1.0, 0.0], r"spectral_efficiency\[1\]: expected numbers > 0, got 0\.0"),
        ("acceptance_rate", [1.1, 0.0], r"acceptance_rate\[0\]: expected numbers in \[0, 1\], got 1\.1"),
        ("acceptance_rate", [0.5], r"acceptance_rate: expected shape \(\.\.\., 2\), one entry a user, got \(1,\)"),
    ],
)
def test_bad_state(two, state, field, value, message):
    values = {"draft_time": T, "spectral_efficiency": R, "acceptance_rate": A} | {field: value}
    with pytest.raises(ValueError, match=message):
        ms.expected_outcome(two, ms.SystemState(**values), decide([1, 1], [5e5, 5e5]))


def test_shapes_that_do_not_broadcast(two, state):
    with pytest.raises(ValueError, match="shapes: expected shapes that broadcast together, got draft_length"):
        ms.expected_outcome(two, state, decide(np.ones((3, 2)), np.full((2, 2), 1e5)))
    batch = ms.SystemState(*(np.tile(x, (3, 1)) for x in (T, R, A)))
    with pytest.raises(
        ValueError, match=r"decision: expected a shape that broadcasts with the state's \(3, 2\), got \(2, 2\)"
    ):
        ms.expected_outcome(two, batch, decide(np.ones((2, 2)), np.full((2, 2), 1e5)))
