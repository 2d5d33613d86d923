"""Deterministic answers of policies as plain functions of tensors, for export."""

from typing import Protocol

import torch as th


class Deterministic(Protocol):
    """A policy that can be exported."""

    def deterministic(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """Most likely actions, flat (batch, K · columns), of a batch of observations."""
        ...
