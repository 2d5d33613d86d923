import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from multispin_env.physics.radio import INDEPENDENT, STATIC, GaussMarkov, predictive_mean, predictive_quantile

MEAN = np.array([0.2, 0.35, 0.5])


@pytest.mark.parametrize("channel", [INDEPENDENT, GaussMarkov(0.9)], ids=["independent", "gauss-markov"])
def test_drawing_ahead_changes_nothing(channel):
    rng = np.random.default_rng(3)
    pieces = np.concatenate([channel.draw(rng, 2, 5), channel.draw(rng, 3, 5)])
    assert (pieces == channel.draw(np.random.default_rng(3), 5, 5)).all()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95, 1.0])
def test_gain_is_exponential_in_every_round(correlation):
    """And the correlation of powers is that of the complex field, squared."""
    channel, mean = GaussMarkov(correlation), np.full(100_000, 0.3)
    fresh = channel.draw(np.random.default_rng(1), 5, 100_000)
    gain = [channel.first_gain(mean, fresh[0])]
    for row in fresh[1:]:
        gain.append(channel.next_gain(gain[-1], mean, row))
    gain = np.array(gain)
    for row in gain[[0, 3]]:
        assert stats.kstest(row / 0.3, "expon").pvalue > 1e-3
    if correlation == 1.0:
        assert (gain == gain[0]).all()
    for ahead in range(1, 5):
        measured = np.corrcoef(gain[0], gain[ahead])[0, 1]
        assert measured == pytest.approx(correlation ** (2 * ahead), abs=0.015)


@pytest.mark.parametrize("ahead", [1, 4])
@pytest.mark.parametrize("gain", [1e-6, 0.2, 1.5])
def test_conditional_law(gain, ahead):
    channel, users = GaussMarkov(0.9), 100_000
    mean, later = np.full(users, 0.3), np.full(users, gain)
    for row in channel.draw(np.random.default_rng(6), ahead, users):
        later = channel.next_gain(later, mean, row)
    error = later.std() / np.sqrt(users)
    assert abs(later.mean() - predictive_mean(np.array(gain), np.array(0.3), 0.9, ahead)) < 4 * error
    for level in (0.05, 0.5, 0.9):
        below = (later < predictive_quantile(level, np.array(gain), np.array(0.3), 0.9, ahead)).mean()
        assert below == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / users))


def test_quantile_is_that_of_scipy_stats():
    level = np.array([1e-6, 0.01, 0.1, 0.5, 0.9, 0.999])[:, None, None]
    gain = np.array([1e-9, 0.01, 0.3, 3.0])[:, None]
    correlation = np.array([0.1, 0.7, 0.9, 0.999, 0.99999])
    scale = 0.35 * (1 - correlation**4) / 2
    expected = scale * stats.ncx2.ppf(level, 2, correlation**4 * gain / scale)
    assert predictive_quantile(level, gain, np.array(0.35), correlation, 2) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("correlation", [0.0, 1e-300, 0.5, 1 - 1e-9, 1 - 2**-53, 1.0])
def test_quantile_is_finite_and_in_order_everywhere(correlation):
    gain = np.array([0.0, 5e-324, 1e-300, 1e-12, 0.3, 1e6])
    level = np.array([1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])[:, None]
    for rounds in (0, 1, 7, 10**6):
        quantile = predictive_quantile(level, gain, np.array(0.3), correlation, rounds)
        assert quantile.shape == (5, 6)
        assert (np.isfinite(quantile) & (quantile >= 0)).all()
        assert (np.diff(quantile, axis=0) >= 0).all()
        if correlation == 1.0 or rounds == 0:
            assert (quantile == gain).all()
    dwarfed = predictive_quantile(0.5, np.array([1e10, 1.0]), np.array([1e-300, 1e-300]), 0.9, 1)
    assert dwarfed == pytest.approx([0.81e10, 0.81], rel=1e-12)


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan])
def test_bad_probability(level):
    with pytest.raises(ValueError, match=rf"probability: expected (finite numbers|numbers in \(0, 1\)), got {level}$"):
        predictive_quantile(level, MEAN, MEAN, 0.9, 1)


@pytest.mark.parametrize("elapsed", [None, np.full(3, 0.2)], ids=["rounds", "in time"])
def test_a_static_gain_stays(elapsed):
    fresh = STATIC.draw(np.random.default_rng(0), 2, 3)
    gain = STATIC.first_gain(MEAN, fresh[0])
    assert (gain == INDEPENDENT.first_gain(MEAN, INDEPENDENT.draw(np.random.default_rng(0), 1, 3)[0])).all()
    assert (STATIC.next_gain(gain, MEAN, fresh[1], elapsed) == gain).all()
    assert (INDEPENDENT.next_gain(gain, MEAN, fresh[1], elapsed) != gain).all()


def test_a_static_channel_of_rounds_lasts_for_the_episode():
    env = gym.make("MultiSpin/Heterogeneous-v0", num_users=3, channel="static")
    first = env.reset(seed=0)[0]["channel"]
    assert all((env.step(env.action_space.sample())[0]["channel"] == first).all() for _ in range(5))
    assert (env.reset()[0]["channel"] != first).all()
