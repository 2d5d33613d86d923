"""Evolution: whole policies play the same cases, and the network moves towards those that earned more a second.

Where there is no barrier a decision shows its worth over many verifications, where devices draft ahead over some
rounds, and rewards by step are noisy. Here noise is put on the network's weights, not on its actions (Salimans et al.
2017): each pair of perturbed networks, θ ± σ ε, plays the same systems, channels and requests, and what is compared is
reward over time. That has no discount, and no price of time can be cheated: with rewards (tokens − ρ · duration) /
scale, the order of two policies by reward over time is that by tokens over time, whatever ρ is.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch as th
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from typing_extensions import override

from agents.base import BaseSettings, CosineRate, DirectLearner, Remaining
from agents.vec_env import NativeVecEnv, first_seed, require_native
from multispin_env.arrays import FloatArray
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.contenders import native


class Population:
    """Networks of the shape of one, with weights (P, parameters) of their own, as one network."""

    def __init__(self, network: nn.Module, weights: th.Tensor) -> None:
        named = dict(network.named_parameters())
        parts = weights.split([parameter.numel() for parameter in named.values()], dim=-1)
        self._weights = {
            name: part.unflatten(-1, parameter.shape)
            for (name, parameter), part in zip(named.items(), parts, strict=True)
        }
        self._answer = th.vmap(lambda own, features: th.func.functional_call(network, own, (features,)))

    def __call__(self, features: th.Tensor) -> th.Tensor:
        """Outputs (P · cases, ...) for features (P · cases, ...), those of each network together."""
        size = next(iter(self._weights.values())).shape[0]
        answers: th.Tensor = self._answer(self._weights, features.unflatten(0, (size, -1)))
        return answers.flatten(0, 1)


class Evolution(DirectLearner):
    """Learns by comparing whole policies in trials."""

    def __init__(self, env: NativeVecEnv, trial: "EvolutionSettings", **common: Any) -> None:
        self.trial = trial
        super().__init__(env, **common)

    @override
    def loss(self) -> tuple[th.Tensor, int]:
        # what has minus the estimated gradient of earnings as its own
        rng = np.random.default_rng([self.seed or 0, self._n_updates])
        own = nn.utils.parameters_to_vector(self._actor.parameters())
        noise = th.as_tensor(rng.standard_normal((self.trial.pairs, len(own)), dtype=np.float32), device=own.device)
        weights = own.detach() + self.trial.noise * th.cat([noise, -noise])
        earned, steps = self._play(self._copies, Population(self._actor, weights))
        rank = th.as_tensor(centred_ranks(earned.mean(-1)), device=own.device)
        gradient = (rank[: self.trial.pairs] - rank[self.trial.pairs :]) @ noise / self.trial.pairs
        return -(gradient * own).sum(), steps

    def _play(self, env: MultiSpinVectorEnv, population: Population) -> tuple[FloatArray, int]:
        """Reward a second (2 · pairs, cases), and steps that were played."""
        first = first_seed(self.seed or 0, self._n_updates, self.trial.cases)
        seeds = np.tile(first + np.arange(self.trial.cases), 2 * self.trial.pairs)
        observation, _ = env.reset(seed=seeds.tolist())
        reward, time = np.zeros(env.num_envs), np.zeros(env.num_envs)
        now, steps, playing = np.zeros(env.num_envs), 0, np.ones(env.num_envs, dtype=np.bool_)
        duration = env.config.variant.comparison.info.time
        while playing.any():
            observation, gained, _, _, info = env.step(self._decide(observation, population))
            counted = playing & (now >= self.trial.warm_up)
            reward += counted * gained
            time += counted * info[duration]
            now, steps = now + info[duration], steps + int(playing.sum())
            playing &= now < self.trial.end
        worst = np.full(env.num_envs, -np.inf)  # of a case in which one step takes all the time that counts
        return np.divide(reward, time, out=worst, where=time > 0.0).reshape(-1, self.trial.cases), steps

    def _decide(self, observation: Observation, population: Population) -> NDArray[np.float32]:
        with th.no_grad():
            tensors = {key: th.as_tensor(array, device=self.device) for key, array in observation.items()}
            actions = population(self.policy.features_extractor(tensors)).clamp(-1.0, 1.0)
        played: NDArray[np.float32] = actions.cpu().numpy()
        return played.reshape(len(played), -1, self.action_space.shape[-1])  # type: ignore[index]

    @cached_property
    def _actor(self) -> nn.Module:
        return nn.Sequential(self.policy.mlp_extractor.policy_net, self.policy.action_net)

    @cached_property
    def _copies(self) -> MultiSpinVectorEnv:
        own = self.env
        assert isinstance(own, NativeVecEnv)
        config = own.env.config
        if config.variant.comparison.seconds is not None:  # a case of rounds goes on with the next episode
            config = config.replace(horizon=max(config.arguments["horizon"], self.trial.end))
        options = {"max_episode_steps": own.env.max_episode_steps, "autoreset_mode": AutoresetMode.NEXT_STEP}
        return native(config.make_vec(self.trial.copies, copy=False, **options))  # info has all of every step


def centred_ranks(values: FloatArray) -> NDArray[np.float32]:
    """Ranks (n,) from -0.5 for the least to 0.5 for the largest; equal numbers share the mean of theirs."""
    from scipy.stats import rankdata  # late: it takes longer to import than all of multispin_env

    ranks: NDArray[np.float32] = ((rankdata(values) - 1.0) / max(len(values) - 1, 1) - 0.5).astype(np.float32)
    return ranks


@dataclass(frozen=True)
class EvolutionSettings(BaseSettings):
    """Hyperparameters; the last five say what policies are compared on in a step of learning."""

    num_envs: int = 1  # of the vector that gives the spaces; trials make their own
    timesteps: int = 200_000
    learning_rate: float = 4e-2
    max_grad_norm: float = 10.0
    width: int = 16
    last_std: float = 0.01  # standard deviation of the first weights of the actor's last layer
    pairs: int = 8  # perturbed networks θ + σ ε, each with its opposite
    cases: int = 6  # systems that all of them play
    noise: float = 0.1  # σ
    warm_up: float = 1.0  # simulated seconds of a case that do not count,
    seconds: float = 5.0  # and that do

    @property
    def end(self) -> float:
        """Seconds of a case."""
        return self.warm_up + self.seconds

    @property
    def copies(self) -> int:
        """Of the environment."""
        return 2 * self.pairs * self.cases

    @override
    def check(self, config: EnvConfig) -> None:
        if not config.variant.learning.discount:
            raise ValueError(
                "agent: expected an environment in which decisions change later rewards for 'evolution', "
                f"got {type(config.variant).__name__}"
            )

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        if config.variant.learning.discount_of == "step":
            return self
        settings = replace(self, last_std=0.0)  # requests that end take seconds, and queues grow slowly
        return replace(settings, warm_up=3.0, seconds=12.0) if config.actions.drops else settings

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> Evolution:
        """Build the untrained model; ``ValueError`` for other environments."""
        own = require_native(env, "durations")
        config = own.env.config
        self.check(config)
        return Evolution(
            own,
            self,
            learning_rate=CosineRate(self.learning_rate, remaining),
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "last_std": self.last_std},
            seed=seed,
            device=device,
        )


SETTINGS = EvolutionSettings()
