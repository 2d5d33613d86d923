"""Independent states, where everything is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name
from multispin_env.controllers.base import RoundsController
from multispin_env.controllers.factory import controller_names, make_controller
from multispin_env.controllers.rounds.systems import SYSTEMS
from multispin_env.evaluation.comparison import Row, compare_values
from multispin_env.evaluation.contenders import Decide
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.evaluation.episodes import ReportProgress
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

CERTIFICATE = 1e-6
"""Relative gap to which the optimum of a table is proven."""


@dataclass(frozen=True, eq=False)
class States:
    """Independent states, each a round by itself, priced by its expectation."""

    noun: ClassVar[str] = "states"
    default_size: ClassVar[int] = 500  # of a table
    watched_size: ClassVar[int] = 200  # that a training run watches itself on
    metric: ClassVar[str] = "goodput"
    reference_title: ClassVar[str] = "optimum"

    scenario: Scenario
    state: SystemState  # arrays (n, K)
    seed: int = HELD_OUT_SEED  # that they were drawn with
    reference: str = "optimal"
    contenders: tuple[str, ...] = field(
        default_factory=lambda: tuple(dict.fromkeys((*controller_names("rounds"), *SYSTEMS)))
    )
    certify: float | None = CERTIFICATE  # relative gap to which the optimum is proven; None for the rule alone

    @classmethod
    def draw(cls, scenario: Scenario, size: int = default_size, seed: int = HELD_OUT_SEED, **others: Any) -> "States":
        """Draw so many; scenario and seed alone decide which. ``others`` are fields of the class."""
        return cls(scenario, sample_state(scenario, np.random.default_rng(seed), size), seed, **others)

    @cached_property
    def size(self) -> int:
        """n."""
        return len(self.state.draft_time)

    def play(self, contender: Decide | str, progress: ReportProgress | None = None) -> EpisodeStats:
        """Let a controller, or what decides for states as one, play every state."""
        decision = (self.make(contender) if isinstance(contender, str) else contender)(self.state)
        outcome = expected_outcome(self.scenario, self.state, decision)
        returns = outcome.goodput / self.scenario.autoregressive_goodput
        return EpisodeStats(
            1, outcome.tokens, decision.draft_length.astype(float), outcome.round_latency, returns, outcome.goodput
        )

    def make(self, name: str) -> RoundsController:
        """Make the controller of a name; the optimum is certified."""
        certified: dict[str, Any] = {"certify": self.certify} if name == "optimal" and self.certify is not None else {}
        return make_controller(name, self.scenario, **certified)

    def values(self, contender: Decide | str) -> FloatArray:
        """Expected goodput (n,) in tokens/s of a contender, of the controller of a name, or of a system."""
        if isinstance(contender, str) and contender in SYSTEMS:
            goodput: FloatArray = SYSTEMS[contender](self.scenario, self.state)
            return goodput
        return self.play(contender).goodput

    def table(self, contenders: Mapping[str, Decide | str]) -> list[Row]:
        """Compare by goodput; details are about the share of the reference in each state."""
        values = {name: self.values(contender) for name, contender in contenders.items()}
        check_name("reference", self.reference, values)
        shares = {name: own / values[self.reference] for name, own in values.items()}
        return compare_values(values, self.reference, details={name: _spread(share) for name, share in shares.items()})

    @property
    def best_known(self) -> str:
        """The optimum."""
        return "the optimum"

    @property
    def title(self) -> str:
        """How many."""
        return f"{self.size} held-out states"

    @property
    def about(self) -> dict[str, Any]:
        """Size, seed, reference and scenario."""
        return {
            "states": self.size,
            "seed": self.seed,
            "metric": self.metric,
            "reference": self.reference,
            "scenario": self.scenario.to_dict(),
        }


def _spread(share: FloatArray) -> dict[str, float]:
    return {
        "share_mean": float(share.mean()),
        "share_quantile_5": float(np.quantile(share, 0.05)),
        "share_lowest": float(share.min()),
    }
