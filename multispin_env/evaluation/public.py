"""Public functions `compare` and `evaluate`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from multispin_env.checks import check_integer, check_name
from multispin_env.controllers.names import ContenderName
from multispin_env.envs.config import DEFAULT_SCENARIO, EnvConfig
from multispin_env.evaluation.cases import Episodes, heading
from multispin_env.evaluation.comparison import METRICS, Row, comparison_cells
from multispin_env.evaluation.contenders import Contender, as_contender, contender_errors
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import EPISODE_SEED, Cells, aligned, drafting_note
from multispin_env.scenario import Scenario

EPISODES = 200  # of each contender by default


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonTable:
    """Comparison of contenders on the same episodes, printed like the table of ``multispin compare``.

    ``comparison["optimal"]`` is the row of a contender.

    Parameters
    ----------
    title
        Text with the system, the episodes and the reference.
    rows
        One row for each contender, best first; see `evaluate`.
    metric
        Name of the metric, such as ``"goodput"``.
    reference
        Name of the row with which the others are compared.
    fitting
        Metric that matches the reward; some metrics have a second table.
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
        second_table = METRICS[self.fitting].second_table
        first = comparison_cells(self.rows, self.metric)
        return [first] if second_table is None else [first, second_table([row for row in self.rows if row.decides])]

    def __repr__(self) -> str:
        text = "\n\n".join([self.title, *(aligned(*cells) for cells in self.tables)])
        return text + drafting_note({row.name: row.details["draft_length"] for row in self.rows if row.decides})


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
    """Compare controllers, plug-ins, agents and functions on the same whole episodes, like ``multispin compare``.

    Controllers receive the true state, plug-ins its visible part, all others observations.

    Parameters
    ----------
    env_id
        Id of the environment.
    contenders
        Iterable of contenders, or a mapping from your own names to contenders; ``None`` for the default contenders of
        the environment. A contender is one of: a name (``"optimal"``, ``"optimal+filter"``, a system, or
        ``"module:ATTRIBUTE"`` of a controller or of a class that makes a function); a controller, a controller class
        or a plug-in; a policy from ``multispin_agents.load`` or ``load_policy``; a model with ``predict(observation)``,
        such as those of Stable-Baselines3, whose deterministic actions are played (see Notes); a function from
        observations of n environments to actions (n, K, columns), with an optional ``reset()`` that starts episodes.
    scenario
        Name of a preset or file, or a `Scenario`.
    episodes
        Number of episodes of each contender, n ≥ 2.
    seed
        Seed of the first episode.
    against
        Name of the reference, which is added to the contenders; ``None`` for the best known reference.
    metric
        ``"goodput"``, ``"token_goodput"``, ``"return"``, ...; ``None`` for the metric that matches the reward.
        ``"tokens_per_second"`` and ``"tokens_per_joule"`` divide the sums over all episodes, the others are means.
    **arguments
        Arguments of the environment, such as ``num_users=8``; models and functions use the encoding ``action``.

    Returns
    -------
    ComparisonTable
        Rows and printable tables.

    Raises
    ------
    ValueError, TypeError
        For an unknown name (the closest is suggested), an invalid argument, or two contenders with the same name.
        Errors and invalid actions of a contender become a `ValueError` that begins with its name.

    Notes
    -----
    Models of Stable-Baselines3 play as behind their wrappers ``FlattenObservation``, ``RescaleAction`` and
    ``VecNormalize``: their spaces and ``model.get_vec_normalize_env()`` show these. Models with spaces of other shapes
    are refused; those with `multispin_agents.DevicePolicy` play with any number of devices. Other wrappers cannot be
    recognised, nor can ``VecNormalize`` in a model that was loaded without it; load the model with
    ``env=VecNormalize.load(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> import multispin_env as ms
    >>> def zeros(observation):
    ...     return np.zeros((len(observation["shared"]), 4, 2))
    >>> small = {"episodes": 4, "num_users": 4, "rounds": 8}
    >>> comparison = ms.compare("MultiSpin/Heterogeneous-v0", [zeros, "fixed", "optimal"], **small)
    >>> [row.name for row in comparison.rows][0], comparison.reference
    ('optimal', 'optimal')
    >>> comparison["zeros"].share < 1.0
    True
    """
    cases = Episodes(EnvConfig.of(env_id, scenario, **arguments), episodes, check_integer("seed", seed, 0))
    return compare_cases(cases, contenders, against, metric, cases.play_all)


def evaluate(policy: Any, env_id: str, **options: Any) -> Row:
    """Play whole episodes with a policy, controller or model, and compare it with the best known reference.

    Errors are those of `compare`.

    Parameters
    ----------
    policy
        A contender, as in `compare`.
    env_id
        Id of the environment.
    **options
        Arguments of `compare`: ``scenario``, ``episodes``, ``seed``, ..., and arguments of the environment.

    Returns
    -------
    Row
        Has the ``mean`` of the metric with its 95 % interval, the ``share`` of the reference (``None`` if the ratio is
        meaningless), the paired ``difference`` to the reference, and ``details``, the means of all other statistics.

    Examples
    --------
    >>> import multispin_env as ms
    >>> row = ms.evaluate("fixed", "MultiSpin/Heterogeneous-v0", episodes=4, num_users=4, rounds=8)
    >>> row.name, row.low <= row.mean <= row.high, row.share < 1.0
    ('fixed', True, True)
    """
    name = name_of(policy)
    return compare(env_id, {name: policy}, **options)[name]


def compare_cases(
    cases: Episodes,
    contenders: Iterable[Any] | Mapping[str, Any] | None,
    reference: str | None,
    metric: str | None,
    play_all: Callable[[Mapping[str, Contender | str]], Mapping[str, EpisodeStats]],
) -> ComparisonTable:
    """Compare contenders in cases, with the arguments of `compare`.

    ``play_all`` returns the statistics of contenders by name. Some may be missing; the first then replaces a missing
    reference.
    """
    metric = cases.metric if metric is None else metric
    check_name("metric", metric, METRICS)
    players, name = players_by_name(cases, contenders, reference, metric)
    all_stats = play_all(players)
    name = name if name in all_stats else next(iter(all_stats), name)
    rows = cases.rows(all_stats, name, metric) if all_stats else []
    title = heading(cases.config, f"{cases.title}; reference: {name}")
    return ComparisonTable(title, tuple(rows), metric, name, cases.metric)


def name_of(contender: Any) -> str:
    """Return the default name of a contender: the string itself, or the name of the function or class."""
    return contender if isinstance(contender, str) else getattr(contender, "__name__", type(contender).__name__)


def _by_name(contenders: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(contenders, Mapping):
        return dict(contenders)
    named: dict[str, Any] = {}
    for contender in [contenders] if isinstance(contenders, str) else contenders:
        name = name_of(contender)
        if named.setdefault(name, contender) is not contender and not isinstance(contender, str):
            raise ValueError(f"contenders: expected distinct names, got {name!r} twice; pass a dict of names")
    return named


def players_by_name(
    cases: Episodes, contenders: Iterable[Any] | Mapping[str, Any] | None, reference: str | None, metric: str
) -> tuple[dict[str, Contender | str], str]:
    """Return contenders by name, including the reference, and the reference's name among them.

    ``None`` selects the default contenders, with other systems if they have the metric, or the best known reference.
    """
    allowed = cases.systems if metric in cases.system_metrics else ()
    entries = _by_name((*cases.contenders, *allowed) if contenders is None else contenders)
    name = cases.reference if reference is None else reference
    same = name if reference in entries else _equivalent_name(name, entries)
    if same is None:
        if name in entries:
            raise ValueError(f"contenders: expected a name other than that of the reference, got {name!r}")
        entries[name] = same = name
    players: dict[str, Contender | str] = {}
    for name, contender in entries.items():
        if contender in cases.systems and contender not in allowed:
            expected = f"one of {list(cases.system_metrics)} with the system {contender!r}"
            raise ValueError(f"metric: expected {expected}, got {metric!r}")
        with contender_errors(name, ValueError, TypeError, ImportError):
            players[name] = contender if contender in cases.systems else as_contender(contender, cases.config)
    return players, same


def _equivalent_name(name: str, entries: Mapping[str, Any]) -> str | None:
    parsed = ContenderName.parse(name)
    names = (key for key, entry in entries.items() if isinstance(entry, str) and ContenderName.parse(entry) == parsed)
    return next(names, None)
