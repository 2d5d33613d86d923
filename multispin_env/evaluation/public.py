"""Comparison of contenders in one call; what plays is only imported then, so that a start stays light."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multispin_env.checks import check_integer, check_name
from multispin_env.envs.settings import DEFAULT_SCENARIO
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_env.evaluation.cases.episodes import Episodes
    from multispin_env.evaluation.comparison import Row
    from multispin_env.evaluation.episode_stats import EpisodeStats
    from multispin_env.evaluation.table import Cells

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
    rows: "tuple[Row, ...]"
    metric: str
    reference: str
    fitting: str

    def __getitem__(self, name: str) -> "Row":
        check_name("name", name, [row.name for row in self.rows])
        return next(row for row in self.rows if row.name == name)

    @property
    def tables(self) -> "list[tuple[Cells, list[Cells]]]":
        """Header and lines of each table."""
        from multispin_env.evaluation.comparison import METRICS, comparison_cells

        below = METRICS[self.fitting].below
        first = comparison_cells(self.rows, self.metric)
        return [first] if below is None else [first, below(self.rows)]

    def __repr__(self) -> str:
        from multispin_env.evaluation.table import aligned

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
        Each is a name (``"optimal"``, ``"optimal+filter"``, a system, or ``"module:ATTRIBUTE"``); a class of a
        controller or a controller, which is made for the environment's scenario, or one that is made, or a plug-in; a
        policy of ``agents.load`` or ``load_policy``; what has ``predict(observation)``, as models of
        Stable-Baselines3, of which the deterministic actions are taken; or a function from the observations of n
        copies to actions (n, K, columns), which may have a ``reset()`` that begins new episodes. Controllers see the
        true state, plug-ins what may be known, all others the observations. A mapping gives them names of your own.
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
        ``"goodput"``, ``"throughput"``, ``"return"``, ...; ``None`` for what fits the environment.
    **arguments
        Of the environment, as ``num_users=8``; ``action=`` is the encoding of models and functions.

    Returns
    -------
    ComparisonTable
        Its rows, and the table.

    Raises
    ------
    ValueError, TypeError
        For an unknown name (the nearest is suggested), a bad argument, two contenders of one name, or what can't
        decide there.

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
    from multispin_env.evaluation.cases.episodes import Episodes
    from multispin_env.evaluation.entries import with_reference

    check_integer("seed", seed, 0)
    cases = Episodes(env_id, episodes, scenario, arguments, seed, arguments.get("action"))
    shown = chosen_metric(cases, metric)
    plays, reference = with_reference(cases, contenders, against)
    return compared(cases, {name: cases.play(one) for name, one in plays.items()}, reference, shown)


def evaluate(policy: Any, env_id: str, **question: Any) -> "Row":
    """Play whole episodes with a policy, a controller or a model, beside the best that is known.

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
        ``mean`` of the metric over episodes, with its 95 % interval ``low`` to ``high``; ``share``, the mean over that
        of the reference (``None`` where a ratio says nothing); ``difference`` to the reference in the same episodes,
        with ``difference_low`` and ``difference_high``; ``details``, means of all else that is told.

    Raises
    ------
    ValueError, TypeError
        As `compare`.

    Examples
    --------
    >>> import multispin_env as ms
    >>> row = ms.evaluate("fixed", "MultiSpin/Heterogeneous-v0", episodes=4, num_users=4, max_episode_steps=8)
    >>> row.name, row.low <= row.mean <= row.high, row.share < 1.0
    ('fixed', True, True)
    """
    from multispin_env.evaluation.entries import name_of

    name = name_of(policy)
    return compare(env_id, {name: policy}, **question)[name]


def chosen_metric(cases: "Episodes", metric: str | None) -> str:
    """What is shown: a metric that was asked for, else what fits; ``ValueError`` for an unknown one."""
    from multispin_env.evaluation.comparison import METRICS

    chosen = cases.metric if metric is None else metric
    check_name("metric", chosen, METRICS)
    return chosen


def compared(cases: "Episodes", ledgers: "Mapping[str, EpisodeStats]", reference: str, metric: str) -> ComparisonTable:
    """Compare what contenders earned in the episodes of these cases."""
    from multispin_env.evaluation.cases.base import heading
    from multispin_env.evaluation.comparison import compare_episodes
    from multispin_env.evaluation.contenders import native

    of_the_system = ("num_users", "total_bandwidth", "server")  # which the title says in its own words
    told = {name: value for name, value in cases.arguments.items() if name not in of_the_system}
    what = f"{cases.title}; reference: {reference}"
    title = heading(cases.env_id, told, native(cases.env()).scenario, what)
    return ComparisonTable(title, tuple(compare_episodes(ledgers, reference, metric)), metric, reference, cases.metric)
