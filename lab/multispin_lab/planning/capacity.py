"""Capacity: the largest number of devices, or the largest load, that a system serves in time (not in the paper).

`max_devices` computes with the formulas of a round, `LoadSearch` simulates requests; both search with `_largest`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, reduce
from typing import Any, overload

import numpy as np

from multispin_env.arrays import BoolArray
from multispin_env.baselines.systems import colocated_round_time
from multispin_env.checks import (
    check_fields,
    check_instance,
    check_integer,
    check_keywords,
    check_name,
    check_plausible,
    check_real,
    checked_field,
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
from multispin_env.simulation.long_run import serve
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import ROUNDING, make_problem
from multispin_lab.planning.at_server import SERVER_ONLY
from multispin_lab.planning.estimates import estimated_tokens, share_within_memory

PERCENT = 95.0  # Percentage of requests, or of random states, that must be within all limits
COPIES = 64  # Default number of copies of a system; the time of a run grows more slowly than this number
MAX_USERS, MAX_COMPUTED = 512, 4096  # Largest numbers of devices that are tried, by simulation (default) and formulas
_MIN_REQUESTS = 700  # Number of requests from which on a load may count as clearly in time or clearly late
_MAX_REQUESTS = 2400  # Number of requests from which on no copies are added
_MIN_COPIES = 8  # Number of copies needed for an interval, unless the user asks for fewer
CLOSE_RATIO = 1.02  # The search ends when the ratio of two loads is at most this
FIRST_RATIO = 1.3  # Ratio of the first two loads; squared for each later one, up to 2
_LOWER_RATIO = 0.3  # This fraction of a load must be in time too: the share may fall, then rise with larger batches
CAPACITY_UNITS = {"rate": "requests/s", "users": "devices"}  # Units of a capacity, by the variable of the search

_Rule = str | Callable[[Scenario], Controller]  # A name for `make_candidates`, or a factory of controllers


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
def capacity(scenario: Scenario, *, tpot: float, **options: Any) -> int: ...
@overload
def capacity(scenario: Scenario, *, workload: Workload, **options: Any) -> Capacity: ...
def capacity(
    scenario: Scenario, *, tpot: float | None = None, workload: Workload | None = None, **options: Any
) -> int | Capacity:
    """Return the capacity of a system: devices by the formulas of a round, or a load by simulation.

    With ``tpot``, the capacity is the largest number of devices K for which every device gets a token each ``tpot``
    seconds in 95 % of random states; 0 if one device cannot be served, and at most 4096, or the requests of ``context``
    tokens that fit into the memory of the server (``kv_tokens=0`` of the scenario for no limit). A round of T seconds
    is in time if T ≤ TPOT E[N_k | L_k] for each device k (`pace`). The states for different K are nested, so that noise
    does not change the order. Devices are always active, and prompts take no time. In the example of docs/serving.md K
    is 472 for a TPOT of 0.03 s, against 342 for requests that arrive, whose prompts take most of the server's time.

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
        - ``copies``: maximum number of copies, default 64; fewer are used for many requests.
        - ``warm_up``, ``horizon``, ``channel``, ``seed``: as for `serve`.
        - ``requests``: approximate minimum number of requests in a run, default 600; small loads are simulated longer.
        - ``most``: largest load tried, default 512 devices, or 1,024 times the workload's rate.
        - ``kv_tokens``: memory of the server in tokens, default that of the scenario, infinite for no limit, divided by
          ``draft_kv_factor`` for ``"colocated"``: in ``percent`` of the time, the contexts (prompt and answer so far)
          of all requests must fit. This is a formula: requests that arrive independently, with the
          workload's lengths and the simulated medians of TTFT and TPOT (`share_within_memory`).
        - ``progress``: function called during the simulation with the number of runs so far, such as 2.6.

    Examples
    --------
    >>> import multispin_env as ms, multispin_lab
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    >>> multispin_lab.capacity(scenario, tpot=0.04, system="autoregressive")
    82
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> workload = ms.requests.Workload(
    ...     arrivals=ms.requests.make_arrivals("poisson"),
    ...     lengths=ms.requests.make_lengths("geometric", mean_output=20.0),
    ...     rate=1.0,
    ...     level=ms.requests.ServiceLevel(ttft=3.0),
    ... )
    >>> few = {"copies": 4, "warm_up": 2.0, "horizon": 10.0, "requests": 60}
    >>> drafts = multispin_lab.capacity(scenario, workload=workload, controller="greedy", **few)
    >>> drafts.value > multispin_lab.capacity(scenario, workload=workload, controller="autoregressive", **few).value
    True
    """
    check_instance("scenario", scenario, Scenario)
    if tpot is not None and workload is None:
        check_keywords("capacity", options, max_devices.__kwdefaults__ or ())
        return max_devices(scenario, tpot, **options)
    if workload is not None and tpot is None:
        shown_to = {name: options.pop(name) for name in ("report", "progress") if name in options}
        check_keywords("capacity", options, [part.name for part in fields(LoadSearch)[2:]] + ["report", "progress"])
        return LoadSearch(scenario, workload, **options).run(**shown_to)
    raise ValueError(f"tpot: expected either tpot or workload, got {tpot!r} and {shown(workload)}")


@dataclass(frozen=True)
class LoadSearch:
    """Search by simulation for the largest load within the limits of a workload; `capacity` describes the fields."""

    scenario: Scenario
    workload: Workload
    controller: _Rule = "load-aware"
    by: str = checked_field("rate", check_name, CAPACITY_UNITS)
    percent: float = checked_field(PERCENT, check_real, 0.0, 100.0, open_low=True, open_high=True)
    copies: int = checked_field(COPIES, check_integer, 2)
    warm_up: float = 10.0  # s; `serve` checks it, the channel and the seed
    horizon: float = checked_field(45.0, check_real, 0.0, open_low=True)
    channel: str | None = None
    seed: int = 0
    requests: int = checked_field(600, check_integer, 1)
    most: float | None = None
    kv_tokens: float | None = None

    def __post_init__(self) -> None:
        check_instance("workload", self.workload, Workload)
        check_fields(self)
        if self.most is not None and self.by_users:
            check_integer("most", self.most, 1)
        elif self.most is not None:
            check_real("most", self.most, 0.0, open_low=True)
        if self.kv_tokens not in (None, np.inf):
            check_real("kv_tokens", self.kv_tokens, 1.0)
        level = self.workload.level
        if np.isinf([level.ttft, level.tpot, level.e2el]).all():
            expected = "a limit of ttft, tpot or e2el, got none, so that every load meets the level"
            raise ValueError(f"level: expected {expected}")
        if self.by_users and self.workload.shares is not None:
            raise ValueError(f"shares: expected None for by='users', got {self.workload.shares}")
        if self.by_users:
            self.scenario.uplink.require_alike()
        make_candidates(self.controller)  # raises for an unknown name

    @property
    def by_users(self) -> bool:
        """Whether loads are numbers of devices."""
        return self.by == "users"

    @property
    def cached_tokens(self) -> float:
        """Tokens of cache that fit into the memory; fewer if the server drafts."""
        tokens = self.scenario.kv_tokens if self.kv_tokens is None else self.kv_tokens
        memory = replace(self.scenario.memory, kv_tokens=tokens)
        return memory.tokens(drafts=str(self.controller).split("+")[0] == "colocated")

    @property
    def share(self) -> float:
        """Required share of requests in time."""
        return self.percent / 100.0

    def run(
        self, report: Callable[[LoadPoint], None] | None = None, progress: Callable[[float], None] | None = None
    ) -> Capacity:
        """Simulate loads until the capacity is known."""
        rate, points = sum(self.workload.rates) / 2.0, dict[float, LoadPoint]()
        estimate, position = self.estimate()
        low, high = (1.0, MAX_USERS) if self.by_users else (rate / 2.0**10, rate * 2.0**10)
        high = float(high if self.most is None else self.most)
        ends, trial = (min(low, high), high), _Trial(self, progress, position)

        def meets(load: float) -> bool:
            if load not in points:
                points[load] = trial(load)
                if report is not None:
                    report(points[load])
            return points[load].share >= self.share

        largest = _largest(meets, float(np.clip(estimate, *ends)), ends, self.by_users, CLOSE_RATIO)
        if largest > 0.0 and not meets(lower := _beyond(largest, _LOWER_RATIO, ends, self.by_users)):
            _largest(meets, lower, ends, self.by_users, CLOSE_RATIO)
        while np.isinf((result := self.result([*points.values()])).high) and max(points) < high:
            meets(_beyond(max(points), FIRST_RATIO, ends, self.by_users))
        return result

    def estimate(self) -> tuple[float, int]:
        """Estimate the capacity without simulation; also return the position of the best candidate."""
        scenario, workload = self.scenario, self.workload
        controllers = make_candidates(self.controller)(
            scenario.replace(num_users=MAX_USERS) if self.by_users else scenario
        )
        tokens = [estimated_tokens(controller, workload, self.cached_tokens) for controller in controllers]
        position = int(np.argmax(tokens))
        requests = tokens[position] / workload.mean_output
        if self.by_users:
            return float(np.round(requests / (sum(workload.rates) / 2.0) * scenario.num_users)), position
        return requests / 2.0, position  # half, since requests of few devices queue

    def result(self, points: Sequence[LoadPoint]) -> Capacity:
        """Return the capacity estimated from these loads, also while the search continues."""
        tries = tuple(sorted(points, key=lambda point: point.load))
        meeting = [point.run for point in tries if point.share >= self.share]
        if not meeting:
            return Capacity(0.0, 0.0, 0.0, self.percent, self.by, tries, None)
        rng = np.random.default_rng([self.seed, 1])
        weights = {  # of the copies, once each and resampled
            size: np.vstack([np.ones(size), rng.multinomial(size, np.full(size, 1.0 / size), 2000)])
            for size in sorted({len(point.run.time) for point in tries})
        }
        in_time, missed = (
            np.stack([weights[len(point.run.time)] @ getattr(point.run, name).sum(-1) for point in tries], -1)
            for name in ("in_time", "missed")
        )
        ended, most = in_time + missed, np.array([point.kv_share for point in tries])
        shares = np.minimum(np.where(ended > 0, in_time / np.maximum(ended, 1), 1.0), most)
        loads = [point.load for point in tries]
        crossings = [np.interp(-self.share, -row, loads) for row in np.minimum.accumulate(shares, -1)]
        value, low, high = map(float, (crossings[0], *np.quantile(crossings[1:], (0.025, 0.975))))
        if value < high == loads[-1]:
            high = np.inf  # in more than 2.5 % of the resamples the largest load is in time
        value, low, high = map(float, np.floor([value, low, high]) if self.by_users else (value, low, high))
        return Capacity(value, low, high, self.percent, self.by, tries, meeting[-1])


def _largest(
    meets: Callable[[float], bool], load: float, ends: tuple[float, float], whole: bool, close: float
) -> float:
    """Return the largest load known to pass, or 0, by bisection between two loads that are found from ``load`` on.

    All loads are between ``ends``, and ``whole`` numbers if asked. The bisection ends when the next load is at most
    ``close`` times as large, or 1 more.
    """
    up, factor, following = meets(load), FIRST_RATIO, load
    while following == load or meets(following) == up:
        load = following
        if load == ends[up]:
            return load if up else 0.0
        following = _beyond(load, factor if up else 1.0 / factor, ends, whole)
        factor = min(factor**2, 2.0)
    low, high = (load, following) if up else (following, load)
    while high > low * close and not (whole and high - low <= 1.0):
        middle = (low + high) // 2.0 if whole else (low + high) / 2.0
        low, high = (middle, high) if meets(middle) else (low, middle)
    return low


def _beyond(load: float, factor: float, ends: tuple[float, float], whole: bool) -> float:
    scaled = load * factor
    if whole:
        scaled = np.ceil(scaled) if factor > 1.0 else np.floor(scaled)
    return float(np.clip(scaled, *ends))


_Candidates = Callable[[Scenario], Sequence[Controller]]  # A local search finds the best for each load


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
    search: LoadSearch
    progress: Callable[[float], None] | None
    position: int  # index of the best candidate, where the search at the next load begins
    runs: int = 0

    def __call__(self, load: float) -> LoadPoint:
        search, scenario, rate = self.search, self.search.scenario, load
        if search.by_users:
            rate = load * sum(search.workload.rates) / 2.0 / scenario.num_users
            scenario = scenario.replace(num_users=int(load))
        controllers, workload = make_candidates(search.controller)(scenario), replace(search.workload, rate=rate)

        @cache
        def point(position: int) -> LoadPoint:
            return self._simulate(load, controllers[position], workload, rate)

        while point(best := self.position).share < search.share:
            near = (position for position in (best, best - 1, best + 1, 0) if 0 <= position < len(controllers))
            self.position = max(near, key=lambda position: point(position).rank)
            if self.position == best:
                break
        return point(best)

    def _simulate(self, load: float, controller: Controller, workload: Workload, rate: float) -> LoadPoint:
        search = self.search
        copies = _MIN_COPIES * int(np.ceil(_MAX_REQUESTS / (_MIN_COPIES * rate * search.horizon)))
        copies = min(copies, search.copies)
        horizon = max(search.horizon, search.requests / (copies * rate))

        def is_clear(run: ServiceRun) -> bool:
            if self.progress is not None:
                self.progress(self.runs + min(float(run.time.mean()) / horizon, 1.0))
            return LoadPoint(load, run).is_clear(search.share)

        given = {name: getattr(search, name) for name in ("warm_up", "channel", "seed")}
        run = serve(controller, workload, copies=copies, horizon=horizon, enough=is_clear, **given)
        self.runs += 1
        return LoadPoint(load, run, share_within_memory(workload, run, search.cached_tokens))


def max_devices(
    scenario: Scenario,
    tpot: float,
    *,
    system: str = "multi-spin",
    states: int = 200,
    seed: int = 0,
    report: Callable[[StatesPoint], None] | None = None,
) -> int:
    """Return the largest number of devices within a TPOT by formulas; see `capacity` for the options."""
    check_real("tpot", tpot, 0.0, open_low=True)
    check_plausible({"tpot": tpot})
    check_name("system", system, FEASIBLE)
    check_integer("states", states, 1)
    check_integer("seed", seed, 0)
    scenario.uplink.require_alike()
    devices = nested_states(scenario, states, seed)

    def serves(users: float) -> bool:
        served = FEASIBLE[system](scenario.replace(num_users=int(users)), devices(int(users)), tpot)
        point = StatesPoint(int(users), float(served.mean()))
        if report is not None:
            report(point)
        return point.share >= PERCENT / 100.0

    fitting = min(scenario.memory.requests(scenario.context, system == "colocated"), MAX_COMPUTED)
    return int(_largest(serves, 1.0, (1.0, fitting), whole=True, close=1.0)) if fitting else 0


def nested_states(scenario: Scenario, states: int, seed: int) -> Callable[[int], SystemState]:
    """Return a function that draws states (n, K) for K devices; those of fewer devices are prefixes."""
    alone = scenario.replace(num_users=1)

    @cache
    def device(index: int) -> SystemState:
        return sample_state(alone, np.random.default_rng([seed, index]), states).mapped(np.transpose)

    def first(users: int) -> SystemState:
        return SystemState.joined([device(index) for index in range(users)]).mapped(lambda array: array.T.copy())

    return first


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
