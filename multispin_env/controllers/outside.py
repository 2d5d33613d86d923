"""Controllers and schedulers from outside this package, where the name of one of ours may stand."""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import Any, TypeVar

from multispin_env.outside import FORM, imported, is_outside, refusal
from multispin_env.registry import Registry

T = TypeVar("T")

OWN_CONTROLLER = f"{FORM} of one of your own"
"""How helps name what stands for a controller from outside."""


def maker(table: Registry[type[T]], base: type[Any], name: str) -> Callable[..., T]:
    """What makes a part for a scenario.

    Parameters
    ----------
    table
        Where names are looked up.
    base
        What all parts of the table derive from.
    name
        One of the table, or ``module:ATTRIBUTE`` of a class or of a function ``(scenario, **options)``, which is
        imported.

    Raises
    ------
    ValueError
        For an unknown name (the nearest is suggested), or one that makes nothing of this kind.
    """
    if not is_outside(name):
        return table.load(name)
    part = imported(table.kind, name)
    if isinstance(part, type) and issubclass(part, base):
        return part
    problem = refusal(table.kind, name, f", which makes no {base.__name__}")
    if isinstance(part, type) or is_dataclass(part) or not callable(part):  # another class, or one that is made
        raise problem

    @wraps(part)
    def checked(scenario: Any, **options: Any) -> T:
        made = part(scenario, **options)
        if not isinstance(made, base):
            raise problem
        return made

    return checked
