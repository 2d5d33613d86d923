"""Analytic policy gradient: the actor follows derivatives of the expected reward, which the environment computes.

This is the method of Brax (Freeman et al. 2021, arXiv 2106.13281) for one round: γ = 0 is right in all environments
with derivatives except one (see `multispin_agents.base.step_discount`). There, with remembered throughput, `Foresight`
learns the effect of this round on later ones. The derivatives use the hidden state. Their mean over all states with the
same observation is the derivative of the reward that the policy can expect, so the policy learns the best decision on
average, without the noise of returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch as th
from gymnasium import spaces
from scipy.special import logit
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from typing_extensions import override

from multispin_agents.base import BaseSettings, CosineRate, DirectLearner, Remaining, has_late_reports, scenarios_like
from multispin_agents.policies import UserEncoder, UserFeatures, UserHead
from multispin_agents.vec_env import NativeVecEnv, first_seed, require_native
from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation, ObservationCodec
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

DISCOUNT = 0.98
"""Discount γ of a round in `Foresight`, for returns over about 64 rounds."""


class Foresight(nn.Module):
    """Long-term weights of rates if the reward is the growth of Σ_k ln R_k, R' = q R + rate / w, q = 1 − 1 / w.

    With later decisions fixed, a rate in round t changes all later rewards by

        ω_t = Σ_{s≥t} γ^{s−t} ∂ reward_s / ∂ rate_t = (1 − γ) / (w R_{t+1}) + γ q ω_{t+1},

    because U(R_{s+1}) is added in round s and subtracted, times γ, in round s + 1. With γ = 0, ω is the weight of the
    gradient rule; with γ near 1 it is 1 over the future throughput. The network learns ρ = w R ω from one round to the
    next. R decreases at most by the factor q in a round, so ρ ≤ 1 / q. The output of the network has this bound: it
    learns from its own predictions and would diverge otherwise. The window is w > 1, in rounds.
    """

    def __init__(self, space: spaces.Space[Any], width: int, window: float, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.window = window
        q = 1.0 - 1.0 / window
        self.decay = DISCOUNT * q
        self.features = UserFeatures(space)
        assert isinstance(space, spaces.Dict)
        users = space.spaces["compute"].shape[0]  # type: ignore[index]
        self.encoder = UserEncoder(width, self.features.features_dim // users)
        self.head = UserHead(width, 1)
        constant = (1.0 - DISCOUNT) / (1.0 - self.decay)  # ρ if throughput stays constant
        self.log_bound = float(-np.log(q))
        self.first_logit = float(logit(constant * q))
        self.optimizer = th.optim.Adam(self.parameters(), lr=learning_rate)

    @override
    def forward(self, observation: Observation) -> th.Tensor:
        """Return ln ρ (n, K)."""
        tensors = {key: th.as_tensor(array) for key, array in observation.items()}
        logits = self.first_logit + self.head(self.encoder(self.features(tensors)))
        return self.log_bound + nn.functional.logsigmoid(logits)

    def weights(self, observation: Observation, codec: ObservationCodec) -> FloatArray:
        """Return the weights ω (n, K) in seconds of the rates in the round after the observation."""
        with th.no_grad():
            ratio = np.exp(self(observation).numpy().astype(np.float64))
        return ratio / (self.window * _throughput(observation, codec))

    def learn(self, before: Observation, after: Observation, goes_on: BoolArray, codec: ObservationCodec) -> None:
        """Learn from one round of the environments in the mask ``goes_on`` (n,), whose episodes continue."""
        with th.no_grad():
            later = self(after).exp()
        growth = _throughput(after, codec) / _throughput(before, codec)
        target = ((1.0 - DISCOUNT) + self.decay * later) / th.as_tensor(growth.astype(np.float32))
        error = (self(before) - target.log())[th.as_tensor(goes_on)]
        self.optimizer.zero_grad()
        (error**2).sum().div(max(error.numel(), 1)).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()


def _throughput(observation: Observation, codec: ObservationCodec) -> FloatArray:
    observed = codec.decode(observation)
    assert isinstance(observed, Observed)
    assert observed.throughput is not None
    return observed.throughput


WIDE, WINDOW = 0.4, 0.2
"""Widths in tokens of the window around the midpoint of two integers in which rounded lengths have a derivative.

The wide window, used first, finds a good length common to all devices; the narrow one finds lengths that differ.
"""

_REAL, _CHANGE, _NARROW = 0.1, 0.1, 0.2
"""Fractions of the budget: with real lengths, for the change to rounded lengths, and until the window is narrow.

Derivatives with real lengths show the direction from far away. Derivatives with rounded lengths are larger, and the
optimiser cannot handle a sudden change.
"""


class Play:
    """Rounds that a learning policy plays in one vector environment; ``foresight`` learns from them."""

    def __init__(self, env: NativeVecEnv, foresight: Foresight | None = None) -> None:
        self.env = env
        self.foresight = foresight
        self.codec = env.env.config.observations
        self.observation: Any = env.reset()

    def slopes(self, action: th.Tensor, rounded: float = 0.0, window: float = WINDOW) -> th.Tensor:
        """Play actions, flat (n, K · columns); return the derivatives of their expected reward, of the same shape.

        Actions are clipped to their bounds; derivatives that point out of the bounds are 0. Derivatives with rounded
        lengths, in this window, have the weight ``rounded``; those with real lengths have the rest.
        """
        shape = (self.env.num_envs, *self.env.action_space.shape)  # type: ignore[misc]
        unclipped = action.detach().cpu().numpy().reshape(shape)
        played = unclipped.clip(-LIMIT, LIMIT)
        weights = None if self.foresight is None else self.foresight.weights(self.observation, self.codec)
        slopes = np.zeros(shape)
        for part, width in ((1.0 - rounded, 0.0), (rounded, window)):
            if part:
                slopes += part * self.env.env.reward_slopes(played, weights, width)
        slopes[(unclipped != played) & (unclipped * slopes > 0.0)] = 0.0
        before = self.observation
        self.observation, _, ended, _ = self.env.step(played)
        if self.foresight is not None:
            self.foresight.learn(before, self.observation, ~ended, self.codec)
        return th.as_tensor(slopes.astype(np.float32), device=action.device).flatten(1)


class AnalyticPolicyGradient(DirectLearner):
    """Learner that alternates between its own environment and, in turn, those of other scenarios."""

    def __init__(self, env: NativeVecEnv, others: Sequence[Scenario], remaining: Remaining, **common: Any) -> None:
        self.remaining = remaining
        super().__init__(env, **common)
        self.others = tuple(others)

    @override
    def _setup_model(self) -> None:
        super()._setup_model()
        assert isinstance(self.env, NativeVecEnv)
        window = self.env.env.objective.remembered_rounds
        width = self.policy_kwargs["width"]
        self.foresight = None if window == 1.0 else Foresight(self.observation_space, width, window)

    @override
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        networks, others = super()._get_torch_save_params()
        return networks + ([] if self.foresight is None else ["foresight", "foresight.optimizer"]), others

    @override
    def loss(self) -> tuple[th.Tensor, int]:
        # first-order approximation of minus the reward in one vector environment
        if self.foresight is not None:
            (group,) = self.foresight.optimizer.param_groups
            group["lr"] = 0.2 * self.lr_schedule(self._current_progress_remaining)
        main, *others = self._plays
        turn, is_other = divmod(self._n_updates, 2)
        play = others[turn % len(others)] if is_other and others else main
        tensors = {key: th.as_tensor(array, device=self.device) for key, array in play.observation.items()}
        action = self.policy.deterministic(tensors)
        gain = (play.slopes(action, *self._stage) * action).sum(-1).mean()
        return -gain, play.env.num_envs

    @property
    def _stage(self) -> tuple[float, float]:
        used = 1.0 - self.remaining(self._current_progress_remaining)
        return min(1.0, max(0.0, (used - _REAL) / _CHANGE)), WIDE if used < _NARROW else WINDOW

    @cached_property
    def _plays(self) -> list[Play]:
        main = self.env
        assert isinstance(main, NativeVecEnv)
        total = main.num_envs * main.env.scenario.num_users
        others = []
        for index, scenario in enumerate(self.others):
            config, num_envs = replace(main.env.config, scenario=scenario), -(-total // scenario.num_users)
            seed = first_seed(self.seed or 0, index, num_envs)
            others.append(NativeVecEnv.of(config, num_envs, seed))
        return [Play(env, self.foresight) for env in (main, *others)]


@dataclass(frozen=True)
class APGSettings(BaseSettings):
    """Hyperparameters of APG, which also learns with other numbers of users and, optionally, in other presets."""

    num_envs: int = 64
    timesteps: int = 500_000
    learning_rate: float = 3e-3
    max_grad_norm: float = 0.3
    width: int = 64
    users: tuple[int, ...] = (2, 3, 5, 8, 12, 20, 32, 50)
    presets: bool = False
    bandwidth: float = 0.0  # initial mean of all action columns except the first

    @override
    def check(self, config: EnvConfig) -> None:
        if not config.has_slopes:
            kind = type(config).__name__
            raise ValueError(f"agent: expected an environment whose reward has derivatives for 'apg', got {kind}")

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        return replace(self, bandwidth=3.2) if has_late_reports(config) else self

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> AnalyticPolicyGradient:
        """Build the untrained model; raise ``ValueError`` if the environment has no derivatives."""
        native = require_native(env, "derivatives")
        config = native.env.config
        self.check(config)
        scenarios = scenarios_like(config) if self.presets else (config.scenario,)
        return AnalyticPolicyGradient(
            native,
            [scenario.replace(num_users=users) for users in self.users for scenario in scenarios],
            remaining,
            learning_rate=CosineRate(self.learning_rate, remaining),
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "bandwidth_init": self.bandwidth},
            seed=seed,
            device=device,
        )


SETTINGS = APGSettings()

GENERALIST = APGSettings(timesteps=3_000_000, users=(2, 3, 5, 8, 12, 20, 32, 50, 100, 200), presets=True)
"""Settings for agents to share: slightly less exact in their own system, but good in all presets.

If the server's verification time depends on tokens, agents train on every preset with every server and payload.
"""
