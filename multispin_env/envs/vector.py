"""The vector environments: a Gymnasium shell around an engine of n copies, for ``gym.make_vec``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_bool, check_integer, check_real
from multispin_env.envs.autoreset import (
    Seeds,
    checked_mask,
    checked_mode,
    checked_seeds,
    checked_steps,
    final_infos,
    infos_of,
)
from multispin_env.envs.observations import Observation
from multispin_env.envs.rendering.renderers import RENDER_FPS, Renderer
from multispin_env.envs.settings import DEFAULT_SCENARIO, Settings
from multispin_env.envs.shells import Shell
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario


class MultiSpinVectorEnv(Shell, VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """n copies of a single environment, stepped by one call of the same core.

    Copy i equals a single environment reset with its seed, bit for bit; every argument of the single environment
    is taken too.

    Parameters
    ----------
    num_envs
        n.
    max_episode_steps
        Steps until a copy truncates; ``None`` or -1 for never.
    autoreset_mode
        When a copy that truncated starts its next episode: with the next step (its action is then not read, its
        reward is 0), in the same step (the last observation and info are in ``final_obs`` and ``final_info``), or only
        by ``reset(options={"reset_mask": ...})``. The info of a copy that has just been reset is 0.
    copy
        Whether observations are copies. Without, arrays are shared between steps: reading and keeping them is
        safe, writing into them is not.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, naming it, what is expected and its value.
    """

    suffix = "VectorEnv"
    renderers: ClassVar[Mapping[str, type[Renderer]]] = {"rgb_array": Renderer}  # a window shows one copy
    metadata: dict[str, Any] = {  # noqa: RUF012 (type of the base)
        "render_modes": list(renderers),
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        action: str = "residual",
        reward: str | None = None,
        optimum: bool = False,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        **overrides: Any,
    ) -> None:
        chosen = {
            "action": action,
            "reward": reward,
            "optimum": optimum,
            "render_mode": render_mode,
            "max_episode_steps": max_episode_steps,
            "autoreset_mode": autoreset_mode,
            "copy": copy,
        }
        settings = Settings.make(type(self).__name__, self.variant_type, scenario, chosen, overrides)
        self.num_envs = check_integer("num_envs", num_envs, 1)
        self.render_mode = render_mode
        self.max_episode_steps = checked_steps(max_episode_steps)
        self.autoreset_mode = checked_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.copy = check_bool("copy", copy)
        self._start_engine(settings, num_envs)
        self.single_action_space = self._engine.actions.space
        self.single_observation_space = self._engine.observations.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._renderer = self._make_renderer(render_mode, num_envs)
        self._seeded = np.zeros(num_envs, dtype=bool)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._over = np.zeros(num_envs, dtype=bool)

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Derivatives (n, K, columns) of the next expected reward by the actions (n, K, columns), for training alone.

        Lengths are not rounded, and between whole ones expected tokens lie on a line. What an environment hides is
        known here: averaged over all that looks alike to an agent, these are the derivatives of what it can expect.
        Nothing is played. Where the server waits for several devices alike, it is taken to wait for the first.

        Parameters
        ----------
        action
            In [-1, 1].
        worth
            What a token a second of each user is worth, (n, K); ``None`` for what the reward gives for it.
        window
            0 for real lengths. Else lengths are rounded, as they are when they are played, and the derivative is that
            of the mean over many rounds: a length within window / 2 tokens of the middle between two whole ones has
            the difference of their rewards divided by the window, any other length has 0. At most 1.

        Raises
        ------
        ValueError
            For bad actions, a worth of another shape, a window that is not in [0, 1], or a reward without derivatives.
        """
        shape = self._engine.state.draft_time.shape
        if worth is not None and np.shape(worth) != shape:
            raise ValueError(f"worth: expected shape {shape}, got {np.shape(worth)}")
        check_real("window", window, 0.0, 1.0)
        self._check_shape(action)
        return self._engine.reward_slopes(action, worth, window)

    def reset(  # type: ignore[override]  # a list of seeds, as in Gymnasium's own vector environments
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Parameters
        ----------
        seed
            One for each copy, or s for s, s + 1, ..., s + n − 1. Copies without go on with their streams.
        options
            ``{"reset_mask": array of bool (n,)}`` resets only these copies.

        Raises
        ------
        ValueError
            For a wrong number of seeds, a bad seed or mask.
        """
        seeds = checked_seeds(seed, self.num_envs)
        mask = checked_mask(options, self.num_envs)
        copies = None if mask.all() else np.flatnonzero(mask)
        for copy in np.flatnonzero(mask).tolist():
            if seeds[copy] is not None or not self._seeded[copy]:
                self._engine.seed(copy, seeding.np_random(seeds[copy])[0])
        self._seeded |= mask
        self._elapsed[mask] = 0
        self._over = self._over & ~mask
        if self._renderer is not None:
            self._renderer.begin(np.flatnonzero(mask))
        return self._handed_out(self._engine.reset(copies)), infos_of(self._unplayed(self.num_envs), mask.copy())

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one step in every copy.

        Raises
        ------
        RuntimeError
            Before `reset`; for a copy that is over, if nothing restarts it.
        ValueError
            For a wrong shape, NaN or an entry outside [-1, 1], naming the row; nothing has changed then.
        """
        self._check_ready()
        self._check_shape(actions)
        over = self._over
        step = self._engine.step(actions, over)
        if self._renderer is not None:
            self._renderer.add(step, over)
        self._elapsed += 1
        self._elapsed[over] = 0
        truncated = step.truncated | (self._elapsed == self.max_episode_steps)
        ended = step.terminated | truncated
        observation = step.observation
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            infos = final_infos(step, ended)
            copies = np.flatnonzero(ended)
            observation = self._engine.reset(copies)
            self._elapsed[copies] = 0
            if self._renderer is not None:
                self._renderer.begin(copies)
        else:
            infos = infos_of(step.info, np.ones_like(over))
            self._over = ended
        return self._handed_out(observation), step.reward, step.terminated.copy(), truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:  # type: ignore[override]
        """Picture of every copy's last step, (450, 800, 3) uint8; ``None`` without ``render_mode="rgb_array"``."""
        if self._renderer is None:
            return None
        frames = (self._renderer.frame(copy) for copy in range(self.num_envs))
        return tuple(frame for frame in frames if frame is not None)

    def view(self, copy: int = 0) -> Any:
        """What a picture shows of a copy; ``RuntimeError`` without ``render_mode="rgb_array"``."""
        if self._renderer is None:
            raise RuntimeError('view: expected render_mode "rgb_array", got None')
        return self._renderer.view(copy)

    @override
    def _own(self, batched: Any) -> Any:
        return batched

    @override
    def _check_seeded(self, what: str) -> None:
        if not self._seeded.all():
            missing = np.flatnonzero(~self._seeded)[:5].tolist()
            raise RuntimeError(f"{what}: expected reset() first, got a call before the reset of copies {missing}")

    @override
    def _check_shape(self, action: NDArray[Any]) -> None:
        self._engine.actions.check_shape(action, self.num_envs, self.scenario.num_users)

    def _check_ready(self) -> None:
        self._check_seeded("step")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._over.any():
            ended = np.flatnonzero(self._over)[:5].tolist()
            raise RuntimeError(
                f"step: expected a reset with options['reset_mask'] first, got copies {ended}, which are over"
            )

    def _handed_out(self, observation: Observation) -> Observation:
        return {key: value.copy() for key, value in observation.items()} if self.copy else dict(observation)


def make_vector(env_id: str, **arguments: Any) -> MultiSpinVectorEnv:
    """Make the vector environment of a registered id; the entry point for ``gym.make_vec``."""
    return MultiSpinVectorEnv.of(ENVIRONMENTS.load(env_id))(**arguments)
