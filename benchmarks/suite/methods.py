"""Methods for ``multispin suite run`` that are more than a class of Stable-Baselines3."""

from typing import Any

from gymnasium.wrappers import FlattenObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from multispin_agents import DevicePolicy
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig


def device_ppo(_: str, env: FlattenObservation[Any, Any, Any], **others: Any) -> PPO:
    """Return PPO of Stable-Baselines3 with its defaults and `multispin_agents.DevicePolicy`, on Dict observations."""
    return PPO(DevicePolicy, env.env, **others)


def parallel_device_ppo(_: str, env: FlattenObservation[Any, Any, Any], seed: int, device: str) -> PPO:
    """Return `device_ppo` with rollouts of 8 environments × 256 steps."""
    return parallel_ppo(DevicePolicy, env.unwrapped.config, seed, device)  # type: ignore[attr-defined]


def parallel_ppo(policy: str | type[ActorCriticPolicy], config: EnvConfig, seed: int, device: str = "cpu") -> PPO:
    """Return PPO with its default settings, but rollouts of 8 environments × 256 steps instead of 1 × 2,048."""
    return PPO(policy, NativeVecEnv.of(config, 8, seed), n_steps=256, seed=seed, device=device)


def short_ppo(policy: str, env: FlattenObservation[Any, Any, Any], gamma: float = 0.99, **others: Any) -> PPO:
    """Return PPO with the rollouts of RecurrentPPO, 128 steps, and its minibatches."""
    return PPO(policy, env, n_steps=128, batch_size=128, gamma=gamma, **others)


def myopic_short_ppo(policy: str, env: FlattenObservation[Any, Any, Any], **others: Any) -> PPO:
    """Return `short_ppo` that maximises the reward of a single step."""
    return short_ppo(policy, env, gamma=0.0, **others)


def myopic_recurrent_ppo(_: str, env: FlattenObservation[Any, Any, Any], **others: Any) -> RecurrentPPO:
    """Return RecurrentPPO that maximises the reward of a single step."""
    return RecurrentPPO("MlpLstmPolicy", env, gamma=0.0, **others)
