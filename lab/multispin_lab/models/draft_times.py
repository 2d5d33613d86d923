"""Draft times of this machine, as the profile of a device: ``multispin join --measure``."""

import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from multispin_env.device import DeviceProfile
from multispin_env.units import MS
from multispin_lab.models.engine import Model
from multispin_lab.models.halves import Drafter

_CONTEXTS = 128, 1024  # tokens
_TOKENS, _DRAFTS = 8, 9  # of a draft, and drafts after each context


def measure_device(name: str, model: Model) -> DeviceProfile:
    """Measure drafting after 128 and 1,024 tokens of context, or what the model's context has room for, and reading.

    A draft takes tokens one by one, with their probabilities; medians of nine drafts of eight tokens.
    """
    contexts = sorted({min(context, model.context - _TOKENS) for context in _CONTEXTS})
    drafter = Drafter(model.sequences(1, model.vocabulary_size, contexts[-1] + _TOKENS), 1.0, 1, 1)
    times: list[float] = []
    for context in contexts:
        text = np.random.default_rng(0).integers(0, model.vocabulary_size, context).tolist()
        start = perf_counter()
        drafter.begin(0, text)
        reading = perf_counter() - start
        times.append(median(_draft(drafter)) / _TOKENS)
    growth = max((times[-1] - times[0]) / (contexts[-1] - contexts[0]), 0.0) if len(times) > 1 else 0.0
    after = " and ".join(map(str, contexts))
    engine = f"{model.packages[-1]} {version(model.packages[-1])}"
    return DeviceProfile(
        name=name,
        chip=platform.processor() or platform.machine(),
        model=f"{Path(model.name).name}, {model.dtype}, {engine}, {model.device}",
        source=f"multispin join --measure: medians of {_DRAFTS} drafts of {_TOKENS} tokens",
        licence="CC0-1.0",
        date=date.today().isoformat(),
        draft_time=_rounded(times[0]),
        draft_context_time=_rounded(growth),
        draft_context=contexts[0],
        context_source=f"measured: drafts after {after} tokens",
        prompt_rate=_rounded(contexts[-1] / reading),
        prompt_source=f"a text of {contexts[-1]} tokens",
    )


def _draft(drafter: Drafter) -> Sequence[float]:
    """Return the seconds of drafts of the same tokens, without the first, which is slower."""
    looks = []
    for _ in range(_DRAFTS + 1):
        start = perf_counter()
        drafter.draft(np.zeros(1, dtype=np.int64), np.array([_TOKENS]), np.zeros((1, _TOKENS)))
        looks.append(perf_counter() - start)
    return looks[1:]


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")


def describe_device(profile: DeviceProfile) -> str:
    """Return text on the measured times."""
    drafting = f"a drafted token takes {profile.draft_time / MS:.4g} ms after {profile.draft_context} tokens of context"
    growth = f"1000 more add {1e3 * profile.draft_context_time / MS:.3g} ms"
    return f"{profile.name}: {drafting}, {growth}; it reads {profile.prompt_rate:.4g} tokens/s"
