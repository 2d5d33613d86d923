"""Learning without returns: gradients from what is known of the problem, in the shape of Stable-Baselines3."""

from abc import abstractmethod
from typing import Any, Self

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.base import CosineRate
from agents.policies.equivariant import EquivariantActorCritic
from multispin_env.envs.observations import Observation


class DirectLearner(BaseAlgorithm):
    """Takes a step of the optimiser for every batch of cases; a case is a timestep. Only the actor learns.

    Parameters
    ----------
    env
        Gives spaces.
    learning_rate, max_grad_norm, policy_kwargs, seed, device
        As in Stable-Baselines3.
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

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn from so many cases, as in Stable-Baselines3."""
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

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._n_updates = 0
        self.policy = EquivariantActorCritic(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
