"""View without the barrier: two controllers on the same devices, as timelines and as tables."""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.apps.explore.markup import Markup, card, cell_table, element, fragment, numbers, scroll_box
from multispin_env.apps.explore.page import PageView
from multispin_env.apps.explore.settings import Choice, ScenarioSources, Slider, SystemSettings, control_field
from multispin_env.apps.explore.timelines import TICKS, PlayedEpisodes, make_engine, play, timeline
from multispin_env.bounds.rate import rate_bound
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.serving import Serving
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.continuous import Axes
from multispin_env.evaluation.comparison import METRICS, compare_episodes, comparison_cells
from multispin_env.evaluation.statistics import Cells
from multispin_env.physics.traces import TRACES, RequestTrace, load_trace
from multispin_env.scenario import Scenario

_ALWAYS, _POISSON = "without end", "poisson"

_RUSHES = {f"rush in {name}": name for name in TRACES}  # records from shortly before their busiest time on

_REQUESTS = (_ALWAYS, _POISSON, *TRACES, *_RUSHES)
"""Where requests come from: every device always has one, a Poisson process, or a recorded hour."""

_OFFERED = (
    "optimal",
    *controller_names("continuous"),
    *(f"{name}+deadlines" for name in ("greedy", "groups", "prices")),
)
"""All rules, and those that are often joined to ``deadlines``."""

_TITLES = {
    "token_goodput": "tokens/s",
    "tokens_in_time": "tokens/s in time",
    "share_missed": "share missed",
    **{f"{time}_p{part}": f"{time.upper()} p{part} (s)" for time in ("ttft", "tpot", "e2el") for part in (50, 99)},
}

SERVED = tuple(_TITLES)[1:]  # what is said of the first episode only where requests end

_COLOURS = ("paper", "ink", "faint", "drafting", "uploading", "waiting", "verifying", "refused")


@dataclass(frozen=True)
class NoBarrierSettings(SystemSettings):
    """What is played: two controllers, with seeds from ``seed`` on; the first episode is the one that is drawn."""

    left: str = control_field("load-aware", Choice("left", _OFFERED))
    right: str = control_field("optimal", Choice("right", _OFFERED))
    requests: str = control_field(_ALWAYS, Choice("requests", _REQUESTS))
    load: float = control_field(0.6, Slider("load, where requests end", 0.1, 2.0, 0.05))
    seconds: float = control_field(5.0, Slider("seconds", 2.0, 60.0, 1.0, "s"))
    episodes: int = control_field(4, Slider("episodes behind the means", 2, 16))
    seed: int = control_field(0, Slider("seed", 0, 999))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left == self.right:
            raise ValueError(f"right: expected another controller than on the left, got {self.right!r}")

    @property
    def serving(self) -> bool:
        """Whether requests end."""
        return self.requests != _ALWAYS

    @property
    def env_id(self) -> str:
        """Of the environment that is played in."""
        return "MultiSpin/Serving-v0" if self.serving else "MultiSpin/Continuous-v0"

    def arguments(self, scenario: Scenario) -> dict[str, Any]:
        """Of the environment; channels stay as they are, so that the bound holds.

        The price of time, ``rho``, is for rewards alone, which nothing here shows; without one it would be measured.
        """
        held: dict[str, Any] = {"channel": "static"}
        chosen: dict[str, Any] = {"horizon": self.seconds, "rho": 1.0}
        if not self.serving:
            return held | chosen
        chosen |= {"warm_up": 0.0, "load": self.load}
        record = _RUSHES.get(self.requests, self.requests)
        if record != _POISSON:
            chosen |= {"arrivals": "trace", "trace": record}
        if self.requests in _RUSHES:
            trace = load_trace(record)
            stretch = Serving(**chosen).workload(scenario.replace(**held)).rates[0] / trace.rate
            chosen["start"] = rush_start(trace, self.seconds * stretch)
        return held | chosen


def rush_start(trace: RequestTrace, seconds: float) -> int:
    """Number of the request from which on so many recorded seconds have their most tokens in the middle."""
    times, part = trace.arrived_at, seconds / 3.0
    asked = np.concatenate([[0], np.cumsum(trace.output)])
    busiest = int(np.argmax(asked[np.searchsorted(times, times + part)] - asked[:-1]))
    return int(np.searchsorted(times, times[busiest] - part))


@dataclass(frozen=True, eq=False)
class _NoBarrierNumbers:
    bound: float  # tokens/s, of the first episode
    first: dict[str, dict[str, float]]  # facts of the first episode, by controller
    tables: list[tuple[Cells, list[Cells]]]  # header and lines, as `multispin compare` prints them
    record: dict[str, Any] = field(repr=False)
    """What ``player.js`` draws, as JSON can hold it: ``users``, ``ticks`` in a second, ``window`` (seconds seen at
    once), ``colours``, ``serving``, ``bound``, and ``sides``, of each its ``name`` and what `timeline` says."""


def compute(settings: NoBarrierSettings, sources: ScenarioSources) -> _NoBarrierNumbers:
    """Play both controllers."""
    scenario = settings.system(sources)
    config = EnvConfig.of(settings.env_id, scenario, action="full", **settings.arguments(scenario))
    with ThreadPoolExecutor(1) as aside:  # the linear program does not hold up Python
        devices = make_engine(config, 1, settings.seed).state.system
        bound = aside.submit(rate_bound, scenario, devices[0])
        played = {
            name: _played(config, name, settings.episodes, settings.seed) for name in (settings.left, settings.right)
        }
    metric = "tokens_in_time" if settings.serving else "token_goodput"
    with np.errstate(divide="ignore"):  # of a device that got nothing yet, the logarithm, which is not shown
        rows = compare_episodes({name: one.stats for name, one in played.items()}, settings.right, metric)
    below = METRICS[metric].below
    tables = [comparison_cells(rows, metric), *([] if below is None else [below(rows)])]
    reached = float(bound.result())
    record = {
        "users": scenario.num_users,
        "ticks": TICKS,
        "window": Axes.of(*(one.trace for one in played.values())).window,
        "colours": {name: "#" + bytes(getattr(style, name.upper())).hex() for name in _COLOURS},
        "serving": settings.serving,
        "bound": reached,
        "sides": [{"name": name, **timeline(one.trace)} for name, one in played.items()],
    }
    return _NoBarrierNumbers(reached, {name: _facts(one) for name, one in played.items()}, tables, record)


@lru_cache(8)
def _played(config: EnvConfig, name: str, episodes: int, seed: int) -> PlayedEpisodes:
    """Episodes of one controller; kept, since often only the other one has changed."""
    return play(config, make_controller(name, config.scenario), name, episodes, seed)


def _facts(played: PlayedEpisodes) -> dict[str, float]:
    facts = {"token_goodput": float(played.stats.throughput[0])}
    return facts | {name: float(played.stats.episode[name][0]) for name in SERVED if name in played.stats.episode}


def as_command(settings: NoBarrierSettings, sources: ScenarioSources) -> str:
    """A command that prints the tables of the page."""
    arguments = settings.arguments(settings.system(sources))
    words = [
        *("multispin", "compare", "--env", settings.env_id, *settings.option_words(sources)),
        *("--controllers", settings.left, settings.right, "--reference", settings.right),
        *("--episodes", str(settings.episodes), "--seed", str(settings.seed)),
        *("--set", *(f"{name}={value}" for name, value in arguments.items())),
    ]
    return shlex.join(words) + "\n"


def _draw(settings: NoBarrierSettings, found: _NoBarrierNumbers) -> Markup:
    return fragment([_timelines(found), _first(found), _means(settings, found)])


def _timelines(found: _NoBarrierNumbers) -> Markup:
    record = Markup(json.dumps(found.record, separators=(",", ":")).replace("<", "\\u003c"))
    return card(
        "Timelines",
        element("div", id="player"),
        element("script", record, id="record", type="application/json"),
        about="What each device and the server (S, with the size of its batch) do in the first episode.",
        wide=True,
    )


def _first(found: _NoBarrierNumbers) -> Markup:
    keys = list(next(iter(found.first.values())))
    rows = [(name, *(f"{facts[key]:.3f}" for key in keys)) for name, facts in found.first.items()]
    return card(
        "The first episode",
        numbers({"bound": f"{found.bound:.2f} tokens/s"}),
        scroll_box(cell_table("first", ("controller", *(_TITLES[key] for key in keys)), rows)),
        about="No rule makes more than the bound in the long run where every device always has a request.",
        wide=True,
    )


def _means(settings: NoBarrierSettings, found: _NoBarrierNumbers) -> Markup:
    tables = [
        scroll_box(cell_table(f"means-{position}", header, lines))
        for position, (header, lines) in enumerate(found.tables)
    ]
    return card(
        "Means",
        *tables,
        about=f"{settings.episodes} episodes of {settings.seconds:g} s, with seeds from {settings.seed} on.",
        wide=True,
    )


VIEW = PageView(
    title="No barrier",
    about="The server verifies what is there, and nobody waits for everybody. Two controllers meet the same devices "
    "and requests, side by side.",
    settings=NoBarrierSettings,
    compute=compute,
    draw=_draw,
    as_command=as_command,
    scripts=("player.js",),
)
