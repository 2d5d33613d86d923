"""Arrival processes from their names."""

from typing import Any

from multispin_env.physics.arrivals.base import Arrivals
from multispin_env.registry import ARRIVALS, make_part


def make_arrivals(name: str, **options: Any) -> Arrivals:
    """Make an arrival process from its name (ours).

    Parameters
    ----------
    name
        One of ``ARRIVALS.names()``: ``"poisson"``, ``"gamma"``, ``"think"``, ``"ramp"`` or ``"trace"``.
    **options
        Fields of its class, e.g. ``burstiness=0.25`` for ``"gamma"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), or a bad value.

    Examples
    --------
    >>> import multispin_env as ms
    >>> ms.make_arrivals("gamma", burstiness=0.25).closed, ms.make_arrivals("think").closed
    (False, True)
    """
    return make_part(ARRIVALS, name, options)
