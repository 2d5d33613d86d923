"""Comparison of contenders on the same states and episodes, with confidence intervals; without torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multispin_env.evaluation.public import ComparisonTable

__all__ = ["ComparisonTable"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multispin_env.evaluation import public  # imported late, since it imports all simulators

    return public.ComparisonTable
