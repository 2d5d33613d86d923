"""Compilation of functions by Numba, at their first call."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from multispin_env.checks import missing_package

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise missing_package("numba") from error

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function at its first call, and cache the machine code next to its source if possible."""
    result: Any
    try:
        result = njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither this folder nor the user's cache is writable
        _warn()
        result = njit(error_model="numpy")(function)
    return result


@cache  # once in a process
def _warn() -> None:
    message = "no writable cache, so each process compiles its searches; set NUMBA_CACHE_DIR to a writable folder"
    print(f"multispin_env: {message}", file=sys.stderr)


def compiled_part(function: F) -> F:
    """Compile a function that only compiled functions call."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # a third of the time of compilation
    result: Any = njit(error_model="numpy", **options)(function)
    return result
