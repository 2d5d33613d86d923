"""Proximal policy optimisation (Schulman et al. 2017) with the equivariant policy."""

from dataclasses import dataclass

from stable_baselines3.common.vec_env import VecEnv

from agents.base import PLAIN, AnyEnvironment, LinearRate, Remaining, Tuning
from agents.policies.equivariant import EquivariantActorCritic
from agents.proximal import Proximal
from agents.timed import TimedPPO
from agents.vec_env import checked_native


@dataclass(frozen=True)
class PPOSettings(AnyEnvironment):
    """Hyperparameters; what depends on the environment is in `Tuning`."""

    num_envs: int = 256
    timesteps: int = 400_000
    rollout_rounds: int = 4
    batch_size: int = 512
    epochs: int = 1
    learning_rate: float = 4e-3
    clip_range: float = 0.4
    max_grad_norm: float = 1.0
    width: int = 16
    log_std: float = -2.5
    decentralised: bool = False

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, tuning: Tuning = PLAIN) -> Proximal:
        """Build the untrained model; ``ValueError`` where steps take different times that ``env`` does not know."""
        timing, care = tuning.times, tuning.care
        return self._kind(env, tuning)(
            EquivariantActorCritic,
            env,
            learning_rate=LinearRate(self.learning_rate / care, remaining),
            n_steps=care * self.rollout_rounds,
            batch_size=self.batch_size,
            n_epochs=care * self.epochs,
            gamma=timing.gamma,
            gae_lambda=timing.trace,
            clip_range=self.clip_range / care,
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={
                "width": care * self.width,
                "log_std_init": self.log_std + tuning.log_std + tuning.history_log_std,
                "column_log_std": tuning.column_log_std,
                "bandwidth_init": tuning.bandwidth,
                "last_std": tuning.last_std,
                "critic": timing.gamma > 0.0,
                "alone": self.decentralised,
            },
            seed=seed,
            device=device,
        )

    def _kind(self, env: VecEnv, tuning: Tuning) -> type[Proximal]:
        if tuning.timing is None:
            return Proximal
        checked_native(env, "durations")
        return TimedPPO


SETTINGS = PPOSettings()

DECENTRALISED = PPOSettings(decentralised=True)
"""The actor could run on the devices: it sees only the one that it decides for, and what all share.

It learns from the common reward with a baseline that sees all, so what it reaches less than `SETTINGS` is the price of
not knowing the others. Whoever knows all still shares bandwidth: with ``action="lengths"`` devices choose lengths only.
"""
