"""Comparison and evaluation in one call, of contenders as a researcher hands them in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from multispin_env.checks import check_integer, check_name, shown
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import ContenderName
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation
from multispin_env.envs.variant import DEFAULT_SCENARIO
from multispin_env.evaluation.cases import Episodes, heading
from multispin_env.evaluation.comparison import METRICS, Row, compare_episodes, comparison_cells
from multispin_env.evaluation.contenders import Contender, attributed, make_contender, native, results_by_name
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import EPISODE_SEED, Cells, aligned
from multispin_env.registry import CONTROLLERS, import_attribute, is_outside
from multispin_env.scenario import Scenario

EPISODES = 200
"""Of each contender, unless more or fewer are asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonTable:
    """Contenders compared on the same episodes; printed, it is the table of ``multispin compare``.

    ``comparison["optimal"]`` is the row of a name.

    Parameters
    ----------
    title
        The system, the episodes and the reference, in a line.
    rows
        One for each contender, best first: see `evaluate`.
    metric
        What they are compared by, as ``"goodput"``.
    reference
        Name of the row that the others are compared with.
    fitting
        Metric that fits what the environment rewards; where one number does not say all, its second table is shown.
    """

    title: str
    rows: tuple[Row, ...]
    metric: str
    reference: str
    fitting: str

    def __getitem__(self, name: str) -> Row:
        check_name("name", name, [row.name for row in self.rows])
        return next(row for row in self.rows if row.name == name)

    @property
    def tables(self) -> list[tuple[Cells, list[Cells]]]:
        """Header and lines of each table."""
        below = METRICS[self.fitting].below
        first = comparison_cells(self.rows, self.metric)
        return [first] if below is None else [first, below(self.rows)]

    def __repr__(self) -> str:
        return "\n\n".join([self.title, *(aligned(*cells) for cells in self.tables)])


def compare(
    env_id: str,
    contenders: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    scenario: Scenario | str = DEFAULT_SCENARIO,
    episodes: int = EPISODES,
    seed: int = EPISODE_SEED,
    against: str | None = None,
    metric: str | None = None,
    **arguments: Any,
) -> ComparisonTable:
    """Compare controllers, plug-ins, agents and functions on the same whole episodes, as ``multispin compare`` does.

    Parameters
    ----------
    env_id
        The environment.
    contenders
        Each is a name (``"optimal"``, ``"optimal+filter"``, a system, or ``"module:ATTRIBUTE"`` of a controller, or of
        the class of such a function, which is made without arguments); a class of a controller or a controller, which
        is made for the environment's scenario, or one that is made, or a plug-in; a policy of ``agents.load`` or
        ``load_policy``; what has ``predict(observation)``, as models of Stable-Baselines3, of which the deterministic
        actions are taken; or a function from the observations of n copies to actions (n, K, columns), which may have a
        ``reset()`` that begins new episodes. Controllers see the true state, plug-ins what may be known, all others the
        observations. A mapping gives them names of your own.
        ``None`` for what is worth comparing there.
    scenario
        A preset, a file, or a `Scenario`.
    episodes
        n ≥ 2 of each.
    seed
        Of the first episode.
    against
        Name of the contender that the others are compared with; ``None`` for the best that is known. It plays too.
    metric
        ``"goodput"``, ``"token_goodput"``, ``"return"``, ...; ``None`` for what fits the environment.
    **arguments
        Of the environment, as ``num_users=8``; ``action=`` is the encoding of models and functions.

    Returns
    -------
    ComparisonTable
        Its rows, and the table.

    Raises
    ------
    ValueError, TypeError
        For an unknown name (the nearest is suggested), a bad argument, or two contenders of one name. An error of a
        contender, or an answer that can't be taken, is a `ValueError` that begins with its name.

    Examples
    --------
    >>> import numpy as np
    >>> import multispin_env as ms
    >>> def nothing(observation):
    ...     return np.zeros((len(observation["shared"]), 4, 2))
    >>> few = {"episodes": 4, "num_users": 4, "max_episode_steps": 8}
    >>> found = ms.compare("MultiSpin/Heterogeneous-v0", [nothing, "fixed", "optimal"], **few)
    >>> [row.name for row in found.rows][0], found.reference
    ('optimal', 'optimal')
    >>> found["nothing"].share < 1.0
    True
    """
    check_integer("seed", seed, 0)
    steps = arguments.pop("max_episode_steps", None)
    config = EnvConfig.of(env_id, scenario, allowed=("max_episode_steps",), **arguments)
    cases = Episodes(config, episodes, seed, steps)
    shown = chosen_metric(cases, metric)
    plays, reference = with_reference(cases, contenders, against)
    ledgers = results_by_name(plays, lambda _, contender: cases.play(contender))
    return compared(cases, ledgers, reference, shown)


def evaluate(policy: Any, env_id: str, **question: Any) -> Row:
    """Play whole episodes with a policy, a controller or a model, beside the best that is known.

    Errors are those of `compare`.

    Parameters
    ----------
    policy
        One contender, as `compare` takes it.
    env_id
        The environment.
    **question
        Everything else as for `compare`: ``scenario``, ``episodes``, ``seed``, and arguments of the environment.

    Returns
    -------
    Row
        ``mean`` of the metric with its 95 % interval; ``share`` of the reference's (``None`` where a ratio says
        nothing); ``difference`` to the reference in the same episodes; ``details``, means of all else that is told.

    Examples
    --------
    >>> import multispin_env as ms
    >>> row = ms.evaluate("fixed", "MultiSpin/Heterogeneous-v0", episodes=4, num_users=4, max_episode_steps=8)
    >>> row.name, row.low <= row.mean <= row.high, row.share < 1.0
    ('fixed', True, True)
    """
    name = name_of(policy)
    return compare(env_id, {name: policy}, **question)[name]


def chosen_metric(cases: Episodes, metric: str | None) -> str:
    """What is shown: a metric that was asked for, else what fits; ``ValueError`` for an unknown one."""
    chosen = cases.metric if metric is None else metric
    check_name("metric", chosen, METRICS)
    return chosen


def compared(cases: Episodes, ledgers: Mapping[str, EpisodeStats], reference: str, metric: str) -> ComparisonTable:
    """Compare what contenders earned in the episodes of these cases."""
    title = heading(cases.config, f"{cases.title}; reference: {reference}")
    return ComparisonTable(title, tuple(compare_episodes(ledgers, reference, metric)), metric, reference, cases.metric)


@dataclass
class _Predictor:
    """A model that predicts actions, as those of Stable-Baselines3: its deterministic ones, and what it remembers."""

    model: Any
    memory: Any = None

    def reset(self) -> None:
        self.memory = None

    def __call__(self, observation: Observation) -> NDArray[Any]:
        taken = signature(self.model.predict).parameters
        options = {"state": self.memory, "deterministic": True}
        answer = self.model.predict(observation, **{name: value for name, value in options.items() if name in taken})
        action, self.memory = answer if isinstance(answer, tuple) else (answer, None)
        return action  # type: ignore[no-any-return]


def name_of(contender: Any) -> str:
    """What a table calls a contender that nobody has named: by its class, or as it is defined."""
    return contender if isinstance(contender, str) else getattr(contender, "__name__", type(contender).__name__)


def _by_name(contenders: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
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
        own = _own_policy(contender)
        return make_contender(contender, env) if own is None else as_contender(own, env)
    if isinstance(contender, type) and issubclass(contender, Controller):
        return contender(native(env).scenario)
    if isinstance(contender, Controller | PlugIn):
        return contender
    if callable(getattr(contender, "predict", None)):
        return _Predictor(contender)
    if isinstance(contender, type) or not callable(contender):
        raise ValueError(f"contenders: expected a name or what decides, got {shown(contender)}")
    return contender  # type: ignore[no-any-return]


def _own_policy(name: str) -> Any | None:
    found = import_attribute(CONTROLLERS.kind, name) if is_outside(name) and "+" not in name else None
    return found() if isinstance(found, type) and not issubclass(found, Controller) else None


def with_reference(
    cases: Episodes, contenders: Iterable[Any] | Mapping[str, Any] | None, reference: str | None
) -> tuple[dict[str, Contender | str], str]:
    """Contenders by their names, the reference among them, and the name that it has there.

    ``None`` for what is worth comparing, and for the best that is known.
    """
    entries = _by_name((*cases.contenders, *cases.systems) if contenders is None else contenders)
    wanted = cases.reference if reference is None else reference
    same = wanted if reference in entries else _same(wanted, entries)
    if same is None:
        if wanted in entries:
            raise ValueError(f"contenders: expected another name than that of the reference, got {wanted!r}")
        entries[wanted] = wanted
    plays: dict[str, Contender | str] = {}
    for name, one in entries.items():
        with attributed(name, ValueError, TypeError, ImportError):
            plays[name] = one if one in cases.systems else as_contender(one, cases.env())
    return plays, wanted if same is None else same


def _same(wanted: str, entries: Mapping[str, Any]) -> str | None:
    parsed = ContenderName.parse(wanted)
    names = (name for name, one in entries.items() if isinstance(one, str) and ContenderName.parse(one) == parsed)
    return next(names, None)
