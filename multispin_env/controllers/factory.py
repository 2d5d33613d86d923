"""Controllers and plug-ins from their names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multispin_env.checks import check_keywords, check_name
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.base import CONTROLLERS, Controller
from multispin_env.controllers.estimators.base import ESTIMATORS, Estimator
from multispin_env.controllers.names import CLAIRVOYANT, ContenderName
from multispin_env.controllers.outside import maker
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.registry import option_names
from multispin_env.scenario import Scenario


def controller_names() -> tuple[str, ...]:
    """Return the names that `make_controller` takes, always in the same order.

    Examples
    --------
    >>> import multispin_env as ms
    >>> "optimal" in ms.controller_names()
    True
    """
    return CONTROLLERS.names()


FIXED = ("scenario", "assumptions", "base")
"""Fields that are handed in, so that nobody chooses them."""


def make_controller(name: str, scenario: Scenario, **options: Any) -> Controller:
    """Make a controller from its name. A controller decides for known states.

    Parameters
    ----------
    name
        One of `controller_names()`, or ``"module:ATTRIBUTE"``, a class of your own or a function
        ``(scenario, **options)``; ``"optimal+clairvoyant"`` is another name of ``"optimal"``.
    scenario
        The system that it controls.
    **options
        Fields of the controller's class, e.g. ``phi_points=30`` for ``"algorithm1"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), a bad value, or the name of a plug-in.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=2)
    >>> ms.make_controller("fixed", scenario, draft_length=4).draft_length
    4
    """
    parsed = ContenderName.parse(name)
    if not parsed.knows_truth:
        raise ValueError(f"controller: expected one that knows the truth, got {name!r}; use make_plug_in")
    make = controller_maker(parsed.controller)
    (own,) = options_by_part(f"controller {parsed.controller!r}", [make], options)
    return make(scenario, **own)


def controller_maker(name: str) -> Callable[..., Controller]:
    """Class of a controller, or the function of ``module:ATTRIBUTE`` that makes one; see `maker`."""
    return maker(CONTROLLERS, Controller, name)


def make_plug_in(name: str, scenario: Scenario, assumptions: Assumptions | None = None, **options: Any) -> PlugIn:
    """Make a plug-in from its name. A plug-in is a controller that uses estimates of what is hidden.

    Parameters
    ----------
    name
        A controller and estimators of `ESTIMATORS`, joined by ``+``, at most one for each part:
        ``"optimal+beta"``, ``"homogeneous+filter+quantile"``, ``"optimal+gradient+mmse"``.
    scenario
        The system that it controls.
    assumptions
        What the estimators know from past data; ``None`` means ``Assumptions.of(scenario)``.
    **options
        Fields of the classes of the controller and the estimators.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), an option of more than one part, or a bad value.

    Examples
    --------
    >>> import multispin_env as ms
    >>> plug_in = ms.make_plug_in("optimal+beta", ms.Scenario.preset("llama2"), strength=2.0)
    >>> plug_in.estimators[0].part
    'acceptance_rate'
    """
    parsed = estimating("controller", name)
    owner, first = f"controller {name!r}", controller_maker(parsed.controller)
    (own,), estimators = with_estimators(owner, parsed, scenario, [first], assumptions, options)
    return PlugIn(first(scenario, **own), estimators)


def estimating(kind: str, name: str, *others: str) -> ContenderName:
    """Parts of a name such as ``"optimal+beta"``.

    Parameters
    ----------
    kind
        What decides: ``"controller"`` or ``"scheduler"``.
    name
        Of what decides and estimators.
    *others
        What besides an estimator may stand behind what decides.

    Raises
    ------
    ValueError
        For what is neither (the nearest is suggested), or a name of what knows the truth.
    """
    parsed = ContenderName.parse(name)
    if CLAIRVOYANT in name.split("+"):
        base = parsed.controller
        raise ValueError(f"plug-in: expected one that estimates, got {name!r}; use make_{kind}({base!r})")
    for part in parsed.estimators:
        check_name("estimator", part, (*ESTIMATORS.names(), *others, CLAIRVOYANT))
    return parsed


def with_estimators(
    owner: str,
    parsed: ContenderName,
    scenario: Scenario,
    makers: Sequence[Callable[..., Any]],
    assumptions: Assumptions | None,
    options: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[Estimator]]:
    """Options of each of the ``makers`` of what decides, and the estimators of its name.

    Raises
    ------
    TypeError, ValueError
        For an option of no part (the nearest is suggested) or of several, or a bad value.
    """
    made_of = [ESTIMATORS.load(part) for part in parsed.estimators]
    chosen = options_by_part(owner, [*makers, *made_of], options, "assumptions")
    known = Assumptions.of(scenario) if assumptions is None else assumptions
    others = zip(made_of, chosen[len(makers) :], strict=True)
    return chosen[: len(makers)], [cls(scenario, known, **kwargs) for cls, kwargs in others]


def options_by_part(
    owner: str, parts: Sequence[Callable[..., Any]], options: Mapping[str, Any], *besides: str
) -> list[dict[str, Any]]:
    """Options of each of the classes or functions that make a part of ``owner``.

    Raises
    ------
    TypeError
        For an option of none of them (the nearest is suggested, also of what is allowed ``besides``), or of several.
    """
    names_by_part = [option_names(part, *FIXED) for part in parts]
    check_keywords(owner, options, (*dict.fromkeys(sum(names_by_part, ())), *besides))
    for option in options:
        if sum(option in names for names in names_by_part) > 1:
            raise TypeError(f"{owner}: expected a keyword of one part, got {option!r}, which several parts have")
    return [{key: value for key, value in options.items() if key in names} for names in names_by_part]
