"""Soft actor-critic (Haarnoja et al. 2018) with equivariant networks as actor and critics."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn
from typing_extensions import override

from multispin_agents.base import BaseSettings, LinearRate, Remaining, has_late_reports, step_discount
from multispin_agents.policies import SumHead, UserEncoder, UserFeatures, UserHead
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.config import EnvConfig


class EquivariantActor(Actor):
    """Actor with one encoder and two heads, one for the mean and one for the log standard deviation."""

    def __init__(self, width: int, log_std: float, bandwidth: float, **common: Any) -> None:
        super().__init__(**common)
        users, columns = self.action_space.shape
        self.latent_pi = UserEncoder(width, self.features_dim // users)  # type: ignore[assignment]
        self.mu = UserHead(width, columns, bandwidth)
        log_std_head = UserHead(width, columns)
        nn.init.constant_(log_std_head.net[-1].bias, log_std)  # type: ignore[arg-type]
        self.log_std = log_std_head  # type: ignore[assignment]


class JointValue(nn.Module):
    """Q network for features (batch, K · features) and actions (batch, K · columns), for any order of users."""

    def __init__(self, width: int, features: int, columns: int) -> None:
        super().__init__()
        self.features = features
        self.columns = columns
        self.encoder = UserEncoder(width, features + columns)
        self.head = SumHead(width)

    @override
    def forward(self, joined: th.Tensor) -> th.Tensor:
        users = joined.shape[-1] // (self.features + self.columns)
        features, actions = joined.split((users * self.features, users * self.columns), dim=-1)
        by_user = th.cat([features.unflatten(-1, (users, -1)), actions.unflatten(-1, (users, -1))], dim=-1)
        return self.head(self.encoder(by_user.flatten(1)))


class EquivariantCritic(ContinuousCritic):
    """Critics that are `JointValue` networks."""

    def __init__(self, width: int, **common: Any) -> None:
        super().__init__(**common)
        users, columns = self.action_space.shape  # type: ignore[misc]
        features = common["features_dim"] // users
        self.q_networks = [JointValue(width, features, columns) for _ in range(self.n_critics)]
        for index, network in enumerate(self.q_networks):
            self.add_module(f"qf{index}", network)


class EquivariantSACPolicy(SACPolicy):
    """SAC policy for any number of users; use with ``SAC(EquivariantSACPolicy, env)``."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Any,
        width: int = 32,
        log_std_init: float = -2.5,
        bandwidth_init: float = 0.0,
        use_sde: bool = False,
    ) -> None:
        self.width = width
        self.log_std_init = log_std_init
        self.bandwidth_init = bandwidth_init
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            use_sde=use_sde,
            features_extractor_class=UserFeatures,
        )

    @override
    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        common = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return EquivariantActor(self.width, self.log_std_init, self.bandwidth_init, **common).to(self.device)

    @override
    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        common = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return EquivariantCritic(self.width, **common).to(self.device)

    def deterministic(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """Return the most likely actions, flat (batch, K · columns), for a batch of observations."""
        actor = self.actor
        return LIMIT * th.tanh(actor.mu(actor.latent_pi(actor.features_extractor(observations))))


@dataclass(frozen=True)
class SACSettings(BaseSettings):
    """Hyperparameters of SAC; checkpoints do not store the replay buffer."""

    num_envs: int = 64
    timesteps: int = 50_000
    learning_rate: float = 2e-3
    buffer_size: int = 200_000
    learning_starts: int = 4096
    batch_size: int = 256
    gradient_steps: int = 4
    entropy_coefficient: float = 1e-4
    width: int = 32
    log_std: float = -2.5  # initial log standard deviation of the actions / 5 before tanh
    bandwidth: float = 0.0  # initial mean / 5 of all action columns except the first
    gamma: float = 0.0  # discount γ of a step; with 0 the critics estimate the next reward

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        settings = replace(self, gamma=step_discount(config))
        return replace(settings, log_std=-2.0, bandwidth=0.75) if has_late_reports(config) else settings

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> SAC:
        """Build the untrained model."""
        return SAC(
            EquivariantSACPolicy,
            env,
            learning_rate=LinearRate(self.learning_rate, remaining),
            buffer_size=self.buffer_size,
            learning_starts=self.learning_starts,
            batch_size=self.batch_size,
            train_freq=1,
            gradient_steps=self.gradient_steps,
            gamma=self.gamma,
            ent_coef=self.entropy_coefficient,
            policy_kwargs={
                "width": self.width,
                "log_std_init": self.log_std,
                "bandwidth_init": self.bandwidth,
            },
            seed=seed,
            device=device,
        )


SETTINGS = SACSettings()
