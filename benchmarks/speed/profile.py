"""Parts of one call of `step`, by timers in functions."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from inspect import isclass, isfunction
from time import perf_counter_ns
from typing import Any

import multispin_env as ms
from benchmarks.speed.subjects import DEFAULT_ID, ENCODINGS, PERIOD, REFERENCE_K, REFERENCE_N, Play, subject
from benchmarks.tools import Options, Row, cpu_seconds, show

PARTS = {
    "equal-latency root": ("equal_latency", "equal_finish"),
    "rest of decode": ("*Codec.decode", "decode"),
    "tokens": ("*.expectation", "*.expected_tokens", "TokenLaw.expected", "tokens_from_exponential"),
    "price": ("*round_outcome",),
    "random numbers": ("*Streams.read",),
    "fading and rate": ("*.next_gain", "spectral_efficiency"),
    "observation": ("ObservationCodec.*", "ObservationEncoder.encode", "*._fields", "_first", "*._copied_if_asked"),
}
"""Functions whose exclusive time is a part of a step; the remaining time is the rest."""

REST = "infos, counters, wrappers"


class Timers:
    """Exclusive time of `PARTS` in ns inside a ``with`` block; functions are found by name in all modules."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys([*PARTS, REST], 0)
        self._running = [REST]
        self._since = 0
        self._restore: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Timers":
        modules = [module for name, module in sys.modules.items() if name.split(".")[0] == ms.__name__]
        owners: list[Any] = [*modules, *(x for module in modules for x in vars(module).values() if isclass(x))]
        for owner in dict.fromkeys(owners):
            for name, member in list(vars(owner).items()):
                part = self._part(member)
                if part is not None:
                    self._restore.append((owner, name, member))
                    setattr(owner, name, self._timed(member, part))
        self._since = perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._charge()
        for owner, name, member in reversed(self._restore):
            setattr(owner, name, member)

    def restart(self) -> None:
        """Reset all times to zero."""
        self.spent = dict.fromkeys(self.spent, 0)
        self._since = perf_counter_ns()

    @staticmethod
    def _part(member: Any) -> str | None:
        if not isfunction(member) or not member.__module__.startswith(ms.__name__):
            return None
        matching = (part for part, names in PARTS.items() if any(fnmatch(member.__qualname__, name) for name in names))
        return next(matching, None)

    def _charge(self) -> None:
        now = perf_counter_ns()
        self.spent[self._running[-1]] += now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **keywords: Any) -> Any:
            self._charge()
            self._running.append(part)
            try:
                return function(*args, **keywords)
            finally:
                self._charge()
                self._running.pop()

        return timed


def profile(num_envs: int, action: str, turns: int) -> dict[str, float]:
    """Return microseconds of a call of `step` by part (best turn), and ``"step"`` without timers."""

    def make() -> Play:
        users = REFERENCE_K
        return subject("native" if num_envs > 1 else "single", DEFAULT_ID, action, num_envs, users).play

    calls = PERIOD * (2 if num_envs > 1 else 8)
    usual = make()
    whole, timed = [], []
    for _ in range(turns):
        whole.append(cpu_seconds(lambda: usual(calls)) / calls * 1e6)
        with Timers() as timers:
            play = make()  # built now, so that it binds the timed functions
            play(PERIOD)
            timers.restart()
            play(calls)
        timed.append(timers.spent)
    parts = {part: min(spent[part] for spent in timed) / calls * 1e-3 for part in timed[0]}
    return {"step": min(whole), **parts}


def table(profiles: dict[str, dict[str, float]]) -> Iterator[Row]:
    for part in (*PARTS, REST):
        shares = {label: parts[part] / (sum(parts.values()) - parts["step"]) for label, parts in profiles.items()}
        yield {"": part, **{label: f"{profiles[label][part]:.1f} ({shares[label]:.0%})" for label in profiles}}
    yield {"": "the step without timers", **{label: f"{parts['step']:.1f}" for label, parts in profiles.items()}}


OPTIONS: Options = {"turns": 5}


def run(options: Namespace) -> None:
    """Measure and print; ``ValueError`` if a function of `PARTS` is no longer called."""
    profiles = {"single residual": profile(1, "residual", options.turns)}
    missing = [part for part in PARTS if not profiles["single residual"][part]]
    if missing:
        raise ValueError(f"PARTS: expected names of functions that are called, got {missing}")
    profiles |= {f"N = {REFERENCE_N} {action}": profile(REFERENCE_N, action, options.turns) for action in ENCODINGS}
    show(f"one call of step, K = {REFERENCE_K}: µs (share)", table(profiles))
