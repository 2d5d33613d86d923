"""Defaults of comparisons by class of the environment: contenders, reference, baseline of films, length."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from multispin_env.controllers.names import CLAIRVOYANT, ContenderName
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.continuous.serving import Serving
from multispin_env.envs.rounds.ahead import DraftAhead
from multispin_env.envs.rounds.energy import Energy
from multispin_env.envs.rounds.hidden import DelayedChannel, HiddenRate
from multispin_env.envs.rounds.known import Fair, RoundsConfig

_BARRIER = "optimal"

_HIDDEN = ("filter", "beta", "task-mean")
"""Estimators of hidden acceptance to compare, best first."""

_LATE = ("mmse", "quantile", "last-report")
"""Estimators of the channel from outdated reports to compare, best first."""


def _without_barrier(config: ContinuousConfig, leader: str, *names: str) -> tuple[str, ...]:
    """Return the names and the rule with the barrier; if the state is partly hidden, combined with estimators."""
    if config.sees_state:
        return (*names, _BARRIER)
    estimators: Sequence[str] = _LATE if config.acceptance_visible else _HIDDEN
    if config.knowledge.delay and not config.acceptance_visible:
        estimators = [f"{name}+{_LATE[0]}" for name in _HIDDEN]
    leading = [f"{leader}+{name}" for name in (CLAIRVOYANT, *estimators)]
    others = [name for name in names if name != leader]
    return (*leading, *(f"{name}+{estimators[0]}" for name in (*others[:2], _BARRIER)))


def _continuous(config: ContinuousConfig) -> tuple[str, ...]:
    return _without_barrier(config, "prices", "groups", "prices", "greedy", "synchronous")


def _serving(config: Serving) -> tuple[str, ...]:
    names = ("greedy+deadlines", "load-aware", "groups+deadlines", "prices+deadlines", "greedy", "groups")
    return _without_barrier(config, "prices+deadlines", *names)


_PLAIN = ("homogeneous", "uniform-bandwidth", "fixed")

CONTENDERS: Mapping[type[EnvConfig], tuple[str, ...] | Callable[[Any], tuple[str, ...]]] = MappingProxyType(
    {
        RoundsConfig: (),
        Fair: ("optimal+gradient", "optimal", *_PLAIN, "optimal+round-robin"),
        DelayedChannel: (
            *("optimal+clairvoyant", "optimal+quantile", "optimal+last-report", "optimal+mmse"),
            *("homogeneous+last-report", "fixed"),
        ),
        HiddenRate: (
            *("optimal+clairvoyant", "optimal+filter", "optimal+beta", "optimal+task-mean"),
            *("homogeneous+task-mean", "fixed"),
        ),
        DraftAhead: ("ahead-price", "optimal", *_PLAIN),
        Energy: ("shaped", "drift", "energy-prices", "optimal", *_PLAIN),
        ContinuousConfig: _continuous,
        Serving: _serving,
    }
)
"""Default contenders of a class and its subclasses, the best known first; none for all controllers of rounds."""


def default_contenders(config: EnvConfig) -> tuple[str, ...]:
    """Return the default contenders of an environment; none for all controllers of rounds."""
    if config.contenders is not None:
        return config.contenders
    names = next(CONTENDERS[kind] for kind in type(config).__mro__ if kind in CONTENDERS)
    return names(config) if callable(names) else names


def reference_of(config: EnvConfig) -> str:
    """Return the name of the best known contender: the clairvoyant optimum, else the first contender or "optimal"."""
    if config.optimal is not None:
        return ContenderName.parse(config.optimal).clairvoyant_name
    return (default_contenders(config) or (_BARRIER,))[0]


def baseline_of(config: EnvConfig) -> str:
    """Return the name of the contender that films show next to the best known one."""
    return "fixed" if isinstance(config, RoundsConfig) else _BARRIER


def rounds_of(config: EnvConfig) -> int | None:
    """Return the length of an episode in rounds; ``None`` if it is measured in seconds."""
    return config.rounds if isinstance(config, RoundsConfig) else None


def span_of(config: EnvConfig) -> str:
    """Return the length of an episode as text."""
    rounds = rounds_of(config)
    if rounds is None:
        return f"{config.arguments['horizon']:g} s"
    return f"{rounds} rounds" if rounds > 1 else "one round"
