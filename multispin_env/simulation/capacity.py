"""Capacity: the most devices, or the largest load, that a system serves in time (ours)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, overload

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.baselines.at_server import SERVER_ONLY, AtServer
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
from multispin_env.controllers.continuous.greedy import estimated_rates
from multispin_env.controllers.names import check_controller, controller_names, make_controller
from multispin_env.physics.continuous.core import free_state
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import SystemState
from multispin_env.physics.workload import Workload
from multispin_env.registry import MODIFIERS
from multispin_env.scenario import Scenario
from multispin_env.simulation.long_run import serve
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import ROUNDING, make_problem

PERCENT = 95.0  # of the requests, or of random states, that have to be within all limits
COPIES = 64  # of a system; the time of a run grows by less than their number
MOST_USERS, MOST_COMPUTED = 512, 4096  # devices beyond which none is looked for, by simulation and by formulas
_ENOUGH, MANY = 700, 6000  # requests with which a load may be clearly in time or not, and beyond which no copy is added
_FEWEST = 8  # copies that an interval needs, of those asked for
FINE = 1.02  # ratio of two loads between which a capacity is not looked for any more
STEP = 1.3  # from the first load to the next; each step after is the square of the one before
_LOWER = 0.3  # part of the load found that has to be in time too: a share may fall, and rise again with larger batches
UNITS = {"rate": "requests/s", "users": "devices"}  # what a capacity counts, by what is searched

_Rule = str | Callable[[Scenario], Controller[Any, Any]]
"""Name of a controller or of `SERVER_ONLY`, or what makes a controller for a scenario."""


@dataclass(frozen=True)
class StatesPoint:
    """Share of random states in which so many devices are served in time."""

    load: int
    share: float

    def __str__(self) -> str:
        return f"K = {self.load}: {100.0 * self.share:.1f} % in time"


@dataclass(frozen=True)
class LoadPoint:
    """What was found at one load, requests/s or devices."""

    load: float
    run: ServiceRun

    def __str__(self) -> str:
        return f"load {self.load:.4g}: {100.0 * self.share:.1f} % in time"

    @property
    def share(self) -> float:
        """Requests in time, as a share of those in time or missed; 1 where there are none."""
        in_time, ended = self.run.in_time.sum(), self.run.in_time.sum() + self.run.missed.sum()
        return float(in_time / ended) if ended else 1.0

    def clear(self, share: float) -> bool:
        """Whether a share in time is met, or missed, by six standard errors of independent requests.

        What those that wait have become more by counts as missed, since a queue that grows misses its limits later.
        """
        ended = float(self.run.in_time.sum() + self.run.missed.sum())
        waiting = max(float((self.run.arrivals - self.run.finished - self.run.dropped).sum()), 0.0)
        least = float(self.run.in_time.sum()) / max(ended + waiting, 1.0)
        margin = 6.0 * float(np.sqrt(share * (1.0 - share) / max(ended, 1.0)))
        return ended >= _ENOUGH and (self.share < share - margin or least > share + margin)

    @property
    def rank(self) -> tuple[float, float]:
        """The larger, the better: by share, then by how soon requests end."""
        return self.share, -float(self.run.pooled.e2el[0])


@dataclass(frozen=True)
class Capacity:
    """A capacity with its 95 % interval, and all loads that were tried.

    Where the largest load that was tried meets the service level, that is the value.

    Parameters
    ----------
    value, low, high
        The capacity in requests/s, or in devices, and its 95 % interval; 0 where even the least load misses the level.
        ``high`` is infinite where the largest load that was tried does not bound it.
    percent
        Share of requests that has to be within all limits, in %.
    by
        What was looked for: ``"rate"``, requests/s, or ``"users"``, devices.
    tries
        All loads that were tried, in order; each has a ``load`` and its ``run``.
    run
        What became of the requests at the largest load tried that meets the level; None if none does.
    """

    value: float
    low: float
    high: float
    percent: float
    by: str
    tries: tuple[LoadPoint, ...]
    run: ServiceRun | None

    @property
    def verdict(self) -> str:
        """What was found, in a sentence."""
        unit = UNITS[self.by]
        if self.run is None:
            first = self.tries[0]
            found = f"{100.0 * first.share:.1f} % of requests are within all limits, below {self.percent:g} %"
            least = "with one device" if self.by == "users" else f"at {first.load:.3g} {unit}"
            return f"No load meets the service level: even {least} only {found}."
        if self.run is self.tries[-1].run:
            return f"All loads up to {self.value:.4g} {unit} meet the service level; larger ones were not tried."
        interval = f"95 % interval {self.low:.4g} to {self.high:.4g}"
        return f"{self.percent:g} % of requests are within all limits up to {self.value:.4g} {unit} ({interval})."


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
    report: Callable[[LoadPoint], None] | None = ...,
) -> Capacity: ...
def capacity(
    scenario: Scenario, *, tpot: float | None = None, workload: Workload | None = None, **options: Any
) -> int | Capacity:
    """How much a system can serve in time: devices by the formulas of a round, or a load by simulation.

    With ``tpot``, the most devices K for which every device gets a token each ``tpot`` seconds, in 95 % of random
    states: 0 if not even one can be served, and 4096 at most. A round of T seconds is in time if T ≤ TPOT E[N_k | L_k]
    for each device k (`pace`). The states of fewer devices are those of more with some left out, so that K counts more
    or less, not noise.

    With ``workload``, the largest load at which a share of the requests is within all limits of its service level.
    Every load is tried with the same seeds, from an estimate by formulas on, until the capacity is known to 2 % or one
    device. A part of the load found has to be in time too, as the share may fall and rise again. A few copies and less
    time do where a load is clearly in time or not. The value is where the line between the shares of the last two loads
    crosses ``percent``; its interval is that of copies drawn again.

    ``ValueError`` for both or neither of ``tpot`` and ``workload``, an unknown name, a number out of range or meant in
    another unit, or a workload without limits; ``TypeError`` for an option that is not of the question.

    Parameters
    ----------
    scenario
        The system. With ``tpot`` its number of users does not matter.
    tpot
        Time per output token in seconds, in (0, 5].
    workload
        Requests and their limits.
    **options
        With ``tpot``:

        - ``system``: ``"multi-spin"`` (default), ``"autoregressive"`` (the server alone) or ``"colocated"`` (the server
          drafts for all).
        - ``states``: how many random states, default 200; ``seed``: of them, default 0.

        With either:

        - ``report``: called with each load as soon as it was tried, which has ``load`` and ``share``, the part in time;
          ``report=print`` shows how far it is, a line for each load.

        With ``workload``:

        - ``controller``: name of a controller as `make_controller` takes it (default ``"load-aware"``),
          ``"autoregressive"`` or ``"colocated"``, with the best length for each load; each may be followed by
          modifiers; or what makes a controller for a scenario.
        - ``by``: ``"rate"`` (default), requests/s of the scenario's K devices together, from the workload's on; or
          ``"users"``, devices, from K on, each with the workload's rate divided by K.
        - ``percent``: of the requests that end, in (0, 100), default 95.
        - ``copies``: at most, default 64; where requests are many, 8 or more of them do;
        - ``warm_up``, ``horizon``, ``channel``, ``seed``: as for `serve`.
        - ``requests``: that a run holds at least, more or less, default 600: at small loads it takes longer.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    >>> ms.capacity(scenario, tpot=0.04, system="autoregressive")
    82
    >>> ms.capacity(scenario, tpot=0.02, system="autoregressive", report=print)
    K = 1: 0.0 % in time
    0
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
    if tpot is not None and workload is None:
        check_keywords("capacity", options, _by_formulas.__kwdefaults__ or ())
        return _by_formulas(scenario, tpot, **options)
    if workload is not None and tpot is None:
        check_keywords("capacity", options, _by_simulation.__kwdefaults__ or ())
        return _by_simulation(scenario, workload, **options)
    raise ValueError(f"tpot: expected a time or a workload, one of them, got {tpot!r} and {shown(workload)}")


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
    report: Callable[[LoadPoint], None] | None = None,
) -> Capacity:
    check_question(workload, by, percent, copies)
    check_integer("requests", requests, 1)
    check_real("horizon", horizon, 0.0, open_low=True)
    run = partial(serve, warm_up=warm_up, channel=channel, seed=seed)
    choices, share = candidates_of(controller), percent / 100.0
    trial = _Trial(choices, scenario, workload, run, share, copies, requests / copies, horizon, by == "users")
    points = _searched(trial, report)
    while np.isinf((found := capacity_of(points, percent, by, seed)).high) and found.tries[-1].load < trial.loads[1]:
        points.append(trial(trial.beyond(found.tries[-1].load, STEP)))
        if report is not None:
            report(points[-1])
    return found


def check_question(workload: Workload, by: str, percent: float, copies: int) -> None:
    """``ValueError`` for what `capacity` can't answer by simulation."""
    check_instance("workload", workload, Workload)
    check_real("percent", percent, 0.0, 100.0, open_low=True, open_high=True)
    check_plausible({"percent": percent})
    check_name("by", by, UNITS)
    check_integer("copies", copies, 2)
    level = workload.level
    if np.isinf([level.ttft, level.tpot, level.e2el]).all():
        raise ValueError("level: expected a limit of ttft, tpot or e2el at least, got none, which every load meets")
    if by == "users" and workload.shares is not None:
        raise ValueError(f"shares: expected None where the number of devices changes, got {workload.shares}")


_Candidates = Callable[[Scenario], Sequence[Controller[Any, Any]]]
"""Controllers for a system. The best counts: the first, or one from which neighbours are worse."""


def rule_names() -> tuple[str, ...]:
    """Controllers that `capacity` takes; each may be followed by those of `MODIFIERS`, as ``"greedy+deadlines"``."""
    return (*controller_names(), *SERVER_ONLY)


def candidates_of(rule: _Rule) -> _Candidates:
    """What a rule stands for; ``ValueError`` for an unknown name suggests the nearest."""
    if not isinstance(rule, str):
        if isinstance(rule, Controller) or not callable(rule):
            expected = "a name, or what makes a controller for a scenario"
            raise ValueError(f"controller: expected {expected}, got {shown(rule)}")
        return lambda scenario: (rule(scenario),)
    base, *others = rule.split("+")
    check_controller(base, rule_names())
    if base not in SERVER_ONLY:
        return lambda scenario: (make_controller(rule, scenario),)
    changes = [MODIFIERS.load(name) for name in others]
    return lambda scenario: [
        reduce(lambda own, change: change(own.scenario, own), changes, each) for each in SERVER_ONLY[base](scenario)
    ]


@dataclass
class _Trial:
    candidates: _Candidates
    scenario: Scenario
    workload: Workload
    run: Callable[..., ServiceRun]  # `serve` with what does not change
    share: float  # of requests in time
    copies: int
    requests: float  # of a copy at least
    horizon: float
    by_users: bool
    position: int = 0  # of the best candidate, from where that of the next load is looked for
    near: int = 0  # copies of loads that are near the capacity, the same for all

    @property
    def rate(self) -> float:
        return sum(self.workload.rates) / 2.0

    @property
    def loads(self) -> tuple[float, float]:
        return (1.0, float(MOST_USERS)) if self.by_users else (self.rate / 2.0**10, self.rate * 2.0**10)

    def first(self) -> float:
        users = MOST_USERS if self.by_users else self.scenario.num_users
        each = self.candidates(self.scenario.replace(num_users=users))
        tokens = [estimated_tokens(controller, self.workload) for controller in each]
        self.position = int(np.argmax(tokens))
        requests = tokens[self.position] / self.workload.mean_output
        if self.by_users:
            return float(np.clip(np.round(requests / self.rate * self.scenario.num_users), *self.loads))
        return float(np.clip(requests / 2.0, *self.loads))  # half: requests of few devices queue

    def __call__(self, load: float) -> LoadPoint:
        scenario, rate = self.scenario, load
        if self.by_users:
            rate = load * self.rate / scenario.num_users
            scenario = scenario.replace(num_users=int(load))
        workload, horizon = replace(self.workload, rate=rate), max(self.horizon, self.requests / rate)
        candidates, found = self.candidates(scenario), dict[int, LoadPoint]()

        def rank(position: int) -> tuple[float, float]:
            if position not in found:
                found[position] = self._played(load, candidates[position], workload, rate * horizon, horizon)
            return found[position].rank

        best = -1
        while best != self.position:
            best = self.position
            if rank(best)[0] >= self.share:
                break
            near = (position for position in (best, best - 1, best + 1, 0) if 0 <= position < len(candidates))
            self.position = max(near, key=rank)
        return found[best]

    def _played(
        self, load: float, controller: Controller[Any, Any], workload: Workload, requests: float, horizon: float
    ) -> LoadPoint:
        def clear(run: ServiceRun) -> bool:
            return LoadPoint(load, run).clear(self.share)

        few = max(2, int(np.ceil(1.5 * _ENOUGH / requests)))
        if 4 * few <= self.copies:  # it pays
            point = LoadPoint(load, self.run(controller, workload, copies=few, horizon=horizon, enough=clear))
            if point.clear(self.share):
                return point
        if not self.near:
            self.near = min(self.copies, max(_FEWEST, int(np.ceil(MANY / requests))))
        return LoadPoint(load, self.run(controller, workload, copies=self.near, horizon=horizon, enough=clear))

    def beyond(self, load: float, factor: float) -> float:
        """A load so many times as large, or the next, within those between which the search stays."""
        further = load * factor
        if self.by_users:
            further = max(load + 1.0, np.floor(further)) if factor > 1.0 else min(load - 1.0, np.ceil(further))
        return float(np.clip(further, *self.loads))

    def between(self, below: LoadPoint, above: LoadPoint, halve: bool) -> float | None:
        """A load to try next, in the middle or where the line between these shares crosses; ``None``: close enough."""
        low, high, fine = below.load, above.load, FINE * (1.0 - ROUNDING)
        if high / low <= FINE or (self.by_users and high - low <= 1.0):
            return None
        part = 0.5 if halve or high / low < fine**2 else (below.share - self.share) / (below.share - above.share)
        load = low * (high / low) ** part
        if high / low >= fine**2:
            load = min(max(load, low * fine), high / fine)  # so that two that are close enough may come of it
        return float(np.clip(np.floor(load), low + 1.0, high - 1.0)) if self.by_users else float(load)


def estimated_tokens(controller: Controller[Any, Any], workload: Workload) -> float:
    """Tokens/s of requests in time, roughly: `estimated_rates` with as many busy devices as keep to the pace.

    The pace is that of TPOT, and of E2EL for a mean answer; what else requests wait for is not counted.
    """
    scenario, level = controller.scenario, workload.level
    pace = min(level.tpot, level.e2el / workload.mean_output + level.e2el_per_token)
    busy = np.geomspace(min(1.0, scenario.num_users / 2.0), scenario.num_users, 12)
    own = sample_state(scenario, np.random.default_rng(0), len(busy))
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1, 2)
    if isinstance(controller, AtServer):
        lengths = np.array([controller.draft_length])
    weight = np.repeat(busy[:, None] / scenario.num_users, scenario.num_users, -1)
    rates = estimated_rates(scenario, free_state(own), lengths, weight).max(-1)
    kept = busy / rates <= pace
    return float(rates[kept].max() if kept.any() else rates[0])


def _searched(trial: _Trial, report: Callable[[LoadPoint], None] | None) -> list[LoadPoint]:
    points: dict[float, LoadPoint] = {}

    def meets(load: float) -> bool:
        if load not in points:
            points[load] = trial(load)
            if report is not None:
                report(points[load])
        return points[load].share >= trial.share

    low, high = _bracket(trial, meets, trial.first())
    if low > 0.0 and not meets(lower := trial.beyond(low, _LOWER)):
        low, high = _bracket(trial, meets, lower)
    wide = np.inf  # ratio of the two before
    while np.isfinite(high) and low > 0.0:
        halve, wide = (high / low) ** 2 > wide, high / low  # where the line has not taken half of what was between
        if (middle := trial.between(points[low], points[high], halve)) is None:
            break
        low, high = (middle, high) if meets(middle) else (low, middle)
    return list(points.values())


def _bracket(trial: _Trial, meets: Callable[[float], bool], load: float) -> tuple[float, float]:
    """From a load on, the largest that is known to meet the share, or 0, and the next that does not, or infinity."""
    step = STEP
    up = meets(load)
    end = trial.loads[up]
    while load != end:
        further = trial.beyond(load, step if up else 1.0 / step)
        if meets(further) != up:
            return (load, further) if up else (further, load)
        load, step = further, step**2
    return (load, np.inf) if up else (0.0, load)


def capacity_of(points: Sequence[LoadPoint], percent: float, by: str, seed: int) -> Capacity:
    """The capacity by these loads; of a search that has not ended, what is known so far."""
    share, tries = percent / 100.0, tuple(sorted(points, key=lambda point: point.load))
    meeting = [point.run for point in tries if point.share >= share]
    if not meeting:
        return Capacity(0.0, 0.0, 0.0, percent, by, tries, None)
    copies = max(len(point.run.time) for point in tries)
    loads = np.array([point.load for point in tries])
    in_time, missed = (
        np.array([_by_copy(each, copies) for each in runs])
        for runs in zip(*((point.run.in_time, point.run.missed) for point in tries), strict=True)
    )
    rng = np.random.default_rng([seed, 1])
    weights = rng.multinomial(copies, np.full(copies, 1.0 / copies), 2000)
    drawn = _crossing(loads, weights @ in_time.T, weights @ missed.T, share)
    found = [
        _crossing(loads, in_time.sum(-1)[None], missed.sum(-1)[None], share)[0],
        *np.quantile(drawn, (0.025, 0.975)),
    ]
    if found[0] < found[2] == loads[-1]:
        found[2] = np.inf  # the largest load is in time in more than 2.5 % of what is drawn
    value, low, high = map(float, np.floor(found) if by == "users" else found)
    return Capacity(value, low, high, percent, by, tries, meeting[-1])


def _by_copy(requests: IntArray, copies: int) -> FloatArray:
    own = requests.sum(-1)
    return own.astype(float) if len(own) == copies else np.full(copies, own.mean())


def _crossing(loads: FloatArray, in_time: FloatArray, missed: FloatArray, share: float) -> FloatArray:
    """Where the line through shares of requests in time, (resamples, loads), falls below ``share``; else the last."""
    ended = in_time + missed
    shares = np.minimum.accumulate(np.where(ended > 0, in_time / np.maximum(ended, 1), 1.0), -1)
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
    while high <= MOST_COMPUTED and serves(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if serves(middle) else (low, middle)
    return min(low, MOST_COMPUTED)


class _Devices:
    """Random states of devices, each with a generator of its own, so that fewer are the first of more."""

    def __init__(self, scenario: Scenario, states: int, seed: int) -> None:
        self.scenario = scenario.replace(num_users=1)
        self.states, self.seed = states, seed
        self._columns: list[tuple[FloatArray, ...]] = []

    def first(self, users: int) -> SystemState:
        while len(self._columns) < users:
            one = sample_state(self.scenario, np.random.default_rng([self.seed, len(self._columns)]), self.states)
            self._columns.append((one.draft_time, one.spectral_efficiency, one.acceptance_rate))
        return SystemState(*(np.concatenate(parts, -1) for parts in zip(*self._columns[:users], strict=True)))


def _colocated(scenario: Scenario, state: SystemState, tpot: float) -> BoolArray:
    lengths = np.arange(scenario.max_draft_length + 1)
    slowest = expected_tokens(lengths, state.acceptance_rate[..., None]).min(-2)  # (n, l)
    rounds = colocated_round_time(scenario, scenario.num_users, lengths)
    served: BoolArray = (rounds <= tpot * slowest).any(-1)
    return served


FEASIBLE: Mapping[str, Callable[[Scenario, SystemState, float], BoolArray]] = {
    "multi-spin": lambda scenario, state, tpot: (
        least_tpot(make_problem(scenario, state), tpot).tpot <= tpot * (1.0 + ROUNDING)
    ),
    "autoregressive": lambda scenario, state, tpot: np.full(len(state.draft_time), scenario.verification_time <= tpot),
    "colocated": _colocated,
}
"""By the names of the systems: whether every device gets its tokens at a TPOT in seconds, (n,), in states (n, K)."""
