"""Contenders as a researcher hands them in: their names, and what plays for each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from multispin_env.checks import shown
from multispin_env.controllers.base import Controller
from multispin_env.controllers.factory import ContenderName
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.contenders import Contender, make_contender, native


@dataclass
class Predictor:
    """A model that predicts actions, as those of Stable-Baselines3: its deterministic ones, and what it remembers."""

    model: Any
    memory: Any = None

    def reset(self) -> None:
        """Begin new episodes."""
        self.memory = None

    def __call__(self, observation: Observation) -> NDArray[Any]:
        """Actions (n, K, columns) for observations of n copies."""
        taken = signature(self.model.predict).parameters
        options = {"state": self.memory, "deterministic": True}
        answer = self.model.predict(observation, **{name: value for name, value in options.items() if name in taken})
        action, self.memory = answer if isinstance(answer, tuple) else (answer, None)
        return action  # type: ignore[no-any-return]


def name_of(contender: Any) -> str:
    """What a table calls a contender that nobody has named: by its class, or as it is defined."""
    return contender if isinstance(contender, str) else getattr(contender, "__name__", type(contender).__name__)


def by_name(contenders: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Contenders by their names, each once; ``ValueError`` if two have one name."""
    if isinstance(contenders, Mapping):
        return dict(contenders)
    named: dict[str, Any] = {}
    for one in [contenders] if isinstance(contenders, str) else contenders:
        name = name_of(one)
        if named.setdefault(name, one) is not one and not isinstance(one, str):
            raise ValueError(f"contenders: expected a mapping of names where two have one name, got {name!r} twice")
    return named


def as_contender(contender: Any, env: Any) -> Contender:
    """Make what plays in a vector environment of what was handed in, as `compare` takes it."""
    if isinstance(contender, str):
        return make_contender(contender, env)
    if isinstance(contender, type) and issubclass(contender, Controller):
        return contender(native(env).scenario)
    if isinstance(contender, Controller | PlugIn):
        return contender
    if callable(getattr(contender, "predict", None)):
        return Predictor(contender)
    if isinstance(contender, type) or not callable(contender):
        raise ValueError(f"contenders: expected a name or what decides, got {shown(contender)}")
    return contender  # type: ignore[no-any-return]


def with_reference(
    cases: Episodes, contenders: Iterable[Any] | Mapping[str, Any] | None, reference: str | None
) -> tuple[dict[str, Contender | str], str]:
    """Contenders by their names, the reference among them, and the name that it has there.

    ``None`` for what is worth comparing, and for the best that is known.
    """
    entries = by_name((*cases.contenders, *cases.systems) if contenders is None else contenders)
    wanted = cases.reference if reference is None else reference
    same = wanted if reference in entries else _same(wanted, entries)
    if same is None:
        if wanted in entries:
            raise ValueError(f"contenders: expected another name than that of the reference, got {wanted!r}")
        entries[wanted] = wanted
    plays = {name: one if one in cases.systems else as_contender(one, cases.env()) for name, one in entries.items()}
    return plays, wanted if same is None else same


def _same(wanted: str, entries: Mapping[str, Any]) -> str | None:
    """Name of the entry that means the same as a name."""
    parsed = ContenderName.parse(wanted)
    names = (name for name, one in entries.items() if isinstance(one, str) and ContenderName.parse(one) == parsed)
    return next(names, None)
