"""Weights rounded to a few bits: a draft model of the target itself (ours)."""

from typing import Any

import torch as th

GROUP = 32
"""Weights of a row that share a scale, as in the formats of 4 bits that servers read."""


def round_weights(network: Any, bits: int) -> None:
    """Round the matrices of all linear layers in place: 2^bits levels between the extremes of each `GROUP` weights.

    What is tied to a rounded matrix, such as an embedding, is rounded with it. The numbers stay floating point, so a
    pass takes as long as before: this changes what is drafted, not how fast.
    """
    with th.no_grad():
        for weight in {
            id(one.weight): one.weight for one in network.modules() if isinstance(one, th.nn.Linear)
        }.values():
            for part in weight.split(4096):  # bounded memory
                part.copy_(_rounded(part, bits))


def _rounded(matrix: th.Tensor, bits: int) -> th.Tensor:
    rows, columns = matrix.shape
    padded = th.nn.functional.pad(matrix.float(), (0, -columns % GROUP), mode="constant")
    groups = padded.reshape(rows, -1, GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(th.finfo(th.float32).tiny)
    rounded: th.Tensor = low + ((groups - low) / step).round() * step
    return rounded.reshape(rows, -1)[:, :columns].to(matrix.dtype)
