"""Proximal policy optimisation of a policy that runs on each device and sees only that one.

It learns from the common reward with a critic that sees all, so what it misses beside ``ppo`` is the price of not knowing
the others. Bandwidth is still shared by whoever knows all: with ``action="lengths"`` the devices decide on lengths alone.
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
