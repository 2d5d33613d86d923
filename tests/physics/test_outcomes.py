import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.stats import chisquare, kstest

import multispin_env as ms
from multispin_env.draft import expected_tokens
from multispin_env.physics.radio import SMALL_SNR, spectral_efficiency
from multispin_env.physics.rounds import discounted_throughput, initial_throughput, jain_index, utility
from multispin_env.physics.tokens import sample_tokens
from multispin_env.physics.types import Outcome, checked_weights
from tests.refusals import refusals


def test_states_have_the_stated_distribution(scenario):
    state = ms.sample_state(scenario, np.random.default_rng(0), 2000)
    low, high = 0.85 * scenario.mean_draft_time, 1.15 * scenario.mean_draft_time
    assert kstest(state.draft_time.ravel(), "uniform", (low, high - low)).pvalue > 1e-3
    rates, counts = np.unique(state.acceptance_rate, return_counts=True)
    assert rates == pytest.approx(sorted(task.acceptance_rate for task in scenario.tasks))
    assert counts == pytest.approx(np.full(4, 10_000), rel=0.05)
    alike = scenario.replace(mean_gain_low=0.3, mean_gain_high=0.3)  # Rayleigh power is exponential
    gain = (2 ** ms.sample_state(alike, np.random.default_rng(1), 1000).spectral_efficiency - 1) / scenario.transmit_snr
    assert kstest(gain.ravel() / 0.3, "expon").pvalue > 1e-3


ALPHAS = [0.0, 5e-324, 1e-300, 1e-16, 1e-6, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53, 1.0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_expectation_is_exact_at_both_ends_and_near_them(alpha):
    lengths = [0, 1, 2, 8, 25, 200]
    with mp.workdps(60):
        exact = [float(sum(mpf(alpha) ** i for i in range(length + 1))) for length in lengths]
    assert expected_tokens(np.array(lengths), np.array(alpha)) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("length", [1, 4, 8])
def test_sampled_tokens_have_the_stated_distribution(alpha, length):
    draws = 40_000
    tokens = sample_tokens(np.full(draws, length), np.full(draws, alpha), np.random.default_rng(3))
    probability = np.array([alpha ** (n - 1) * (1 - alpha) for n in range(1, length + 1)] + [alpha**length])
    counts = np.array([(tokens == n).sum() for n in range(1, length + 2)])
    assert counts[probability > 0].sum() == draws
    if 0.0 < alpha < 1.0:
        assert chisquare(counts, draws * probability).pvalue > 1e-3


@pytest.mark.parametrize("bits", [2**59, 2**62, 2**90])  # the first overflows int64 only for a draft
def test_uploads_of_more_bits_than_int64_holds(bits):
    numbers = {"kept_probabilities": 2**30, "bits_per_probability": bits // 2**30}
    large = ms.Scenario.preset("llama2", vocabulary_size=2**30, **numbers)
    time = large.uplink.upload_time(np.array([25, 1]), np.array([4.0, 2.0]), np.array([5e5, 5e5]))
    assert time == pytest.approx([25 * bits / 2e6, bits / 1e6])


def test_the_logarithm_keeps_its_digits_for_every_snr():
    snr = np.concatenate([np.logspace(-30, 30, 500), SMALL_SNR * (1.0 + np.linspace(-1e-3, 1e-3, 101))])
    unit = ms.Scenario.preset("llama2", transmit_snr_db=0.0)
    efficiency = spectral_efficiency(unit, snr)
    assert efficiency == pytest.approx([math.log1p(x) / math.log(2.0) for x in snr], rel=1e-13)
    assert [float(spectral_efficiency(unit, np.array(x))) for x in snr] == efficiency.tolist()


T, R, A = [0.010, 0.020], [4.0, 2.0], [0.5, 1.0]
TWO = ms.Scenario.preset("llama2", num_users=2, total_bandwidth=1e6)
STATE = ms.SystemState(draft_time=T, spectral_efficiency=R, acceptance_rate=A)


def played(length=(1, 1), bandwidth=(5e5, 5e5), scenario=TWO, **state):
    decision = ms.Decision(draft_length=np.asarray(length), bandwidth=np.asarray(bandwidth))
    return ms.expected_outcome(scenario, STATE.changed(**state), decision)


def test_by_hand():
    outcome = played([2, 1], [4e5, 6e5])
    upload = [2 * 31_744 / (4e5 * 4.0), 31_744 / (6e5 * 2.0)]
    assert outcome.draft_time == pytest.approx([0.02, 0.02])
    assert outcome.upload_time == pytest.approx(upload)
    assert outcome.tokens == pytest.approx([1.75, 2.0])
    latency = 0.02 + max(upload) + 0.02268 + 2 * 0.01272
    assert outcome.round_latency == pytest.approx(latency)
    assert outcome.goodput == pytest.approx(3.75 / latency)
    assert outcome.verification_time == TWO.verification_time


def test_a_device_without_a_draft_may_have_bandwidth_or_none():
    outcome = played([0, 0], [0.0, 0.0], IDLE)
    assert outcome.goodput == pytest.approx(IDLE.autoregressive_goodput)  # one server token each
    for bandwidth in ([0.0, 1e6], [5e5, 5e5]):
        outcome = played([0, 1], bandwidth, IDLE)
        assert outcome.upload_time == pytest.approx([0.0, 31_744 / (bandwidth[1] * 2.0)])
        assert outcome.tokens == pytest.approx([1.0, 2.0])
    played(bandwidth=[5e5, 5e5 * (1 + 1.9e-6)])  # a budget allows for rounding


IDLE = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0, total_bandwidth=1e6)
BATCH = {
    name: np.tile(getattr(STATE, name), (3, 1)) for name in ("draft_time", "spectral_efficiency", "acceptance_rate")
}
SHAPE = r"expected shape \(\.\.\., 2\)"
test_refusals = refusals(
    (lambda: played([0, 1]), r"draft_length\[0\]: expected integers in 1\.\.25, got 0\.0"),
    (lambda: played([1, 1.5]), r"draft_length\[1\]: expected integers in 1\.\.25, got 1\.5"),
    (lambda: played([1, 1, 1]), rf"draft_length: {SHAPE}, one entry per user, got \(3,\)"),
    (lambda: played(bandwidth=[5e5, 0.0]), r"bandwidth\[1\]: expected numbers > 0 Hz, got 0\.0"),
    (
        lambda: played(bandwidth=[5e5, 5e5 * (1 + 2.1e-6)]),
        r"sum of bandwidth: expected at most 1e\+06 Hz, got 1000001\.",
    ),
    (lambda: played([0, 1], [-1.0, 5e5], IDLE), r"bandwidth\[0\]: .* got -1\.0"),
    (lambda: played([0, 1], [5e5, 0.0], IDLE), r"bandwidth\[1\]: .* got 0\.0"),
    (lambda: played(draft_time=[0.0, 0.1]), r"draft_time\[0\]: expected numbers > 0, got 0\.0"),
    (lambda: played(spectral_efficiency=[1.0, 0.0]), r"spectral_efficiency\[1\]: expected numbers > 0, got 0\.0"),
    (lambda: played(acceptance_rate=[1.1, 0.0]), r"acceptance_rate\[0\]: expected numbers in \[0, 1\], got 1\.1"),
    (lambda: played(acceptance_rate=[0.5]), rf"acceptance_rate: {SHAPE}, one entry per user, got \(1,\)"),
    (lambda: played(batteries=0.5), r"batteries: expected a BatteryState, got 0\.5"),
    (lambda: played(batteries=ms.physics.BatteryState(*np.ones((3, 1)))), f"affordable: {SHAPE}"),
    (lambda: played(batteries=ms.physics.BatteryState(*np.full((3, 2), 1.5))), r"level\[0\]: .* \[0, 1\], got 1\.5"),
    (lambda: played(head_start=[1.0, 4.0]), r"^head_start\[0\]: expected zeros where draft_ahead is False, got 1\.0$"),
    (lambda: played(np.ones((3, 2)), np.full((2, 2), 1e5)), "shapes: expected .* broadcast together, got draft_length"),
    (
        lambda: played(np.ones((2, 2)), np.full((2, 2), 1e5), **BATCH),
        r"decision: expected a shape that broadcasts with the state's \(3, 2\), got \(2, 2\)",
    ),
    (lambda: checked_weights([0, -1, 2], (2, 3)), r"weights\[1\]: expected numbers ≥ 0, got -1\.0"),
    (lambda: checked_weights([0, 1], (2, 3)), r"weights: expected a shape that broadcasts to \(2, 3\), got \(2,\)"),
)


PIECES = ((0.010, 0.001), (0.004, 0.002), (0.0, 0.0))
LENGTHS = np.array([[0, 4, 2], [10, 0, 0], [3, 3, 3]])


def law(pieces=PIECES, **others):
    fields = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "num_users": 3, **others}
    return ms.Scenario.preset("llama2", verification_pieces=pieces, min_draft_length=0, **fields)


@pytest.mark.parametrize("padded", [False, True])
def test_the_largest_piece_counts(padded):
    scenario = law(padded_verification=padded, verification_fixed_time=0.02, verification_time_per_draft=0.001)
    tokens = scenario.law.tokens(LENGTHS, LENGTHS.shape[-1])
    assert tokens.tolist() == ([15, 33, 12] if padded else [9, 13, 12])
    expected = [0.02 + 3 * 0.001 + max(a + b * n for a, b in PIECES) for n in tokens]
    assert scenario.law.pass_time(LENGTHS) == pytest.approx(expected, rel=1e-14)
    assert [float(scenario.law.pass_time(row)) for row in LENGTHS] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("pieces", [PIECES, ()])
def test_a_round_has_a_round_trip_and_reads_contexts(pieces):
    scenario = law(pieces, verification_fixed_time=0.02, verification_time_per_draft=0.001)
    state = ms.sample_state(scenario, np.random.default_rng(0), 4)
    decision = ms.Decision(np.full((4, 3), 2), np.full((4, 3), scenario.total_bandwidth / 3))
    near = ms.expected_outcome(scenario, state, decision)
    access = (near.draft_time + near.upload_time).max(-1)
    assert near.round_latency == pytest.approx(access + near.verification_time, rel=1e-12)
    far = ms.expected_outcome(scenario.replace(round_trip_time=0.1), state, decision)
    reading = ms.expected_outcome(scenario.replace(context_time=2e-6, context=5000), state, decision)
    for outcome, seconds, verifying in ((far, 0.1, 0.0), (reading, 0.03, 0.03)):
        assert outcome.round_latency == pytest.approx(near.round_latency + seconds, rel=1e-12)
        assert outcome.verification_time == pytest.approx(near.verification_time + verifying, rel=1e-12)
        assert outcome.goodput == pytest.approx(near.tokens.sum(-1) / (near.round_latency + seconds), rel=1e-12)
    assert (scenario.replace(context=5000).law.pass_time(LENGTHS) == scenario.law.pass_time(LENGTHS)).all()


RATES = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])


def test_utility_and_index_of_each_copy():
    assert utility(RATES) == pytest.approx([np.log(8.0), np.log(27.0)])
    assert jain_index(RATES) == pytest.approx([49.0 / 63.0, 1.0])
    assert jain_index(np.array([[5.0, 0.0, 0.0, 0.0]])) == pytest.approx([0.25])
    assert checked_weights(None, (2, 3)) is None
    assert checked_weights([0, 1, 2], (2, 3)).tolist() == [[0.0, 1.0, 2.0]] * 2


def test_throughput_is_discounted():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    assert initial_throughput(scenario, 2) == pytest.approx(np.full((2, 3), 1.0 / scenario.verification_time))
    tokens = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    outcome = Outcome(np.ones(2), tokens, np.array([0.5, 2.0]), tokens, tokens, tokens, 0.1)
    expected = [[1.25, 2.5, 4.5], [2.75, 2.875, 3.0]]  # a quarter of the way to [[2, 4, 6], [2, 2.5, 3]]
    assert discounted_throughput(RATES, outcome, 4.0) == pytest.approx(np.array(expected))


ROWS = ms.SystemState(*np.arange(18.0).reshape(3, 3, 2))
WHOLES = [
    ROWS,
    ms.Observed(ROWS.draft_time, ROWS.spectral_efficiency, age=np.arange(6).reshape(3, 2)),
    ms.Decision(np.arange(6).reshape(3, 2), ROWS.draft_time),
    ms.Outcome(np.arange(3.0), ROWS.draft_time, np.arange(3.0), *[ROWS.draft_time] * 3, np.arange(3.0)),
    ms.solver.CertifiedDecision(np.arange(6).reshape(3, 2), ROWS.draft_time, np.arange(3.0), np.arange(3.0), 1e-6),
]


@pytest.mark.parametrize("whole", WHOLES, ids=lambda whole: type(whole).__name__)
def test_parts_and_copies_of_a_batch(whole):
    values = {field.name: getattr(whole, field.name) for field in fields(whole)}
    for index in (1, slice(1, None), np.array([2, 0]), None, ()):
        part = whole[index]
        assert type(part) is type(whole)
        for name, value in values.items():
            assert np.array_equal(getattr(part, name), value[index] if isinstance(value, np.ndarray) else value)
    for name, value in values.items():
        copied = getattr(whole.copy(), name)
        assert np.array_equal(copied, value)
        assert not (isinstance(value, np.ndarray) and np.shares_memory(copied, value))


@pytest.mark.parametrize("arrays", [(T, R, A), np.ones((3, 4, 2)), ([0.1, 0.2], [1.0, 1.0], [0.5, 0.5])])
def test_head_starts_that_are_not_given_are_zero(arrays):
    state, seen = ms.SystemState(*arrays), ms.Observed(*arrays)
    for whole in (state, seen, pickle.loads(pickle.dumps(state)), state.changed(draft_time=2.0 * np.array(arrays[0]))):
        assert whole.head_start.shape == np.shape(arrays[0])
        assert not whole.head_start.any()
    chain = np.full(np.shape(arrays[0]), 2.0)
    assert (state.changed(head_start=chain).changed(acceptance_rate=arrays[2]).head_start == chain).all()


def test_head_starts_change_the_time_of_drafting_where_devices_draft_ahead():
    outcome = played([3, 2], scenario=TWO.replace(draft_ahead=True), head_start=[1.0, 4.0])
    assert outcome.draft_time == pytest.approx([2.0 * T[0], 0.0])
