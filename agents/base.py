"""Base of agents: what depends on the environment, how a model is built, and learning without returns."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import override

from agents.policies import LAST_STD, EquivariantActorCritic
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import PAYLOADS, Scenario
from multispin_env.server import LAW

Remaining = Callable[[float], float]
"""Fraction of the budget that remains, from Stable-Baselines3's own fraction."""


@dataclass(frozen=True)
class Timing:
    """What of learning depends on steps that take different times."""

    gamma: float  # discount γ of a second
    trace: float  # λ of generalised advantages, of a second
    warm_up: float = 1.0  # simulated seconds of a case, on which whole policies are compared, that do not count,
    seconds: float = 5.0  # and that do


@dataclass(frozen=True)
class Tuning:
    """What of learning depends on the environment.

    γ is 0 where a step is a round: what is decided in a round has no influence on later ones but through what is learnt
    of a request, which every round reveals some of anyway, and through remembered throughput. There the reward is the
    growth of a concave utility, and to maximise the next growth is to play the gradient rule. With γ = 0 the reward
    itself is the return, which makes learning far less noisy: with γ = 1 − 1 / window the same minute of training
    closed 22 % of the gap to that controller, with 0 it closed 79 %. What later rounds make of remembered throughput,
    `agents.apg.Foresight` learns without returns. Where devices draft ahead a round leaves head starts, and .9 has .9
    points more of the optimum of one or two devices than 0. PPO alone reads ``column_log_std``, ``history_log_std``,
    ``care``.
    """

    gamma: float = 0.0  # of a step; where these take different times about γ of a second to the power of a step
    log_std: float = 0.0  # added to the agent's own logarithm of the exploration's first standard deviation
    bandwidth: float = 0.0  # first mean of the actions' second column, if there is one
    column_log_std: tuple[float, ...] = ()  # added to that logarithm in single columns; steps there scale with it
    history_log_std: float = 0.0  # added to it in all columns
    last_std: float = LAST_STD  # standard deviation of the first weights of the actor's last layer
    care: int = 1  # factor on width, rollouts and epochs, and divisor of rate and clip: where returns are noisy
    timing: Timing | None = None  # where steps take different times: how returns are computed there

    @property
    def times(self) -> Timing:
        """How returns are computed: by seconds, or where steps are alike by steps, without a trace that falls."""
        return self.timing or Timing(self.gamma, trace=1.0)


PLAIN = Tuning()

CARE = 2
"""Where reports are late, and where one length has to suit all devices.

With 400,000 rounds (llama2, K = 20, seed 0) it raised the share of the optimum from .7935 to .7987 where reports are
late, and from .9961 to .9991 where the length is common.
"""

LATE = Tuning(log_std=0.5, bandwidth=0.4, care=CARE)
"""Where reports of the channel are late: factors on bandwidth, that hedge, are worth much, and rewards are noisy.

At 0.4 a step in the second column changes bandwidth almost four times as much as at 0; a common factor hardly matters.
"""

TRACE = 0.1
"""λ of a second, where a step is a verification of about .06 s.

With `own-pace` as reference, K = 8 and 300,000 steps, values from .1 to .8 gained 1.0 to 2.0 % on validation, whether γ
was .2, .5 or .8 (one seed each). Rollouts of 64 steps with batches of 2,048 gained 0 to .6 % in 400,000 steps.
"""

ROOT = (0.0, -2.5)
"""Added in the columns of length and bandwidth where factors are on the best bandwidth for these lengths.

All wait for the last device, so noise in bandwidth costs in proportion, and agents learn actions that suit their noise.
With 300,000 rounds (qwen3.5, K = 20, seed 0) that was .3 % of the optimum with 0, and .03 % with -2.5.
"""

HISTORY_LOG_STD = 1.0
"""Added where what is known depends on earlier rounds: what a length is worth shows late there, and exploration lasts.

With 400,000 rounds (llama2, K = 20, seed 0) 0, .5 and 1 gave .9861, .9867 and .9869 of the optimum where acceptance is
hidden.
"""

RESIDUAL_LOG_STD = (0.0, -1.0, -1.0)
"""Added in the columns of length, batch and uplink where actions are added to a rule's decisions.

Exploration costs tokens: with a standard deviation of .08 in the column of batches `groups` loses 14 % of its rate, and
`own-pace` 3 %; with .03 none does, since a batch changes from .2 on.
"""


def tuning_for(config: EnvConfig) -> Tuning:
    """What suits an environment."""
    variant = config.variant
    if variant.learning.discount_of == "second":
        return _timed(config)
    if variant.assumptions(config.scenario).delay:
        return replace(LATE, gamma=variant.learning.discount)
    residual = config.action == "residual"
    return Tuning(
        gamma=variant.learning.discount,
        column_log_std=ROOT if residual else (),
        history_log_std=0.0 if variant.comparison.states else HISTORY_LOG_STD,
        care=CARE if config.actions.common_draft_length else 1,
    )


def _timed(config: EnvConfig) -> Tuning:
    """Where a step is a verification: of about half of the devices, for agents that discount steps."""
    gamma, users = config.variant.learning.discount, config.scenario.num_users
    step = float(config.scenario.pass_time(0.5 * users, users))
    columns = RESIDUAL_LOG_STD if config.action == "residual" else ()
    answers = (3.0, 12.0) if config.actions.drops else ()  # requests that end take seconds, and queues grow slowly
    timing = Timing(gamma, TRACE, *answers)
    return Tuning(gamma**step, column_log_std=columns, last_std=0.0, care=4, timing=timing)  # its worth shows later


def scenarios_like(config: EnvConfig) -> tuple[Scenario, ...]:
    """The scenario, and every preset in which the same network can act: of the same lengths, and as many tasks.

    Where the time of the own server depends on tokens, each preset is on all such servers and with both payloads.
    """
    own, scenarios = config.scenario, [config.scenario]
    for name in SCENARIOS.names():
        preset = Scenario.preset(name, num_users=own.num_users, total_bandwidth=own.total_bandwidth)
        preset = preset.replace(**config.variant.scenario_defaults, **_server(own))
        shapes = [(one.min_draft_length, one.max_draft_length, len(one.tasks)) for one in (preset, own)]
        if shapes[0] == shapes[1]:
            scenarios.append(preset)
            if own.verification_pieces:
                places = itertools.product(SERVERS.names(), PAYLOADS)
                scenarios += [preset.replace(server=server, payload=payload) for server, payload in places]
    return tuple(dict.fromkeys(scenarios))


def _server(scenario: Scenario) -> dict[str, Any]:
    """Fields that are not about the pair of models: what is uploaded, and the server where its law costs tokens."""
    law = (*LAW, "server", "min_draft_length") if scenario.verification_pieces else ()
    return {name: getattr(scenario, name) for name in ("payload", "round_trip_time", *law)}


class AgentSettings(Protocol):
    """A frozen dataclass of hyperparameters, one for each algorithm."""

    @property
    def num_envs(self) -> int:
        """Parallel copies."""

    @property
    def timesteps(self) -> int:
        """Default budget in rounds of all copies."""

    def check(self, config: EnvConfig) -> None:
        """``ValueError`` for an environment in which it can't learn."""

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, tuning: Tuning = PLAIN) -> BaseAlgorithm:
        """Build the untrained model."""


class AnyEnvironment:
    """Base of settings of agents that learn everywhere."""

    def check(self, config: EnvConfig) -> None:
        """Any environment will do."""


@dataclass(frozen=True)
class LinearRate:
    """Learning rate that falls linearly with the budget, to a floor of 5 %."""

    first: float
    remaining: Remaining

    def __call__(self, progress: float) -> float:
        """Rate at Stable-Baselines3's remaining progress."""
        return self.first * max(0.05, self.remaining(progress))


@dataclass(frozen=True)
class CosineRate:
    """Learning rate that falls with the budget along a half cosine, to 0."""

    first: float
    remaining: Remaining

    def __call__(self, progress: float) -> float:
        """Rate at Stable-Baselines3's remaining progress."""
        return 0.5 * self.first * (1.0 - math.cos(math.pi * self.remaining(progress)))


class DirectLearner(BaseAlgorithm):
    """Learning without returns: gradients from what is known of the problem, in the shape of Stable-Baselines3.

    It takes a step of the optimiser for every batch of cases; a case is a timestep. Only the actor learns. Parameters
    are those of Stable-Baselines3.
    """

    policy: EquivariantActorCritic

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
            EquivariantActorCritic,
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
        """Loss over a fresh batch of cases, and how many they are."""

    def actions_for(self, observation: Observation) -> th.Tensor:
        """Deterministic actions, flat (n, K · columns), that gradients flow through."""
        return self.policy.deterministic(
            {key: th.as_tensor(array, device=self.device) for key, array in observation.items()}
        )

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
        total, called = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        called.on_training_start(locals(), globals())
        self.policy.set_training_mode(True)
        going = called.on_step()  # the untrained policy may be the best there will be
        while going and self.num_timesteps < total:
            self._update_current_progress_remaining(self.num_timesteps, total)  # a resumed run is not at its start
            self.num_timesteps += self._improve()
            going = called.on_step()
        called.on_training_end()
        return self

    def _improve(self) -> int:
        """One step of the optimiser; returns the number of cases."""
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        loss, cases = self.loss()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        optimizer.step()
        self._n_updates += 1
        return cases

    @override
    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._n_updates = 0
        self.policy = EquivariantActorCritic(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)

    @override
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
