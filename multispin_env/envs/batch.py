"""A batch of environments: observation, action and reward around the core. Single and vector shells call it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.checks import FloatArray, IntArray, check_name
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

    observation: Observation  # of the next round, arrays (n, ...)
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
        self._best = settings.best_controller if settings.optimum else None

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
        """Start new episodes in some copies (default all); returns the observation of all."""
        self._core.reset(self._core.copies if copies is None else copies)
        return self.observations.encode(self._core.state)

    def step(self, action: NDArray[Any]) -> Step:
        """Play actions (n, K, columns); a bad action raises and changes nothing."""
        decision = self.actions.decode(action, self._core.state)
        best = self._optimal_goodput()
        outcome = self._core.step(decision)
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": outcome.tokens,
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
        }
        if best is not None:
            info |= {"optimal_goodput": best, "regret": best - outcome.goodput}
        reward = outcome.goodput / self.settings.scenario.autoregressive_goodput
        return Step(self.observations.encode(self._core.state), reward, info, decision, outcome)

    def _optimal_goodput(self) -> FloatArray | None:
        if self._best is None:
            return None
        state = self._core.state
        return expected_outcome(self.settings.scenario, state, self._best.decide(state)).goodput
