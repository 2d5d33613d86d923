"""Specification of figures, scale of a run, and goodput of the paper's six systems on common states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.cases import StateCases
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells, mean_interval
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

Item = TypeVar("Item")
Row = dict[str, Any]
"""Row of a figure's table: strings and numbers by column."""

PRESETS: tuple[str, ...] = ("llama2", "qwen3.5")  # model pairs of the paper, in the order of its figures
STATES, QUICK_STATES = 500, 40  # states of a full and of a quick run

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
"""Labels of the systems of [MS] §VI; Hete is the proven optimum, not the grid of Algorithm 1."""


@dataclass(frozen=True)
class Scale:
    """Size of a run."""

    quick: bool = False  # coarse grids and few states
    states: int = STATES  # independent states per mean
    seed: int = HELD_OUT_SEED

    def pick(self, full: Item, quick: Item) -> Item:
        """Return the value for this scale."""
        return quick if self.quick else full


@dataclass(frozen=True)
class FigureSpec:
    """A figure: rows of a table, a picture, and a caption."""

    title: str
    caption: str
    settings: Callable[[Scale], Sequence[Any]]  # settings at a scale, whose rows are computed independently
    rows: Callable[[Scale, Any], list[Any]]
    """Return the rows of a setting, mappings (`Row`) or dataclasses, with random numbers from the scale's seed. A
    function of a module, so that it can be pickled for processes."""
    draw: Callable[[Sequence[Any], Any], None]  # draws the rows of all settings, in order, on an empty figure
    size: tuple[float, float] = (9.0, 4.2)  # inches
    cells: Callable[[Sequence[Any]], tuple[Cells, list[Cells]]] | None = None  # of a table below the picture
    printed: int | None = None  # columns of this table in the terminal; ``None`` for all
    seconds: float = 1.0  # approximate CPU time at full scale, for the estimate of the remaining time


def band(name: str, values: FloatArray) -> Row:
    """Return the mean of values (n,) as column ``name``, and its 95 % interval as ``low`` and ``high``."""
    return dict(zip((name, "low", "high"), mean_interval(values), strict=True))


def scenario_at(preset: str, megahertz: float, server: str = "", **fields: Any) -> Scenario:
    """Return a preset with a total bandwidth; with another ``server``, ids are uploaded and lengths may be 0."""
    measured = {"server": server, "payload": "ids", "min_draft_length": 0} if server else {}
    return Scenario.preset(preset, total_bandwidth=megahertz * MHZ, **(measured | fields))


def draw_states(scale: Scale, scenario: Scenario) -> StateCases:
    """Draw independent states with the run's seed; the default seed gives the held-out states."""
    return StateCases.draw(scenario, scale.states, scale.seed)


@lru_cache(maxsize=128)
def compute_scores(scale: Scale, scenario: Scenario) -> dict[str, FloatArray]:
    """Return the goodput (n,) in tokens/s of the six systems of `LABELS`; the optimum is certified."""
    states = draw_states(scale, scenario)
    return {name: states.values(name) for name in LABELS}
