"""Contenders: controllers, plug-ins, policies and functions that play in environments."""

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
from multispin_env.evaluation.defaults import default_contenders
from multispin_env.evaluation.policy import Policy
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import Decision, Observed, SystemState

_Agent = Callable[[Observation], NDArray[Any]]
"""Function from observations of n environments to actions (n, K, columns); it may have a method ``reset``."""

_Named = Controller[Any, Any] | PlugIn

Contender = _Named | Policy | _Agent
"""Controllers receive the true state, plug-ins its visible part, all others observations."""

Decide = Callable[[SystemState], Decision]
"""Function from states (n, K) to decisions, such as a controller or a policy."""

T = TypeVar("T")
R = TypeVar("R")

SLOW = ("algorithm1",)  # controllers that take minutes for a table and are compared only on request


class ContenderError(ValueError):
    """Error of a contender; the message begins with its name."""


@contextmanager
def contender_errors(name: str, *exceptions: type[Exception]) -> Iterator[None]:
    """Convert errors of a contender to `ContenderError`, except Ctrl-C and the given classes."""
    unchanged: tuple[type[Exception], ...] = (ContenderError, MemoryError, *exceptions)
    try:
        yield
    except unchanged:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        # with another signal handler (commands, workers), only a contender can raise KeyboardInterrupt
        pressed = type(error) is not KeyboardInterrupt or signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if isinstance(error, KeyboardInterrupt) and pressed:
            raise
        raise ContenderError(f"{name}: {reason(error)}") from error


def results_by_name(contenders: Mapping[str, T], result_of: Callable[[str, T], R]) -> dict[str, R]:
    """Return the result of each contender by name; its errors become `ContenderError`."""
    results = {}
    for name, contender in contenders.items():
        with contender_errors(name):
            results[name] = result_of(name, contender)
    return results


def native(env: Any) -> MultiSpinVectorEnv:
    """Return the `MultiSpinVectorEnv` inside ``env``; ``ValueError`` if there is none."""
    base = getattr(env, "unwrapped", env)
    if not isinstance(base, MultiSpinVectorEnv):
        kind = type(base).__name__
        raise ValueError(f"env: expected a vector environment of multispin_env, from gymnasium.make_vec, got {kind}")
    return base


def make_contender(name: str, env: Any, options: Mapping[str, Any] | None = None) -> _Named:
    """Make a controller or a plug-in for a vector environment from its name.

    Without estimators (``"optimal"`` or ``"optimal+clairvoyant"``) it sees the true state, with estimators
    (``"optimal+filter"``) only the visible part. Options are fields of the classes, such as ``{"moment": 2.0}``.
    """
    return native(env).config.contender(name, **dict(options or {}))


def contenders_of(config: EnvConfig) -> tuple[str, ...]:
    """Return the environment's contenders, or else all controllers that its actions can express but `SLOW`."""
    return default_contenders(config) or tuple(
        name for name in controller_names("rounds", config.scenario) if name not in SLOW and _can_play(name, config)
    )


def _can_play(name: str, config: EnvConfig) -> bool:
    if not config.actions.common_draft_length:
        return True
    state = sample_state(config.scenario, np.random.default_rng(0), 500)
    length = make_controller(name, config.scenario)(state).draft_length
    return bool((length == length[:, :1]).all())


def action_function(contender: Contender, base: MultiSpinVectorEnv) -> _Agent:
    """Return the function from observations to actions of a contender; only controllers read the true state."""
    if isinstance(contender, Controller):
        return lambda observation: base.encode_action(contender(base.state))
    if isinstance(contender, PlugIn):
        return lambda observation: base.encode_action(contender(_observed(base, observation)))
    return contender.act if isinstance(contender, Policy) else contender


def reset_contender(contender: Contender) -> None:
    """Call ``reset()`` of a contender if it has this method."""
    reset = getattr(contender, "reset", None)
    if callable(reset):
        reset()


def _observed(base: MultiSpinVectorEnv, observation: Observation) -> Observed | ContinuousObserved:
    # without the barrier, observations are rounded and lack the next batch
    observed = base.observed
    return observed if isinstance(observed, ContinuousObserved) else base.decode_observation(observation)
