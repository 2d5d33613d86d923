"""The single environments: a Gymnasium shell around a batch of one."""

from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.envs.batch import Batch, Settings, Step, Variant
from multispin_env.envs.observations import Observation
from multispin_env.envs.rendering import RENDER_MODES, RoundPicture
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario


class MultiSpinEnv(gym.Env[Observation, NDArray[Any]]):
    """Base of the single environments; see `HeterogeneousEnv`."""

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 4}  # noqa: RUF012 (type of the base)
    variant: ClassVar[Variant]

    def __init__(
        self,
        scenario: Scenario | str = "llama2",
        *,
        action: str = "residual",
        reward: str = "expected",
        optimum: bool = False,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        chosen = {"action": action, "reward": reward, "optimum": optimum, "render_mode": render_mode}
        settings = Settings.make(type(self), self.variant, scenario, chosen, overrides)
        self.scenario = settings.scenario
        self._batch = Batch(settings, 1)
        self.action_space = self._batch.action_space
        self.observation_space = cast(spaces.Space[Observation], self._batch.observation_space)
        self.render_mode = render_mode
        self._picture = RoundPicture.for_mode(render_mode)
        self._seeded = False
        self._last: Step | None = None

    @property
    def state(self) -> SystemState:
        """What prices the next action, arrays (K,) in physical units."""
        state = self._batch.state[0]
        return SystemState(state.draft_time.copy(), state.spectral_efficiency.copy(), state.acceptance_rate.copy())

    def encode_action(self, decision: Decision) -> NDArray[np.float32]:
        """Return the action that decodes to this decision (K,) in the current state."""
        return self._batch.actions.encode(decision, self.state)

    def decode_action(self, action: NDArray[Any]) -> Decision:
        """Return the decision (K,) that an action means in the current state."""
        return self._batch.actions.decode(action, self.state)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new devices and a first round of fading."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._batch.seed(0, self.np_random)
            self._seeded = True
        self._last = None
        return _first(self._batch.reset()), {}

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one round; episodes never terminate, and ``max_episode_steps`` of ``gym.make`` truncates them."""
        if not self._seeded:
            raise RuntimeError("step: got a call before reset, allowed is reset first")
        self._batch.actions.check_shape(action, self.scenario.num_users)
        step = self._batch.step(np.asarray(action)[None])
        self._last = step
        info = {key: value[0] if value.ndim > 1 else float(value[0]) for key, value in step.info.items()}
        return _first(step.observation), float(step.reward[0]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """Picture of the last round, (450, 800, 3) uint8; ``None`` without ``render_mode="rgb_array"``."""
        return None if self._picture is None else self._picture.draw(self.scenario, self._last)


def _first(observation: Observation) -> Observation:
    return {key: value[0].copy() for key, value in observation.items()}


class HeterogeneousEnv(MultiSpinEnv):
    """The full problem of Multi-SPIN: a draft length and a bandwidth for each device.

    ## Description

    K devices draft tokens with a small model and upload them over a shared OFDMA uplink; an edge server verifies
    all drafts in one batch of its large model. In every round the controller picks the draft lengths L_k and
    bandwidths B_k; the reward is the sum token goodput of the round. From "Multi-SPIN: Multi-Access Speculative
    Inference for Cooperative Token Generation at the Edge", arXiv 2606.04581, section V.

    ## Action Space

    `Box(-1, 1, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                              |
    |------------------------|---------|----------------------------------------------------------------------|
    | `"residual"` (default) | 2       | draft length, log scale; factor on the closed form's bandwidth (0: 1) |
    | `"shares"`             | 2       | draft length, linear scale; softmax logit of the bandwidth share     |
    | `"lengths"`            | 1       | draft length, log scale; bandwidth is the equal-latency root         |

    `env.unwrapped.encode_action(decision)` and `decode_action(action)` translate to and from physical units.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless; the state observed is the state that prices the action.

    | entry        | shape | meaning                               | unit before scaling | min  | max            |
    |--------------|-------|---------------------------------------|---------------------|------|----------------|
    | `compute`    | (K,)  | draft time of a token T_k / T̄         | s/token             | 0.85 | 1.15           |
    | `channel`    | (K,)  | spectral efficiency r_k / r̄           | bit/s/Hz            | 0    | 2.03 (presets) |
    | `acceptance` | (K,)  | acceptance rate α_k                   | 1                   | 0    | 1              |
    | `shared`     | (3,)  | log10 of T_ver / T̄, K, K Q / (B r̄ T̄) | 1                   | -20  | 20             |

    ## Rewards

    Goodput in tokens/s, divided by K / T_ver: how many times faster than the server alone, which gives every user
    one token a round. `reward="expected"` takes E[N_k], `"sampled"` draws the tokens.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; Rayleigh fading is
    drawn in every round.

    ## Episode End

    Never terminates. Truncates after 64 rounds, or `max_episode_steps` of `gym.make`.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`) or a `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`.
    - `action`, `reward`: see above.
    - `optimum`: whether `info` holds `optimal_goodput` and `regret`, in tokens/s of expected goodput.
    - `render_mode`: `None` or `"rgb_array"`.

    ## Info

    `goodput` (tokens/s), `accepted_tokens` (K,), `round_latency` (s), `draft_length` (K,), `bandwidth` (K,) in Hz;
    with `optimum=True` also `optimal_goodput` and `regret` (tokens/s).

    ## Version History

    - v0: first version.
    """

    variant = Variant(common_draft_length=False, optimum="optimal")


class HomogeneousEnv(MultiSpinEnv):
    """One common draft length, and a bandwidth for each device.

    ## Description

    As `MultiSpin/Heterogeneous-v0`, but all devices draft the same number of tokens ([MS] section IV).

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`; the common length is read from the mean of column 0 over users, so that the
    action stays one row for each user. `encode_action` refuses decisions with different lengths.

    ## Observation Space

    As `MultiSpin/Heterogeneous-v0`.

    | entry        | shape | meaning                               | unit before scaling | min  | max            |
    |--------------|-------|---------------------------------------|---------------------|------|----------------|
    | `compute`    | (K,)  | draft time of a token T_k / T̄         | s/token             | 0.85 | 1.15           |
    | `channel`    | (K,)  | spectral efficiency r_k / r̄           | bit/s/Hz            | 0    | 2.03 (presets) |
    | `acceptance` | (K,)  | acceptance rate α_k                   | 1                   | 0    | 1              |
    | `shared`     | (3,)  | log10 of T_ver / T̄, K, K Q / (B r̄ T̄) | 1                   | -20  | 20             |

    ## Rewards

    As `MultiSpin/Heterogeneous-v0`.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/Heterogeneous-v0`; the optimum is the best common length with its best bandwidth.

    ## Version History

    - v0: first version.
    """

    variant = Variant(common_draft_length=True, optimum="homogeneous")
