"""A batch of environments: observation, action and reward around the core. Single and vector shells call it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.checks import BoolArray, FloatArray, IntArray, check_keywords, check_name
from multispin_env.controllers.base import Controller, make_controller
from multispin_env.envs.actions import ActionCodec
from multispin_env.envs.core import Core
from multispin_env.envs.observations import Observation, ObservationCodec
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.registry import ENCODINGS
from multispin_env.scenario import Scenario

REWARDS = ("expected", "sampled")


@dataclass(frozen=True)
class Variant:
    """What one environment id fixes.

    Parameters
    ----------
    common_draft_length
        Whether all devices draft the same number of tokens.
    optimum
        Name of the controller that is optimal for it.
    """

    common_draft_length: bool
    optimum: str


@dataclass(frozen=True)
class Settings:
    """What a user of an environment chooses."""

    scenario: Scenario
    variant: Variant
    action: str = "residual"
    reward: str = "expected"
    optimum: bool = False

    def __post_init__(self) -> None:
        check_name("action", self.action, ENCODINGS.names())
        check_name("reward", self.reward, REWARDS)

    @classmethod
    def make(
        cls,
        owner: type,
        variant: Variant,
        scenario: Scenario | str,
        chosen: Mapping[str, Any],
        overrides: Mapping[str, Any],
    ) -> "Settings":
        """Settings from the keyword arguments of an environment.

        Parameters
        ----------
        owner
            Class of the environment, for error messages.
        variant
            What its id fixes.
        scenario
            A preset's name or a `Scenario`.
        chosen
            Keyword arguments that the class itself knows.
        overrides
            All others; fields of `Scenario` are allowed.

        Raises
        ------
        TypeError, ValueError
            For an unknown keyword or a bad value.
        """
        check_keywords(owner.__name__, overrides, ("scenario", *chosen, *Scenario.field_names()))
        own = {name: chosen[name] for name in ("action", "reward", "optimum")}
        return cls(Scenario.resolve(scenario).replace(**overrides), variant, **own)

    @property
    def actions(self) -> ActionCodec:
        """Codec between actions and decisions."""
        codec: type[ActionCodec] = ENCODINGS.load(self.action)
        return codec(self.scenario, self.variant.common_draft_length)

    @property
    def observations(self) -> ObservationCodec:
        """Codec between states and observations."""
        return ObservationCodec(self.scenario)

    @property
    def best_controller(self) -> Controller:
        """The controller that regret is measured against."""
        return make_controller(self.variant.optimum, self.scenario)


@dataclass(frozen=True, eq=False)
class Step:
    """One round of all copies."""

    observation: Observation  # of the next round, arrays (n, ...), to be read only
    reward: FloatArray  # (n,)
    info: dict[str, NDArray[Any]]  # arrays (n,) and (n, K)
    decision: Decision  # (n, K)
    outcome: Outcome  # (n, ...)


class Batch:
    """n copies of one environment, with actions and observations as arrays (n, ...).

    Parameters
    ----------
    settings
        The environment.
    num_copies
        n.
    """

    def __init__(self, settings: Settings, num_copies: int) -> None:
        self.settings = settings
        self.actions = settings.actions
        self.observations = settings.observations
        self._core = Core(settings.scenario, num_copies, sampled=settings.reward == "sampled")
        self._observation = self.observations.encode(self._core.state)
        self._best = settings.best_controller if settings.optimum else None
        self._reward_unit = settings.scenario.autoregressive_goodput

    @property
    def num_copies(self) -> int:
        """Number of copies n."""
        return self._core.num_copies

    @property
    def state(self) -> SystemState:
        """What prices the next action, arrays (n, K); valid until the next `step` or `reset`."""
        return self._core.state

    @property
    def action_space(self) -> spaces.Box:
        """Action space of one copy."""
        return self.actions.space

    @property
    def observation_space(self) -> spaces.Dict:
        """Observation space of one copy."""
        return self.observations.space

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh random streams."""
        self._core.seed(copy, generator)

    def reset(self, copies: IntArray | None = None) -> Observation:
        """Start new episodes in some copies (default all); returns the observation of all, to be read only."""
        self._core.reset(copies)
        self._observe_devices(copies)
        self._observe_round()
        return self._observation

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Step:
        """Play actions (n, K, columns); a bad action raises and changes nothing.

        Parameters
        ----------
        action
            In [-1, 1].
        over
            Copies (n,) that start a new episode instead: their action is not read, their reward and info are 0.
        """
        if over is not None and not over.any():
            over = None
        if over is not None:
            self.actions.check_shape(action, *self._core.state.draft_time.shape)
            action = np.where(over[:, None, None], 0.0, action)
        decision = self.actions.decode(action, self._core.state)
        best = self._optimal_goodput()
        outcome = self._core.step(decision, None if over is None else np.flatnonzero(~over))
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": outcome.tokens,
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
        }
        if best is not None:
            info |= {"optimal_goodput": best, "regret": best - outcome.goodput}
        reward = outcome.goodput / self._reward_unit
        if over is not None:
            self._start_over(over, reward, info)
        self._observe_round()
        return Step(self._observation, reward, info, decision, outcome)

    def _start_over(self, over: BoolArray, reward: FloatArray, info: dict[str, NDArray[Any]]) -> None:
        copies = np.flatnonzero(over)
        self._core.reset(copies)
        self._observe_devices(copies)
        for array in (reward, *info.values()):
            array[copies] = 0

    def _observe_devices(self, copies: IntArray | None) -> None:
        """Renew what stays for an episode, in new arrays: those handed out before keep their numbers."""
        rows = slice(None) if copies is None else copies
        for key, value in self.observations.devices(self._core.state[rows]).items():
            renewed = self._observation[key].copy()
            renewed[rows] = value
            self._observation[key] = renewed

    def _observe_round(self) -> None:
        self._observation = self._observation | self.observations.round(self._core.state)

    def _optimal_goodput(self) -> FloatArray | None:
        if self._best is None:
            return None
        state = self._core.state
        return expected_outcome(self.settings.scenario, state, self._best.decide(state)).goodput
