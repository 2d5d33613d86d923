"""The engine of rounds: observation, action and reward around the core. Single and vector shells call it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows
from multispin_env.controllers.base import RoundsController
from multispin_env.envs.copies import CopiesEngine
from multispin_env.envs.engine import Observation, Step
from multispin_env.envs.rounds.core import ALL, Core
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.memories import Memory
from multispin_env.envs.rounds.objectives import Objective
from multispin_env.envs.rounds.observations import ObservationCodec
from multispin_env.envs.rounds.whole_lengths import whole_length_slopes
from multispin_env.physics.dynamics import Dynamics
from multispin_env.physics.rounds import price, slopes
from multispin_env.physics.types import Decision, Observed, Outcome, RealDecision, SystemState
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False, slots=True)
class RoundStep(Step):
    """One round of all copies."""

    decision: Decision  # (n, K)
    outcome: Outcome  # (n, ...)


@dataclass(frozen=True, eq=False)
class Parts:
    """What one environment of this family is made of.

    Parameters
    ----------
    scenario
        The system.
    dynamics
        What changes between rounds.
    actions, observations
        Codecs.
    objective, memories
        What rounds are rewarded for, and what is remembered beside; of as many copies as the engine has.
    plan
        Makes of what is reported, (n, K), and of the mean gains the state that actions are decoded with.
    prices_drawn
        Whether rewards are of tokens that are drawn, or of expected ones.
    draws_tokens
        Whether tokens are drawn also where their expectation is priced; ``info`` then holds those drawn.
    tells_hidden
        Whether ``info`` holds the true state.
    best
        RoundsController that regret is measured against; ``None`` for no regret.
    """

    scenario: Scenario
    dynamics: Dynamics
    actions: RoundsCodec
    observations: ObservationCodec
    objective: Objective
    memories: tuple[Memory, ...]
    plan: Callable[[SystemState, FloatArray], SystemState]
    prices_drawn: bool
    draws_tokens: bool
    tells_hidden: bool
    best: RoundsController | None


class RoundsEngine(CopiesEngine):
    """n copies of one environment, with actions and observations as arrays (n, ...).

    Parameters
    ----------
    parts
        The environment.
    num_copies
        n.
    """

    def __init__(self, parts: Parts, num_copies: int) -> None:
        self.scenario = parts.scenario
        self.num_copies = num_copies
        self.actions: RoundsCodec = parts.actions
        self.observations: ObservationCodec = parts.observations
        self.objective = parts.objective
        self._parts = parts
        self._core = Core(
            parts.scenario, parts.dynamics, num_copies, priced=parts.prices_drawn, drawn=parts.draws_tokens
        )
        self._never = np.zeros(num_copies, dtype=bool)
        self._entries = [(key, entry.field) for key, entry in self.observations.entries.items()]
        self.planned = self._core.reported
        """State that actions are decoded with, arrays (n, K): as reported, or what the plan makes of it."""
        shared = self.observations.encode_shared((num_copies,))
        self._seen: dict[str, tuple[Any, NDArray[np.float32]]] = dict.fromkeys(self.observation_space, (None, shared))
        """The field and the entry made of it, in the order of the space; ``shared`` is made of none."""

    @property
    def state(self) -> SystemState:
        """What prices the next action, arrays (n, K)."""
        return self._core.state

    @property
    def observed(self) -> Observed:
        """What observations show, arrays (n, K)."""
        fields = self._fields()
        return Observed(**{name: fields[name] for _, name in self._entries})

    @property
    def decoded_with(self) -> SystemState:
        """As reported, or what the plan makes of it."""
        return self.planned

    def reset(self, copies: IntArray | None = None) -> Observation:
        """Start new episodes in some copies (default all); returns the observation of all, to be read only."""
        self._core.reset(copies)
        rows: Rows = ALL if copies is None else copies
        self._forget(rows)
        return self._observe()

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Derivatives (n, K, columns) of the expected reward by actions (n, K, columns), as in the shell."""
        x = self.actions.checked(action)
        relaxed = self.actions.relaxed(x, self.planned)
        tokens, token_slope = self._core.interpolated_tokens(relaxed.draft_length)
        outcome = price(self.scenario, self.state, relaxed, tokens)
        weights = self.objective.weights(outcome) if worth is None else worth
        by_decision = slopes(self.scenario, relaxed, outcome, token_slope, weights)
        found = self.actions.pull_back(x, self.planned, by_decision)
        if window:
            by_length = whole_length_slopes(
                self._core, self.actions, self.planned, x, relaxed.draft_length, weights, window
            )
            alone = RealDecision(by_length, np.zeros_like(by_length))
            found[..., 0] = self.actions.pull_back(x, self.planned, alone)[..., 0]
        return found

    def _forget(self, rows: Rows) -> None:
        for memory in (*self._parts.memories, self.objective):
            memory.reset(rows)

    def _play(self, decision: Decision, over: BoolArray | None) -> RoundStep:
        parts = self._parts
        hidden = self._hidden_info() if parts.tells_hidden else {}
        best = None if parts.best is None else self._core.expected(parts.best.decide(self._core.state)).goodput
        outcome, tokens = self._core.step(decision, over)
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": tokens if parts.draws_tokens else outcome.tokens,  # expected ones would tell the rate
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
            **hidden,
        }
        if best is not None:
            info |= {"optimal_goodput": best, "regret": best - outcome.goodput}
        for memory in self._parts.memories:
            memory.advance(decision.draft_length, tokens, self._core.requests.age)
        reward = self.objective.reward(outcome)
        info |= self.objective.info()
        if over is not None:
            self._forget(np.flatnonzero(over))
        never = self._never
        return RoundStep(self._observe(), reward, never, never, outcome.round_latency, info, decision, outcome)

    def _hidden_info(self) -> dict[str, NDArray[Any]]:
        state = self._core.state
        return {
            "acceptance_rate": state.acceptance_rate.copy(),
            "spectral_efficiency": state.spectral_efficiency.copy(),
        }

    def _fields(self) -> dict[str, NDArray[Any]]:
        """Fields of `Observed`, arrays (n, K), shown or not."""
        reported, requests = self._core.reported, self._core.requests
        fields = {
            "draft_time": reported.draft_time,
            "spectral_efficiency": reported.spectral_efficiency,
            "acceptance_rate": reported.acceptance_rate,
            "task": requests.task,
            "age": requests.age,
            "mean_gain": self._core.mean_gain,
            "planned_efficiency": self.planned.spectral_efficiency,
        }
        for memory in (*self._parts.memories, self.objective):
            fields |= memory.fields()
        return fields

    def _observe(self) -> Observation:
        """Entries that are shown; those whose field has not been replaced since are the same arrays again."""
        self.planned = self._parts.plan(self._core.reported, self._core.mean_gain)
        fields = self._fields()
        for key, name in self._entries:
            field = fields[name]
            if self._seen[key][0] is not field:
                self._seen[key] = field, self.observations.encode_entry(key, field)
        return {key: seen[1] for key, seen in self._seen.items()}
