"""Landscape: goodput around the present point, and where distributed drafting pays."""

import shlex
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from multispin_env.apps.explore.markup import (
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
from multispin_env.apps.explore.page import PageView
from multispin_env.apps.explore.settings import MAX_DEVICES, ScenarioSources, Slider, SystemSettings, control_field
from multispin_env.baselines.systems import autoregressive_goodput, colocated_goodput
from multispin_env.controllers.names import make_controller
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

_PLOTTED = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")  # whose goodput is drawn
BUDGETS = (0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0)  # MHz
USERS = (1, 2, 5, 10, 20, 30, MAX_DEVICES)
_MAP_BUDGETS, _MAP_USERS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0), (2, 10, 20, MAX_DEVICES)

WINNERS = {
    "server alone": "rgb(240,228,66)",
    "server drafts for all": "rgb(230,159,0)",
    "Multi-SPIN": "rgb(86,180,233)",
}
"""Systems of the map, the simplest first, with yellow, orange and sky of Okabe and Ito's palette."""

_CurvePoints = dict[str, tuple[float, ...]]  # tokens/s of each controller, by its name


@dataclass(frozen=True)
class LandscapeSettings(SystemSettings):
    """Settings of the view."""

    states: int = control_field(4, Slider("random states in each mean", 1, 20))
    seed: int = control_field(0, Slider("seed of the states", 0, 99))


@dataclass(frozen=True)
class _PayCell:
    num_users: int
    megahertz: float
    over_alone: float  # Multi-SPIN with lengths from 0, over the server alone
    over_colocated: float  # the same over a server that drafts for all, which is never less
    winner: str  # one of WINNERS


@dataclass(frozen=True)
class _LandscapeNumbers:
    """What the page shows; all are means over the states, in tokens/s."""

    scenario: Scenario = field(repr=False)
    lengths: tuple[int, ...]
    by_length: tuple[float, ...]  # of one length for all, with the best bandwidth
    by_bandwidth: _CurvePoints  # over BUDGETS
    by_users: _CurvePoints  # over USERS
    here: dict[str, float]  # at the present point, by controller
    pay: tuple[_PayCell, ...]  # by MAP_USERS, then MAP_BUDGETS


def compute(settings: LandscapeSettings, sources: ScenarioSources) -> _LandscapeNumbers:
    """All numbers of the page."""
    scenario = settings.system(sources)
    seed, states = settings.seed, settings.states
    here = scenario.total_bandwidth / MHZ
    anywhere = scenario.replace(total_bandwidth=MHZ)  # what does not depend on B or K is kept when these sliders move
    anyone = scenario.replace(num_users=1)
    return _LandscapeNumbers(
        scenario,
        tuple(range(scenario.min_draft_length, scenario.max_draft_length + 1)),
        _by_length(scenario, seed, states),
        {name: _over_budgets(anywhere, BUDGETS, name, seed, states) for name in _PLOTTED},
        {name: _over_users(anyone, name, seed, states) for name in _PLOTTED},
        {name: _over_budgets(anywhere, (here,), name, seed, states)[0] for name in _PLOTTED},
        _pay(anywhere.replace(num_users=1), seed, states),
    )


@lru_cache(maxsize=64)
def _states(scenario: Scenario, seed: int, states: int) -> SystemState:
    """Random states, which nobody changes; another K keeps the devices that stay."""
    many = sample_state(scenario.replace(num_users=MAX_DEVICES), np.random.default_rng(seed), states)
    return many[:, : scenario.num_users]


@lru_cache(maxsize=256)
def _by_length(scenario: Scenario, seed: int, states: int) -> tuple[float, ...]:
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    many = _repeated(_states(scenario, seed, states), lengths.size)
    fixed = np.broadcast_to(lengths[:, None, None], many.draft_time.shape)
    decision = make_controller("optimal", scenario, fixed_length=fixed)(many)
    return tuple(expected_outcome(scenario, many, decision).goodput.mean(-1).tolist())


def _repeated(state: SystemState, count: int) -> SystemState:
    """States (n, K) as (count, n, K)."""
    columns = (state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    return SystemState(*(np.broadcast_to(column, (count, *column.shape)) for column in columns))


@lru_cache(maxsize=256)
def _over_budgets(
    scenario: Scenario, budgets: tuple[float, ...], name: str, seed: int, states: int
) -> tuple[float, ...]:
    """Mean goodput of a controller for each budget in MHz, in one batch.

    Only the product of bandwidth and bit/s/Hz counts. So another budget is the same as better channels.
    """
    many = _repeated(_states(scenario, seed, states), len(budgets))
    times = np.array(budgets)[:, None, None] * MHZ / scenario.total_bandwidth
    many = many.changed(spectral_efficiency=many.spectral_efficiency * times)
    decision = make_controller(name, scenario)(many)
    return tuple(expected_outcome(scenario, many, decision).goodput.mean(-1).tolist())


@lru_cache(maxsize=256)
def _over_users(scenario: Scenario, name: str, seed: int, states: int) -> tuple[float, ...]:
    budget = (scenario.total_bandwidth / MHZ,)
    return tuple(_over_budgets(scenario.replace(num_users=users), budget, name, seed, states)[0] for users in USERS)


@lru_cache(maxsize=64)
def _pay(scenario: Scenario, seed: int, states: int) -> tuple[_PayCell, ...]:
    cells = []
    for users in _MAP_USERS:
        one = scenario.replace(num_users=users, min_draft_length=0)
        alone = float(autoregressive_goodput(one))
        colocated = float(colocated_goodput(one, _states(one, seed, states)).mean())
        reached = _over_budgets(one, _MAP_BUDGETS, "optimal", seed, states)
        for megahertz, goodput in zip(_MAP_BUDGETS, reached, strict=True):
            rates = dict(zip(WINNERS, (alone, colocated, goodput), strict=True))
            winner = max(rates, key=lambda system: round(rates[system], 6))  # where two are equal, the simpler one
            cells.append(_PayCell(users, megahertz, goodput / alone, goodput / colocated, winner))
    return tuple(cells)


def _as_command(settings: LandscapeSettings, sources: ScenarioSources) -> str:
    file = [] if sources.scenario_file is None else ["--scenario", str(sources.scenario_file)]
    return shlex.join(["multispin", "explore", *file, "--print", f"/landscape?{settings.query()}"]) + "\n"


def _draw(settings: LandscapeSettings, found: _LandscapeNumbers) -> Markup:
    means = f"Means over {settings.states} random states; the dots are the present point."
    pays = (
        f"Tokens/s of Multi-SPIN on {found.scenario.label}, with draft lengths from 0: over those of the server alone, "
        "and, below, over those of a server that has both models and drafts for all. The colour is that of the system "
        "with most tokens/s, the frame the nearest to the present point."
    )
    here = {name: f"{value:.2f} tokens/s" for name, value in found.here.items()}
    return fragment(
        [
            card("Here", numbers(here), about=means, wide=True),
            card("Over the draft length", _over_length(found)),
            card("Over bandwidth", _over(found.by_bandwidth, BUDGETS, settings.megahertz, "bandwidth B (MHz)", found)),
            card("Over devices", _over(found.by_users, USERS, settings.num_users, "devices K", found)),
            card("Does it pay?", _map(settings, found), about=pays),
        ]
    )


def _over_length(found: _LandscapeNumbers) -> Markup:
    one, optimal = "one length for all, best bandwidth", "each device its own: optimal"
    points = list(zip(map(float, found.lengths), found.by_length, strict=True))
    best = max(points, key=lambda point: point[1])
    level = [(points[0][0], found.here["optimal"]), (points[-1][0], found.here["optimal"])]
    said = f"The best common length is {best[0]:.0f}, with {best[1]:.2f} tokens/s."
    lines = {one: points, optimal: level}
    return line_chart("goodput over the common draft length", lines, "draft length L", "tokens/s", {one: best}, said)


def _over(
    curve: _CurvePoints, sources: tuple[float, ...], present: float, title: str, found: _LandscapeNumbers
) -> Markup:
    lines = {
        name: sorted({*zip(map(float, sources), curve[name], strict=True), (float(present), found.here[name])})
        for name in _PLOTTED
    }
    marks = {name: (float(present), found.here[name]) for name in _PLOTTED}
    return line_chart(f"goodput over {title}", lines, title, "tokens/s", marks)


def _map(settings: LandscapeSettings, found: _LandscapeNumbers) -> Markup:
    nearest = (
        min(_MAP_USERS, key=lambda users: abs(users - settings.num_users)),
        min(_MAP_BUDGETS, key=lambda megahertz: abs(megahertz - found.scenario.total_bandwidth / MHZ)),
    )
    rows = []
    for users in _MAP_USERS:
        cells = [
            _pay_cell(cell, (cell.num_users, cell.megahertz) == nearest)
            for cell in found.pay
            if cell.num_users == users
        ]
        rows.append((str(users), *cells))
    header = ("K, MHz", *(f"{megahertz:g}" for megahertz in _MAP_BUDGETS))
    return element("div", legend(WINNERS), scroll_box(cell_table("pay", header, rows)), class_="map")


def _pay_cell(cell: _PayCell, present: bool) -> Markup:
    frame = ";outline:3px solid #222;outline-offset:-3px" if present else ""
    shown = [f"{cell.over_alone:.2f}", element("br"), f"{cell.over_colocated:.2f}"]
    return element("td", shown, style=f"background:{WINNERS[cell.winner]}{frame}", title=f"best: {cell.winner}")


VIEW = PageView(
    title="Landscape",
    about="Goodput around the present point: where it grows, where it stays, and where drafting at the edge pays.",
    settings=LandscapeSettings,
    compute=compute,
    draw=_draw,
    as_command=_as_command,
)
