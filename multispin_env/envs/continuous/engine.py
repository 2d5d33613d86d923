"""The engine without the barrier: observation, action and reward around the core. Single and vector shells call it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows
from multispin_env.envs.continuous.accounts import OpenAccount, TokenAccount
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.continuous.memories import Onlooker, observed_of
from multispin_env.envs.continuous.objectives import PassageAim
from multispin_env.envs.continuous.observations import ContinuousObservations
from multispin_env.envs.copies import CopiesEngine
from multispin_env.envs.engine import Observation, Step
from multispin_env.envs.observations import SHARED
from multispin_env.physics.acceptance.requests import Requests
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import (
    ContinuousDecision,
    ContinuousObserved,
    ContinuousOutcome,
    ContinuousState,
)


@dataclass(frozen=True, eq=False, slots=True)
class ContinuousStep(Step):
    """One verification of all copies."""

    outcome: ContinuousOutcome  # (n, K)


@dataclass(frozen=True, eq=False)
class Parts:
    """What one environment of this family is made of.

    Parameters
    ----------
    system
        What does not change while time passes.
    actions, observations
        Codecs.
    objective
        What verifications are rewarded for.
    horizon
        Seconds after which an episode is truncated, by the verification that ends then or later.
    prices_drawn
        Whether rewards are of tokens that are drawn, or of expected ones.
    draws_tokens
        Whether tokens are drawn also where their expectation is priced; ``info`` then holds those drawn.
    account
        Opens what is added up over episodes.
    """

    system: ContinuousSystem
    actions: ContinuousCodec
    observations: ContinuousObservations
    objective: PassageAim
    horizon: float
    prices_drawn: bool
    draws_tokens: bool
    account: OpenAccount = TokenAccount


class ContinuousEngine(CopiesEngine):
    """n copies of one environment, with actions and observations as arrays (n, ...).

    Parameters
    ----------
    parts
        The environment.
    num_copies
        n.
    """

    def __init__(self, parts: Parts, num_copies: int) -> None:
        self.scenario = parts.system.scenario
        self.num_copies = num_copies
        self.actions: ContinuousCodec = parts.actions
        self.observations: ContinuousObservations = parts.observations
        self.objective = parts.objective
        self._horizon = parts.horizon
        drawn = parts.prices_drawn or parts.draws_tokens
        self._core = ContinuousCore(parts.system, num_copies, drawn=drawn)
        self._prices_expected = drawn and not parts.prices_drawn
        self._onlooker = Onlooker(self._core, self.observations) if self.observations.partial else None
        self._never = np.zeros(num_copies, dtype=bool)
        self._account = parts.account(self._core)
        self._seen: dict[str, tuple[Any, NDArray[np.float32]]] = dict.fromkeys(
            self.observation_space, (None, np.empty(0, np.float32))
        )
        """The field and the entry made of it, in the order of the space."""

    @property
    def state(self) -> ContinuousState:
        """What the next decision may depend on, arrays (n, K)."""
        return self._core.state

    @property
    def observed(self) -> ContinuousObserved:
        """What plug-ins may know before the next decision, arrays (n, K)."""
        return observed_of(self.state) if self._onlooker is None else self._onlooker.observed

    @property
    def decoded_with(self) -> ContinuousState:
        """The state itself, or what stands in for it where parts of it are hidden."""
        return self.state if self._onlooker is None else self._onlooker.observed.state

    def reset(self, copies: IntArray | None = None) -> Observation:
        """Start new episodes in some copies (default all); returns the observation of all, to be read only."""
        self._core.reset(copies)
        rows: Rows = slice(None) if copies is None else copies
        self._account.begin(rows)
        if self._onlooker is not None:
            self._onlooker.reset(rows)
        return self._observe()

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """There are none: who is in a batch changes at once."""
        raise ValueError("reward_slopes: expected an environment whose reward has derivatives, got Continuous")

    def _play(self, decision: ContinuousDecision, over: BoolArray | None) -> ContinuousStep:
        before, requests = self._core.state, self._core.requests
        outcome, begun = self._core.advance(decision, over), before.time
        reward = self.objective.reward(self._expected(outcome, requests) if self._prices_expected else outcome)
        if self._onlooker is not None:
            self._onlooker.add(before, outcome, over)
        time = begun + outcome.duration
        truncated = time >= self._horizon
        info: dict[str, NDArray[Any]] = {
            "tokens": outcome.tokens,
            "draft_length": outcome.draft_length,
            "duration": outcome.duration.copy(),
            "batch_size": outcome.batch_size,
            "start_delay": outcome.start_delay.copy(),
            "time": time,
            **self._account.add(outcome, begun, truncated, over),
        }
        if over is not None:
            self._account.begin(over)
            truncated &= ~over
        return ContinuousStep(self._observe(), reward, self._never, truncated, outcome.duration, info, outcome)

    def _expected(self, outcome: ContinuousOutcome, requests: Requests) -> ContinuousOutcome:
        """The same with expected tokens, for the requests that were there; they are endless."""
        system = self._core.system
        tokens = system.acceptance.expectation(system.scenario, requests)(outcome.draft_length)
        return outcome.changed(tokens=tokens * outcome.verified)

    def _observe(self) -> Observation:
        """Entries whose field has not been replaced since are the same arrays again."""
        state = self._core.state
        seen = state if self._onlooker is None else self._onlooker.observed
        for key, field in self.observations.fields(seen).items():
            if self._seen[key][0] is not field:
                self._seen[key] = field, self.observations.encode_entry(key, field)
        self._seen[SHARED] = None, self.observations.encode_shared(state)
        return {key: seen[1] for key, seen in self._seen.items()}
