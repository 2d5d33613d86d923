"""Baseline of each user's action: a return less all that the state and the other users' actions explain of it.

All users share one return, so most of what one of them is told is noise. A regression takes out what can be known
without its own action: a baseline that depends on the state and on the actions of the others (Wu et al. 2018, arXiv
1803.07246). Such a baseline changes no gradient on average; this one does a little, as it is fitted to the same rows.
It has no weights to learn, so it is good from the first rollout on.
"""

import torch as th

RIDGE = 1e-5
"""Of squared coefficients, for each row, so that columns may depend on each other."""


def gains(features: th.Tensor, noise: th.Tensor, returns: th.Tensor) -> tuple[th.Tensor, float]:
    """What users' actions gained in a rollout.

    Parameters
    ----------
    features
        (n, K, F), what users' actions depend on.
    noise
        (n, K, columns), how far actions are from their means, in standard deviations.
    returns
        (n,).

    Returns
    -------
    gains : Tensor
        (n, K), of mean 0 and variance 1.
    explained : float
        Part of the variance of returns that the regression explains.

    Examples
    --------
    >>> draw = th.Generator().manual_seed(0)
    >>> features, noise = th.ones(500, 2, 1), th.randn(500, 2, 1, generator=draw)
    >>> found, explained = gains(features, noise, returns=noise[:, 0, 0] - noise[:, 1, 0] + 7.0)
    >>> explained > 0.99
    True
    """
    state, actions = _of_states(features), _of_actions(features, noise)
    known = th.cat([state, actions.sum(1)], dim=-1).double()
    square = known.T @ known
    square.diagonal().add_(RIDGE * len(known))
    weights = th.linalg.solve(square, known.T @ returns.double())
    left = returns - (known @ weights).float()
    explained = 1.0 - float(left.var() / returns.var().clamp(min=1e-12))
    own = left.unsqueeze(-1) + actions @ weights[state.shape[-1] :].float()
    return (own - own.mean()) / (own.std() + 1e-8), explained


def _of_states(features: th.Tensor) -> th.Tensor:
    """Columns (n, numbers) that the order of users does not change: means of products, and extremes."""
    one = _with_one(features)
    first, second = th.triu_indices(one.shape[-1], one.shape[-1], device=one.device)
    products = one.transpose(-1, -2) @ one / one.shape[-2]
    return th.cat([products[:, first, second], features.amax(-2), features.amin(-2)], dim=-1)


def _of_actions(features: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """Columns (n, K, numbers) of each user's own action: how it deviates, by features, and how far."""
    slopes = (_with_one(features).unsqueeze(-1) * noise.unsqueeze(-2)).flatten(-2)
    return th.cat([slopes, noise.square() - 1.0], dim=-1)


def _with_one(features: th.Tensor) -> th.Tensor:
    return th.cat([th.ones_like(features[..., :1]), features], dim=-1)
