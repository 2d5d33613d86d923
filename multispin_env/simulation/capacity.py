"""Capacity: the largest number of devices, or the largest load, that a system serves in time (not in the paper)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, overload

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.baselines.at_server import SERVER_ONLY
from multispin_env.baselines.systems import colocated_round_time
from multispin_env.checks import (
    check_instance,
    check_integer,
    check_keywords,
    check_name,
    check_plausible,
    check_real,
    shown,
)
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import check_controller, controller_names, make_controller
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import SystemState
from multispin_env.physics.workload import Workload
from multispin_env.registry import MODIFIERS
from multispin_env.scenario import Scenario
from multispin_env.simulation.estimates import estimated_tokens, share_within_memory
from multispin_env.simulation.long_run import serve
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import ROUNDING, make_problem

PERCENT = 95.0  # Percentage of requests, or of random states, that must be within all limits
COPIES = 64  # Default number of copies of a system; the time of a run grows more slowly than this number
MAX_USERS, MAX_COMPUTED = 512, 4096  # Largest numbers of devices that are tried, by simulation (default) and formulas
_MIN_REQUESTS = 700  # Number of requests from which on a load may count as clearly in time or clearly late
_MAX_REQUESTS = 2400  # Number of requests from which on no copies are added
_MIN_COPIES = 8  # Number of copies needed for an interval, unless the user asks for fewer
CLOSE_RATIO = 1.02  # The search ends when the ratio of two loads is at most this
FIRST_RATIO = 1.3  # Ratio of two loads if nothing is known
_LEAST_RATIO = 1.1  # Least ratio of the first two loads; squared for each later one
_SHARE_SLOPE = 6.0  # Typical fall of ln(share / (1 - share)) per ln(load), which gives the ratio of the next load
_LOWER_RATIO = 0.3  # This fraction of a load must be in time too: the share may fall, then rise with larger batches
CAPACITY_UNITS = {"rate": "requests/s", "users": "devices"}  # Units of a capacity, by the variable of the search

_Rule = str | Callable[[Scenario], Controller[Any, Any]]  # A name for `make_candidates`, or a factory of controllers


@dataclass(frozen=True)
class StatesPoint:
    """Share of random states in which ``load`` devices are all served in time."""

    load: int
    share: float

    def __str__(self) -> str:
        return f"K = {self.load}: {100.0 * self.share:.1f} % in time"


@dataclass(frozen=True)
class LoadPoint:
    """Result of the simulation at one load, in requests/s or devices."""

    load: float
    run: ServiceRun
    kv_share: float = 1.0  # estimated share of the time in which the contexts of all requests fit into the memory

    def __str__(self) -> str:
        return f"load {self.load:.4g}: {100.0 * self.share:.1f} % in time"

    @property
    def share(self) -> float:
        """Requests in time as a share of all counted ones, 1 without requests; at most ``kv_share``."""
        in_time, missed = self.run.in_time.sum(), self.run.missed.sum()
        return min(float(in_time / (in_time + missed)) if in_time + missed else 1.0, self.kv_share)

    def is_clear(self, share: float) -> bool:
        """Return whether the share in time differs from ``share`` by six standard errors of independent requests.

        To count as in time, requests that still wait are taken as missed, since a growing queue will miss limits later.
        """
        ended = float(self.run.in_time.sum() + self.run.missed.sum())
        waiting = max(float((self.run.arrivals - self.run.finished - self.run.dropped).sum()), 0.0)
        least = float(self.run.in_time.sum()) / max(ended + waiting, 1.0)
        margin = 6.0 * float(np.sqrt(share * (1.0 - share) / max(ended, 1.0)))
        return ended >= _MIN_REQUESTS and (self.share < share - margin or least > share + margin)

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key, of which larger is better: share, then negative median latency."""
        return self.share, -float(self.run.pooled.e2el[0])


@dataclass(frozen=True)
class Capacity:
    """Capacity with its 95 % interval, and all simulated loads.

    If the largest simulated load meets the service level, it is the value.

    Parameters
    ----------
    value, low, high
        Capacity in requests/s or devices, and its 95 % interval; 0 if no simulated load meets the level. ``high`` is
        infinite if the largest simulated load does not bound it.
    percent
        Percentage of requests that must be within all limits.
    by
        Variable of the search: ``"rate"``, requests/s, or ``"users"``, devices.
    tries
        All simulated loads in increasing order; each has a ``load`` and its ``run``.
    run
        Simulation at the largest load that meets the level; None if there is none.
    """

    value: float
    low: float
    high: float
    percent: float
    by: str
    tries: tuple[LoadPoint, ...]
    run: ServiceRun | None

    @property
    def summary(self) -> str:
        """Result as a sentence."""
        unit = CAPACITY_UNITS[self.by]
        if self.run is None:
            first = self.tries[0]
            load = "with one device" if self.by == "users" else f"at {first.load:.3g} {unit}"
            percent = f"{100.0 * first.share:.1f} % of requests are within all limits, below {self.percent:g} %"
            return f"No load meets the service level: even {load} only {percent}."
        if self.run is self.tries[-1].run:
            return f"All loads up to {self.value:.4g} {unit} meet the service level; larger loads were not tried."
        interval = f"95 % interval {self.low:.4g} to {self.high:.4g}"
        first = next(point for point in self.tries if point.share < self.percent / 100.0)
        memory = "; with more, the contexts exceed the KV memory" if first.share == first.kv_share else ""
        return (
            f"{self.percent:g} % of requests are within all limits up to {self.value:.4g} {unit} ({interval}){memory}."
        )


@overload
def capacity(
    scenario: Scenario,
    *,
    tpot: float,
    system: str = ...,
    states: int = ...,
    seed: int = ...,
    report: Callable[[StatesPoint], None] | None = ...,
) -> int: ...
@overload
def capacity(
    scenario: Scenario,
    *,
    workload: Workload,
    controller: _Rule = ...,
    by: str = ...,
    percent: float = ...,
    copies: int = ...,
    warm_up: float = ...,
    horizon: float = ...,
    channel: str | None = ...,
    seed: int = ...,
    requests: int = ...,
    most: float | None = ...,
    kv_tokens: float = ...,
    report: Callable[[LoadPoint], None] | None = ...,
    progress: Callable[[float], None] | None = ...,
) -> Capacity: ...
def capacity(
    scenario: Scenario, *, tpot: float | None = None, workload: Workload | None = None, **options: Any
) -> int | Capacity:
    """Return the capacity of a system: devices by the formulas of a round, or a load by simulation.

    With ``tpot``, the capacity is the largest number of devices K for which every device gets a token each ``tpot``
    seconds in 95 % of random states; 0 if one device cannot be served, and at most 4096. A round of T seconds is in
    time if T ≤ TPOT E[N_k | L_k] for each device k (`pace`). The states for different K are nested, so that noise does
    not change the order. Devices are always active, and prompts take no time. In the example of docs/serving.md K is
    472 for a TPOT of 0.03 s, against 344 for requests that arrive, whose prompts take most of the server's time.

    With ``workload``, the capacity is the largest load at which ``percent`` of the requests are within all limits of
    the service level. All loads are simulated with the same seeds, until the capacity is known to 2 % or one device.
    About 0.3 times this load must be in time too, since the share may fall and rise again. The value is where the line
    between the shares of the last two loads crosses ``percent``; the interval comes from a bootstrap of the copies.

    ``ValueError`` for both or neither of ``tpot`` and ``workload``, an unknown name, a number out of range or in the
    wrong unit, or a workload without limits; ``TypeError`` for an option that does not apply.

    Parameters
    ----------
    scenario
        The system. With ``tpot`` its number of users is ignored.
    tpot
        Time per output token in seconds, in (0, 20].
    workload
        Requests and their limits.
    **options
        With ``tpot``:

        - ``system``: ``"multi-spin"`` (default), ``"autoregressive"`` (the server alone) or ``"colocated"`` (the server
          drafts for all devices).
        - ``states``: number of random states, default 200; ``seed``: their seed, default 0.

        With either:

        - ``report``: function called after each load with an object that has ``load`` and ``share`` (in time);
          ``report=print`` prints one line for each load.

        With ``workload``:

        - ``controller``: name of a controller for `make_controller` (default ``"load-aware"``), ``"autoregressive"``,
          or ``"colocated"`` (with the best length for each load), each optionally with modifiers; or a function that
          makes a controller for a scenario.
        - ``by``: ``"rate"`` (default), requests/s of the scenario's K devices together; or ``"users"``, the number of
          devices, each of which has the workload's rate divided by K.
        - ``percent``: percentage of the requests in (0, 100), default 95.
        - ``copies``: maximum number of copies, default 64; fewer are used for clear results or many requests.
        - ``warm_up``, ``horizon``, ``channel``, ``seed``: as for `serve`.
        - ``requests``: approximate minimum number of requests in a run, default 600; small loads are simulated longer.
        - ``most``: largest load tried, default 512 devices, or 1,024 times the workload's rate.
        - ``kv_tokens``: memory of the server in tokens, default none: in ``percent`` of the time, the contexts (prompt
          and answer so far) of all requests must fit. This is a formula: requests that arrive independently, with the
          workload's lengths and the simulated medians of TTFT and TPOT (`share_within_memory`).
        - ``progress``: function called during the simulation with the number of runs so far, such as 2.6.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    >>> ms.capacity(scenario, tpot=0.04, system="autoregressive")
    82
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> workload = ms.Workload(
    ...     arrivals=ms.make_arrivals("poisson"),
    ...     lengths=ms.make_lengths("geometric", mean_output=20.0),
    ...     rate=1.0,
    ...     level=ms.ServiceLevel(ttft=3.0),
    ... )
    >>> few = {"copies": 4, "warm_up": 2.0, "horizon": 10.0, "requests": 60}
    >>> drafts = ms.capacity(scenario, workload=workload, controller="greedy", **few)
    >>> drafts.value > ms.capacity(scenario, workload=workload, controller="autoregressive", **few).value
    True
    """
    check_instance("scenario", scenario, Scenario)
    if (tpot is None) == (workload is None):
        raise ValueError(f"tpot: expected either tpot or workload, got {tpot!r} and {shown(workload)}")
    function: Callable[..., int | Capacity] = _by_formulas if workload is None else _by_simulation
    check_keywords("capacity", options, inspect.getfullargspec(function).kwonlyargs)
    return function(scenario, tpot if workload is None else workload, **options)


def _by_simulation(
    scenario: Scenario,
    workload: Workload,
    *,
    controller: _Rule = "load-aware",
    by: str = "rate",
    percent: float = PERCENT,
    copies: int = COPIES,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str | None = None,
    seed: int = 0,
    requests: int = 600,
    most: float | None = None,
    kv_tokens: float = np.inf,
    report: Callable[[LoadPoint], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Capacity:
    check_question(workload, by, percent, copies, most, kv_tokens)
    check_integer("requests", requests, 1)
    check_real("horizon", horizon, 0.0, open_low=True)
    run = partial(serve, warm_up=warm_up, channel=channel, seed=seed)
    choices, share = make_candidates(controller), percent / 100.0
    limits = by == "users", most, kv_tokens
    trial = _Trial(
        choices, scenario, workload, run, share, copies, requests / copies, horizon, *limits, report, progress
    )
    _search(trial)
    result = estimate_capacity([*trial.points.values()], percent, by, seed)
    while np.isinf(result.high) and result.tries[-1].load < trial.loads[1]:
        trial.meets(trial.beyond(result.tries[-1].load, FIRST_RATIO))
        result = estimate_capacity([*trial.points.values()], percent, by, seed)
    return result


def check_question(
    workload: Workload, by: str, percent: float, copies: int, most: float | None = None, kv_tokens: float = np.inf
) -> None:
    """Raise ``ValueError`` for arguments that `capacity` cannot simulate."""
    check_instance("workload", workload, Workload)
    check_real("percent", percent, 0.0, 100.0, open_low=True, open_high=True)
    check_plausible({"percent": percent})
    check_name("by", by, CAPACITY_UNITS)
    check_integer("copies", copies, 2)
    if most is not None:
        check_integer("most", most, 1) if by == "users" else check_real("most", most, 0.0, open_low=True)
    if kv_tokens != np.inf:
        check_real("kv_tokens", kv_tokens, 1.0)
    level = workload.level
    if np.isinf([level.ttft, level.tpot, level.e2el]).all():
        raise ValueError("level: expected a limit of ttft, tpot or e2el, got none, so that every load meets the level")
    if by == "users" and workload.shares is not None:
        raise ValueError(f"shares: expected None for by='users', got {workload.shares}")


_Candidates = Callable[[Scenario], Sequence[Controller[Any, Any]]]  # A local search finds the best for each load


def rule_names() -> tuple[str, ...]:
    """Return the names of controllers for `capacity`, to which modifiers may be added as in ``"greedy+deadlines"``."""
    without_batteries = Scenario.preset("llama2", draft_ahead=True)
    return (*controller_names(None, without_batteries), *SERVER_ONLY)


def make_candidates(rule: _Rule) -> _Candidates:
    """Return the function that makes the controllers of a rule; ``ValueError`` for an unknown name."""
    if not isinstance(rule, str):
        if isinstance(rule, Controller) or not callable(rule):
            expected = "a name, or a function that makes a controller for a scenario"
            raise ValueError(f"controller: expected {expected}, got {shown(rule)}")
        return lambda scenario: (rule(scenario),)
    base, *modifiers = rule.split("+")
    check_controller(base, rule_names())
    if base not in SERVER_ONLY:
        return lambda scenario: (make_controller(rule, scenario),)
    classes = [MODIFIERS.load(name) for name in modifiers]
    return lambda scenario: [
        reduce(lambda controller, modifier: modifier(controller.scenario, controller), classes, controller)
        for controller in SERVER_ONLY[base](scenario)
    ]


@dataclass
class _Trial:
    candidates: _Candidates
    scenario: Scenario
    workload: Workload
    run: Callable[..., ServiceRun]  # `serve` with fixed arguments
    share: float  # required share of requests in time
    copies: int
    requests: float  # smallest number of requests in a copy
    horizon: float
    by_users: bool
    most: float | None
    kv_tokens: float
    report: Callable[[LoadPoint], None] | None
    progress: Callable[[float], None] | None
    points: dict[float, LoadPoint] = field(default_factory=dict)
    position: int = 0  # index of the best candidate, where the search at the next load begins
    near: int = 0  # number of copies at all loads near the capacity; 0 until it is known
    runs: int = 0

    @property
    def rate(self) -> float:
        return sum(self.workload.rates) / 2.0

    @property
    def loads(self) -> tuple[float, float]:
        low, high = (1.0, MAX_USERS) if self.by_users else (self.rate / 2.0**10, self.rate * 2.0**10)
        high = high if self.most is None else self.most
        return min(low, high), float(high)

    def first(self) -> float:
        load, self.position = estimated_load(
            self.candidates, self.scenario, self.workload, self.by_users, self.kv_tokens
        )
        return float(np.clip(load, *self.loads))

    def meets(self, load: float) -> bool:
        if load not in self.points:
            self.points[load] = self(load)
            if self.report is not None:
                self.report(self.points[load])
        return self.points[load].share >= self.share

    def __call__(self, load: float) -> LoadPoint:
        scenario, rate = self.scenario, load
        if self.by_users:
            rate = load * self.rate / scenario.num_users
            scenario = scenario.replace(num_users=int(load))
        workload, horizon = replace(self.workload, rate=rate), max(self.horizon, self.requests / rate)
        candidates, points = self.candidates(scenario), dict[int, LoadPoint]()

        def rank(position: int) -> tuple[float, float]:
            if position not in points:
                points[position] = self._simulate(load, candidates[position], workload, horizon)
            return points[position].rank

        best = -1
        while best != self.position:
            best = self.position
            if rank(best)[0] >= self.share:
                break
            near = (position for position in (best, best - 1, best + 1, 0) if 0 <= position < len(candidates))
            self.position = max(near, key=rank)
        return points[best]

    def _simulate(self, load: float, controller: Controller[Any, Any], workload: Workload, horizon: float) -> LoadPoint:
        def is_clear(run: ServiceRun) -> bool:
            if self.progress is not None:
                self.progress(self.runs + min(float(run.time.mean()) / horizon, 1.0))
            return LoadPoint(load, run).is_clear(self.share)

        requests = sum(workload.rates) / 2.0 * horizon
        copies = self.near or min(self.copies, max(_MIN_COPIES, int(np.ceil(_MAX_REQUESTS / requests))))
        run = self.run(controller, workload, copies=copies, horizon=horizon, enough=is_clear)
        self.runs += 1
        point = LoadPoint(load, run, share_within_memory(workload, run, self.kv_tokens))
        if not point.is_clear(self.share):
            self.near = copies
        return point

    def beyond(self, load: float, factor: float) -> float:
        """Return ``load`` times ``factor``, at least one device away, clipped to the range of the search."""
        scaled = load * factor
        if self.by_users:
            scaled = max(load + 1.0, np.floor(scaled)) if factor > 1.0 else min(load - 1.0, np.ceil(scaled))
        return float(np.clip(scaled, *self.loads))

    def between(self, below: LoadPoint, above: LoadPoint, halve: bool) -> float | None:
        """Return the next load: the middle, or where the line between both shares crosses; None if they are close."""
        low, high, fine = below.load, above.load, CLOSE_RATIO * (1.0 - ROUNDING)
        if high / low <= CLOSE_RATIO or (self.by_users and high - low <= 1.0):
            return None
        first, last = (_log_odds(point.share) for point in (below, above))
        part = 0.5 if halve or high / low < fine**2 else (first - _log_odds(self.share)) / (first - last)
        load = low * (high / low) ** part
        if high / low >= fine**2:
            load = min(max(load, low * fine), high / fine)  # so that the next two loads can be close enough
        return float(np.clip(np.floor(load), low + 1.0, high - 1.0)) if self.by_users else float(load)


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-3), 1.0 - 1e-3)
    return float(np.log(share / (1.0 - share)))


def estimated_load(
    candidates: _Candidates, scenario: Scenario, workload: Workload, by_users: bool, kv_tokens: float = np.inf
) -> tuple[float, int]:
    """Estimate a capacity without simulation; also return the position of the best candidate."""
    controllers = candidates(scenario.replace(num_users=MAX_USERS) if by_users else scenario)
    tokens = [estimated_tokens(controller, workload, kv_tokens) for controller in controllers]
    position = int(np.argmax(tokens))
    requests = tokens[position] / workload.mean_output
    if by_users:
        return float(np.round(requests / (sum(workload.rates) / 2.0) * scenario.num_users)), position
    return requests / 2.0, position  # half, since requests of few devices queue


def _search(trial: _Trial) -> None:
    low, high = _bracket(trial, trial.first())
    if low > 0.0 and not trial.meets(lower := trial.beyond(low, _LOWER_RATIO)):
        low, high = _bracket(trial, lower)
    wide = np.inf  # ratio of the two loads in the previous step
    while np.isfinite(high) and low > 0.0:
        halve, wide = (high / low) ** 2 > wide, high / low  # halve if the line did not halve the interval
        if (middle := trial.between(trial.points[low], trial.points[high], halve)) is None:
            break
        low, high = (middle, high) if trial.meets(middle) else (low, middle)


def _bracket(trial: _Trial, load: float) -> tuple[float, float]:
    """Return the largest load known to meet the share (0 if none) and the next one that does not (inf if none)."""
    least, up = _LEAST_RATIO, trial.meets(load)
    end = trial.loads[up]
    while load != end:
        distance = abs(_log_odds(trial.points[load].share) - _log_odds(trial.share))
        step = min(max(np.exp(distance / _SHARE_SLOPE), least), max(least, 2.0))
        following = trial.beyond(load, step if up else 1.0 / step)
        if trial.meets(following) != up:
            return (load, following) if up else (following, load)
        load, least = following, least**2
    return (load, np.inf) if up else (0.0, load)


def estimate_capacity(points: Sequence[LoadPoint], percent: float, by: str, seed: int) -> Capacity:
    """Return the capacity estimated from these loads, also while the search continues."""
    share, tries = percent / 100.0, tuple(sorted(points, key=lambda point: point.load))
    meeting = [point.run for point in tries if point.share >= share]
    if not meeting:
        return Capacity(0.0, 0.0, 0.0, percent, by, tries, None)
    loads = np.array([point.load for point in tries])
    kv_shares = np.array([point.kv_share for point in tries])
    rng = np.random.default_rng([seed, 1])
    sizes = sorted({len(point.run.time) for point in tries})
    resamples = {size: rng.multinomial(size, np.full(size, 1.0 / size), 2000) for size in sizes}
    once = {size: np.ones((1, size)) for size in sizes}

    def crossing(weights: Mapping[int, FloatArray | IntArray]) -> FloatArray:
        in_time, missed = (
            np.stack([weights[len(point.run.time)] @ getattr(point.run, name).sum(-1) for point in tries], -1)
            for name in ("in_time", "missed")
        )
        return _crossing(loads, in_time, missed, kv_shares, share)

    drawn, value = crossing(resamples), crossing(once)[0]
    low, high = np.quantile(drawn, (0.025, 0.975))
    if value < high == loads[-1]:
        high = np.inf  # in more than 2.5 % of the resamples the largest load is in time
    value, low, high = map(float, np.floor([value, low, high]) if by == "users" else (value, low, high))
    return Capacity(value, low, high, percent, by, tries, meeting[-1])


def _crossing(
    loads: FloatArray, in_time: FloatArray, missed: FloatArray, kv_shares: FloatArray, share: float
) -> FloatArray:
    """Return the loads (resamples,) where the line through the shares in time crosses ``share``, or the largest."""
    ended = in_time + missed
    shares = np.minimum(np.where(ended > 0, in_time / np.maximum(ended, 1), 1.0), kv_shares)
    shares = np.minimum.accumulate(shares, -1)
    below = shares < share
    first = np.where(below.any(-1), below.argmax(-1), len(loads) - 1)
    before, rows = np.maximum(first - 1, 0), np.arange(len(shares))
    high, low = shares[rows, before], shares[rows, first]
    part = np.clip((high - share) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    crossed: FloatArray = loads[before] + part * (loads[first] - loads[before])
    return np.where(below.any(-1), crossed, loads[-1])


def _by_formulas(
    scenario: Scenario,
    tpot: float,
    *,
    system: str = "multi-spin",
    states: int = 200,
    seed: int = 0,
    report: Callable[[StatesPoint], None] | None = None,
) -> int:
    check_real("tpot", tpot, 0.0, open_low=True)
    check_plausible({"tpot": tpot})
    check_name("system", system, FEASIBLE)
    check_integer("states", states, 1)
    check_integer("seed", seed, 0)
    devices = _Devices(scenario, states, seed)

    def serves(users: int) -> bool:
        served = FEASIBLE[system](scenario.replace(num_users=users), devices.first(users), tpot)
        point = StatesPoint(users, float(served.mean()))
        if report is not None:
            report(point)
        return point.share >= PERCENT / 100.0

    low, high = 0, 1
    while high <= MAX_COMPUTED and serves(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if serves(middle) else (low, middle)
    return min(low, MAX_COMPUTED)


class _Devices:
    """Random states of devices, with one generator for each device, so that states with fewer devices are prefixes."""

    def __init__(self, scenario: Scenario, states: int, seed: int) -> None:
        self.scenario = scenario.replace(num_users=1)
        self.states, self.seed = states, seed
        self._columns: list[tuple[FloatArray, ...]] = []

    def first(self, users: int) -> SystemState:
        while len(self._columns) < users:
            state = sample_state(self.scenario, np.random.default_rng([self.seed, len(self._columns)]), self.states)
            self._columns.append((state.draft_time, state.spectral_efficiency, state.acceptance_rate))
        arrays = [np.concatenate(parts, -1) for parts in zip(*self._columns[:users], strict=True)]
        return SystemState(arrays[0], arrays[1], arrays[2])


def _colocated(scenario: Scenario, state: SystemState, tpot: float) -> BoolArray:
    lengths = np.arange(scenario.max_draft_length + 1)
    slowest = expected_tokens(lengths, state.acceptance_rate[..., None]).min(-2)  # (n, l)
    rounds = colocated_round_time(scenario, scenario.num_users, lengths)
    return (rounds <= tpot * slowest).any(-1)


FEASIBLE: Mapping[str, Callable[[Scenario, SystemState, float], BoolArray]] = {
    "multi-spin": lambda scenario, state, tpot: (
        least_tpot(make_problem(scenario, state), tpot).tpot <= tpot * (1.0 + ROUNDING)
    ),
    "autoregressive": lambda scenario, state, tpot: np.full(len(state.draft_time), scenario.verification_time <= tpot),
    "colocated": _colocated,
}
"""Functions by system that return whether all devices in states (n, K) meet a TPOT in seconds, (n,)."""
