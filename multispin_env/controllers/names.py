"""Construction of controllers from names such as ``"optimal+filter"`` and ``"greedy+deadlines"``.

The first part may also be ``module:ATTRIBUTE``, a class or function from outside this package.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
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
"""Part of a name, in place of estimators, for a controller that sees the true state."""


@dataclass(frozen=True)
class ContenderName:
    """Parsed name of a contender; equivalent names are equal."""

    controller: str  # with its modifiers, as in ``"greedy+deadlines"``
    estimators: tuple[str, ...]  # for hidden parts of the state; empty if the controller sees the true state

    @classmethod
    def parse(cls, name: str) -> Self:
        """Parse a name, such as ``"optimal"``, ``"optimal+clairvoyant"`` or ``"greedy+deadlines+filter+mmse"``."""
        first, *parts = name.split("+")
        modifiers = MODIFIERS.names()
        controller = "+".join([first, *(part for part in parts if part in modifiers)])
        others = tuple(part for part in parts if part not in modifiers)
        return cls(controller, () if others == (CLAIRVOYANT,) else others)

    @property
    def is_clairvoyant(self) -> bool:
        """Whether the controller sees the true state."""
        return not self.estimators

    @property
    def clairvoyant_name(self) -> str:
        """Name of the controller with ``"+clairvoyant"``."""
        return f"{self.controller}+{CLAIRVOYANT}"

    def check_estimators(self) -> None:
        """Raise ``ValueError`` for an unknown estimator; the nearest name is suggested."""
        for part in self.estimators:
            check_name("estimator", part, (*ESTIMATORS.names(), *MODIFIERS.names(), CLAIRVOYANT))


_NO_CONTROLLER = ", which makes no Controller"  # end of an error
CUSTOM_CONTROLLER = f"{FORM} (your own controller)"  # in ``--help``


def check_controller(name: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name that is neither known nor ``module:ATTRIBUTE``; the nearest name is suggested."""
    if not is_outside(name):
        check_name(CONTROLLERS.kind, name, known)


def load_controller(name: str) -> Callable[..., Controller]:
    """Return the class or function that makes the named controller; ``module:ATTRIBUTE`` is imported.

    ``ValueError`` for an unknown name (the nearest is suggested), or one that makes no controller.
    """
    if not is_outside(name):
        return CONTROLLERS.load(name)
    part = import_attribute(CONTROLLERS.kind, name)
    makes = issubclass(part, Controller) if isinstance(part, type) else callable(part) and not is_dataclass(part)
    if not makes:  # another class, or an instance
        raise refusal(CONTROLLERS.kind, name, _NO_CONTROLLER)
    return part


def controller_names(family: str | None = None, scenario: Scenario | None = None) -> tuple[str, ...]:
    """Return the names of all controllers, or of those of one family.

    Controllers of rounds can also be used without the barrier, where they wait for all devices. ``ValueError`` for an
    unknown family or an invalid scenario.

    Parameters
    ----------
    family
        ``"rounds"``, ``"continuous"`` or ``None`` for both.
    scenario
        Scenario that the controllers suit: some require drafting ahead, batteries or static channels. ``None``: any.

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
    base = bases.get(family, Controller)
    made = ((name, class_of_part(CONTROLLERS.load(name))) for name in CONTROLLERS.names())
    classes = ((name, cls) for name, cls in made if isinstance(cls, type) and issubclass(cls, base))
    return tuple(name for name, cls in classes if scenario is None or _suits(scenario, getattr(cls, "requires", {})))


def _suits(scenario: Scenario, requires: Mapping[str, Any]) -> bool:
    actual = {field: getattr(scenario, field) for field in requires}
    return all(value in (actual[field], bool(actual[field])) for field, value in requires.items())


def check_controller_name(field: str, name: str) -> str:
    """Check the name of a controller without estimators and return it; ``ValueError`` if it is unknown."""
    base, *others = name.split("+") if isinstance(name, str) else [name]
    check_name(field, base, CONTROLLERS.names())
    for other in others:
        check_name(field, other, MODIFIERS.names())
    return name


def make_controller(name: str, scenario: Scenario, assumptions: Assumptions | None = None, **options: Any) -> Any:
    """Make a controller from its name, or a plug-in if the name has estimators.

    Call a controller with a state (..., K), and a `PlugIn` with an observation once per step. ``ValueError`` or
    ``TypeError`` for an unknown name or option (the nearest is suggested), an option of more than one part, or an
    invalid value.

    Parameters
    ----------
    name
        Parts joined by ``+``: first one of `controller_names()`, or ``"module:ATTRIBUTE"``, a class of your own or a
        function ``(scenario, **options)``; then `MODIFIERS` of its decisions without the barrier; then `ESTIMATORS` of
        hidden parts of the state, at most one for each part. Examples are ``"optimal"``, ``"greedy+deadlines"``,
        ``"optimal+filter"`` and ``"groups+deadlines+beta+quantile"``. Without estimators, or with ``"clairvoyant"`` in
        their place, the controller sees the true state.
    scenario
        The controlled system.
    assumptions
        Prior knowledge of the estimators; ``None`` means ``Assumptions.of(scenario)``.
    **options
        Fields of the named classes, for example ``phi_points=30`` of ``"algorithm1"``, ``groups=3`` of ``"groups"`` or
        ``strength=2.0`` of ``"beta"``.

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
    base, *modifiers = parsed.controller.split("+")
    parsed.check_estimators()
    parts: list[Any] = [load_controller(base)]
    parts += [*map(MODIFIERS.load, modifiers), *map(ESTIMATORS.load, parsed.estimators)]
    extra = () if parsed.is_clairvoyant else ("assumptions",)
    base_options, *others = _options_by_part(f"controller {name!r}", parts, options, *extra)
    controller = parts[0](scenario, **base_options)
    if not isinstance(controller, Controller):
        raise refusal(CONTROLLERS.kind, base, _NO_CONTROLLER)
    for modifier, values in zip(parts[1 : 1 + len(modifiers)], others, strict=False):
        controller = modifier(scenario, controller, **values)
    if parsed.is_clairvoyant:
        return controller
    prior = Assumptions.of(scenario) if assumptions is None else assumptions
    estimators = zip(parts[1 + len(modifiers) :], others[len(modifiers) :], strict=True)
    return PlugIn(controller, [cls(scenario, prior, **values) for cls, values in estimators])


def _options_by_part(
    owner: str, parts: Sequence[Callable[..., Any]], options: Mapping[str, Any], *extra: str
) -> list[dict[str, Any]]:
    """Split options by part; ``TypeError`` for an option of no part, except ``extra`` names, or of several parts."""
    names_by_part = [option_names(part, "scenario", "assumptions", "base") for part in parts]  # excluding these names
    check_keywords(owner, options, (*dict.fromkeys(sum(names_by_part, ())), *extra))
    for option in options:
        if sum(option in names for names in names_by_part) > 1:
            raise TypeError(f"{owner}: expected a keyword of one part, got {option!r}, which several parts accept")
    return [{key: value for key, value in options.items() if key in names} for names in names_by_part]
