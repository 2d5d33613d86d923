"""Base classes of agents: settings, learning rates, and algorithms that learn without returns."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, Self

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import override

from multispin_agents.policies import DevicePolicy
from multispin_env.draft import PAYLOADS
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.continuous.serving import Serving
from multispin_env.envs.rounds.ahead import DraftAhead
from multispin_env.envs.rounds.energy import Energy
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.server import LAW

Remaining = Callable[[float], float]
"""Function from Stable-Baselines3's remaining progress to the remaining fraction of the budget."""


DISCOUNTS: Mapping[type[EnvConfig], float] = MappingProxyType(
    {
        RoundsConfig: 0.0,
        DraftAhead: 0.9,  # a round without a hit resets the head start
        Energy: 0.996,
        ContinuousConfig: 0.5,
        Serving: 0.8,
    }
)
"""Discount γ of a class and its subclasses: per round, or per second without the barrier."""


def discount_of(config: EnvConfig) -> float:
    """Return the discount γ of an environment, per round or, without the barrier, per second.

    The discount is 0 if decisions do not influence later rewards.
    """
    if config.discount is not None:
        return config.discount
    return next(DISCOUNTS[kind] for kind in type(config).__mro__ if kind in DISCOUNTS)


def step_discount(config: EnvConfig) -> float:
    """Return the discount γ of one step.

    If steps differ in duration, this is γ for a typical step: a verification pass with half of the devices.

    γ is 0 in most environments whose steps are rounds. There, a decision affects later rounds only in two ways: by the
    information that it reveals about a request, and by the throughput that the objective remembers. With remembered
    throughput, the reward is the growth of a concave utility, and maximising the next growth is the gradient rule. With
    γ = 0 the return is the reward, so learning is far less noisy: in one minute of training, γ = 1 − 1 / window closed
    22 % of the gap to the gradient rule and γ = 0 closed 79 %. `multispin_agents.apg.Foresight` learns the effect on
    later rounds without returns. If devices draft ahead, rounds depend on head starts: for one or two devices, γ = 0.9
    reaches 0.9 percentage points more of the optimum than γ = 0. Batteries fill in about 60 rounds: γ is 0.996, but 0
    for `ppo`.
    """
    if config.family == "rounds":
        return discount_of(config)
    users = config.scenario.num_users
    return discount_of(config) ** float(config.scenario.law.time(0.5 * users, users))


def has_late_reports(config: EnvConfig) -> bool:
    """Whether channel reports are rounds old; agents then explore more and hedge with bandwidth."""
    return config.family == "rounds" and config.knowledge.delay > 0


def scenarios_like(config: EnvConfig) -> tuple[Scenario, ...]:
    """Return the scenario and all presets in which the same network can act (same draft lengths, same number of tasks).

    If the server's verification time depends on tokens, each preset is combined with all measured servers and payloads.
    """
    scenario, scenarios = config.scenario, [config.scenario]
    law = (*LAW, "server", "min_draft_length") if scenario.verification_pieces else ()
    shared = {
        name: getattr(scenario, name) for name in ("payload", "target", "round_trip_time", "fleet", "device_load", *law)
    }  # not of the models
    for name in SCENARIOS.names():
        preset = Scenario.preset(name, num_users=scenario.num_users, total_bandwidth=scenario.total_bandwidth)
        preset = preset.replace(**config.scenario_defaults, **shared)
        sizes = [(sized.min_draft_length, sized.max_draft_length, len(sized.tasks)) for sized in (preset, scenario)]
        if sizes[0] == sizes[1]:
            scenarios.append(preset)
            if scenario.verification_pieces:
                servers = itertools.product(SERVERS.names(), PAYLOADS)
                scenarios += [preset.replace(server=server, payload=payload) for server, payload in servers]
    return tuple(dict.fromkeys(scenarios))


class AgentSettings(Protocol):
    """Hyperparameters of an algorithm, as a frozen dataclass."""

    @property
    def num_envs(self) -> int:
        """Number of parallel environments."""

    @property
    def timesteps(self) -> int:
        """Default budget in environment steps, summed over the parallel environments."""

    def check(self, config: EnvConfig) -> None:
        """Raise ``ValueError`` if the agent cannot learn in the environment."""

    def for_environment(self, config: EnvConfig) -> Self:
        """Return the settings for an environment."""

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> BaseAlgorithm:
        """Build the untrained model."""


class BaseSettings:
    """Base class of settings, which accepts every environment and uses the same values in all."""

    def check(self, config: EnvConfig) -> None:
        """Accept the environment."""

    def for_environment(self, config: EnvConfig) -> Self:
        """Return the settings unchanged."""
        return self


@dataclass(frozen=True)
class _Rate:
    first: float
    remaining: Remaining


class LinearRate(_Rate):
    """Learning rate that decreases linearly with the remaining budget, down to 5 % of its first value."""

    def __call__(self, progress: float) -> float:
        """Return the rate at Stable-Baselines3's remaining progress."""
        return self.first * max(0.05, self.remaining(progress))


class CosineRate(_Rate):
    """Learning rate that decreases with the remaining budget along a half cosine, down to 0."""

    def __call__(self, progress: float) -> float:
        """Return the rate at Stable-Baselines3's remaining progress."""
        return 0.5 * self.first * (1.0 - math.cos(math.pi * self.remaining(progress)))


class DirectLearner(BaseAlgorithm):
    """Base of the algorithms without returns, with the interface of Stable-Baselines3; subclasses define the `loss`.

    Each update takes one optimiser step on a new batch of environment steps. Only the actor learns. Parameters are as
    in Stable-Baselines3.
    """

    policy: DevicePolicy

    def __init__(
        self,
        env: VecEnv,
        learning_rate: CosineRate,
        max_grad_norm: float,
        policy_kwargs: dict[str, Any],
        seed: int,
        device: str,
    ) -> None:
        self.max_grad_norm = max_grad_norm
        super().__init__(
            DevicePolicy,
            env,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            seed=seed,
            device=device,
            support_multi_env=True,
        )
        self._setup_model()

    @abstractmethod
    def loss(self) -> tuple[th.Tensor, int]:
        """Return the loss over a new batch and the number of environment steps in it."""

    @override
    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        total, hooks = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        hooks.on_training_start(locals(), globals())
        self.policy.set_training_mode(True)
        running = hooks.on_step()  # validates the untrained policy, which may remain the best
        while running and self.num_timesteps < total:
            self._update_current_progress_remaining(self.num_timesteps, total)  # for a resumed run, it is not 1
            self.num_timesteps += self._improve()
            running = hooks.on_step()
        hooks.on_training_end()
        return self

    def _improve(self) -> int:
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        loss, steps = self.loss()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        optimizer.step()
        self._n_updates += 1
        return steps

    @override
    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._n_updates = 0
        self.policy = DevicePolicy(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)

    @override
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
