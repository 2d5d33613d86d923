"""The regression behind advantages, against least squares written with loops."""

import numpy as np
import pytest
import torch as th

from agents.ppo import gains

N, USERS, FEATURES, COLUMNS = 300, 3, 2, 2


def drawn():
    draw = th.Generator().manual_seed(0)
    sizes = (N, USERS, FEATURES), (N, USERS, COLUMNS), (N,)
    return [th.randn(size, generator=draw) for size in sizes]


def own_columns(features, noise):
    """Of one user."""
    slopes = [number * step for number in (1.0, *features) for step in noise]
    return np.array([*slopes, *(noise**2 - 1.0)])


def columns(features, noise):
    """Of one state."""
    known = [(1.0, *user) for user in features]
    pairs = [(i, j) for i in range(FEATURES + 1) for j in range(i, FEATURES + 1)]
    products = [np.mean([user[i] * user[j] for user in known]) for i, j in pairs]
    return np.array([*products, *features.max(0), *features.min(0)]), sum(map(own_columns, features, noise))


def test_against_loops():
    features, noise, returns = drawn()
    rows = [columns(*one) for one in zip(features.double().numpy(), noise.double().numpy(), strict=True)]
    known = np.array([np.concatenate(one) for one in rows])
    wide = np.vstack([known, np.sqrt(1e-5 * N) * np.eye(known.shape[1])])
    weights = np.linalg.lstsq(wide, np.append(returns.numpy(), np.zeros(known.shape[1])), rcond=None)[0]
    left = returns.numpy() - known @ weights
    of_actions = weights[len(rows[0][0]) :]
    own = np.array(
        [
            [own_columns(features[n, user].numpy(), noise[n, user].numpy()) @ of_actions for user in range(USERS)]
            for n in range(N)
        ]
    )
    wanted = left[:, None] + own
    found, explained = gains(features, noise, returns)
    assert found.numpy() == pytest.approx((wanted - wanted.mean()) / wanted.std(ddof=1), abs=1e-3)
    assert explained == pytest.approx(1.0 - left.var() / returns.numpy().var(), abs=1e-4)


def test_users_are_told_what_they_did_themselves():
    """Returns in which the state and the other users' actions count for far more than the own one."""
    features, noise, _ = drawn()
    own = noise[..., 0] * (1.0 + features[..., 1])
    returns = own.sum(-1) + 20.0 * features[..., 0].square().mean(-1) + 5.0 * features[..., 0].amax(-1)
    found, explained = gains(features, noise, returns)
    told, shared = (
        np.corrcoef(one.flatten(), own.flatten())[0, 1] for one in (found, returns[:, None].expand(N, USERS))
    )
    assert told > 0.95
    assert abs(shared) < 0.3
    assert explained > 0.95


def test_a_return_that_is_always_the_same_tells_nothing():
    features, noise, returns = drawn()
    found, _ = gains(features, noise, th.full_like(returns, 3.0))
    assert th.isfinite(found).all()
