"""A custom agent, here TRPO of sb3-contrib: ``multispin train --agent examples.own_agent:AGENT``."""

from dataclasses import dataclass, replace
from typing import Any, Self

import gymnasium as gym
from sb3_contrib import TRPO
from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import override

import multispin_env as ms
from multispin_agents.base import BaseSettings, Remaining, step_discount
from multispin_agents.policies import DevicePolicy
from multispin_agents.vec_env import NativeVecEnv


@dataclass(frozen=True)
class TRPOSettings(BaseSettings):
    """Trust region policy optimisation (Schulman et al. 2015) with the policy of this project."""

    num_envs: int = 128
    timesteps: int = 500_000
    rollout_rounds: int = 16
    gamma: float = 0.0

    @override
    def for_environment(self, config: ms.EnvConfig) -> Self:
        return replace(self, gamma=step_discount(config))

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> TRPO:
        """Build the untrained model."""
        return TRPO(
            DevicePolicy,
            env,
            n_steps=self.rollout_rounds,
            batch_size=512,
            gamma=self.gamma,
            policy_kwargs={"width": 32, "log_std_init": -0.9},
            seed=seed,
            device=device,
        )


AGENT = TRPOSettings()

ENV = "MultiSpin/Heterogeneous-v0"


def main(timesteps: int = 100_000) -> float:
    """Train without the command ``multispin train``; return the share of the optimum in held-out episodes."""
    arguments: dict[str, Any] = {"num_users": 8, "action": "lengths"}
    envs: Any = gym.make_vec(ENV, num_envs=AGENT.num_envs, autoreset_mode="SameStep", **arguments).unwrapped
    model = AGENT.build(NativeVecEnv(envs, seed=0), lambda progress: progress, seed=0, device="cpu").learn(timesteps)
    share = ms.evaluate(model, ENV, episodes=20, **arguments).share or 0.0
    print(f"after {timesteps} rounds TRPO reaches {share:.4f} of the optimum")
    return share


if __name__ == "__main__":
    main()
