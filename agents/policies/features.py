"""Observations to features of order one, the same ones for every user: what the networks read.

A feature is made of one or several entries of the observation; those whose entries a variant hides are left out. The
order is fixed, so that a network fits every environment with the same entries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from multispin_env.envs.observations import ROUNDS, SHARED, SLACK, TOKENS

SMALLEST_CHANNEL = 1e-3
"""Added before the logarithm of a relative spectral efficiency."""

PRIOR_RATE = 0.75
PRIOR_TOKENS = (8.0, 32.0)
"""Tokens of this rate that smooth the odds of acceptance, for rates that differ much or little between requests."""


@dataclass(frozen=True)
class Feature:
    """Columns of every user, from entries of the observation.

    Parameters
    ----------
    entries
        What it is made of.
    columns
        Arrays (batch, K, numbers), one for each entry, to features of that shape; most entries have one number of
        each user.
    """

    entries: tuple[str, ...]
    columns: Callable[..., list[th.Tensor]]


def _count(saturated: th.Tensor, scale: float) -> th.Tensor:
    """x of x / (x + scale)."""
    return scale * saturated / (1.0 - saturated).clamp(min=1e-6)


def _odds(hits: th.Tensor, misses: th.Tensor) -> list[th.Tensor]:
    """Smoothed log odds of acceptance since the request began, and how much has been seen."""
    accepted, refused = _count(hits, TOKENS), _count(misses, ROUNDS)
    odds = [
        th.log(accepted / (tokens * PRIOR_RATE) + 1.0) - th.log(refused / (tokens * (1.0 - PRIOR_RATE)) + 1.0)
        for tokens in PRIOR_TOKENS
    ]
    return [*odds, 0.5 * th.log(1.0 + accepted + refused) - 1.0, th.log(1.0 + refused) - 0.5]


def _last_round(drafted: th.Tensor, accepted: th.Tensor, age: th.Tensor) -> list[th.Tensor]:
    """The last round, if it was of the present request: its tokens, and whether all were accepted."""
    same = (age > 0.0).float()
    return [4.0 * same * drafted, 4.0 * same * accepted, same * (accepted >= drafted).float(), 2.0 * age - 1.0]


def _pace(due: th.Tensor, wanted: th.Tensor) -> list[th.Tensor]:
    """The time until the last token is due, and so much of it for each token still wanted, in pieces of order one."""
    left = SLACK * due / (1.0 - due.abs()).clamp(min=1e-6)  # in verifications
    each = left / _count(wanted, TOKENS).clamp(min=1.0)
    return [due, each / (each.abs() + 1.0)]


FEATURES = (
    Feature(("compute",), lambda x: [5.0 * (x - 1.0)]),
    Feature(("channel",), lambda x: [x - 1.0, th.log(x + SMALLEST_CHANNEL)]),
    Feature(("acceptance",), lambda x: [4.0 * (x - 0.75), -th.log1p(-x.clamp(max=0.999)) - 1.5]),
    Feature(("mean_channel",), lambda x: [x - 1.0, th.log(x + SMALLEST_CHANNEL)]),
    Feature(("planned_channel",), lambda x: [x - 1.0, th.log(x + SMALLEST_CHANNEL)]),
    Feature(("task",), lambda x: [x]),
    Feature(("drafted", "accepted", "age"), _last_round),
    Feature(("hits", "misses"), _odds),
    Feature(("phase",), lambda x: [x]),
    Feature(("draft",), lambda x: [4.0 * x]),
    Feature(("ready",), lambda x: [2.0 * x]),
    Feature(("cycle",), lambda x: [2.0 * x - 1.0]),
    Feature(("aim",), lambda x: [4.0 * x]),
    Feature(("wanted",), lambda x: [2.0 * x, 0.5 * th.log1p(_count(x, TOKENS)) - 1.0]),
    Feature(("answer",), lambda x: [2.0 * x]),
    Feature(("prompt",), lambda x: [x]),
    Feature(("waited",), lambda x: [x]),
    Feature(("first_due",), lambda x: [x]),
    Feature(("due", "wanted"), _pace),
    Feature(("queue",), lambda x: [4.0 * x]),
    Feature(("throughput",), lambda x: [th.log(x + 1e-6) - th.log1p(-x.clamp(max=0.999))]),
)
"""All of them; the quantities of ``shared`` follow as they are."""


class UserFeatures(BaseFeaturesExtractor):
    """Dict observation to features (batch, K · columns), roughly centred, whatever K is."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        assert isinstance(observation_space, spaces.Dict)
        chosen = [one for one in FEATURES if set(one.entries) <= set(observation_space.spaces)]
        sizes = {key: _size(space) for key, space in observation_space.spaces.items()}
        numbers = {key: size // sizes["compute"] for key, size in sizes.items()}
        nothing = {key: th.zeros(1, size) for key, size in sizes.items()}
        super().__init__(observation_space, features_dim=_by_user(chosen, numbers, nothing).numel())
        self._chosen = chosen
        self._numbers = numbers

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """Features of a batch of observations."""
        return _by_user(self._chosen, self._numbers, observations).flatten(1)


def _by_user(chosen: Sequence[Feature], numbers: Mapping[str, int], observations: dict[str, th.Tensor]) -> th.Tensor:
    """Features (batch, K, columns) of entries with so many numbers of each user."""
    users = observations["compute"].shape[-1]
    own: list[th.Tensor] = []
    for feature in chosen:
        own += feature.columns(*(observations[key].unflatten(-1, (users, numbers[key])) for key in feature.entries))
    shared = observations[SHARED].unsqueeze(-2).expand(-1, users, -1)
    return th.cat([*own, shared], dim=-1)


def _size(space: spaces.Space[Any]) -> int:
    assert space.shape is not None
    return int(space.shape[0])
