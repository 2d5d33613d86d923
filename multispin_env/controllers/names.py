"""Controllers from their names, one grammar for both families: ``"optimal+filter"``, ``"greedy+deadlines"``.

A class or a function from outside this package, ``module:ATTRIBUTE``, may stand where the name of one of ours may.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from typing import Any, Self

from multispin_env.checks import check_instance, check_keywords, check_name
from multispin_env.controllers.base import Assumptions, ContinuousController, Controller, RoundsController
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.registry import (
    CONTROLLERS,
    ESTIMATORS,
    FORM,
    MODIFIERS,
    class_of_part,
    import_attribute,
    is_outside,
    option_names,
    refusal,
)
from multispin_env.scenario import Scenario

CLAIRVOYANT = "clairvoyant"
"""Stands for the true state where the names of estimators may stand."""


@dataclass(frozen=True)
class ContenderName:
    """A name in its parts; equal where two names mean the same."""

    controller: str  # with what changes its decisions: ``"greedy+deadlines"``
    estimators: tuple[str, ...]  # of hidden parts of the state; none for a controller that knows the truth

    @classmethod
    def parse(cls, name: str) -> Self:
        """Parts of ``"optimal"``, ``"optimal+clairvoyant"`` (the same) or ``"greedy+deadlines+filter+mmse"``."""
        first, *parts = name.split("+")
        changes = MODIFIERS.names()
        controller = "+".join([first, *(part for part in parts if part in changes)])
        others = tuple(part for part in parts if part not in changes)
        return cls(controller, () if others == (CLAIRVOYANT,) else others)

    @property
    def knows_truth(self) -> bool:
        """Whether it sees the true state."""
        return not self.estimators

    @property
    def as_clairvoyant(self) -> str:
        """Name that says of its controller that it knows the truth."""
        return f"{self.controller}+{CLAIRVOYANT}"


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
    part = import_attribute(CONTROLLERS.kind, name)
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


def controller_names(family: str | None = None, scenario: Scenario | None = None) -> tuple[str, ...]:
    """Return the names of all controllers, or of those that were made for one family.

    One of rounds also plays without the barrier, where it waits for all. ``ValueError`` for another family, or a
    scenario that is none.

    Parameters
    ----------
    family
        ``"rounds"``, ``"continuous"`` or ``None`` for both.
    scenario
        A system: those that need devices which draft ahead are left out where devices do not; ``None`` leaves none out.

    Examples
    --------
    >>> import multispin_env as ms
    >>> "optimal" in ms.controller_names("rounds"), "optimal" in ms.controller_names("continuous")
    (True, False)
    """
    bases: dict[str | None, type[Any]] = {"rounds": RoundsController, "continuous": ContinuousController}
    if family is None and scenario is None:
        return CONTROLLERS.names()
    if scenario is not None:
        check_instance("scenario", scenario, Scenario)
    if family is not None:
        check_name("family", family, ("rounds", "continuous"))
    base, ahead = bases.get(family, Controller), scenario is None or scenario.draft_ahead
    loaded = ((name, CONTROLLERS.load(name)) for name in CONTROLLERS.names())
    made = ((name, class_of_part(part)) for name, part in loaded)
    found = ((name, cls) for name, cls in made if isinstance(cls, type) and issubclass(cls, base))
    return tuple(name for name, cls in found if ahead or not getattr(cls, "needs_chains", False))


def check_controller_name(field: str, name: str) -> str:
    """Return a name without estimators that `make_controller` takes; ``ValueError`` suggests the nearest."""
    base, *others = name.split("+") if isinstance(name, str) else [name]
    check_name(field, base, CONTROLLERS.names())
    for other in others:
        check_name(field, other, MODIFIERS.names())
    return name


def make_controller(name: str, scenario: Scenario, assumptions: Assumptions | None = None, **options: Any) -> Any:
    """Make whatever decides from its name: a controller, or a plug-in where the name has estimators.

    A controller is called with a state (..., K), a `PlugIn` with what is observed, once a step. ``ValueError`` or
    ``TypeError`` for an unknown name or option (the nearest is suggested), an option of more than one part, or a bad
    value.

    Parameters
    ----------
    name
        One of `controller_names()`, or ``"module:ATTRIBUTE"``, a class of your own or a function
        ``(scenario, **options)``; then `MODIFIERS` that change what it decides without the barrier, then
        `ESTIMATORS` of what is hidden, joined by ``+``, at most one estimator for each part: ``"optimal"``,
        ``"greedy+deadlines"``, ``"optimal+filter"``, ``"groups+deadlines+beta+quantile"``. ``"clairvoyant"`` in the
        position of estimators says that it knows the truth, as it does without.
    scenario
        The system that it controls.
    assumptions
        What the estimators know from past data; ``None`` means ``Assumptions.of(scenario)``.
    **options
        Fields of the classes that the name names, e.g. ``phi_points=30`` of ``"algorithm1"``, ``groups=3`` of
        ``"groups"``, ``strength=2.0`` of ``"beta"``.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> ms.make_controller("fixed", scenario, draft_length=4).draft_length
    4
    >>> ms.make_controller("groups+deadlines", scenario, groups=3, need=0.04).base.groups
    3
    >>> ms.make_controller("optimal+beta", scenario, strength=2.0).parts
    ['acceptance_rate']
    """
    check_instance("name", name, str, "the name of a controller")
    check_instance("scenario", scenario, Scenario)
    if assumptions is not None:
        check_instance("assumptions", assumptions, Assumptions)
    parsed = ContenderName.parse(name)
    base, *changes = parsed.controller.split("+")
    for part in parsed.estimators:
        check_name("estimator", part, (*ESTIMATORS.names(), *MODIFIERS.names(), CLAIRVOYANT))
    made_of: list[Any] = [controller_maker(base)]
    made_of += [*map(MODIFIERS.load, changes), *map(ESTIMATORS.load, parsed.estimators)]
    besides = () if parsed.knows_truth else ("assumptions",)
    own, *others = _options_by_part(f"controller {name!r}", made_of, options, *besides)
    controller = made_of[0](scenario, **own)
    for modifier, chosen in zip(made_of[1 : 1 + len(changes)], others, strict=False):
        controller = modifier(scenario, controller, **chosen)
    if parsed.knows_truth:
        return controller
    known = Assumptions.of(scenario) if assumptions is None else assumptions
    estimators = zip(made_of[1 + len(changes) :], others[len(changes) :], strict=True)
    return PlugIn(controller, [cls(scenario, known, **chosen) for cls, chosen in estimators])


def _options_by_part(
    owner: str, parts: Sequence[Callable[..., Any]], options: Mapping[str, Any], *besides: str
) -> list[dict[str, Any]]:
    """Options of each class or function that makes a part of ``owner``; ``TypeError`` for one of none or of several.

    The nearest is suggested, also of what is allowed ``besides``.
    """
    names_by_part = [option_names(part, "scenario", "assumptions", "base") for part in parts]  # these are handed in
    check_keywords(owner, options, (*dict.fromkeys(sum(names_by_part, ())), *besides))
    for option in options:
        if sum(option in names for names in names_by_part) > 1:
            raise TypeError(f"{owner}: expected a keyword of one part, got {option!r}, which several parts have")
    return [{key: value for key, value in options.items() if key in names} for names in names_by_part]
