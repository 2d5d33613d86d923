"""A batch of environments: observation, action and reward around the core. Single and vector shells call it."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.rounds.core import ALL, Core, Rows
from multispin_env.envs.rounds.observations import Observation
from multispin_env.envs.settings import Settings
from multispin_env.physics.rounds import price, slopes
from multispin_env.physics.types import Decision, Outcome, SystemState


class Step(NamedTuple):
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
        variant, scenario = settings.variant, settings.scenario
        self.settings = settings
        self.num_copies = num_copies
        self.actions = settings.actions
        self.observations = settings.observations
        self._core = Core(
            scenario,
            variant.dynamics(scenario),
            num_copies,
            priced=settings.reward == "sampled",
            drawn=variant.draws_tokens,
        )
        self.objective = variant.objective(scenario, num_copies)
        self._memories = variant.memories(scenario, num_copies)
        self._best = settings.best_controller if settings.optimum else None
        self._entries = [(key, entry.field) for key, entry in self.observations.entries.items()]
        self._shared = self.observations.encode_shared((num_copies,))
        self.planned = self._core.reported
        """State that actions are decoded with, arrays (n, K): as reported, or what the variant makes of it."""
        self._seen: dict[str, tuple[Any, NDArray[np.float32]]] = {}  # key: field, and the entry made of it

    @property
    def state(self) -> SystemState:
        """What prices the next action, arrays (n, K)."""
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
        rows: Rows = ALL if copies is None else copies
        self._forget(rows)
        return self._observe()

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Step:
        """Play actions (n, K, columns); a bad action raises and changes nothing.

        Parameters
        ----------
        action
            In [-1, 1].
        over
            Copies (n,) that start a new episode instead: their action is not read, their reward and info are 0.
        """
        if over is None or not np.count_nonzero(over):
            return self._play(self.actions.decode(action, self.planned), None)
        self.actions.check_shape(action, self.num_copies, self.settings.scenario.num_users)
        ended = np.flatnonzero(over)
        read = np.array(action)
        read[ended] = 0
        step = self._play(self.actions.decode(read, self.planned), over)
        for array in (step.reward, *step.info.values()):
            array[ended] = 0
        return step

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None) -> FloatArray:
        """Derivatives (n, K, columns) of the expected reward by actions (n, K, columns), see `MultiSpinVectorEnv`."""
        relaxed = self.actions.relaxed(action, self.planned)
        tokens, token_slope = self._core.interpolated_tokens(relaxed.draft_length)
        outcome = price(self.settings.scenario, self.state, relaxed, tokens)
        weights = self.objective.weights(outcome) if worth is None else worth
        return self.actions.pull_back(action, self.planned, slopes(relaxed, outcome, token_slope, weights))

    def _forget(self, rows: Rows) -> None:
        for memory in (*self._memories, self.objective):
            memory.reset(rows)

    def _play(self, decision: Decision, over: BoolArray | None) -> Step:
        variant = self.settings.variant
        hidden = self._hidden_info() if variant.privileged else {}
        best = None if self._best is None else self._core.expected(self._best.decide(self._core.state)).goodput
        outcome, tokens = self._core.step(decision, over)
        info: dict[str, NDArray[Any]] = {
            "goodput": outcome.goodput,
            "accepted_tokens": tokens if variant.draws_tokens else outcome.tokens,  # expected ones would tell the rate
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
            **hidden,
        }
        if best is not None:
            info |= {"optimal_goodput": best, "regret": best - outcome.goodput}
        for memory in self._memories:
            memory.advance(decision.draft_length, tokens, self._core.requests.age)
        reward = self.objective.reward(outcome)
        info |= self.objective.info()
        if over is not None:
            self._forget(np.flatnonzero(over))
        return Step(self._observe(), reward, info, decision, outcome)

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
        for memory in (*self._memories, self.objective):
            fields |= memory.fields()
        return fields

    def _observe(self) -> Observation:
        """Entries that are shown; those whose field has not been replaced since are the same arrays again."""
        core, settings = self._core, self.settings
        self.planned = settings.variant.planned(settings.scenario, core.reported, core.mean_gain)
        fields = self._fields()
        for key, name in self._entries:
            field = fields[name]
            if self._seen.get(key, (None,))[0] is not field:
                self._seen[key] = field, self.observations.encode_entry(key, field)
        return {**{key: seen[1] for key, seen in self._seen.items()}, "shared": self._shared}
