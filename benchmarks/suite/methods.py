"""Methods for ``multispin suite run`` that are more than a class of Stable-Baselines3."""

from typing import Any

from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO

from agents import DevicePolicy


def device_ppo(_: str, env: FlattenObservation[Any, Any, Any], **others: Any) -> PPO:
    """Return PPO of Stable-Baselines3 with its default settings and `agents.DevicePolicy`, on Dict observations."""
    return PPO(DevicePolicy, env.env, **others)
