"""What the engines of all families share: codecs, streams, and copies that start anew."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray
from multispin_env.envs.engine import Actions, Observation, Observations
from multispin_env.scenario import Scenario


class CopiesEngine(ABC):
    """Base of the engines: n copies of one environment, with actions and observations as arrays (n, ...).

    A subclass sets the attributes, and has `reset`, what actions are decoded with, and what playing means.
    """

    scenario: Scenario
    num_copies: int
    actions: Actions
    observations: Observations
    _core: Any  # steps the copies

    @property
    @abstractmethod
    def decoded_with(self) -> Any:
        """State that actions are decoded with, arrays (n, K)."""

    @abstractmethod
    def _play(self, decision: Any, over: BoolArray | None) -> Any:
        """Play what was decided (n, K); copies that are ``over`` (n,) start anew instead. Returns a `Step`."""

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

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Any:
        """Play actions (n, K, columns); returns a `Step`. A bad action raises and changes nothing.

        Parameters
        ----------
        action
            In [-1, 1].
        over
            Copies (n,) that start a new episode instead: their action is not read, their reward and info are 0.
        """
        if over is None or not np.count_nonzero(over):
            return self._play(self.actions.decode(action, self.decoded_with), None)
        read = np.array(action)
        read[over] = 0
        step = self._play(self.actions.decode(read, self.decoded_with), over)
        for array in (step.reward, step.duration, *step.info.values()):
            array[over] = 0
        return step

    def encode(self, decision: Any, copy: int | None = None) -> NDArray[np.float32]:
        """Return the actions that decode to decisions (n, K), or the action of one copy, (K,)."""
        state = self.decoded_with
        return self.actions.encode(decision, state if copy is None else state[copy])

    def decode(self, action: NDArray[Any], copy: int | None = None) -> Any:
        """Return the decisions (n, K) that actions mean now, or that of one copy, (K,)."""
        state = self.decoded_with
        return self.actions.decode(action, state if copy is None else state[copy])

    def decode_observation(self, observation: Observation) -> Any:
        """Return what observations show, arrays (..., K) in physical units."""
        return self.observations.decode(observation)
