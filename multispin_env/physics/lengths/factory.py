"""Laws of lengths from their names."""

from typing import Any

from multispin_env.physics.lengths.base import Lengths
from multispin_env.registry import LENGTHS, make_part


def make_lengths(name: str, **options: Any) -> Lengths:
    """Make a law of the lengths of requests from its name (ours).

    Parameters
    ----------
    name
        One of ``LENGTHS.names()``: ``"geometric"``, ``"log-normal"`` or ``"trace"``.
    **options
        Fields of its class, e.g. ``mean_output=100.0`` for ``"geometric"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), or a bad value.

    Examples
    --------
    >>> import multispin_env as ms
    >>> ms.make_lengths("geometric", mean_output=100.0).mean_output
    100.0
    """
    return make_part(LENGTHS, name, options)
