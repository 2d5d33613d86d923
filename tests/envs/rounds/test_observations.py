import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.observations import ENTRIES, LARGEST_FADE, ObservationCodec
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.types import named_arrays, with_batteries
from tests.families import ON_SERVER


def test_inverse_and_bounds(scenario, rng):
    codec = ObservationCodec(scenario)
    state = ms.sample_state(scenario, rng, 50)
    best = spectral_efficiency(scenario, np.full(scenario.num_users, scenario.mean_gain_high * LARGEST_FADE))
    state.spectral_efficiency[0] = best
    observation = codec.encode(state)
    decoded = codec.decode(observation)
    for field in ("draft_time", "spectral_efficiency", "acceptance_rate"):
        assert getattr(decoded, field) == pytest.approx(getattr(state, field), rel=1e-6)
    for i in range(50):
        assert codec.space.contains({key: value[i] for key, value in observation.items()})
    assert all(np.isfinite([box.low, box.high]).all() for box in codec.space.values())
    # NumPy's tail begins at 7.7 and adds −ln(1 − u), with u at most 1 − 2^-53
    assert 7.7 + 53 * np.log(2.0) < LARGEST_FADE
    with pytest.raises(ValueError, match=r"scenario: expected magnitudes below 20 of log10 of .*, got "):
        ObservationCodec(ms.Scenario.preset("llama2", total_bandwidth=1e30))


def test_entries_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    of_rounds = tuple(
        key
        for key, entry in ENTRIES.items()
        if entry.field in (*ms.Observed.__slots__, *ms.physics.BatteryState.__slots__)
    )
    codec = ObservationCodec(scenario, of_rounds, rho=30.0)
    snr = 10.0**2.35
    middle = np.log2(1.0 + snr * 0.35)
    two = {
        "draft_time": ([0.012, 0.006], "compute", [1.0, 0.5]),
        "spectral_efficiency": ([middle, 2 * middle], "channel", [1.0, 2.0]),
        "acceptance_rate": ([0.25, 1.0], "acceptance", [0.25, 1.0]),
        "task": ([1, 3], "task", [0, 1, 0, 0, 0, 0, 0, 1]),
        "drafted": ([5, 25], "drafted", [0.2, 1.0]),
        "accepted": ([0, 5], "accepted", [0.0, 0.2]),
        "age": ([0, 16], "age", [0.0, 0.5]),
        "hits": ([64, 192], "hits", [0.5, 0.75]),
        "misses": ([16, 48], "misses", [0.5, 0.75]),
        "mean_gain": ([0.35, 0.5], "mean_channel", [1.0, np.log2(1.0 + snr * 0.5) / middle]),
        "planned_efficiency": ([middle, 0.0], "planned_channel", [1.0, 0.0]),
        "head_start": ([0.5, 25.0], "head_start", [0.02, 1.0]),
        "affordable": ([0, 5], "affordable", [0.0, 0.2]),
        "level": ([0.0, 0.7], "level", [0.0, 0.7]),
        "capacity": ([2.5, 7.5], "capacity", [0.5, 0.75]),  # 25 tokens of 0.1 J
        "charge": (np.array([0.1, 0.3]) / scenario.verification_time, "charge", [0.5, 0.75]),
        "time_left": ([0.0, 0.3], "time_left", [0.0, 0.3]),
        "throughput": (np.array([1.0, 3.0]) / scenario.verification_time, "throughput", [0.5, 0.75]),
    }
    assert {entry for _, entry, _ in two.values()} == set(of_rounds)
    observed = ms.Observed(**with_batteries({field: np.array(values) for field, (values, _, _) in two.items()}))
    observation = codec.encode(observed)
    decoded = named_arrays(codec.decode(observation))
    for field, (values, entry, scaled) in two.items():
        assert observation[entry] == pytest.approx(scaled, rel=1e-6), entry
        assert decoded[field] == pytest.approx(values, rel=1e-5), field
    upload, verification = 2 * scenario.bits_per_token / (1e7 * middle), scenario.verification_time
    shared = [verification / 0.012, 2.0, upload / 0.012, 30.0 * verification / 2]
    assert observation["shared"] == pytest.approx(np.log10(shared), rel=1e-6)


@pytest.mark.parametrize(("name", "scale"), [("age", 16), ("misses", 16), ("hits", 64)])
def test_counts_are_exact_to_500_times_their_scale(name, scale):
    codec = ObservationCodec(ms.Scenario.preset("llama2"), (name,))
    counts = np.arange(500 * scale)
    encoded = codec.entries[name].encode(codec, counts).astype(np.float32)
    assert (ENTRIES[name].decode(codec, encoded.astype(np.float64)) == counts).all()


@pytest.mark.parametrize("round_trip_time", [0.0, 1.0])
def test_shared_times_of_longer_passes(round_trip_time):
    env = gym.make("MultiSpin/Heterogeneous-v0", round_trip_time=round_trip_time, **ON_SERVER)
    observation, _ = env.reset(seed=0)
    scenario = env.unwrapped.scenario
    expected = [(scenario.law.time(3, n) + round_trip_time) / scenario.mean_draft_time for n in (3, 15, 78)]
    assert 10.0 ** observation["shared"][[0, 3, 4]] == pytest.approx(expected, rel=1e-5)
    assert gym.make("MultiSpin/Heterogeneous-v0").observation_space["shared"].shape == (3,)
