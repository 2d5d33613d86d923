"""Engine of rounds: observation, action and reward around the core that steps a batch of copies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, Rows
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.engine import Counts, Engine, Step
from multispin_env.envs.rounds.encodings import whole_length_slopes
from multispin_env.physics.rounds import price, slopes
from multispin_env.physics.rounds_core import RoundsCore
from multispin_env.physics.types import Decision, Observed, RealDecision


class RoundsEngine(Engine):
    """n copies of one environment of rounds."""

    def __init__(self, config: EnvConfig, num_copies: int) -> None:
        variant: Any = config.variant
        objective = variant.objective(config.scenario, num_copies)
        super().__init__(config.actions, config.observations, objective, num_copies)
        self._variant, dynamics = variant, variant.dynamics(self.scenario)
        self._core = RoundsCore(self.scenario, dynamics, num_copies, sampled=config.sampled, drawn=config.drawn)
        self._counts = Counts(num_copies, self.scenario.num_users) if self.observations.shows_counts else None
        self._tells_hidden = config.arguments.get("privileged", False)
        self._best = config.best_controller if config.optimum else None
        self.planned = self._core.reported

    @property
    def observed(self) -> Observed:
        """What observations show, arrays (n, K)."""
        fields = self._fields()
        return Observed(**{name: fields[name] for _, name in self._entries})

    @override
    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        if not self._variant.learning.slopes:
            return super().reward_slopes(action, worth, window)
        core, codec, planned = self._core, self.actions, self.planned
        x = codec.checked(action)
        relaxed = codec.relaxed(x, planned)
        tokens, token_slope = core.interpolated_tokens(relaxed.draft_length)
        outcome = price(self.scenario, self.state, relaxed, tokens)
        weights = self.objective.weights(outcome) if worth is None else worth
        by_decision = slopes(self.scenario, relaxed, outcome, token_slope, weights)
        found: FloatArray = codec.pull_back(x, planned, by_decision)
        if window:
            by_length = whole_length_slopes(
                codec, self.state, planned, core.expected_tokens, x, relaxed.draft_length, weights, window
            )
            alone = RealDecision(by_length, np.zeros_like(by_length))
            found[..., 0] = codec.pull_back(x, planned, alone)[..., 0]
        return found

    def _forget(self, rows: Rows) -> None:
        self.objective.reset(rows)
        if self._counts is not None:
            self._counts.reset(rows)

    def _play(self, decision: Decision, over: BoolArray | None) -> Step:
        state = self._core.state
        best = None if self._best is None else self._core.expected(self._best.decide(state)).goodput
        outcome, tokens = self._core.step(decision, over)
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": tokens,  # those drawn, if any are: expected ones would tell the rate
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
        }
        if self._tells_hidden:
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
        info |= self.objective.info()
        if over is not None:
            self._forget(np.flatnonzero(over))
        never = self._never
        return Step(self._observe(), reward, never, never, outcome.round_latency, info, decision, outcome)

    def _look(self) -> dict[str, NDArray[Any]]:
        self.planned = self._variant.planned(self.scenario, self._core.reported, self._core.mean_gain)
        return self._fields()

    def _fields(self) -> dict[str, NDArray[Any]]:
        """Fields of `Observed`, arrays (n, K), shown or not."""
        reported = self._core.reported
        fields = {
            "draft_time": reported.draft_time,
            "spectral_efficiency": reported.spectral_efficiency,
            "acceptance_rate": reported.acceptance_rate,
            "task": self._core.requests.task,
            "mean_gain": self._core.mean_gain,
            "head_start": reported.head_start,
            "planned_efficiency": self.planned.spectral_efficiency,
            **self.objective.fields(),
        }
        return fields if self._counts is None else fields | self._counts.fields
