"""A custom channel: a distribution of gains, registered under a name for the field ``channel`` of any scenario.

In commands, use ``--set``: ``multispin compare --num-users 8 --set channel=examples.own_channel:RICIAN``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import multispin_env as ms

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rician:
    """Rician fading, drawn for each round: a line-of-sight wave and scattered waves.

    H = H̄ |sqrt(κ) + w|² / (κ + 1) with w ~ CN(0, 1). κ, the power of the line of sight over that of the scattered
    waves, is ``factor``: 0 is Rayleigh fading, and large values mean nearly no fading.
    """

    changes = True
    factor: float = 4.0

    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> Array:
        """Draw variables (rows, 2, K), the real and the imaginary part of w before scaling."""
        return rng.standard_normal((rows, 2, num_users))

    def first_gain(self, mean_gain: Array, fresh: Array) -> Array:
        """Return gains (..., K) with means H̄ from drawn variables (..., 2, K)."""
        real, imaginary = fresh[..., 0, :], fresh[..., 1, :]
        sight = np.sqrt(2.0 * self.factor)
        gain: Array = mean_gain * ((sight + real) ** 2 + imaginary**2) / (2.0 * (self.factor + 1.0))
        return gain

    def next_gain(self, gain: Array, mean_gain: Array, fresh: Array, elapsed: Array | None = None) -> Array:
        """Return gains (..., K) of the next round, independent of earlier ones."""
        return self.first_gain(mean_gain, fresh)


RICIAN = Rician()


def main(episodes: int = 50) -> dict[str, float]:
    """Register the channel, and compare the goodput of the optimum in two channels; return tokens/s by channel."""
    ms.registry.CHANNELS.register("rician", RICIAN)
    try:
        goodput = {}
        for channel in ("independent", "rician"):
            row = ms.evaluate("optimal", "MultiSpin/Heterogeneous-v0", episodes=episodes, num_users=8, channel=channel)
            goodput[channel] = row.mean
            print(f"{channel:11} {row.mean:.1f} tokens/s")
        return goodput
    finally:
        ms.registry.CHANNELS.unregister("rician")


if __name__ == "__main__":
    main()
