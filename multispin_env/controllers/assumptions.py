"""Assumptions of an engineer before the first round, from past data."""

from dataclasses import dataclass
from typing import Self

from multispin_env.checks import check_integer, check_real
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class Assumptions:
    """Prior knowledge that estimators start from (ours).

    Parameters
    ----------
    acceptance_mean, acceptance_spread
        Mean and standard deviation over requests of α, one entry for each task of the scenario.
    correlation
        ρ in [0, 1] between channel amplitudes of successive rounds.
    delay
        d ≥ 0, rounds that a channel report is old.

    Raises
    ------
    ValueError
        For a value out of range, naming the field, what is expected and the value.
    """

    acceptance_mean: tuple[float, ...]
    acceptance_spread: tuple[float, ...]
    correlation: float = 1.0
    delay: int = 0

    def __post_init__(self) -> None:
        for field, high in (("acceptance_mean", 1.0), ("acceptance_spread", 0.5)):  # no law on [0, 1] is wider
            values = tuple(getattr(self, field))
            checked = tuple(check_real(f"{field}[{i}]", value, 0.0, high) for i, value in enumerate(values))
            object.__setattr__(self, field, checked)  # a list would not hash
        tasks, spreads = len(self.acceptance_mean), len(self.acceptance_spread)
        if not tasks:
            raise ValueError("acceptance_mean: expected one entry for each task, at least one, got none")
        if tasks != spreads:
            raise ValueError(f"acceptance_spread: expected one entry for each task ({tasks}), got {spreads}")
        check_real("correlation", self.correlation, 0.0, 1.0)
        check_integer("delay", self.delay, 0)

    @classmethod
    def of(cls, scenario: Scenario, *, spread: float = 0.08, correlation: float = 0.9, delay: int = 1) -> Self:
        """Task means of a scenario, with one spread for all tasks (0.08), ρ = 0.9 and d = 1, unless told otherwise."""
        means = tuple(task.acceptance_rate for task in scenario.tasks)
        return cls(means, (spread,) * len(means), correlation, delay)
