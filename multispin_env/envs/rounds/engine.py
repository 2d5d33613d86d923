"""Engine of rounds: observations, actions and rewards around the core."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, Rows, replace_rows
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.engine import Counts, Engine, Step
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import COUNTED, fields_of
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.slopes import reward_slopes
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.rounds_core import RoundsCore
from multispin_env.physics.types import Decision, Observed, SystemState

_Plan = Callable[[SystemState, FloatArray], SystemState]
"""Function from the reported state and mean gains to the state (n, K) used to decode actions."""


class RoundsEngine(Engine[SystemState, Decision]):
    """Engine of the environments of rounds."""

    actions: RoundsCodec
    _core: RoundsCore

    def __init__(self, config: EnvConfig, objective: Objective, dynamics: Dynamics, plan: _Plan, num_envs: int) -> None:
        super().__init__(config.actions, config.observations, objective, num_envs)
        self._has_slopes, self._plan = config.has_slopes, plan
        self._core = RoundsCore(self.scenario, dynamics, num_envs, sampled=config.sampled, drawn=config.drawn)
        shows_counts = not set(COUNTED[1:]).isdisjoint(self.observations.shown)
        self._counts = Counts(num_envs, self.scenario.num_users) if shows_counts else None
        self._is_privileged = config.arguments.get("privileged", False)
        self._best = config.best_controller if config.optimum or config.reward == "share" else None
        self._is_share = config.reward == "share"
        self._rounds: int = config.arguments["rounds"]
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self.planned = self._core.reported

    @property
    @override
    def observed(self) -> Observed:
        fields = self._fields()
        return Observed(**{name: fields[name] for _, name in self._entries})

    @override
    def reward_slopes(self, action: NDArray[Any], weights: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        if not self._has_slopes:
            return super().reward_slopes(action, weights, window)
        if self._is_share and weights is None:
            weights = np.broadcast_to(1.0 / self._optimal_goodput()[:, None], self._core.mean_gain.shape)
        return reward_slopes(self.actions, self.objective, self._core, self.planned, action, weights, window)

    def _optimal_goodput(self) -> FloatArray:
        assert self._best is not None
        return self._core.expected(self._best.decide(self._core.state)).goodput

    def _forget(self, rows: Rows) -> None:
        self._elapsed = replace_rows(self._elapsed, rows, np.zeros_like(self._elapsed[rows]))
        self.objective.reset(rows)
        if self._counts is not None:
            self._counts.reset(rows)

    def _play(self, decision: Decision, over: BoolArray | None) -> Step:
        state = self._core.state
        best = None if self._best is None else self._optimal_goodput()
        outcome, tokens = self._core.step(decision, over)
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": tokens,  # drawn if tokens are drawn: expected tokens would reveal the rate
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
            "joules": self._core.energy,
            "joules_per_token": np.add.reduce(self._core.energy, -1) / np.add.reduce(tokens, -1),
        }
        if self._is_privileged:
            info["acceptance_rate"] = state.acceptance_rate.copy()
            info["spectral_efficiency"] = state.spectral_efficiency.copy()
        if "head_start" in self.observations.shown:
            info |= {name: array.copy() for name, array in self._core.chain_round._asdict().items()}
        if best is not None:
            info |= {"optimal_goodput": best, "regret": best - outcome.goodput}
        if self._counts is not None:
            accepted, new = tokens.astype(np.int64) - 1, self._core.renewed
            self._counts.advance(decision.draft_length.copy(), accepted, new)
        reward = self.objective.reward(outcome)
        if best is not None and self._is_share:
            reward = outcome.goodput / best
        info |= self.objective.info()
        self._elapsed = self._elapsed + 1
        if over is not None:
            self._forget(np.flatnonzero(over))
        ended = self._elapsed >= self._rounds
        terminated, truncated = (ended, self._never) if self._rounds == 1 else (self._never, ended)
        return Step(self._observe(), reward, terminated, truncated, outcome.round_latency, info, decision, outcome)

    def _look(self) -> dict[str, NDArray[Any]]:
        self.planned = self._plan(self._core.reported, self._core.mean_gain)
        return self._fields()

    def _fields(self) -> dict[str, NDArray[Any]]:
        fields = {
            **fields_of(self._core.reported),
            "task": self._core.requests.task,
            "mean_gain": self._core.mean_gain,
            "planned_efficiency": self.planned.spectral_efficiency,
            **self.objective.fields(),
        }
        return fields if self._counts is None else fields | self._counts.fields
