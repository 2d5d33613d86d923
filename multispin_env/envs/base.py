"""Base classes of single and vector environments: each has a simulator for a batch of 1 or n environments.

The class of the single environment of an id is next to its configuration, whose docstring is the page of both.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from multispin_env.arrays import Array, BoolArray, FloatArray
from multispin_env.checks import check_bool, check_integer, check_name, check_real
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.config import DEFAULT_SCENARIO, EnvConfig
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import Observation
from multispin_env.envs.rendering.renderers import RENDER_FPS, Renderer, Window
from multispin_env.envs.rendering.traces import Trace
from multispin_env.envs.simulator import Step
from multispin_env.scenario import Scenario


class BaseEnv:
    """Base of the single and the vector environments."""

    env_id: str
    metadata: dict[str, Any]

    def _start(self, config: EnvConfig, render_mode: str | None, *batch: int) -> None:
        self.config, self.scenario = config, config.scenario
        self._batch = batch  # empty for a single environment
        num_envs = math.prod(batch)
        self._simulator = config.simulator(num_envs)
        self._unseeded = set(range(num_envs))
        self._empty_info: dict[str, Array] | None = None
        self.render_mode = render_mode
        self._renderer: Renderer | None = None
        if render_mode is not None:
            check_name("render_mode", render_mode, self.metadata["render_modes"])
            window = Window("multispin_env", RENDER_FPS) if render_mode == "human" else None
            self._renderer = Renderer(config, num_envs, window)

    def _unbatched(self, batched: Any) -> Any:
        return batched if self._batch else batched[0]

    def _check_seeded(self, name: str) -> None:
        if self._unseeded:
            missing = f"the reset of environments {sorted(self._unseeded)[:5]}" if self._batch else "it"
            raise RuntimeError(f"{name}: expected reset() first, got a call before {missing}")

    def _check_shape(self, action: Array) -> None:
        self._simulator.actions.check_shape(action, *self._batch, self.scenario.num_users)

    @property
    def state(self) -> Any:
        """True state (K,) or (n, K) used to price the next action; ``RuntimeError`` before the first `reset`."""
        self._check_seeded("state")
        return self._unbatched(self._simulator.state).copy()

    @property
    def observed(self) -> Any:
        """Unrounded content of the observation, the input of plug-ins: an `Observed` or `ContinuousObserved`.

        Arrays are (K,) or (n, K); ``RuntimeError`` before the first `reset`.
        """
        self._check_seeded("observed")
        return self._unbatched(self._simulator.observed).copy()

    @property
    def objective(self) -> Objective:
        """Objective from which the reward is computed."""
        return self._simulator.objective

    def encode_action(self, decision: Any) -> NDArray[np.float32]:
        """Return the action that decodes to a decision (K,) or (n, K) in the current state."""
        return self._simulator.actions.encode(decision, self._unbatched(self._simulator.planned))

    def decode_action(self, action: Array) -> Any:
        """Return the decision (K,) or (n, K) of an action in the current state."""
        self._check_shape(action)
        return self._simulator.actions.decode(action, self._unbatched(self._simulator.planned))

    @property
    def assumptions(self) -> Assumptions:
        """Prior knowledge from past data, for plug-in controllers."""
        return self.config.assumptions

    def _zero_info(self) -> dict[str, Array]:
        """Return the info of a step filled with 0: some libraries expect the same keys after a reset."""
        if self._empty_info is None:
            simulator = self.config.simulator(1)  # a step of it has the same keys, shapes and types
            simulator.seed(0, np.random.default_rng(0))
            simulator.reset()
            self._empty_info = simulator.step(np.zeros((1, *simulator.actions.space.shape))).info
        num_envs = math.prod(self._batch)
        return {key: np.zeros((num_envs, *value.shape[1:]), value.dtype) for key, value in self._empty_info.items()}

    def decode_observation(self, observation: Observation) -> Any:
        """Return the content of an observation in physical units, arrays (K,) or (n, K)."""
        return self._simulator.observations.decode(observation)


class MultiSpinEnv(BaseEnv, gym.Env[Observation, Array]):
    """Base of the single environments; the docstring of a subclass is its page, with Gymnasium's headings."""

    metadata: dict[str, Any] = {  # noqa: RUF012 (type of the base)
        "render_modes": ["rgb_array", "human"],
        "render_fps": RENDER_FPS,
    }

    def __init__(
        self,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        env_id: str | None = None,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        self.env_id = env_id or self.env_id
        self._start(EnvConfig.of(self.env_id, scenario, allowed=("render_mode",), **arguments), render_mode)
        self.action_space = self._simulator.actions.space
        self.observation_space = cast(spaces.Space[Observation], self._simulator.observations.space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new devices and their first channels; ``info`` has the same keys as after a step, with zeros."""
        super().reset(seed=seed)
        if seed is not None or self._unseeded:
            self._simulator.seed(0, self.np_random)
            self._unseeded.clear()
        observation = _first(self._simulator.reset())
        if self._renderer is not None:
            self._renderer.begin(np.arange(1))
        return observation, _info(self._zero_info())

    def step(self, action: Array) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one step.

        ``RuntimeError`` before `reset`; ``ValueError`` for a wrong shape, NaN or an entry outside [-5, 5]. After an
        error the environment is unchanged.
        """
        self._check_seeded("step")
        self._check_shape(action)
        step = self._simulator.step(np.asarray(action)[None])
        if self._renderer is not None:
            self._renderer.add(step)
        ended = bool(step.terminated[0]), bool(step.truncated[0])
        return _first(step.observation), float(step.reward[0]), *ended, _info(step.info)

    def render(self) -> NDArray[np.uint8] | None:
        """Return the picture of the last step, (450, 800, 3) uint8; ``None`` without ``render_mode="rgb_array"``."""
        return None if self._renderer is None else self._renderer.frame()

    def close(self) -> None:
        """Close the window of ``render_mode="human"``."""
        if self._renderer is not None:
            self._renderer.close()


def _first(observation: Observation) -> Observation:
    return {key: value[0].copy() for key, value in observation.items()}


def _info(info: Mapping[str, Array]) -> dict[str, Any]:
    return {key: value[0] if value.ndim > 1 else float(value[0]) for key, value in info.items()}


def single_env(config: type[EnvConfig]) -> type[MultiSpinEnv]:
    """Make the class of the single environment of an id, with the page as its docstring."""
    content = {"__doc__": config.__doc__, "__module__": config.__module__, "env_id": config.env_id}
    return type(f"{config.__name__}Env", (MultiSpinEnv,), content)


Seeds = int | Sequence[int | None] | None


class MultiSpinVectorEnv(BaseEnv, VectorEnv[Observation, Array, Array]):
    """Native vector of n environments, stepped together as one batch.

    Environment i equals a single environment reset with its seed, bit for bit. All arguments of the single environment
    are accepted too.

    ``TypeError`` or ``ValueError`` for an invalid argument; the message has its name, its value and the expected ones.

    Parameters
    ----------
    num_envs
        Number n of environments.
    env_id
        A registered id; ``gymnasium.make_vec`` passes it.
    max_episode_steps
        Steps after which an episode truncates, if it does not end before; ``None`` or -1 for no such limit.
    autoreset_mode
        When the next episode starts after the end of one: in the next step (its action is ignored and its reward is 0),
        in the same step (``final_obs`` and ``final_info`` hold the last observation and info), or only with
        ``reset(options={"reset_mask": ...})``. After a reset all numbers in ``info`` are 0.
    copy
        Whether observations are copies. If not, observations of several steps may share arrays: you may keep them, but
        not write into them.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (type of the base)
        "render_modes": ["rgb_array"],  # a window shows one environment
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        env_id: str,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        **arguments: Any,
    ) -> None:
        allowed = ("render_mode", "max_episode_steps", "autoreset_mode", "copy")  # suggested for a misspelt argument
        self.env_id = env_id
        self.num_envs = check_integer("num_envs", num_envs, 1)
        self.max_episode_steps = -1
        if max_episode_steps not in (None, -1):
            self.max_episode_steps = check_integer("max_episode_steps", max_episode_steps, 1)
        mode = getattr(autoreset_mode, "value", autoreset_mode)
        check_name("autoreset_mode", mode, [mode.value for mode in AutoresetMode])
        self.autoreset_mode = AutoresetMode(mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.copy = check_bool("copy", copy)
        self._start(EnvConfig.of(env_id, scenario, allowed=allowed, **arguments), render_mode, num_envs)
        self.single_action_space = self._simulator.actions.space
        self.single_observation_space = self._simulator.observations.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._over = np.zeros(num_envs, dtype=bool)
        self.outcome: Any = None
        """Outcome (n, K) of the last step; ``None`` before it."""

    def reward_slopes(self, action: Array, weights: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Return the derivatives (n, K, columns) of the next expected reward with respect to the actions.

        The true state is used even if it is hidden; the mean over all states with the same observation is the
        derivative of the reward that an agent can expect. No step is played. If several devices finish last at the same
        time, the derivative is that of the first one.
        ``ValueError`` for invalid actions, weights or windows, or an environment whose reward has no derivatives.

        Parameters
        ----------
        action
            Actions (n, K, columns) in [-5, 5].
        weights
            Value (n, K) of one token/s of each user; ``None`` for the weights of the reward.
        window
            Number in [0, 1]. With 0, draft lengths stay real, and expected tokens are interpolated linearly. Otherwise
            draft lengths are rounded, and the derivative is that of the mean reward over many rounds: for a length
            within window / 2 tokens of the middle between two integers, it is the difference of their rewards divided
            by the window; for any other length it is 0.
        """
        shape = self._simulator.state.draft_time.shape
        if weights is not None and np.shape(weights) != shape:
            raise ValueError(f"weights: expected shape {shape}, got {np.shape(weights)}")
        check_real("window", window, 0.0, 1.0)
        self._check_shape(action)
        if not self.config.has_slopes or self._simulator.own_physics:
            raise ValueError("reward_slopes: expected an environment whose reward has derivatives, got one without")
        config: Any = self.config  # of rounds
        return np.asarray(config.reward_slopes(self._simulator, action, weights, window))

    def reset(  # type: ignore[override]  # a list of seeds, as in Gymnasium's own vector environments
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes; ``ValueError`` for a wrong number of seeds, an invalid seed or an invalid mask.

        ``seed`` is a list of n seeds, or an integer s for s, s + 1, ..., s + n − 1. Without a seed, an environment
        continues its random streams. The option ``"reset_mask"``, a bool array (n,), resets only some environments.
        """
        seeds = _checked_seeds(seed, self.num_envs)
        mask = _checked_mask(options, self.num_envs)
        envs = np.flatnonzero(mask)
        for env in envs.tolist():
            if seeds[env] is not None or env in self._unseeded:
                self._simulator.seed(env, seeding.np_random(seeds[env])[0])
        self._unseeded.difference_update(envs.tolist())
        self._elapsed[mask] = 0
        self._over = self._over & ~mask
        if self._renderer is not None:
            self._renderer.begin(envs)
        observation = self._simulator.reset(None if mask.all() else envs)
        return self._copied_if_asked(observation), _infos(self._zero_info(), mask.copy())

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Play one step in every environment.

        ``RuntimeError`` before `reset`, or for an ended episode if ``autoreset_mode`` is disabled; ``ValueError``, with
        the index, for a wrong shape, NaN or an entry outside [-5, 5]. After an error the environments are unchanged.
        """
        self._check_seeded("step")
        over = self._over
        if self.autoreset_mode is AutoresetMode.DISABLED and over.any():
            ended = np.flatnonzero(over)[:5].tolist()
            raise RuntimeError(f"step: expected a reset with options['reset_mask'] first, got ended episodes {ended}")
        self._check_shape(actions)
        step = self._simulator.step(actions, over)
        self.outcome = step.outcome
        if self._renderer is not None:
            self._renderer.add(step, over)
        self._elapsed += 1
        self._elapsed[over] = 0
        truncated = step.truncated | (self._elapsed == self.max_episode_steps)
        ended = step.terminated | truncated
        observation = step.observation
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            infos = _final_infos(step, ended)
            envs = np.flatnonzero(ended)
            observation = self._simulator.reset(None if ended.all() else envs)
            self._elapsed[envs] = 0
            if self._renderer is not None:
                self._renderer.begin(envs)
        else:
            infos = _infos(step.info, np.ones(self.num_envs, dtype=bool))
            self._over = ended
        return self._copied_if_asked(observation), step.reward, step.terminated.copy(), truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """Return a picture (450, 800, 3) uint8 of each last step; ``None`` without a ``render_mode``."""
        if self._renderer is None:
            return None
        frames = (self._renderer.frame(env) for env in range(self.num_envs))
        return tuple(frame for frame in frames if frame is not None)

    def view(self, env: int = 0) -> Trace:
        """Return the data in the picture of an environment; ``RuntimeError`` without a ``render_mode``."""
        if self._renderer is None:
            raise RuntimeError('view: expected render_mode "rgb_array", got None')
        return self._renderer.view(env)

    def _copied_if_asked(self, observation: Observation) -> Observation:
        return {key: value.copy() for key, value in observation.items()} if self.copy else dict(observation)


def _checked_seeds(seed: Seeds, num_envs: int) -> Sequence[int | None]:
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [check_integer("seed", seed, 0) + env for env in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed: expected one seed for each environment ({num_envs}), got {len(seed)}")
    return [None if number is None else check_integer(f"seed[{i}]", number, 0) for i, number in enumerate(seed)]


def _checked_mask(options: dict[str, Any] | None, num_envs: int) -> BoolArray:
    mask: Any = None if options is None else options.get("reset_mask")
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (num_envs,) or not mask.any():
        expected = f"a bool array of shape ({num_envs},) with at least one True"
        raise ValueError(f"reset_mask: expected {expected}, got {mask!r}")
    return mask


def _infos(info: Mapping[str, Array], mask: BoolArray) -> dict[str, Any]:
    return {**info, **{f"_{key}": mask for key in info}}


def _final_infos(step: Step, ended: BoolArray) -> dict[str, Any]:
    """Move observations and infos of ended episodes to ``final_obs`` and ``final_info``."""
    final_obs = np.full(len(ended), None, dtype=object)
    rows = zip(*(value[ended] for value in step.observation.values()), strict=False)  # faster than indexing
    final_obs[ended] = [dict(zip(step.observation, row, strict=False)) for row in rows]
    final_info = {key: value.copy() for key, value in step.info.items()}
    for key, value in step.info.items():
        final_info[key][~ended] = 0
        value[ended] = 0  # as after a reset
    return {
        **_infos(step.info, np.ones_like(ended)),
        "final_obs": final_obs,
        "_final_obs": ended,
        "final_info": _infos(final_info, ended),
        "_final_info": ended,
    }
