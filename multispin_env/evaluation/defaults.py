"""Defaults of comparisons by class of the environment: contenders, reference, baseline of films, length."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from multispin_env.controllers.names import CLAIRVOYANT, ContenderName, controller_names
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.continuous.serving import Serving
from multispin_env.envs.rounds.ahead import DraftAhead
from multispin_env.envs.rounds.energy import Energy
from multispin_env.envs.rounds.hidden import DelayedChannel, HiddenRate
from multispin_env.envs.rounds.known import Fair, RoundsConfig

_BARRIER = "optimal"

_PLANNED = "timetable"
"""Rule that plans for known devices: with estimators, it would plan at every decision."""

_HIDDEN = ("filter", "beta", "task-mean")
"""Estimators of hidden acceptance to compare, best first."""

_LATE = ("mmse", "quantile", "last-report")
"""Estimators of the channel from outdated reports to compare, best first."""


def _without_barrier(config: ContinuousConfig, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that suit, and the rule with the barrier; for a partly hidden state, with estimators."""
    if config.sees_state:
        suit = controller_names("continuous", config.scenario)
        return (*(name for name in names if name.split("+")[0] in suit), _BARRIER)
    leader = next(name for name in names if name.startswith("prices"))  # the best if the state is partly hidden
    estimators: Sequence[str] = _LATE if config.acceptance_visible else _HIDDEN
    if config.knowledge.delay and not config.acceptance_visible:
        estimators = [f"{name}+{_LATE[0]}" for name in _HIDDEN]
    leading = [f"{leader}+{name}" for name in (CLAIRVOYANT, *estimators)]
    others = [name for name in names if name not in (leader, _PLANNED)]
    return (*leading, *(f"{name}+{estimators[0]}" for name in (*others[:2], _BARRIER)))


def _optimal(*estimators: str, homogeneous: str) -> tuple[str, ...]:
    return (*(f"optimal+{name}" for name in (CLAIRVOYANT, *estimators)), f"homogeneous+{homogeneous}", "fixed")


_PLAIN = ("homogeneous", "uniform-bandwidth", "fixed")

CONTENDERS: Mapping[type[EnvConfig], tuple[str, ...]] = MappingProxyType(
    {
        RoundsConfig: (),
        Fair: ("optimal+gradient", "optimal", *_PLAIN, "optimal+round-robin"),
        DelayedChannel: _optimal("quantile", "last-report", "mmse", homogeneous="last-report"),
        HiddenRate: _optimal(*_HIDDEN, homogeneous="task-mean"),
        DraftAhead: ("ahead-price", "optimal", *_PLAIN),
        Energy: ("shaped", "drift", "energy-prices", "optimal", *_PLAIN),
        ContinuousConfig: (_PLANNED, "groups", "prices", "greedy", "synchronous"),
        Serving: ("greedy+deadlines", "load-aware", "groups+deadlines", "prices+deadlines", "greedy", "groups"),
    }
)
"""Default contenders of a class and its subclasses, the best known first; none for all controllers of rounds.

Without the barrier, those that see the state; `default_contenders` adds the rule with the barrier and estimators.
"""


def default_contenders(config: EnvConfig) -> tuple[str, ...]:
    """Return the default contenders of an environment; none for all controllers of rounds."""
    if config.contenders is not None:
        return config.contenders
    names = next(CONTENDERS[kind] for kind in type(config).__mro__ if kind in CONTENDERS)
    return _without_barrier(config, names) if isinstance(config, ContinuousConfig) else names


def reference_of(config: EnvConfig) -> str:
    """Return the name of the best known contender: the clairvoyant optimum, else the first contender or "optimal"."""
    if config.optimal is not None:
        return ContenderName.parse(config.optimal).clairvoyant_name
    return (default_contenders(config) or (_BARRIER,))[0]


def baseline_of(config: EnvConfig) -> str:
    """Return the name of the contender that films show next to the best known one."""
    return "fixed" if config.family == "rounds" else _BARRIER


def span_of(config: EnvConfig) -> str:
    """Return the length of an episode as text."""
    rounds = config.arguments.get("rounds")
    if rounds is None:
        return f"{config.arguments['horizon']:g} s"
    return f"{rounds} rounds" if rounds > 1 else "one round"
