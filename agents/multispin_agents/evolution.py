"""Evolution strategies: perturbed policies play the same cases, and the network moves towards the better ones.

Without the barrier, a decision affects many verifications; with drafting ahead, it affects several rounds. The rewards
of single steps are noisy. So noise is added to the weights of the network instead of its actions (Salimans et al.
2017). Each pair of perturbed networks, θ ± σ ε, plays the same systems, channels and requests, and their rewards per
second are compared. This needs no discount and no price of time: with rewards (tokens − ρ · duration) / scale, policies
have the same order by reward per second as by tokens per second, for any ρ.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from typing_extensions import override

from multispin_agents.base import BaseSettings, CosineRate, DirectLearner, Remaining, discount_of
from multispin_agents.vec_env import NativeVecEnv, first_seed, require_native
from multispin_env.arrays import FloatArray
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import play


class Population:
    """P networks with the same architecture and weights (P, parameters), evaluated together."""

    def __init__(self, network: nn.Module, weights: th.Tensor) -> None:
        named = dict(network.named_parameters())
        parts = weights.split([parameter.numel() for parameter in named.values()], dim=-1)
        self._weights = {
            name: part.unflatten(-1, parameter.shape)
            for (name, parameter), part in zip(named.items(), parts, strict=True)
        }
        self._call = th.vmap(lambda parameters, features: th.func.functional_call(network, parameters, (features,)))

    def __call__(self, features: th.Tensor) -> th.Tensor:
        """Return outputs (P · cases, ...) for features (P · cases, ...), ordered by network."""
        size = next(iter(self._weights.values())).shape[0]
        outputs: th.Tensor = self._call(self._weights, features.unflatten(0, (size, -1)))
        return outputs.flatten(0, 1)


class Evolution(DirectLearner):
    """Learner that compares perturbed policies in trials."""

    def __init__(self, env: NativeVecEnv, trial: "EvolutionSettings", **common: Any) -> None:
        self.trial = trial
        super().__init__(env, **common)

    @override
    def loss(self) -> tuple[th.Tensor, int]:
        # the gradient of this loss is minus the estimated gradient of the rewards per second
        rng = np.random.default_rng([self.seed or 0, self._n_updates])
        theta = nn.utils.parameters_to_vector(self._actor.parameters())
        noise = th.as_tensor(rng.standard_normal((self.trial.pairs, len(theta)), dtype=np.float32), device=theta.device)
        weights = theta.detach() + self.trial.noise * th.cat([noise, -noise])
        rates, steps = self._play(self._trial_env, Population(self._actor, weights))
        rank = th.as_tensor(centred_ranks(rates.mean(-1)), device=theta.device)
        gradient = (rank[: self.trial.pairs] - rank[self.trial.pairs :]) @ noise / self.trial.pairs
        return -(gradient * theta).sum(), steps

    def _play(self, env: MultiSpinVectorEnv, population: Population) -> tuple[FloatArray, int]:
        """Return rewards per second (2 · pairs, cases) and the number of environment steps."""
        first = first_seed(self.seed or 0, self._n_updates, self.trial.cases)
        seeds = np.tile(first + np.arange(self.trial.cases), 2 * self.trial.pairs)

        def act(observation: Observation) -> NDArray[np.float32]:
            with th.no_grad():
                tensors = {key: th.as_tensor(array, device=self.device) for key, array in observation.items()}
                actions = population(self.policy.features_extractor(tensors)).clamp(-LIMIT, LIMIT)
            return actions.cpu().numpy().reshape(env.num_envs, -1, self.policy.columns)

        reward, time = np.zeros(env.num_envs), np.zeros(env.num_envs)
        now, steps, playing = np.zeros(env.num_envs), 0, np.ones(env.num_envs, dtype=np.bool_)
        duration = env.config.info_keys.time
        for step_reward, _, info in play(env, act, seeds.tolist()):
            counted = playing & (now >= self.trial.warm_up)
            reward += counted * step_reward
            time += counted * info[duration]
            now, steps = now + info[duration], steps + int(playing.sum())
            playing &= now < self.trial.end
            if not playing.any():
                break
        rates = np.full(env.num_envs, -np.inf)  # the value of a case in which no step counts
        return np.divide(reward, time, out=rates, where=time > 0.0).reshape(-1, self.trial.cases), steps

    @cached_property
    def _actor(self) -> nn.Module:
        return nn.Sequential(self.policy.mlp_extractor.policy_net, self.policy.action_net)

    @cached_property
    def _trial_env(self) -> MultiSpinVectorEnv:
        assert isinstance(self.env, NativeVecEnv)
        base = self.env.env
        config = base.config
        if config.family == "continuous":  # with rounds, a case continues with the next episode
            config = config.replace(horizon=max(config.arguments["horizon"], self.trial.end))
        num_envs = 2 * self.trial.pairs * self.trial.cases
        return native(config.make_vec(num_envs, copy=False))  # the default NEXT_STEP: info also has the last step


def centred_ranks(values: FloatArray) -> NDArray[np.float32]:
    """Return ranks (n,), from -0.5 for the smallest value to 0.5 for the largest; ties get their mean rank."""
    from scipy.stats import rankdata  # imported late: it takes longer to import than all of multispin_env

    return ((rankdata(values) - 1.0) / max(len(values) - 1, 1) - 0.5).astype(np.float32)


@dataclass(frozen=True)
class EvolutionSettings(BaseSettings):
    """Hyperparameters of evolution; the last five define the trials of one update."""

    num_envs: int = 1  # for the environment that defines the spaces; trials have their own environment
    timesteps: int = 200_000
    learning_rate: float = 4e-2
    max_grad_norm: float = 10.0
    width: int = 16
    last_std: float = 0.01  # initial standard deviation of the weights of the actor's last layer
    pairs: int = 8  # number of pairs of perturbed networks θ ± σ ε
    cases: int = 6  # number of systems that all networks play
    noise: float = 0.1  # σ
    warm_up: float = 1.0  # simulated seconds at the start of a case, not counted
    seconds: float = 5.0  # simulated seconds after the warm-up, counted

    @property
    def end(self) -> float:
        """Length of a case in seconds."""
        return self.warm_up + self.seconds

    @override
    def check(self, config: EnvConfig) -> None:
        if not discount_of(config):
            expected = "an environment whose decisions change later rewards for 'evolution'"
            raise ValueError(f"agent: expected {expected}, got {type(config).__name__}")

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        if config.scenario.battery_rounds:
            # half-full batteries take up to a minute to fill: in 30 s short drafts are best, which lose charge later
            return replace(self, warm_up=40.0, seconds=40.0, cases=1)
        if not isinstance(config, ContinuousConfig):
            return self
        settings = replace(self, last_std=0.0)
        # with finite requests, cases are longer: requests take seconds, and queues grow slowly
        return replace(settings, warm_up=3.0, seconds=12.0) if config.actions.drops else settings

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> Evolution:
        """Build the untrained model; errors are those of `check`."""
        vec_env = require_native(env, "durations")
        self.check(vec_env.env.config)
        return Evolution(
            vec_env,
            self,
            learning_rate=CosineRate(self.learning_rate, remaining),
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "last_std": self.last_std},
            seed=seed,
            device=device,
        )


SETTINGS = EvolutionSettings()
