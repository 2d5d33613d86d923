"""View without the barrier: timelines and tables of two controllers on the same devices."""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.bounds.rate import rate_bound
from multispin_env.controllers.names import controller_names
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.serving import Serving
from multispin_env.envs.rendering import style
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.public import compare_cases
from multispin_env.evaluation.statistics import Cells
from multispin_env.physics.traces import TRACES, RequestTrace, load_trace
from multispin_env.scenario import Scenario
from multispin_lab.explore.markup import Markup, card, cell_table, element, fragment, numbers, scroll_box
from multispin_lab.explore.settings import Choice, ScenarioSources, Slider, SystemSettings, control_field
from multispin_lab.explore.timelines import TICKS, PlayedEpisodes, play, timeline

_ALWAYS, _POISSON = "without end", "poisson"

_RUSHES = {f"rush in {name}": name for name in TRACES}  # traces from shortly before their busiest time

_REQUESTS = (_ALWAYS, _POISSON, *TRACES, *_RUSHES)
"""Sources of requests: one endless request per device, a Poisson process, or a recorded hour."""

_OFFERED = (
    "optimal",
    *controller_names("continuous", Scenario.preset("llama2")),
    *(f"{name}+deadlines" for name in ("greedy", "groups", "prices")),
)
"""Controllers of fading channels, and common combinations with ``deadlines``."""

_TITLES = {
    "token_goodput": "tokens/s",
    "tokens_in_time": "tokens/s in time",
    "share_missed": "share missed",
    **{f"{time}_p{part}": f"{time.upper()} p{part} (s)" for time in ("ttft", "tpot", "e2el") for part in (50, 99)},
}

SERVED = tuple(_TITLES)[1:]  # metrics of the first episode where requests end

_COLOURS = ("paper", "ink", "faint", "drafting", "uploading", "waiting", "verifying", "refused")


@dataclass(frozen=True)
class NoBarrierSettings(SystemSettings):
    """Settings of the view: two controllers and the seed of the first episode, which is drawn."""

    title = "No barrier"
    about = (
        "The server verifies the drafts that have arrived and does not wait for the other devices. Two controllers "
        "are shown side by side on the same devices and requests."
    )
    scripts = ("player.js",)

    left: str = control_field("groups", Choice("left", _OFFERED))
    right: str = control_field("optimal", Choice("right", _OFFERED))
    requests: str = control_field(_ALWAYS, Choice("requests", _REQUESTS))
    load: float = control_field(0.6, Slider("load (if requests end)", 0.1, 2.0, 0.05))
    seconds: float = control_field(5.0, Slider("episode length", 2.0, 60.0, 1.0, "s"))
    episodes: int = control_field(4, Slider("episodes per mean", 2, 16))
    seed: int = control_field(0, Slider("seed", 0, 999))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left == self.right:
            raise ValueError(f"right: expected a controller other than the left one, got {self.right!r}")

    @property
    def serving(self) -> bool:
        """Whether requests end."""
        return self.requests != _ALWAYS

    @property
    def env_id(self) -> str:
        """Id of the environment."""
        return "MultiSpin/Serving-v0" if self.serving else "MultiSpin/Continuous-v0"

    def arguments(self, scenario: Scenario) -> dict[str, Any]:
        """Arguments of the environment.

        Channels are static, so that the bound holds. ``rho``, the price of time, affects rewards only, which are not
        shown; a fixed number avoids its estimation.
        """
        fields: dict[str, Any] = {"channel": "static"}
        options: dict[str, Any] = {"horizon": self.seconds, "rho": 1.0}
        if not self.serving:
            return fields | options
        options |= {"warm_up": 0.0, "load": self.load}
        name = _RUSHES.get(self.requests, self.requests)
        if name != _POISSON:
            options |= {"arrivals": "trace", "trace": name}
        if self.requests in _RUSHES:
            trace = load_trace(name)
            stretch = Serving(scenario=scenario.replace(**fields), **options).workload.rates[0] / trace.rate
            options["start"] = rush_start(trace, self.seconds * stretch)
        return fields | options

    def compute(self, sources: ScenarioSources) -> "_NoBarrierNumbers":
        """Play the episodes of both controllers and compute all numbers of the page."""
        scenario = self.system(sources)
        config = EnvConfig.of(self.env_id, scenario, action="full", **self.arguments(scenario))
        with ThreadPoolExecutor(1) as pool:  # the linear program releases the interpreter
            env = native(config.make_vec(1))
            env.reset(seed=self.seed)
            bound_task = pool.submit(rate_bound, scenario, env.state.system[0])
            played = {name: _play(config, name, self.episodes, self.seed) for name in (self.left, self.right)}
        cases, stats = Episodes(config, self.episodes), {name: episodes.stats for name, episodes in played.items()}
        with np.errstate(divide="ignore"):  # the logarithm of a device without tokens, which is not shown
            tables = compare_cases(cases, list(played), self.right, None, lambda _: stats).tables
        bound = float(bound_task.result().value)
        record = {
            "users": scenario.num_users,
            "ticks": TICKS,
            "window": max(episodes.trace.axes(0.0).window for episodes in played.values()),
            "colours": {name: "#" + bytes(getattr(style, name.upper())).hex() for name in _COLOURS},
            "serving": self.serving,
            "bound": bound,
            "sides": [{"name": name, **timeline(episodes.trace)} for name, episodes in played.items()],
        }
        first = {name: _first_metrics(episodes.stats) for name, episodes in played.items()}
        return _NoBarrierNumbers(bound, first, tables, record)

    def draw(self, results: "_NoBarrierNumbers") -> Markup:
        """Return the HTML of the numbers."""
        record = Markup(json.dumps(results.record, separators=(",", ":")).replace("<", "\\u003c"))
        timelines = card(
            "Timelines",
            element("div", id="player"),
            element("script", record, id="record", type="application/json"),
            about="Activity of each device and of the server (row S, with the batch size) in the first episode.",
            wide=True,
        )
        keys = list(next(iter(results.first.values())))
        rows = [(name, *(f"{metrics[key]:.3f}" for key in keys)) for name, metrics in results.first.items()]
        first = card(
            "First episode",
            numbers({"bound": f"{results.bound:.2f} tokens/s"}),
            scroll_box(cell_table("first", ("controller", *(_TITLES[key] for key in keys)), rows)),
            about="In the long run no controller exceeds the bound, which holds if every device always has a request.",
            wide=True,
        )
        tables = [
            scroll_box(cell_table(f"means-{index}", header, lines))
            for index, (header, lines) in enumerate(results.tables)
        ]
        about = f"{self.episodes} episodes of {self.seconds:g} s with consecutive seeds from {self.seed}."
        return fragment([timelines, first, card("Means", *tables, about=about, wide=True)])

    def as_command(self, sources: ScenarioSources) -> str:
        """Return the command that prints the tables of the page."""
        arguments = self.arguments(self.system(sources))
        words = [
            *("multispin", "compare", "--env", self.env_id, *self.option_words(sources)),
            *("--controllers", self.left, self.right, "--reference", self.right),
            *("--episodes", str(self.episodes), "--seed", str(self.seed)),
            *("--set", *(f"{name}={value}" for name, value in arguments.items())),
        ]
        return shlex.join(words) + "\n"


def rush_start(trace: RequestTrace, seconds: float) -> int:
    """Index of the first request of a window of the trace whose middle third requests most tokens."""
    times, part = trace.arrived_at, seconds / 3.0
    requested = np.concatenate([[0], np.cumsum(trace.output)])
    busiest = int(np.argmax(requested[np.searchsorted(times, times + part)] - requested[:-1]))
    return int(np.searchsorted(times, times[busiest] - part))


@dataclass(frozen=True, eq=False)
class _NoBarrierNumbers:
    bound: float  # tokens/s, of the first episode
    first: dict[str, dict[str, float]]  # metrics of the first episode, by controller
    tables: list[tuple[Cells, list[Cells]]]  # header and rows of the tables of `multispin compare`
    record: dict[str, Any] = field(repr=False)
    """JSON data of ``player.js``: ``users``, ``ticks`` per second, ``window`` (visible seconds), ``colours``,
    ``serving``, ``bound``, and ``sides``, each with its ``name`` and a `timeline`."""


@lru_cache(8)  # often only one of the two controllers changes
def _play(config: EnvConfig, name: str, episodes: int, seed: int) -> PlayedEpisodes:
    return play(Episodes(config, episodes, seed), name)


def _first_metrics(stats: EpisodeStats) -> dict[str, float]:
    metrics = {"token_goodput": float(stats.throughput[0])}
    return metrics | {name: float(stats.episode[name][0]) for name in SERVED if name in stats.episode}
