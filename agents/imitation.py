"""Imitation of the optimum: regression on its actions, in fresh states of many systems."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.base import PLAIN, CosineRate, Fit, Remaining
from agents.policies.equivariant import EquivariantActorCritic
from agents.teacher import Lesson, Systems, Teacher, check_teachable, scenarios_like
from multispin_env.envs.settings import Settings

SCALE = 1000.0
"""Of the loss: it is a small share of the goodput."""


class Imitation(BaseAlgorithm):
    """Supervised learning in the shape of an algorithm of Stable-Baselines3; a labelled state is a timestep.

    The environment is not stepped: states come from its teacher.

    Parameters
    ----------
    env
        Gives spaces, and the settings of what is imitated.
    learning_rate
        As in Stable-Baselines3.
    systems
        What states are drawn from.
    batch_size
        States a step.
    max_grad_norm
        As in Stable-Baselines3.
    policy_kwargs, seed, device
        As in Stable-Baselines3.
    """

    policy: EquivariantActorCritic

    def __init__(
        self,
        env: VecEnv,
        learning_rate: CosineRate,
        systems: Systems,
        batch_size: int,
        max_grad_norm: float,
        policy_kwargs: dict[str, Any],
        seed: int,
        device: str,
    ) -> None:
        self.systems = systems
        self.batch_size = batch_size
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

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        assert self.env is not None
        settings: Settings = self.env.get_attr("settings", 0)[0]
        # two numbers: a seed of states that are kept for measuring is always one
        self.teacher = Teacher(settings, self.systems, np.random.default_rng([self.seed or 0, 1]))
        self._n_updates = 0
        self.policy = EquivariantActorCritic(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "Imitation",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "Imitation":
        """Learn from so many states, as in Stable-Baselines3."""
        total, called = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        called.on_training_start(locals(), globals())
        self.policy.set_training_mode(True)
        while self.num_timesteps < total:
            self._fit(self.teacher.lesson(self.batch_size))
            self.num_timesteps += self.batch_size
            self._update_current_progress_remaining(self.num_timesteps, total)
            if not called.on_step():
                break
        called.on_training_end()
        return self

    def _fit(self, lesson: Lesson) -> None:
        """One step of the optimiser."""
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        observation = {key: th.as_tensor(array, device=self.device) for key, array in lesson.observation.items()}
        wanted, cost = (th.as_tensor(array, device=self.device).flatten(1) for array in lesson[1:])
        error = self.policy.deterministic(observation) - wanted
        loss = SCALE * (cost * error**2).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        optimizer.step()
        self._n_updates += 1
        self.logger.record_mean("train/loss", loss.item())


@dataclass(frozen=True)
class ImitationSettings:
    """Hyperparameters; states are of the run's scenario and of the presets, of few to some users and many budgets."""

    num_envs: int = 1
    timesteps: int = 2_500_000
    batch_size: int = 128
    learning_rate: float = 3e-3
    max_grad_norm: float = 1.0
    width: int = 64
    fewest_users: int = 2
    most_users: int = 14

    def check(self, settings: Settings) -> None:
        """Only where there is something to imitate."""
        check_teachable(settings)

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, fit: Fit = PLAIN) -> Imitation:
        """Build the untrained model; ``fit`` is about exploration, of which there is none."""
        (settings,) = env.get_attr("settings", 0)
        self.check(settings)
        return Imitation(
            env,
            learning_rate=CosineRate(self.learning_rate, remaining),
            systems=Systems(scenarios_like(settings.scenario), self.fewest_users, self.most_users),
            batch_size=self.batch_size,
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "largest": False},
            seed=seed,
            device=device,
        )


SETTINGS = ImitationSettings()
