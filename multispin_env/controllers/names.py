"""Names of whatever decides: a controller, and what it is told instead of the truth, as in ``"optimal+filter"``."""

from dataclasses import dataclass
from typing import Self

from multispin_env.registry import MODIFIERS

CLAIRVOYANT = "clairvoyant"
"""Stands for the true state where the names of estimators may stand."""


@dataclass(frozen=True)
class ContenderName:
    """A name in its parts; equal where two names mean the same.

    Parameters
    ----------
    controller
        Name of a controller, with what changes its decisions: ``"greedy+deadlines"``.
    estimators
        Names of what replaces hidden parts of the state; none for a controller that knows the truth.
    """

    controller: str
    estimators: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> Self:
        """Parts of ``"optimal"``, ``"optimal+clairvoyant"`` (the same) or ``"greedy+deadlines+filter+mmse"``."""
        first, *parts = name.split("+")
        changes = MODIFIERS.names()
        controller = "+".join([first, *(part for part in parts if part in changes)])
        others = tuple(part for part in parts if part not in changes)
        return cls(controller, () if others == (CLAIRVOYANT,) else others)

    @property
    def knows_truth(self) -> bool:
        """Whether it sees the true state."""
        return not self.estimators

    @property
    def as_clairvoyant(self) -> str:
        """Name that says of its controller that it knows the truth."""
        return f"{self.controller}+{CLAIRVOYANT}"
