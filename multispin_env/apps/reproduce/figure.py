"""Figures: how one is specified, the scale of a run, and goodput of the paper's six systems on common states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.cases import States
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

Item = TypeVar("Item")

PRESETS: tuple[str, ...] = ("llama2", "qwen3.5")  # the model pairs of the paper, in the order of its figures
STATES, QUICK_STATES = 500, 40  # of a full run, as in every other table of the project, and of a quick one

LABELS = MappingProxyType(
    {
        "optimal": "Hete (optimum)",
        "homogeneous": "Homo",
        "uniform-bandwidth": "Uni-BW",
        "fixed": "Fixed BW&L",
        "p2p": "P2P-SPIN",
        "centralized": "Cen-SPIN",
    }
)
"""The systems of [MS] §VI by our names; Hete is the proven optimum instead of Algorithm 1's grid."""


@dataclass(frozen=True)
class Scale:
    """Size of a run."""

    quick: bool = False  # whether coarse grids and few states will do
    states: int = STATES  # independent states that means are taken over
    seed: int = HELD_OUT_SEED  # of the states

    def pick(self, full: Item, quick: Item) -> Item:
        """What fits this scale."""
        return quick if self.quick else full


@dataclass(frozen=True)
class FigureSpec:
    """One figure: a table, a picture of it, and a sentence under it."""

    title: str
    caption: str  # what is to be seen, in a sentence or two
    settings: Callable[[Scale], Sequence[Any]]  # what rows are computed for at a scale, each by itself
    rows: Callable[[Scale, Any], list[Any]]
    """Rows of one setting, dataclasses of one class that hold texts and numbers only; everything random follows from
    the scale. A function of a module, which can be pickled, so that processes can share the settings."""
    draw: Callable[[Sequence[Any], Any], None]  # the rows of all settings, in their order, on an empty figure
    size: tuple[float, float] = (9.0, 4.2)  # inches
    cells: Callable[[Sequence[Any]], tuple[Cells, list[Cells]]] | None = None  # of a table under the picture
    printed: int | None = None  # how many of its columns the terminal shows too; ``None`` for all
    seconds: float = 1.0  # of CPU that the full rows take, more or less: for the time left

    def compute(self, scale: Scale) -> list[Any]:
        """Rows of all settings, one after the other."""
        return [row for setting in self.settings(scale) for row in self.rows(scale, setting)]


def scenario_at(preset: str, megahertz: float, server: str = "", **fields: Any) -> Scenario:
    """The preset with this budget; on another server than its own ids are uploaded, and lengths may be 0."""
    measured = {"server": server, "payload": "ids", "min_draft_length": 0} if server else {}
    return Scenario.preset(preset, total_bandwidth=megahertz * MHZ, **(measured | fields))


def draw_states(scale: Scale, scenario: Scenario) -> States:
    """Independent states of the run's seed; at the default seed they are the held-out states."""
    return States.draw(scenario, scale.states, scale.seed)


@lru_cache(maxsize=128)
def compute_scores(scale: Scale, scenario: Scenario) -> dict[str, FloatArray]:
    """Goodput (n,) in tokens/s of the six systems of `LABELS`; the optimum is certified. Computed once a run."""
    states = draw_states(scale, scenario)
    return {name: states.values(name) for name in LABELS}
