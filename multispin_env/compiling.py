"""Compilation of functions by Numba, at their first call."""

import sys
from collections.abc import Callable
from functools import cache
from multiprocessing import parent_process
from typing import Any, TypeVar

from multispin_env.checks import missing_package

try:
    from numba import njit
    from numba.core.event import Listener, register
except ModuleNotFoundError as error:
    raise missing_package("numba") from error

F = TypeVar("F", bound=Callable[..., Any])

_cached: list[Any] = []  # Functions whose machine code is cached


def compiled(function: F) -> F:
    """Compile a function at its first call, and cache the machine code next to its source if possible."""
    result: Any
    try:
        result = njit(cache=True, error_model="numpy")(function)
        _cached.append(result)
    except RuntimeError:  # neither this folder nor the user's cache is writable
        _say("no writable cache, so each process compiles its searches; set NUMBA_CACHE_DIR to a writable folder")
        result = njit(error_model="numpy")(function)
    return result


@cache  # once in a process
def _say(message: str) -> None:
    print(f"multispin_env: {message}", file=sys.stderr)


class _Notice(Listener):  # type: ignore[misc]
    """Line at the first compilation of a function of ours, except in processes that this one starts."""

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] in _cached and parent_process() is None:
            _say("compiling, once in an installation: ten seconds or more")

    def on_end(self, event: Any) -> None:
        pass


register("numba:compile", _Notice())  # type: ignore[no-untyped-call]


def compiled_part(function: F) -> F:
    """Compile a function that only compiled functions call."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # a third of the time of compilation
    result: Any = njit(error_model="numpy", **options)(function)
    return result
