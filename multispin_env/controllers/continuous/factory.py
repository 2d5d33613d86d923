"""Schedulers from their names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multispin_env.checks import check_name
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.continuous.base import SCHEDULERS, Scheduler
from multispin_env.controllers.continuous.modifier import MODIFIERS, Modifier
from multispin_env.controllers.continuous.plug_in import SchedulerPlugIn
from multispin_env.controllers.factory import estimating, options_by_part, with_estimators
from multispin_env.controllers.outside import maker
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


def check_scheduler_name(field: str, name: str) -> str:
    """Return a name that `make_scheduler` takes; ``ValueError`` names the field and suggests the nearest."""
    base, *others = name.split("+") if isinstance(name, str) else [name]
    check_name(field, base, SCHEDULERS.names())
    for other in others:
        check_name(field, other, MODIFIERS.names())
    return name


def make_scheduler(name: str, scenario: Scenario, **options: Any) -> Scheduler:
    """Make a scheduler from its name: it maps states at the end of a verification to standing orders (ours).

    Parameters
    ----------
    name
        One of `scheduler_names()`, or ``"module:ATTRIBUTE"``, a class of your own or a function
        ``(scenario, **options)``; perhaps with what changes its orders, of `MODIFIERS`: ``"greedy+deadlines"``.
    scenario
        The system that it controls.
    **options
        Fields of the classes, e.g. ``groups=3`` for ``"groups"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), an option of more than one part, or a bad value.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> ms.make_scheduler("groups", scenario, groups=3).groups
    3
    >>> ms.make_scheduler("groups+deadlines", scenario, groups=3, need=0.04).base.groups
    3
    """
    first, modifiers = _makers(name)
    own, *changes = options_by_part(f"scheduler {name!r}", [first, *modifiers], options)
    return _changed(first(scenario, **own), modifiers, changes)


def _makers(name: str) -> tuple[Callable[..., Scheduler], list[type[Modifier]]]:
    base, *others = name.split("+")
    return maker(SCHEDULERS, Scheduler, base), [MODIFIERS.load(other) for other in others]


def modified(scheduler: Scheduler, names: Sequence[str]) -> Scheduler:
    """A scheduler whose orders are changed by `MODIFIERS` of these names, one after the other."""
    return _changed(scheduler, [MODIFIERS.load(name) for name in names], [{} for _ in names])


def _changed(
    scheduler: Scheduler, modifiers: Sequence[type[Modifier]], options: Sequence[Mapping[str, Any]]
) -> Scheduler:
    for modifier, chosen in zip(modifiers, options, strict=True):
        scheduler = modifier(scheduler.scenario, scheduler, **chosen)
    return scheduler


def make_scheduler_plug_in(
    name: str, scenario: Scenario, assumptions: Assumptions | None = None, **options: Any
) -> SchedulerPlugIn:
    """Make a scheduler that estimates what is hidden from what verifications show (ours).

    Parameters
    ----------
    name
        A scheduler, perhaps with what changes its orders, and estimators of acceptance, of the channel or of both,
        joined by ``+``: ``"groups+filter"``, ``"greedy+deadlines+filter"``, ``"groups+beta+quantile"``.
    scenario, assumptions, **options
        As for `make_plug_in`.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), an option of several parts, a bad value, or an
        estimator of something else.

    Examples
    --------
    >>> import multispin_env as ms
    >>> plug_in = ms.make_scheduler_plug_in("groups+beta", ms.Scenario.preset("llama2"), groups=2, strength=10.0)
    >>> plug_in.base.groups, plug_in.parts
    (2, ['acceptance_rate'])
    """
    parsed = estimating("scheduler", name, *MODIFIERS.names())
    first, modifiers = _makers(parsed.controller)
    owner = f"scheduler {name!r}"
    chosen, estimators = with_estimators(owner, parsed, scenario, [first, *modifiers], assumptions, options)
    own, *changes = chosen
    return SchedulerPlugIn(_changed(first(scenario, **own), modifiers, changes), estimators)
