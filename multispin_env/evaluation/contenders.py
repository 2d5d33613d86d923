"""Contenders: whatever decides in an environment, and what each kind of it may look at."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import reason
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.policy import Policy
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import Decision, Observed, SystemState

_Agent = Callable[[Observation], NDArray[Any]]
"""Observations of n copies to their actions (n, K, columns). Where it has ``reset()``, that begins new episodes."""

_Named = Controller[Any, Any] | PlugIn

Contender = _Named | Policy | _Agent
"""Controllers see the true state, plug-ins what may be observed, all others the observations."""

Decide = Callable[[SystemState], Decision]
"""Decides for states (n, K), as controllers and policies do."""

T = TypeVar("T")
R = TypeVar("R")

SLOW = ("algorithm1",)
"""Minutes for a table; compared only by request."""


class ContenderError(ValueError):
    """Error of a contender, by its name."""


@contextmanager
def contender_errors(name: str, *but: type[Exception]) -> Iterator[None]:
    """Turn errors of a contender into `ContenderError`, all but some classes; Ctrl-C stays what it is."""
    untouched: tuple[type[Exception], ...] = (ContenderError, MemoryError, *but)
    try:
        yield
    except untouched:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        # commands raise another class at Ctrl-C, and workers get none: there this one is the contender's
        pressed = type(error) is not KeyboardInterrupt or signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if isinstance(error, KeyboardInterrupt) and pressed:
            raise
        raise ContenderError(f"{name}: {reason(error)}") from error


def results_by_name(contenders: Mapping[str, T], result_of: Callable[[str, T], R]) -> dict[str, R]:
    """Return the result of each contender, by name; an error of one is `contender_errors` to it."""
    results = {}
    for name, contender in contenders.items():
        with contender_errors(name):
            results[name] = result_of(name, contender)
    return results


def native(env: Any) -> MultiSpinVectorEnv:
    """Return the vector environment of this project inside ``env``; ``ValueError`` if there is none."""
    base = getattr(env, "unwrapped", env)
    if not isinstance(base, MultiSpinVectorEnv):
        kind = type(base).__name__
        raise ValueError(f"env: expected a vector environment of multispin_env, from gymnasium.make_vec, got {kind}")
    return base


def make_contender(name: str, env: Any, options: Mapping[str, Any] | None = None) -> _Named:
    """Make a controller, or a plug-in of one, for a vector environment from its name.

    Without estimators (``"optimal"``, or ``"optimal+clairvoyant"``) it will know the truth, with them
    (``"optimal+filter"``) what may be observed. Options are fields of the classes, as ``{"moment": 2.0}``.
    """
    return native(env).config.contender(name, **dict(options or {}))


def contenders_of(config: EnvConfig) -> tuple[str, ...]:
    """Names worth comparing in an environment.

    Those that its variant lists; else every controller whose decisions its actions can express, but the `SLOW` ones.
    """
    return config.variant.comparison.contenders or tuple(
        name for name in controller_names("rounds", config.scenario) if name not in SLOW and _can_play(name, config)
    )


def _can_play(name: str, config: EnvConfig) -> bool:
    """Whether this controller's decisions can be actions: not where one length is common and it wants several."""
    if not config.actions.common_draft_length:
        return True
    state = sample_state(config.scenario, np.random.default_rng(0), 500)
    length = make_controller(name, config.scenario)(state).draft_length
    return bool((length == length[:, :1]).all())


def action_function(contender: Contender, base: MultiSpinVectorEnv) -> _Agent:
    """Observations to actions, by a contender; nothing but a controller gets at the state."""
    if isinstance(contender, Controller):
        return lambda observation: base.encode_action(contender(base.state))
    if isinstance(contender, PlugIn):
        return lambda observation: base.encode_action(contender(_observed(base, observation)))
    return contender.act if isinstance(contender, Policy) else contender


def reset_contender(contender: Contender) -> None:
    """Let a contender that remembers forget the last episodes."""
    reset = getattr(contender, "reset", None)
    if callable(reset):
        reset()


def _observed(base: MultiSpinVectorEnv, observation: Observation) -> Observed | ContinuousObserved:
    """What the observations show; without the barrier also which batch is next, and before it is rounded."""
    seen = base.observed
    return seen if isinstance(seen, ContinuousObserved) else base.decode_observation(observation)
