"""Proximal policy optimisation of a policy that runs on each device and sees only that one.

It learns from the common reward with a baseline that sees all. So what it reaches less than ``ppo`` is the price of not
knowing the others. Whoever knows all still shares bandwidth: with ``action="lengths"`` devices choose lengths only.
"""

from dataclasses import dataclass
from typing import ClassVar

from agents.policies.decentralised import DecentralisedActorCritic
from agents.policies.equivariant import EquivariantActorCritic
from agents.ppo import PPOSettings


@dataclass(frozen=True)
class DecentralisedSettings(PPOSettings):
    """Hyperparameters of ``ppo``, with another policy."""

    policy: ClassVar[type[EquivariantActorCritic]] = DecentralisedActorCritic


SETTINGS = DecentralisedSettings()
