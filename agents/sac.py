"""Soft actor-critic (Haarnoja et al. 2018) with the equivariant networks."""

from dataclasses import dataclass

from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv

from agents.base import PLAIN, AnyEnvironment, LinearRate, Remaining, Tuning
from agents.policies.equivariant_sac import EquivariantSACPolicy


@dataclass(frozen=True)
class SACSettings(AnyEnvironment):
    """Hyperparameters; with γ = 0 the critic is a regression on the reward. The replay buffer is not kept."""

    num_envs: int = 64
    timesteps: int = 50_000
    learning_rate: float = 2e-3
    buffer_size: int = 200_000
    learning_starts: int = 4096
    batch_size: int = 256
    gradient_steps: int = 4
    entropy_coefficient: float = 1e-4
    width: int = 32
    log_std: float = -2.5

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, tuning: Tuning = PLAIN) -> SAC:
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
            gamma=tuning.gamma,
            ent_coef=self.entropy_coefficient,
            policy_kwargs={
                "width": self.width,
                "log_std_init": self.log_std + tuning.log_std,
                "bandwidth_init": tuning.bandwidth,
            },
            seed=seed,
            device=device,
        )


SETTINGS = SACSettings()
