"""Landscape view: goodput around the current settings, and where distributed drafting pays off."""

import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.baselines.systems import autoregressive_goodput, colocated_goodput
from multispin_env.controllers.names import make_controller
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ
from multispin_lab.explore.markup import (
    Markup,
    card,
    cell_table,
    element,
    fragment,
    legend,
    line_chart,
    numbers,
    scroll_box,
)
from multispin_lab.explore.one_round import draw_states
from multispin_lab.explore.settings import MAX_DEVICES, ScenarioSources, Slider, SystemSettings, control_field

_PLOTTED = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")  # controllers
BUDGETS = (0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0)  # MHz
USERS = (1, 2, 5, 10, 20, 30, MAX_DEVICES)
_MAP_BUDGETS, _MAP_USERS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0), (2, 10, 20, MAX_DEVICES)

WINNERS = {
    "server alone": "rgb(240,228,66)",
    "server drafts for all": "rgb(230,159,0)",
    "Multi-SPIN": "rgb(86,180,233)",
}
"""Systems of the map, the simplest first, with colours of Okabe and Ito's palette."""

_CurvePoints = dict[str, tuple[float, ...]]  # tokens/s by controller


@dataclass(frozen=True)
class LandscapeSettings(SystemSettings):
    """Settings of the landscape view."""

    title = "Landscape"
    about = (
        "Goodput around the current settings: how it changes with draft length, bandwidth and number of devices, and "
        "where drafting on the devices pays off."
    )

    states: int = control_field(4, Slider("random states per mean", 1, 20))
    seed: int = control_field(0, Slider("seed of the states", 0, 99))

    def compute(self, sources: ScenarioSources) -> "_LandscapeNumbers":
        """Compute all numbers of the page."""
        scenario = self.system(sources)
        seed, states = self.seed, self.states
        here = scenario.total_bandwidth / MHZ
        any_budget = scenario.replace(total_bandwidth=MHZ)  # so that cached results serve all values of B
        systems = [scenario.replace(num_users=users) for users in USERS]
        return _LandscapeNumbers(
            scenario,
            tuple(range(scenario.min_draft_length, scenario.max_draft_length + 1)),
            _by_length(scenario, seed, states),
            {name: _over_budgets(any_budget, BUDGETS, name, seed, states) for name in _PLOTTED},
            {name: tuple(_over_budgets(s, (here,), name, seed, states)[0] for s in systems) for name in _PLOTTED},
            {name: _over_budgets(any_budget, (here,), name, seed, states)[0] for name in _PLOTTED},
            _pay(any_budget.replace(num_users=1), seed, states),
        )

    def draw(self, results: "_LandscapeNumbers") -> Markup:
        """Return the HTML of the numbers."""
        means = f"Means over {self.states} random states. Dots mark the current settings."
        pays = (
            f"Goodput of Multi-SPIN ({results.scenario.label}, draft lengths from 0), divided by that of the server "
            "alone (upper number) and by that of a server that hosts both models and drafts for all (lower number). "
            "The colour shows the system with the highest goodput. The frame marks the cell nearest to the current "
            "settings."
        )
        here = {name: f"{value:.2f} tokens/s" for name, value in results.here.items()}
        return fragment(
            [
                card("Current settings", numbers(here), about=means, wide=True),
                card("Draft length", _over_length(results)),
                card("Bandwidth", _over(results.by_bandwidth, BUDGETS, self.megahertz, "bandwidth B (MHz)", results)),
                card("Number of devices", _over(results.by_users, USERS, self.num_users, "devices K", results)),
                card("Does it pay?", _map(self, results), about=pays),
            ]
        )

    def as_command(self, sources: ScenarioSources) -> str:
        """Return the command that prints the numbers."""
        file = [] if sources.scenario_file is None else ["--scenario", str(sources.scenario_file)]
        return shlex.join(["multispin", "explore", *file, "--print", f"/landscape?{self.query()}"]) + "\n"


@dataclass(frozen=True)
class _PayCell:
    num_users: int
    megahertz: float
    over_alone: float  # goodput of Multi-SPIN with lengths from 0, divided by that of the server alone
    over_colocated: float  # divided by that of a server that drafts for all
    winner: str  # key of WINNERS


@dataclass(frozen=True)
class _LandscapeNumbers:
    """Numbers of the page: means over the states, in tokens/s."""

    scenario: Scenario = field(repr=False)
    lengths: tuple[int, ...]
    by_length: tuple[float, ...]  # one length for all devices, optimal bandwidth
    by_bandwidth: _CurvePoints  # at each of BUDGETS
    by_users: _CurvePoints  # at each of USERS
    here: dict[str, float]  # at the current settings, by controller
    pay: tuple[_PayCell, ...]  # rows by _MAP_USERS, columns by _MAP_BUDGETS


_states = lru_cache(maxsize=64)(draw_states)  # read-only


@lru_cache(maxsize=256)
def _by_length(scenario: Scenario, seed: int, states: int) -> tuple[float, ...]:
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    batch = _repeat_states(scenario, seed, states, lengths.size)
    fixed = np.broadcast_to(lengths[:, None, None], batch.draft_time.shape)
    return _mean_goodputs(scenario, batch, "optimal", fixed_length=fixed)


def _repeat_states(scenario: Scenario, seed: int, states: int, count: int) -> SystemState:
    state = _states(scenario, seed, states)
    return state.mapped(lambda array: np.broadcast_to(array, (count, *array.shape)))


def _mean_goodputs(scenario: Scenario, batch: SystemState, name: str, **options: Any) -> tuple[float, ...]:
    decision = make_controller(name, scenario, **options)(batch)
    return tuple(expected_outcome(scenario, batch, decision).goodput.mean(-1).tolist())


@lru_cache(maxsize=512)
def _over_budgets(
    scenario: Scenario, budgets: tuple[float, ...], name: str, seed: int, states: int
) -> tuple[float, ...]:
    """Mean goodput of a controller for each budget in MHz.

    Only the product of bandwidth and bit/s/Hz matters, so a budget is simulated by scaling the spectral efficiency.
    """
    batch = _repeat_states(scenario, seed, states, len(budgets))
    factor = np.array(budgets)[:, None, None] * MHZ / scenario.total_bandwidth
    return _mean_goodputs(scenario, batch.changed(spectral_efficiency=batch.spectral_efficiency * factor), name)


@lru_cache(maxsize=64)
def _pay(scenario: Scenario, seed: int, states: int) -> tuple[_PayCell, ...]:
    cells = []
    for users in _MAP_USERS:
        system = scenario.replace(num_users=users, min_draft_length=0)
        alone = float(autoregressive_goodput(system))
        colocated = float(colocated_goodput(system, _states(system, seed, states)).mean())
        goodputs = _over_budgets(system, _MAP_BUDGETS, "optimal", seed, states)
        for megahertz, goodput in zip(_MAP_BUDGETS, goodputs, strict=True):
            rates = dict(zip(WINNERS, (alone, colocated, goodput), strict=True))
            winner = max(rates, key=lambda name: round(rates[name], 6))  # the simplest of equal systems
            cells.append(_PayCell(users, megahertz, goodput / alone, goodput / colocated, winner))
    return tuple(cells)


def _over_length(results: _LandscapeNumbers) -> Markup:
    common, optimal = "one length for all devices, optimal bandwidth", "one length per device (optimal)"
    points = list(zip(map(float, results.lengths), results.by_length, strict=True))
    best = max(points, key=lambda point: point[1])
    level = [(points[0][0], results.here["optimal"]), (points[-1][0], results.here["optimal"])]
    caption = f"The best common length is {best[0]:.0f}, with {best[1]:.2f} tokens/s."
    lines = {common: points, optimal: level}
    name = "goodput against the common draft length"
    return line_chart(name, lines, "draft length L", "tokens/s", {common: best}, caption)


def _over(
    curve: _CurvePoints, values: tuple[float, ...], current: float, title: str, results: _LandscapeNumbers
) -> Markup:
    marks = {name: (float(current), results.here[name]) for name in _PLOTTED}
    lines = {name: sorted({*zip(map(float, values), curve[name], strict=True), marks[name]}) for name in _PLOTTED}
    return line_chart(f"goodput against {title}", lines, title, "tokens/s", marks)


def _map(settings: LandscapeSettings, results: _LandscapeNumbers) -> Markup:
    nearest = (
        min(_MAP_USERS, key=lambda users: abs(users - settings.num_users)),
        min(_MAP_BUDGETS, key=lambda megahertz: abs(megahertz - results.scenario.total_bandwidth / MHZ)),
    )
    rows: dict[int, list[str]] = {users: [str(users)] for users in _MAP_USERS}
    for cell in results.pay:
        is_nearest = (cell.num_users, cell.megahertz) == nearest
        frame = ";outline:3px solid #222;outline-offset:-3px" if is_nearest else ""
        colour = f"background:{WINNERS[cell.winner]}{frame}"
        ratios = [f"{cell.over_alone:.2f}", element("br"), f"{cell.over_colocated:.2f}"]
        rows[cell.num_users].append(element("td", ratios, style=colour, title=f"best: {cell.winner}"))
    header = ("K \\ MHz", *(f"{megahertz:g}" for megahertz in _MAP_BUDGETS))
    return element("div", legend(WINNERS), scroll_box(cell_table("pay", header, rows.values())), class_="map")
