"""Compilation of functions by Numba. Import this module late: Numba takes long to import."""

from collections.abc import Callable
from typing import Any, TypeVar

from multispin_env.checks import missing_package

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise missing_package("numba") from error

__all__ = ["compiled", "njit"]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function at its first call, and cache the machine code on disk if possible."""
    result: Any
    try:
        result = njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache is writable
        result = njit()(function)
    return result
