"""The single environments: a Gymnasium shell around an engine of one copy."""

from collections.abc import Mapping
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.envs.observations import Observation
from multispin_env.envs.rendering.renderers import RENDER_FPS, RENDERERS
from multispin_env.envs.settings import DEFAULT_SCENARIO, Settings
from multispin_env.envs.shells import Shell
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario


class MultiSpinEnv(Shell, gym.Env[Observation, NDArray[Any]]):
    """Base of the single environments; what each of them is, its variant says."""

    renderers = RENDERERS
    metadata: dict[str, Any] = {  # noqa: RUF012 (type of the base)
        "render_modes": list(RENDERERS),
        "render_fps": RENDER_FPS,
    }
    suffix = "Env"

    def __init__(
        self,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        action: str = "residual",
        reward: str | None = None,
        optimum: bool = False,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        chosen = {"action": action, "reward": reward, "optimum": optimum, "render_mode": render_mode}
        settings = Settings.make(type(self).__name__, self.variant_type, scenario, chosen, overrides)
        self._start_engine(settings, 1)
        self.action_space = self._engine.actions.space
        self.observation_space = cast(spaces.Space[Observation], self._engine.observations.space)
        self.render_mode = render_mode
        self._renderer = self._make_renderer(render_mode, 1)
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new devices and their first channels; info has the entries of a step's, all 0."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._engine.seed(0, self.np_random)
            self._seeded = True
        observation = _first(self._engine.reset())
        if self._renderer is not None:
            self._renderer.begin()
        return observation, _info(self._unplayed(1))

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one step; ``max_episode_steps`` of ``gym.make`` truncates episodes besides.

        Raises
        ------
        RuntimeError
            Before `reset`.
        ValueError
            For a wrong shape, NaN or an entry outside [-1, 1]; nothing has changed then.
        """
        self._check_seeded("step")
        self._check_shape(action)
        step = self._engine.step(np.asarray(action)[None])
        if self._renderer is not None:
            self._renderer.add(step)
        ended = bool(step.terminated[0]), bool(step.truncated[0])
        return _first(step.observation), float(step.reward[0]), *ended, _info(step.info)

    @override
    def _own(self, batched: Any) -> Any:
        return batched[0]

    @override
    def _check_shape(self, action: NDArray[Any]) -> None:
        self._engine.actions.check_shape(action, self.scenario.num_users)

    @override
    def _check_seeded(self, what: str) -> None:
        if not self._seeded:
            raise RuntimeError(f"{what}: expected reset() first, got a call before it")

    def render(self) -> NDArray[np.uint8] | None:
        """Picture of the last step, (450, 800, 3) uint8; ``None`` without ``render_mode="rgb_array"``."""
        return None if self._renderer is None else self._renderer.frame()

    def close(self) -> None:
        """Close the window of ``render_mode="human"``."""
        if self._renderer is not None:
            self._renderer.close()


def _first(observation: Observation) -> Observation:
    return {key: value[0].copy() for key, value in observation.items()}


def _info(info: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {key: value[0] if value.ndim > 1 else float(value[0]) for key, value in info.items()}


def make_single(env_id: str, **arguments: Any) -> MultiSpinEnv:
    """Make the single environment of a registered id; the entry point for ``gym.make``."""
    return MultiSpinEnv.of(ENVIRONMENTS.load(env_id))(**arguments)
