"""Environment without the barrier, with requests that arrive, wait, end and have deadlines."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.checks import UNITS, check_name, check_real, checked_field
from multispin_env.envs.base import single_env
from multispin_env.envs.config import InfoKeys
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.continuous.simulator import SERVICE_KEYS, ServiceAccount
from multispin_env.envs.objectives import Objective, RequestsInTime, TokensInTimeMinusTime
from multispin_env.envs.observations import SERVING_STATE
from multispin_env.physics.arrivals import Arrivals
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.passes import serial
from multispin_env.physics.lengths import Lengths
from multispin_env.physics.traces import TRACES
from multispin_env.physics.workload import ServiceLevel, Workload, check_range
from multispin_env.registry import ARRIVALS, LENGTHS, Registry, make_part, option_names
from multispin_env.simulation.reference import WITH_REQUESTS, reference_rate, reference_tokens_in_time


@dataclass(frozen=True, kw_only=True)
class Serving(ContinuousConfig):
    """No barrier, and finite requests that arrive at devices and have deadlines.

    ## Description

    Like `MultiSpin/Continuous-v0`, but with finite requests. They arrive at each device and wait in its queue, first
    come, first served. Each request has deadlines, and an answer of a given number of tokens. A device without a
    request is idle; when a request arrives, it starts a draft without waiting for a decision. One step is one
    verification, and a decision holds until the next verification ends. It can also drop requests, since a late request
    only delays others. The objective is the number of tokens of requests that end in time. This environment is an
    extension of the paper.

    ## Action Space

    `Box(-5, 5, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                               |
    |------------------------|---------|-----------------------------------------------------------------------|
    | `"residual"` (default) | 4       | change of the decision of the controller `reference`                  |
    | `"plain"`              | 4       | draft length, log scale; leave, take or wait; priority or share; drop |
    | `"full"`               | 7       | as `"plain"`; target batch; timeout, drafts to wait for (means); drop |
    | `"tuned"`              | 5       | options of the controller `reference`: default at 0, limits at ±5     |

    Except for the last column, which drops requests, the columns are those of `MultiSpin/Continuous-v0`. In `"plain"`
    and `"full"`, an entry above 0 drops the request of a device. In `"residual"`, an entry above 4.75 drops it, an
    entry below -4.75 keeps it, and between them the controller decides. An idle device has no request to drop.
    `"tuned"` has only the options of the controller, which also decides on drops. Draft lengths apply to free devices,
    and to idle devices whose request arrives before the next verification ends. They are limited to one less than the
    number of remaining tokens.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the complete state at the end of a verification.

    | entry        | shape    | value                   | meaning                                       | min  | max  |
    |--------------|----------|-------------------------|-----------------------------------------------|------|------|
    | `phase`      | (K · 5,) | one-hot                 | free, drafting, uploading, ready or idle      | 0    | 1    |
    | `compute`    | (K,)     | T_k / T̄                 | draft time of a token                         | 0.85 | 1.15 |
    | `channel`    | (K,)     | r_k / r̄                 | spectral efficiency                           | 0    | 2.03 |
    | `acceptance` | (K,)     | α_k                     | acceptance rate                               | 0    | 1    |
    | `draft`      | (K,)     | L_k / L_max             | tokens of the draft under way                 | 0    | 1    |
    | `ready`      | (K,)     | x / (x + T_ver)         | x = time until ready if alone in the band     | 0    | 1    |
    | `cycle`      | (K,)     | x / (x + T_ver)         | x = time since the cycle started              | 0    | 1    |
    | `aim`        | (K,)     | x / (abs(x) + 4)        | x = batches from the next to the target batch | -1   | 1    |
    | `wanted`     | (K,)     | x / (x + 64)            | x = remaining tokens of the request           | 0    | 1    |
    | `answer`     | (K,)     | x / (x + 64)            | x = tokens of the whole answer                | 0    | 1    |
    | `prompt`     | (K,)     | x / (x + 256)           | x = prompt tokens of the next verification    | 0    | 1    |
    | `waited`     | (K,)     | x / (x + T_ver)         | x = time since the request arrived            | 0    | 1    |
    | `first_due`  | (K,)     | x / (abs(x) + 16 T_ver) | x = time until the first token is due         | -1   | 1    |
    | `due`        | (K,)     | x / (abs(x) + 16 T_ver) | x = time until the last token is due          | -1   | 1    |
    | `queue`      | (K,)     | x / (x + 4)             | x = requests waiting in the queue             | 0    | 1    |
    | `shared`     | (8,)     | see below               | scales of the system, ρ, uploads and requests | -20  | 20   |

    min and max hold for the presets, as in `MultiSpin/Continuous-v0`. T_ver is the time to verify all drafts. An idle
    device has 0 in `wanted`, `answer`, `prompt`, `waited` and `queue`, and 1 (no limit) in `first_due` and `due`. `due`
    is the deadline of the last token if the first token is in time; once a deadline is missed, it is that deadline.
    If devices take time to read prompts (`prompt_rate`), `reading` (K,) in [0, 1] holds x / (x + T_ver) for x seconds
    until the device has read; until then it has no draft, or drafts later with `min_draft_length=1`.
    `shared` holds the numbers of `MultiSpin/Continuous-v0`, busy users / K, and y / (y + K) for y waiting requests.

    ## Rewards

    `rewarded="tokens"`: (tokens of requests that end in time − ρ · duration) / mean tokens of an answer; all tokens of
    a request count when it ends. `rewarded="requests"`: number of requests that end in time. In both cases, a request
    of mean length in time counts 1. Tokens are always drawn: the only value of `reward` is `"sampled"`.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; all devices are idle.

    ## Episode End

    Never terminates. Truncates with the first verification that ends after `horizon` seconds of simulated time. Overdue
    requests then count as missed; other unfinished requests do not count. After two horizons, arrivals become rare,
    which limits memory if steps continue after the end.

    ## Arguments

    - `scenario`, fields of `Scenario`, `discipline`, `coherence_time`, `timeout`, `action`: as in
      `MultiSpin/Continuous-v0`.
    - `reference`: controller at action 0; default `None`: `"greedy+deadlines"` for `"residual"` and
      `"own-pace+deadlines"`, also named `load-aware`, for `"tuned"`.
    - `acceptance_visible`, `task_visible`, `spread`, `channel_report`: hidden parts of the state, as in
      `MultiSpin/Continuous-v0`. A request keeps its acceptance rate until it ends. If a device drops a request and a
      draft for the next one is verified in the same step, that draft is not counted.
    - `load`: requested tokens/s over `full_rate`, in (0, 10], default 0.6; or a pair (low, high), from which the load
      of each episode is drawn uniformly, so that one policy learns all loads.
    - `full_rate`: tokens/s at a load of 1, > 0; default `None`: the rate of the controller `groups` on a serial uplink
      with endless requests, measured once.
    - `arrivals`: `"poisson"` (default), `"gamma"`, `"think"`, `"ramp"`, `"trace"` or a result of
      `ms.requests.make_arrivals`.
    - `lengths`: `"geometric"`, `"log-normal"`, `"trace"` or a result of `ms.requests.make_lengths`; default `None`: the
      lengths in the arrivals if they have any (as a trace does), otherwise `"geometric"`.
    - `burstiness` (for `"gamma"`), `mean_output` and `mean_prompt` (tokens, for `"geometric"`), `trace` (name of a
      trace), `start` (number of the recorded request that arrives at time 0): options of `ms.requests.make_arrivals`
      and `ms.requests.make_lengths`; default `None`: their defaults, with a mean answer of 60 tokens.
    - `ttft`, `tpot`: limits of the time to first token and of the time per later token, in seconds > 0; default
      `None`: no limit.
    - `e2el`, `e2el_per_token`: the last of n tokens is due `e2el` + n `e2el_per_token` seconds after the arrival.
      `e2el` is > 0, default 0.5, `None` for no limit. `e2el_per_token` is ≥ 0; default `None`: twice the mean time per
      token of a device with endless requests, 2 K / `full_rate`, at most 5 s. This is 83 ms for `llama2` with K = 8 and
      10 MHz, 108 ms for `qwen3.5` with K = 20 and 5 MHz.
    - `horizon`: seconds of simulated time until truncation, at least one verification, default 30.
    - `warm_up`: seconds at the start that the statistics in `info` leave out, ≥ 0 and below `horizon`, default 5.
    - `rewarded`: `"tokens"` (default) or `"requests"`.
    - `rho`: ρ in tokens/s, > 0; default `None`: the rate at which the controller `greedy+deadlines` gains tokens in
      time at the mean load, measured once.

    ## Info

    For the step: `tokens` and `draft_length` (K,) of verified drafts, `timely_tokens` (K,) of requests that ended in
    time, `finished` and `dropped` (K,), `duration` (s), `batch_size`, `start_delay` (s). For the episode so far: `time`
    (s), `episode_tokens`, `token_goodput` (tokens/s), and, for the steps that begin after the warm-up, `tokens_in_time`
    (tokens/s of requests in time), `request_goodput` (requests/s in time), `share_missed` (share of missed requests)
    and `least_served` (smallest tokens/s in time of a device). After the last step also the quantiles `ttft_p50`,
    `ttft_p95`, `ttft_p99`, those of `tpot` and `e2el`, and `gap_p99`, a quantile of the time between two deliveries of
    a request (s); in earlier steps they are 0. If devices draft ahead, also `head_start`, `drafted_ahead` and `hit`
    (K,), as in `MultiSpin/Continuous-v0`; a request begins without a head start.
    """

    env_id: ClassVar[str] = "MultiSpin/Serving-v0"

    entries: ClassVar[tuple[str, ...]] = SERVING_STATE
    info_keys: ClassVar[InfoKeys] = replace(ContinuousConfig.info_keys, episode=SERVICE_KEYS)
    starts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"residual": (WITH_REQUESTS,), "tuned": ("own-pace+deadlines", "prices+deadlines")}
    )

    load: float | tuple[float, float] = 0.6
    full_rate: float | None = checked_field(None, check_real, 0.0, open_low=True)
    arrivals: str | Arrivals = "poisson"
    lengths: str | Lengths | None = None
    burstiness: float | None = None
    mean_output: float | None = None
    mean_prompt: float | None = None
    trace: str | None = checked_field(None, check_name, TRACES)
    start: int | None = None
    ttft: float | None = checked_field(None, check_real, 0.0, open_low=True)
    tpot: float | None = checked_field(None, check_real, 0.0, open_low=True)
    e2el: float | None = checked_field(0.5, check_real, 0.0, open_low=True, optional=True)
    e2el_per_token: float | None = checked_field(None, check_real, 0.0)
    horizon: float = 30.0
    warm_up: float = checked_field(5.0, check_real, 0.0, lambda config: config.horizon, open_high=True)
    rewarded: str = checked_field("tokens", check_name, ("tokens", "requests"))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "load", check_range("load", self.load, 1e-9))
        self._workload(1.0, ServiceLevel())  # checks arrivals and lengths

    @property
    @override
    def rewards(self) -> tuple[str, ...]:
        return ("sampled",)

    @property
    @override
    def system(self) -> ContinuousSystem:
        workload = replace(self.workload, thins_after=2.0 * self.horizon)
        return replace(self._endless, workload=workload)

    @cached_property
    def workload(self) -> Workload:
        """Arrivals, lengths and deadlines of requests."""
        low, high = self.load if isinstance(self.load, tuple) else (self.load, self.load)
        return self._at_load(low, high)

    def _at_load(self, low: float, high: float) -> Workload:
        full = self._full_rate
        return self._workload((low * full, high * full), self._level)

    @property
    @override
    def actions(self) -> ContinuousCodec:
        return replace(super().actions, drops=True)

    @override
    def account(self, core: ContinuousCore) -> ServiceAccount:
        return ServiceAccount(core, self.warm_up)

    def _workload(self, tokens_per_second: float | tuple[float, float], level: ServiceLevel) -> Workload:
        arrivals, lengths = self._parts()
        return Workload.at_load(tokens_per_second, arrivals=arrivals, lengths=lengths, level=level)

    def _parts(self) -> tuple[Any, Any]:
        options = ("burstiness", "mean_output", "mean_prompt", "trace", "start")
        values = {name: getattr(self, name) for name in options if getattr(self, name) is not None}
        arrivals = _part(ARRIVALS, self.arrivals, values)
        has_lengths = getattr(arrivals, "own_output", None) is not None
        lengths = _part(LENGTHS, "geometric" if self.lengths is None and not has_lengths else self.lengths, values)
        used = {name for part in (arrivals, lengths) if is_dataclass(part) for name in option_names(type(part))}
        for name, value in values.items():
            if name not in used:
                raise ValueError(f"{name}: expected None for these arrivals and lengths, got {value!r}")
        return arrivals, lengths

    @property
    def _level(self) -> ServiceLevel:
        pace = self.e2el_per_token
        if pace is None:
            pace = min(2.0 * self.scenario.num_users / self._full_rate, UNITS["e2el_per_token"].high)
        limits = {name: getattr(self, name) for name in ("ttft", "tpot", "e2el") if getattr(self, name) is not None}
        return ServiceLevel(**limits, e2el_per_token=pace)

    @cached_property
    def _full_rate(self) -> float:
        return reference_rate(self._serial) if self.full_rate is None else self.full_rate

    @property
    def _serial(self) -> ContinuousSystem:
        return replace(self._endless, uplink=serial)

    @cached_property
    def _price(self) -> float:
        if self.rho is not None:
            return self.rho
        mean = float(np.mean(self.load))
        workload = self._at_load(mean, mean)
        rate = reference_tokens_in_time(replace(self._serial, workload=workload))
        return max(rate, 1e-3 * workload.tokens_per_second)

    @override
    def objective(self, num_envs: int) -> Objective:
        if self.rewarded == "requests":
            return RequestsInTime()
        return TokensInTimeMinusTime(self._price, self.workload.mean_output)


ServingEnv = single_env(Serving)


def _part(table: Registry, part: Any, options: Mapping[str, Any]) -> Any:
    if not isinstance(part, str):
        return part
    names = option_names(table.load(part))
    return make_part(table, part, {name: value for name, value in options.items() if name in names})
