"""The view without the barrier: two schedulers on the same devices, as timelines and as a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.checks import check_bool, check_integer, check_name, check_real
from multispin_env.controllers.continuous.factory import check_scheduler_name
from multispin_env.envs.continuous.rendering.panel import Axes
from multispin_env.envs.continuous.variants.serving import Serving
from multispin_env.envs.rendering import style
from multispin_env.envs.settings import ENVIRONMENTS, Settings
from multispin_env.evaluation.comparison import METRICS, compare_ledgers, comparison_cells
from multispin_env.explore.playing import Played, play
from multispin_env.explore.timelines import TICKS, timeline
from multispin_env.physics.traces import TRACES, Trace, load_trace
from multispin_env.scenario import Scenario

ENDLESS, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"

POISSON = "poisson"

REQUESTS = (POISSON, *TRACES)
"""Where requests come from: a Poisson process, or a recorded hour."""

LONGEST, MOST_EPISODES, MOST_USERS, MOST_LOAD = 60.0, 16, 40, 2.0
"""Seconds of an episode, episodes, devices and load that a page may ask for."""

COLOURS = {
    "paper": style.PAPER,
    "ink": style.INK,
    "faint": style.FAINT,
    "drafting": style.DRAFTING,
    "uploading": style.UPLOADING,
    "waiting": style.WAITING,
    "verifying": style.VERIFYING,
    "refused": style.REFUSED,
}
"""Of the timelines, those of all pictures."""

PATIENCE = 20.0
"""Seconds for which one scheduler may play."""

RUSH = 1.0 / 3.0
"""Part of an episode that the busiest time of a record fills; as much comes before it."""


@dataclass(frozen=True, kw_only=True)
class NoBarrier:
    """What is played.

    Parameters
    ----------
    scenario, server, num_users, total_bandwidth
        The system: a preset, a profile of a server (empty: the preset's), K, and B in Hz.
    left, right
        Two schedulers.
    load
        Tokens/s that are asked for, over what `groups` makes with endless requests; 0: requests are endless.
    requests
        One of `REQUESTS`.
    rush
        Whether an episode begins shortly before the busiest time of the record.
    seconds
        Of an episode.
    seed
        Of the first episode, which is the one that is drawn.
    episodes
        Behind the means.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    scenario: str = "llama2"
    server: str = ""
    num_users: int = 8
    total_bandwidth: float = 10e6
    left: str = "groups"
    right: str = "barrier"
    load: float = 0.0
    requests: str = POISSON
    rush: bool = False
    seconds: float = 20.0
    seed: int = 0
    episodes: int = 4

    def __post_init__(self) -> None:
        check_integer("num_users", self.num_users, 1, MOST_USERS)
        for field in ("left", "right"):
            check_scheduler_name(field, getattr(self, field))
        if self.left == self.right:
            raise ValueError(f"right: expected another scheduler than on the left, got {self.right!r}")
        check_real("load", self.load, 0.0, MOST_LOAD)
        check_name("requests", self.requests, REQUESTS)
        if check_bool("rush", self.rush) and (self.requests == POISSON or not self.load):
            raise ValueError("rush: expected False, since only a record of requests under a load has one, got True")
        check_real("seconds", self.seconds, 1.0, LONGEST)
        check_integer("seed", self.seed, 0)
        check_integer("episodes", self.episodes, 2, MOST_EPISODES)

    @property
    def system(self) -> Scenario:
        """The scenario."""
        return Scenario.preset(self.scenario, **self.overrides)

    @property
    def overrides(self) -> dict[str, Any]:
        """Fields of the scenario that are chosen."""
        server = {"server": self.server} if self.server else {}
        return {**server, "num_users": self.num_users, "total_bandwidth": self.total_bandwidth}

    @property
    def env_id(self) -> str:
        """Of the environment that is played in."""
        return SERVING if self.load else ENDLESS

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the environment; channels stay as they are, so that the bound holds."""
        chosen: dict[str, Any] = {"channel_law": "static", "horizon": self.seconds}
        if not self.load:
            return chosen
        chosen |= {"warm_up": 0.0, "load": self.load}
        if self.requests != POISSON:
            chosen |= {"arrivals": "trace", "trace": self.requests}
        return chosen | {"start": self._rush(chosen)} if self.rush else chosen

    def _rush(self, arguments: dict[str, Any]) -> int:
        """Number of the request with which an episode begins, whose time the record is stretched to."""
        workload, record = Serving(**arguments).workload(self.system), load_trace(self.requests)
        return rush_start(record, self.seconds * workload.rates[0] / record.rate)

    @property
    def settings(self) -> Settings:
        """The environment."""
        chosen = {"action": "full", "reward": None, "optimum": False}
        return Settings.make(self.env_id, ENVIRONMENTS.load(self.env_id), self.system, chosen, self.arguments)


def rush_start(trace: Trace, seconds: float) -> int:
    """Number of the request from which on so many recorded seconds have their most tokens in the middle.

    Examples
    --------
    >>> import multispin_env as ms
    >>> calm_then_busy = ms.Trace([0.0, 10.0, 20.0, 30.0, 30.1], prompt=[0] * 5, output=[1, 1, 1, 9, 9])
    >>> rush_start(calm_then_busy, 30.0)  # from 20 s on
    2
    """
    times, part = trace.arrived_at, RUSH * seconds
    asked = np.concatenate([[0], np.cumsum(trace.output)])
    busiest = int(np.argmax(asked[np.searchsorted(times, times + part)] - asked[:-1]))
    return int(np.searchsorted(times, times[busiest] - part))


def compute(chosen: NoBarrier) -> dict[str, Any]:
    """Play both schedulers, and return what a page shows of them, as JSON can hold it.

    Returns
    -------
    dict
        ``users``, ``ticks`` in a second, ``window`` (seconds seen at once), ``colours``, ``serving``, ``bound`` of the first
        episode and ``mean_bound`` of all in tokens/s, ``sides`` (of each ``name``, ``facts`` of the first episode and
        what `timeline` says), and ``tables``, each with ``header`` and ``lines``, as `multispin compare` prints them.

    Raises
    ------
    ValueError
        For a system or scheduler that does not fit, or takes too long.
    """
    settings, names = chosen.settings, (chosen.left, chosen.right)
    played = {name: play(settings, name, chosen.episodes, chosen.seed, PATIENCE) for name in names}
    metric = "tokens_in_time" if chosen.load else "token_goodput"
    rows = compare_ledgers({name: one.ledger for name, one in played.items()}, chosen.right, metric)
    below = METRICS[metric].below
    tables = [comparison_cells(rows, metric), *([] if below is None else [below(rows)])]
    bound = played[chosen.left].bound
    return {
        "users": chosen.num_users,
        "ticks": TICKS,
        "window": Axes.of(*(one.trace for one in played.values())).window,
        "colours": {name: "#" + bytes(colour).hex() for name, colour in COLOURS.items()},
        "serving": bool(chosen.load),
        "bound": float(bound[0]),
        "mean_bound": float(bound.mean()),
        "sides": [{"name": name, "facts": _facts(one), **timeline(one.trace)} for name, one in played.items()],
        "tables": [{"header": header, "lines": lines} for header, lines in tables],
    }


SERVED = ("tokens_in_time", "share_missed", "ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99", "e2el_p50", "e2el_p99")
"""What is said of the first episode where requests end."""


def _facts(played: Played) -> dict[str, float]:
    """Of the first episode."""
    facts = {"token_goodput": float(played.ledger.throughput[0])}
    return facts | {name: float(played.ledger.episode[name][0]) for name in SERVED if name in played.ledger.episode}


def as_python(chosen: NoBarrier) -> str:
    """Return a program that prints the numbers of `compute` with the public library."""
    told = ["token_goodput", *(SERVED if chosen.load else ())]
    scenario = ", ".join([repr(chosen.scenario), *(f"{name}={value!r}" for name, value in chosen.overrides.items())])
    arguments = ", ".join(f"{name}={value!r}" for name, value in chosen.arguments.items())
    return f"""\
import gymnasium as gym
import numpy as np
import multispin_env as ms

scenario = ms.Scenario.preset({scenario})
told = {told!r}
for name in {(chosen.left, chosen.right)!r}:
    scheduler = ms.make_scheduler(name, scenario)
    env = gym.make({chosen.env_id!r}, scenario=scenario, discipline=scheduler.discipline, action="full",
                   {arguments})
    bounds, numbers = [], []
    for seed in range({chosen.seed}, {chosen.seed + chosen.episodes}):
        env.reset(seed=seed)
        bounds.append(ms.rate_bound(scenario, env.unwrapped.state.system))
        ended = False
        while not ended:
            order = scheduler(env.unwrapped.state)
            _, _, _, ended, info = env.step(env.unwrapped.encode_action(order))
        numbers.append([info[key] for key in told])
    print(name, "first episode:", f"bound {{bounds[0]:.2f}}", *(f"{{k}} {{v:.3f}}" for k, v in zip(told, numbers[0])))
    means = np.mean(numbers, axis=0)
    print(name, "mean of all:", f"bound {{np.mean(bounds):.2f}}", *(f"{{k}} {{v:.3f}}" for k, v in zip(told, means)))
"""


def as_command(chosen: NoBarrier) -> str:
    """Return a command that prints the tables of `compute`."""
    server = f" --server {chosen.server}" if chosen.server else ""
    arguments = " ".join(f"{name}={value}" for name, value in chosen.arguments.items())
    return (
        f"multispin compare --env {chosen.env_id} --scenario {chosen.scenario}{server} "
        f"--num-users {chosen.num_users} --total-bandwidth {chosen.total_bandwidth:g} "
        f"--controllers {chosen.left} {chosen.right} --reference {chosen.right} "
        f"--episodes {chosen.episodes} --seed {chosen.seed} --set {arguments}"
    )
