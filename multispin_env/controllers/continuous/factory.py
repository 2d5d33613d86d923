"""Schedulers from their names."""

from dataclasses import fields
from typing import Any

from multispin_env.checks import check_keywords
from multispin_env.controllers.continuous.base import SCHEDULERS, Scheduler
from multispin_env.scenario import Scenario


def scheduler_names() -> tuple[str, ...]:
    """Return the names that `make_scheduler` takes, always in the same order.

    Examples
    --------
    >>> import multispin_env as ms
    >>> "groups" in ms.scheduler_names()
    True
    """
    return SCHEDULERS.names()


def make_scheduler(name: str, scenario: Scenario, **options: Any) -> Scheduler:
    """Make a scheduler from its name: it maps states at the end of a verification to standing orders (ours).

    Parameters
    ----------
    name
        One of `scheduler_names()`.
    scenario
        The system that it controls.
    **options
        Fields of the scheduler's class, e.g. ``groups=3`` for ``"groups"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), or a bad value.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> ms.make_scheduler("groups", scenario, groups=3).groups
    3
    """
    cls = SCHEDULERS.load(name)
    own = tuple(field.name for field in fields(cls) if field.init and field.name != "scenario")
    check_keywords(f"scheduler {name!r}", options, own)
    return cls(scenario, **options)
