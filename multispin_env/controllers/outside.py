"""Controllers from outside this package, where the name of one of ours may stand."""

from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import wraps
from typing import Any

from multispin_env.checks import check_name
from multispin_env.controllers.base import Controller
from multispin_env.outside import FORM, imported, is_outside, refusal
from multispin_env.registry import CONTROLLERS

OWN_CONTROLLER = f"{FORM} of one of your own"
"""How helps name what stands for a controller from outside."""


def check_controller(name: str, ours: Iterable[str]) -> None:
    """``ValueError`` for a name that is neither one of ours (the nearest is suggested) nor from outside."""
    if not is_outside(name):
        check_name(CONTROLLERS.kind, name, ours)


def controller_maker(name: str) -> Callable[..., Controller[Any, Any]]:
    """Return what makes the controller of a name of ours, or of an outside class or function, which is imported.

    ``ValueError`` for an unknown name (the nearest is suggested), or one that makes no controller.
    """
    if not is_outside(name):
        return CONTROLLERS.load(name)
    part = imported(CONTROLLERS.kind, name)
    if isinstance(part, type) and issubclass(part, Controller):
        return part
    problem = refusal(CONTROLLERS.kind, name, ", which makes no Controller")
    if isinstance(part, type) or is_dataclass(part) or not callable(part):  # another class, or one that is made
        raise problem

    @wraps(part)
    def checked(scenario: Any, **options: Any) -> Controller[Any, Any]:
        made = part(scenario, **options)
        if not isinstance(made, Controller):
            raise problem
        return made

    return checked
