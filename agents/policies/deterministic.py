"""What policies offer for export: their deterministic answer as a plain function of tensors."""

from typing import Protocol

import torch as th


class Deterministic(Protocol):
    """A policy that can be exported."""

    def deterministic(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """Most likely actions, flat (batch, K · columns), of a batch of observations."""
        ...
