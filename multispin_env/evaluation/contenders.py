"""Contenders: controllers, plug-ins, policies and functions that play in environments."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from gymnasium import spaces

from multispin_env.arrays import Array
from multispin_env.checks import reason, shown
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.evaluation.defaults import default_contenders
from multispin_env.evaluation.policy import Policy
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import Decision, Observed, SystemState
from multispin_env.registry import CONTROLLERS, import_attribute, is_outside

_Agent = Callable[[Observation], Array]
"""Function from observations of n environments to actions (n, K, columns); it may have a method ``reset``."""

_Named = Controller | PlugIn

Contender = _Named | Policy | _Agent
"""Controllers receive the true state, plug-ins its visible part, all others observations."""

Decide = Callable[[SystemState], Decision]
"""Function from states (n, K) to decisions, such as a controller or a policy."""

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


def native(env: Any) -> MultiSpinVectorEnv:
    """Return the `MultiSpinVectorEnv` inside ``env``; ``ValueError`` if there is none."""
    base = getattr(env, "unwrapped", env)
    if not isinstance(base, MultiSpinVectorEnv):
        kind = type(base).__name__
        raise ValueError(f"env: expected a vector environment of multispin_env, from gymnasium.make_vec, got {kind}")
    return base


def contenders_of(config: EnvConfig) -> tuple[str, ...]:
    """Return the environment's contenders, or else all controllers that its actions can express but `SLOW`."""
    return default_contenders(config) or tuple(
        name for name in controller_names("rounds", config.scenario) if name not in SLOW and _can_play(name, config)
    )


def _can_play(name: str, config: EnvConfig) -> bool:
    if not (isinstance(config, RoundsConfig) and config.actions.common_draft_length):
        return True
    state = sample_state(config.scenario, np.random.default_rng(0), 500)
    length = make_controller(name, config.scenario)(state).draft_length
    return bool((length == length[:, :1]).all())


def as_contender(contender: Any, config: EnvConfig) -> Contender:
    """Convert a contender of `multispin_env.compare` to one for environments with this configuration."""
    if isinstance(contender, str):
        is_attribute = is_outside(contender) and "+" not in contender
        outside = import_attribute(CONTROLLERS.kind, contender) if is_attribute else None
        if isinstance(outside, type) and not issubclass(outside, Controller):
            return as_contender(outside(), config)
        return config.contender(contender)
    if isinstance(contender, type) and issubclass(contender, Controller):
        return contender(config.scenario)
    if isinstance(contender, Controller | PlugIn):
        return contender
    if isinstance(contender, Policy):
        return contender.on(config.scenario)
    if callable(getattr(contender, "predict", None)):
        return _Predictor(contender, config)
    if isinstance(contender, type) or not callable(contender):
        expected = "a controller name, controller, plug-in, policy, model or function"
        raise ValueError(f"contenders: expected {expected}, got {shown(contender)}")
    return contender  # type: ignore[no-any-return]


@dataclass
class _Predictor:
    """Function with the deterministic actions of a model that has ``predict``, with or without memory.

    Observations are flattened and normalized, and actions are rescaled, as the spaces and the ``VecNormalize`` of a
    model of Stable-Baselines3 require. ``ValueError`` for spaces of other shapes, except for the number of users if the
    model's policy has ``any_users``.
    """

    model: Any
    config: EnvConfig
    memory: Any = None

    def __post_init__(self) -> None:
        space, policy = getattr(self.model, "action_space", None), getattr(self.model, "policy", self.model)
        if space is not None and getattr(policy, "any_users", False) and self._normalization is None:
            trained = self.config.replace(num_users=space.shape[0])
            self.config = trained if trained.actions.space == space else self.config  # else behind a wrapper
        actions = self.config.actions.space
        if space is not None and space.shape != actions.shape:
            raise ValueError(f"action_space: expected the shape {actions.shape} of the environment, got {space}")
        seen, entries = getattr(self.model, "observation_space", None), self.config.observations.space
        self._flat = isinstance(seen, spaces.Box) and seen.shape == spaces.flatten_space(entries).shape
        if seen is not None and not self._flat and _shapes(seen) != _shapes(entries):
            expected = "the entries of the environment, or all of them flattened"
            raise ValueError(f"observation_space: expected {expected}, got shapes {_shapes(seen)}")

    def reset(self) -> None:
        self.memory = None

    def __call__(self, observation: Observation) -> Array:
        parameters = signature(self.model.predict).parameters
        options = {"state": self.memory, "deterministic": True}
        options = {name: value for name, value in options.items() if name in parameters}
        result = self.model.predict(self._encoded(observation), **options)
        action, self.memory = result if isinstance(result, tuple) else (result, None)
        return self._rescaled(action)

    @property
    def _normalization(self) -> Any:
        return getattr(self.model, "get_vec_normalize_env", lambda: None)()

    def _encoded(self, observation: Observation) -> Any:
        encoded = np.concatenate(list(observation.values()), -1) if self._flat else observation
        return encoded if self._normalization is None else self._normalization.normalize_obs(encoded)

    def _rescaled(self, action: Array) -> Array:
        space, bounds = getattr(self.model, "action_space", None), self.config.actions.space
        if space is None or space == bounds or not space.is_bounded():
            return action
        scale = (bounds.high - bounds.low) / (space.high - space.low)
        return bounds.low + (action - space.low) * scale  # type: ignore[no-any-return]


def _shapes(space: Any) -> Any:
    return {key: box.shape for key, box in space.items()} if isinstance(space, spaces.Dict) else space.shape


def action_function(contender: Contender, base: MultiSpinVectorEnv) -> _Agent:
    """Return the function from observations to actions of a contender, after its ``reset()``, if any.

    Only controllers read the true state.
    """
    reset = getattr(contender, "reset", None)
    if callable(reset):
        reset()
    if isinstance(contender, Controller):
        return lambda observation: base.encode_action(contender(base.state))
    if isinstance(contender, PlugIn):
        return lambda observation: base.encode_action(contender(_observed(base, observation)))
    return contender.act if isinstance(contender, Policy) else contender


def _observed(base: MultiSpinVectorEnv, observation: Observation) -> Observed | ContinuousObserved:
    # without the barrier, observations are rounded and lack the next batch
    observed = base.observed
    return observed if isinstance(observed, ContinuousObserved) else base.decode_observation(observation)
