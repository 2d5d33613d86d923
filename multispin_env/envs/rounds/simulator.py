"""Simulator of rounds: `RoundsSimulator.step` is a step of the environments of rounds, from the action to the info."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import Goodput, Objective
from multispin_env.envs.observations import Observation, ObservationEncoder, fields_of
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.simulator import Counts, Step, blank_ended
from multispin_env.physics.acceptance import Requests
from multispin_env.physics.chains import HIT_THRESHOLDS, Chains
from multispin_env.physics.energy import BatteryBank
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.rounds import (
    UNIFORMS_PER_USER,
    Dynamics,
    Users,
    round_outcome,
    users_from_uniforms,
    with_repetitions,
)
from multispin_env.physics.streams import EPISODES, MOST_ROWS, EnvStreams, user_exponentials, user_uniforms
from multispin_env.physics.types import Decision, Observed, Outcome, RealDecision, SystemState, with_batteries

ALL = slice(None)

Plan = Callable[[SystemState, FloatArray], SystemState]
"""Function from the reported state and mean gains to the state (n, K) used to decode actions."""


class RoundsSimulator:
    """Simulator of n environments of rounds with one system, stepped together.

    Every environment has four random streams, spawned from its generator: devices (read at a reset), fading and
    requests (read at a reset and in every round) and tokens (read in every round if they are drawn). With repeated
    uploads and sampled rewards, a fifth has the repetitions (read in every round). So the states of
    an environment depend on its seed only, and the fading does not depend on whether tokens are drawn. Arrays of the
    state are replaced, never modified, so that callers may keep them.

    For your own physics, override `round_outcome` in a subclass, your ``simulator_class``; ``config`` has arguments.
    """

    optimum_holds: ClassVar[bool] = False
    """Whether the package's optimum is also that of a subclass with its own `round_outcome`."""

    def __init__(self, config: EnvConfig, objective: Objective, dynamics: Dynamics, plan: Plan, num_envs: int) -> None:
        scenario = config.scenario
        dynamics.acceptance.prior(scenario)  # raises for an unsuitable scenario
        self.config, self.scenario, self.num_envs, self.dynamics = config, scenario, num_envs, dynamics
        codec = config.actions
        assert isinstance(codec, RoundsCodec)  # as `ENCODINGS` checks
        self.actions = codec
        self.observations, self.objective, self._plan = config.observations, objective, plan
        self._check_optimum(config)
        # options of the step
        self._sampled = config.sampled  # whether rewards count drawn tokens
        self._drawn = config.drawn  # whether tokens are drawn, at least for observations and info
        self._rounds: int = config.arguments["rounds"]
        self._knowledge = config.knowledge
        self._is_share = config.reward == "share"
        self._best = config.best_controller if config.optimum or self._is_share else None
        # random numbers
        self._streams: list[EnvStreams] = []  # in the order of their seeds
        self._devices = self._stream(user_uniforms, EPISODES, columns=UNIFORMS_PER_USER)
        self._fading = self._stream(dynamics.channel.draw)
        self._tokens = self._stream(user_exponentials)
        self._renewals = self._stream(user_uniforms, columns=dynamics.acceptance.columns)
        repeats = scenario.uplink.repeat_delay and self._sampled
        self._repetitions = self._stream(user_uniforms, columns=1) if repeats else None
        # state
        num_users = scenario.num_users
        ones, zeros = np.ones((num_envs, num_users)), np.zeros((num_envs, num_users), dtype=np.int64)
        self.users = users_from_uniforms(scenario, np.zeros((num_envs, UNIFORMS_PER_USER, num_users)))
        self._gain = ones
        self._reports = [ones] * (self._knowledge.delay + 1)  # spectral efficiencies, oldest first
        self.requests = Requests(zeros, ones, zeros, zeros)
        # functions of draft lengths for the current requests, made on demand
        self._expectation: Callable[[IntArray], FloatArray] | None = None
        self._hit_threshold: Callable[[IntArray], FloatArray] | None = None
        self._chains = Chains(scenario, num_envs)
        batteries = dynamics.batteries
        self._batteries = None if batteries is None else BatteryBank(scenario, batteries, num_envs)
        self._counts = None if self._knowledge.acceptance else Counts(num_envs, num_users)
        self._elapsed = np.zeros(num_envs, dtype=np.int64)  # rounds of the episode
        self._never, self._none = np.zeros(num_envs, dtype=np.bool_), np.zeros((num_envs, num_users), dtype=np.bool_)
        self._encoder = ObservationEncoder(self.observations)
        self._set_states()

    def _stream(self, draw: Callable[..., FloatArray], most_rows: int = MOST_ROWS, **shape: int) -> EnvStreams:
        draw = partial(draw, num_users=self.scenario.num_users, **shape)
        self._streams.append(EnvStreams.ahead(draw, self.num_envs, most_rows))
        return self._streams[-1]

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give environment ``env`` new random streams, spawned from ``generator``."""
        for stream, child in zip(self._streams, generator.spawn(len(self._streams)), strict=True):
            stream.seed(env, child)

    def reset(self, envs: IntArray | None = None) -> Observation:
        """Start new episodes in some environments (default all); return read-only observations of all."""
        rows: Rows = ALL if envs is None else envs
        users = self._new_users(rows, envs)
        self._renew(rows, self.dynamics.acceptance.first(self.scenario, users.task, self._renewals.read(envs)))
        self._report(rows, self.dynamics.channel.first_gain(users.mean_gain, self._fading.read(envs)))
        self._skip_delay(rows, envs)
        self._start_episodes(rows)
        self._set_states()
        return self._encoder.encode(self._fields(), self.planned)

    def step(self, action: Array, over: BoolArray | None = None) -> Step[Decision, Outcome]:
        """Play actions (n, K, columns) within ±`LIMIT`; ``ValueError`` for an invalid entry, before anything changes.

        Environments in the mask ``over`` (n,) start a new episode instead: their action is ignored, and their reward
        and info are 0.
        """
        action, over = blank_ended(action, over)
        decision = self.actions.decode(action, self.planned)
        outcome, tokens, energy = self._play(decision, over)
        reward, info = self._reward(decision, outcome, tokens, energy)
        self._advance(decision, tokens, None if over is None else np.flatnonzero(over))
        observation = self._encoder.encode(self._fields(), self.planned)
        step = Step(observation, reward, *self._ends(), outcome.round_latency, info, decision, outcome)
        return step.without(over)

    def _play(self, decision: Decision, over: BoolArray | None) -> tuple[Outcome, FloatArray, FloatArray]:
        """Return the outcome of a decision, its tokens (n, K), drawn if any are drawn, and the joules (n, K) spent."""
        scenario, length = self.scenario, decision.draft_length.astype(np.float64)
        noise = self._read_noise(self._tokens, over) if self._drawn or scenario.draft_ahead else None
        drawn = None
        if noise is not None and self._drawn:
            drawn = self.dynamics.acceptance.sampled_tokens(self.requests, decision.draft_length, noise)
        priced = self.expected_tokens(decision.draft_length) if drawn is None or not self._sampled else drawn
        outcome = self.round_outcome(RealDecision(length, decision.bandwidth), priced)
        if self._repetitions is not None:
            uniforms = self._read_noise(self._repetitions, over).reshape(length.shape)
            outcome = with_repetitions(scenario, outcome, decision.draft_length, uniforms)
        drafting = self._drafting_energy
        energy = scenario.uplink.round_joules(length, outcome.upload_time, self._token_energy, drafting)
        duration = outcome.round_latency[:, None]
        if noise is not None and scenario.draft_ahead:
            drafted = self._chains.play(self.state, length, duration, noise >= self._hits(decision.draft_length))
            energy = energy + drafting * (drafted - length)  # also of unsent tokens
        if self._batteries is not None:
            outcome = outcome.changed(stored=self._batteries.drain(energy, duration))
        return outcome, outcome.tokens if drawn is None else drawn, energy

    def _reward(
        self, decision: Decision, outcome: Outcome, tokens: FloatArray, energy: FloatArray
    ) -> tuple[FloatArray, dict[str, Array]]:
        """Return the reward (n,) and the info of a round from the current state."""
        state, reward = self.state, self.objective.reward(outcome)
        total = outcome.total_tokens if tokens is outcome.tokens else np.add.reduce(tokens, -1)
        info: dict[str, Array] = {
            "goodput": (goodput := outcome.goodput),
            "accepted_tokens": tokens,  # drawn if any are drawn: expected tokens would reveal the rate
            "round_latency": outcome.round_latency,
            "draft_length": decision.draft_length,
            "bandwidth": decision.bandwidth,
            "joules": energy,
            "joules_per_token": np.add.reduce(energy, -1) / total,
        }
        if self._knowledge.privileged:
            info["acceptance_rate"] = state.acceptance_rate.copy()
            info["spectral_efficiency"] = state.spectral_efficiency.copy()
        if "head_start" in self.observations.shown:
            info |= {name: array.copy() for name, array in self._chains.round._asdict().items()}
        if self._best is not None:
            best = self._optimal_goodput()
            info |= {"optimal_goodput": best, "regret": best - goodput}
            reward = goodput / best if self._is_share else reward
        if self._batteries is not None:
            info |= {"battery": self._batteries.joules.copy(), "capacity": self._batteries.capacity.copy()}
        return reward, info | self.objective.info(state, outcome)

    def _advance(self, decision: Decision, tokens: FloatArray, ended: IntArray | None) -> None:
        """Begin the next round, and count; environments ``ended`` begin a new episode."""
        acceptance, channel = self.dynamics.acceptance, self.dynamics.channel
        fresh = self._renewals.read() if acceptance.changes else None
        if fresh is not None:
            self._renew(ALL, acceptance.next(self.scenario, self.requests, tokens, fresh))
        fading = self._fading.read()
        gain = channel.next_gain(self._gain, self.users.mean_gain, fading)
        renewed = self.requests.age == 0 if acceptance.changes else self._none
        if self.scenario.draft_ahead:
            self._chains.keep(~renewed)
        self._count(decision, tokens, renewed)
        self._elapsed = self._elapsed + 1
        if ended is None:
            self._report(ALL, gain)
        else:
            users = self._new_users(ended, ended)
            fresh = self._renewals.read(ended) if fresh is None else fresh[ended]
            self._renew(ended, acceptance.first(self.scenario, users.task, fresh))
            self._report(ALL, replace_rows(gain, ended, channel.first_gain(users.mean_gain, fading[ended])))
            self._skip_delay(ended, ended)
            self._start_episodes(ended)
        self._set_states()

    def _count(self, decision: Decision, tokens: FloatArray, renewed: BoolArray) -> None:
        """Count a round with ``tokens`` (n, K), after which the requests of ``renewed`` (n, K) devices are new."""
        if self._counts is not None:
            self._counts.advance(decision.draft_length.copy(), tokens.astype(np.int64) - 1, renewed)

    def _ends(self) -> tuple[BoolArray, BoolArray]:
        """Return which episodes (n,) are terminated and which are truncated.

        After ``rounds``, an episode of a single round is terminated, and a longer one is truncated. At the end of
        ``budget_time`` every episode is terminated.
        """
        ended = self._elapsed >= self._rounds
        terminated, truncated = (ended, self._never) if self._rounds == 1 else (self._never, ended)
        batteries = self.state.batteries
        if batteries is not None and batteries.time_left is not None:
            terminated = batteries.time_left[:, 0] == 0.0
        return terminated, truncated

    def round_outcome(self, decision: Decision | RealDecision, tokens: FloatArray) -> Outcome:
        """Return the outcome of a round in the current state, in which a decision (n, K) gains ``tokens`` (n, K).

        Override it for your own physics: rounds are played with it, and the optimum is priced with it. ``tokens`` are
        drawn or expected tokens; the outcome may have other ones.
        """
        return round_outcome(self.scenario, self.state, decision, tokens)

    def expected(self, decision: Decision) -> Outcome:
        """Return the outcome of a decision (n, K) with expected tokens in the current state."""
        return self.round_outcome(decision, self.expected_tokens(decision.draft_length))

    def expected_tokens(self, draft_length: IntArray) -> FloatArray:
        """Return the expected tokens (n, K) of draft lengths for the current requests."""
        if self._expectation is None:
            self._expectation = self.dynamics.acceptance.expectation(self.scenario, self.requests)
        return self._expectation(draft_length)

    def _hits(self, draft_length: IntArray) -> FloatArray:
        """Return the thresholds (n, K) of `HIT_THRESHOLDS` for the current requests."""
        if self._hit_threshold is None:
            law = HIT_THRESHOLDS[self.scenario.guess]
            self._hit_threshold = self.dynamics.acceptance.by_length(self.scenario, self.requests, law)
        return self._hit_threshold(draft_length)

    @property
    def observed(self) -> Observed:
        """Input of plug-ins, arrays (n, K)."""
        fields, entries = self._fields(), self.observations.entries.values()
        seen = with_batteries({entry.field: fields[entry.field] for entry in entries})
        return Observed(**seen, draft_energy=self.users.draft_energy)

    @property
    def own_physics(self) -> str:
        """Method of a subclass that plays or prices rounds, so that the package's optimum need not hold; "" if none."""
        names = ("round_outcome", "expected", "expected_tokens", "step", "_play", "_reward")
        changed = (name for name in names if getattr(type(self), name) is not getattr(RoundsSimulator, name))
        return "" if self.optimum_holds else next(changed, "")

    def weights(self, outcome: Outcome) -> FloatArray | float:
        """Return the derivatives of the reward of an outcome with respect to N_k / T_e2e, (n, K) or a number."""
        if self._is_share:
            return np.broadcast_to(1.0 / self._optimal_goodput()[:, None], outcome.tokens.shape)
        return self.objective.weights(outcome)

    def _check_optimum(self, config: EnvConfig) -> None:
        share = config.reward == "share"
        asked = {"optimum": config.optimum, "reward": share and "share", "regret": config.arguments.get("regret")}
        name = next(filter(asked.get, asked), "")  # first part that needs the optimum
        if name and self.own_physics:
            expected = f"no optimum with your own {type(self).__name__}.{self.own_physics}"
            remedy = "set optimum_holds = True on the class if the package's optimum is still the best"
            raise ValueError(f"{name}: expected {expected}, got {asked[name]!r}; {remedy}")
        if share and type(self.objective) is not Goodput:
            expected = f"'expected' or 'sampled' with your own {type(self.objective).__name__}"
            raise ValueError(f"reward: expected {expected}, got 'share'")
        if name:
            config.scenario.uplink.require_concave()

    def _optimal_goodput(self) -> FloatArray:
        assert self._best is not None
        return self.expected(self._best.decide(self.state)).goodput

    def _read_noise(self, stream: EnvStreams, over: BoolArray | None) -> FloatArray:
        if over is None:
            return stream.read()
        playing = np.flatnonzero(~over)
        read = stream.read(playing)
        noise = np.zeros((self.num_envs, *read.shape[1:]))
        noise[playing] = read
        return noise

    def _new_users(self, rows: Rows, envs: IntArray | None) -> Users:
        users = users_from_uniforms(self.scenario, self._devices.read(envs))
        self.users = self.users.replaced(rows, users)
        if self._batteries is not None:
            self._batteries.reset(rows, users.draft_time, users.mean_gain, users.task)
        return users

    def _renew(self, rows: Rows, requests: Requests) -> None:
        pairs = zip(self.requests, requests, strict=True)
        self.requests = Requests._make(replace_rows(old, rows, new) for old, new in pairs)
        self._expectation = self._hit_threshold = None

    def _report(self, rows: Rows, gain: FloatArray) -> None:
        efficiency = spectral_efficiency(self.scenario, gain)
        if isinstance(rows, slice):  # all rows, as in most steps
            self._gain, self._reports = gain, [*self._reports[1:], efficiency]
            return
        self._gain = replace_rows(self._gain, rows, gain)
        later = [report[rows] for report in self._reports[1:]] + [efficiency]
        self._reports = [replace_rows(old, rows, new) for old, new in zip(self._reports, later, strict=True)]

    def _skip_delay(self, rows: Rows, envs: IntArray | None) -> None:
        for _ in range(self._knowledge.delay):
            fading = self._fading.read(envs)
            self._report(rows, self.dynamics.channel.next_gain(self._gain[rows], self.users.mean_gain[rows], fading))

    def _start_episodes(self, rows: Rows) -> None:
        self._elapsed = replace_rows(self._elapsed, rows, np.zeros_like(self._elapsed[rows]))
        self.objective.reset(rows)
        self._chains.reset(rows)
        if self._counts is not None:
            self._counts.reset(rows)

    def _set_states(self) -> None:
        self.state = self.users.into(  # prices an action
            SystemState,
            spectral_efficiency=self._reports[-1],
            acceptance_rate=self.requests.rate,
            head_start=self._chains.head_start,
        )
        self._drafting_energy = self.scenario.devices.joules(self.state.draft_energy)
        self._token_energy = self.scenario.uplink.token_joules(self.state.spectral_efficiency, self._drafting_energy)
        if self._batteries is not None:
            self.state = self.state.changed(batteries=self._batteries.state(self._token_energy))
        self.reported = self.state  # with the spectral efficiency of the last report
        if self._knowledge.delay:
            self.reported = self.state.changed(spectral_efficiency=self._reports[0])
        self.planned = self._plan(self.reported, self.users.mean_gain)  # used to decode actions

    def _fields(self) -> dict[str, Array]:
        fields = {
            **fields_of(self.reported),
            "task": self.requests.task,
            "mean_gain": self.users.mean_gain,
            "planned_efficiency": self.planned.spectral_efficiency,
            **self.objective.fields(),
        }
        return fields if self._counts is None else fields | self._counts.fields
