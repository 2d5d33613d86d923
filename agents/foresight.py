"""Foresight where a round is remembered: what a user's rate is worth for throughput to come, learnt while playing."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from scipy.special import logit
from torch import nn

from agents.policies.equivariant import UserEncoder, UserHead
from agents.policies.features import UserFeatures
from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.envs.observations import Observation, ObservationCodec

DISCOUNT = 0.98
"""γ a round, where returns have about 64 rounds."""


MAX_GRAD_NORM = 1.0
"""As in Stable-Baselines3."""


class Foresight(nn.Module):
    """Worth of rates where the reward is the growth of Σ_k ln R_k, R' = q R + rate / w with q = 1 − 1 / w (ours).

    With later decisions held, a rate in round t changes all later rewards by

        ω_t = Σ_{s≥t} γ^{s−t} ∂ reward_s / ∂ rate_t = (1 − γ) / (w R_{t+1}) + γ q ω_{t+1},

    since what the growth of round s gains by U(R_{s+1}) that of round s + 1 loses again, but for γ. With γ = 0 this is
    the weight of the gradient rule; with γ near 1 it is one over the throughput that there will be. The network
    learns ρ = w R ω from one round to the next. As R falls by no more than q in a round, ρ ≤ 1 / q, and the network
    cannot answer more: unbounded, it could drive itself up through its own answers.

    Parameters
    ----------
    space
        Of observations.
    width
        Of all layers.
    window
        w > 1 in rounds.
    learning_rate
        Of its own optimiser.
    """

    def __init__(self, space: spaces.Space[Any], width: int, window: float, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.window = window
        q = 1.0 - 1.0 / window
        self.kept = DISCOUNT * q
        self.features = UserFeatures(space)
        assert isinstance(space, spaces.Dict)
        users = space.spaces["compute"].shape[0]  # type: ignore[index]
        self.encoder = UserEncoder(width, self.features.features_dim // users)
        self.head = UserHead(width, 1)
        settled = (1.0 - DISCOUNT) / (1.0 - self.kept)  # ρ where throughput stays as it is
        self.log_bound = float(-np.log(q))
        self.first = float(logit(settled * q))
        self.optimizer = th.optim.Adam(self.parameters(), lr=learning_rate)

    def set_rate(self, learning_rate: float) -> None:
        """Change the learning rate of its optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def forward(self, observation: Observation) -> th.Tensor:
        """ln ρ (n, K)."""
        tensors = {key: th.as_tensor(array) for key, array in observation.items()}
        return self.log_bound + nn.functional.logsigmoid(self.first + self.head(self.encoder(self.features(tensors))))

    def worth(self, observation: Observation, codec: ObservationCodec) -> FloatArray:
        """ω (n, K) in seconds, of the rates in the round that follows this observation."""
        with th.no_grad():
            ratio = np.exp(self(observation).numpy().astype(np.float64))
        return ratio / (self.window * _throughput(observation, codec))

    def learn(self, before: Observation, after: Observation, same: BoolArray, codec: ObservationCodec) -> None:
        """Take in a round of the copies in ``same`` (n,), those whose episode goes on."""
        with th.no_grad():
            later = self(after).exp()
        growth = _throughput(after, codec) / _throughput(before, codec)
        target = ((1.0 - DISCOUNT) + self.kept * later) / th.as_tensor(growth.astype(np.float32))
        error = (self(before) - target.log())[th.as_tensor(same)]
        self.optimizer.zero_grad()
        (error**2).sum().div(max(error.numel(), 1)).backward()
        nn.utils.clip_grad_norm_(self.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()


def _throughput(observation: Observation, codec: ObservationCodec) -> FloatArray:
    throughput = codec.decode(observation).throughput
    assert throughput is not None
    return throughput
