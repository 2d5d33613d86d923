"""Budget of a training: rounds or minutes."""

import time
from dataclasses import dataclass, field

from multispin_env.checks import check_integer, check_real


@dataclass
class Budget:
    """A limit on rounds or on time; the learning rate falls with what remains of it.

    Parameters
    ----------
    timesteps
        Rounds of all copies, counted over resumed parts too; ``None`` for no limit.
    seconds
        Time; ``None`` for no limit.
    spent_seconds
        Time of the parts before a resume.
    """

    timesteps: int | None
    seconds: float | None
    spent_seconds: float = 0.0
    _start: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds spent, those before a resume included."""
        return self.spent_seconds + time.monotonic() - self._start

    def done(self, num_timesteps: int) -> float:
        """Fraction of the budget that is used, 0 to 1."""
        by_steps = 0.0 if self.timesteps is None else num_timesteps / self.timesteps
        by_time = 0.0 if self.seconds is None else self.elapsed / self.seconds
        return min(1.0, max(by_steps, by_time))

    def remaining(self, progress: float) -> float:
        """Fraction that remains, given Stable-Baselines3's own fraction of the timesteps."""
        if self.seconds is None:
            return progress
        return 1.0 - min(1.0, self.elapsed / self.seconds)


@dataclass(frozen=True)
class Limits:
    """Budget of a run: rounds, else minutes, else the agent's default rounds; ``ValueError`` for one of nothing."""

    timesteps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.timesteps is not None:
            check_integer("timesteps", self.timesteps, 1)
        if self.minutes is not None:
            check_real("minutes", self.minutes, 0.0, open_low=True)

    def budget(self, default_timesteps: int, spent_seconds: float) -> Budget:
        """Start the clock."""
        seconds = None if self.minutes is None else 60.0 * self.minutes
        timesteps = default_timesteps if self.timesteps is None and seconds is None else self.timesteps
        return Budget(timesteps, seconds, spent_seconds)
