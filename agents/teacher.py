"""Lessons for imitation: fresh states of many systems, with the actions of the optimum and what errors in them cost."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.settings import Settings
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.relaxed import relaxed_optimum

TOLERANCE = 1e-3
"""Accuracy of the real-valued optimum; networks are far from it."""

REAL_ROOM, WHOLE_ROOM = 1e-6, 0.1
"""Parts of φ: the least time that a device is taken to have for its upload, where the cost of errors is computed."""

NO_TIME = 1e-12
"""Seconds that stand in for none, where nobody drafts."""

USERS_ENTRY = 1
"""Position of log10 K in the observation's ``shared``."""


class Lesson(NamedTuple):
    """A batch of states of one system."""

    observation: Observation  # (n, entries)
    action: NDArray[np.float32]  # (n, K, columns)
    cost: NDArray[np.float32]  # (n, K, columns): share of goodput that a squared error of an entry costs, about


@dataclass(frozen=True)
class Systems:
    """What lessons are drawn from.

    A system of K devices tells its devices the same as a larger one of which they are a sample, with as much bandwidth
    for each and the verification time of all: the real-valued optimum depends on means over devices alone. Half of the
    lessons are of such larger systems, so that a network knows them without a state of so many devices.

    Parameters
    ----------
    scenarios
        Each is as likely as the others.
    fewest, most
        Range of K, uniform.
    largest
        Largest system that K devices are a sample of; their logarithm is uniform.
    budget_low, budget_high
        Range of a factor on the scenario's budget; its logarithm is uniform.
    """

    scenarios: tuple[Scenario, ...]
    fewest: int
    most: int
    largest: int = 128
    budget_low: float = 0.1
    budget_high: float = 4.0

    def draw(self, rng: np.random.Generator) -> tuple[Scenario, int]:
        """One system of K devices, and the size of the one that they are a sample of."""
        scenario = self.scenarios[int(rng.integers(len(self.scenarios)))]
        users = int(rng.integers(self.fewest, self.most + 1))
        sampled = rng.random() < 0.5
        size = round(_log_uniform(rng, users, max(users, self.largest)))
        size = size if sampled else users
        budget = scenario.total_bandwidth * _log_uniform(rng, self.budget_low, self.budget_high)
        extra = (size - users) * scenario.verification_time_per_draft
        pieces = tuple((start, slope * size / users) for start, slope in scenario.verification_pieces)
        chosen = scenario.replace(
            num_users=users,
            total_bandwidth=budget * users / size,
            verification_fixed_time=scenario.verification_fixed_time + extra,
            verification_pieces=pieces,
        )
        return chosen, size


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def check_teachable(settings: Settings) -> None:
    """``ValueError`` unless the environment shows the state and an optimum is known."""
    variant = settings.variant
    if variant.comparison.optimum is None or not variant.learning.sees_state:
        raise ValueError(
            "agent: expected an environment that shows the whole state and has an optimum for 'imitation', "
            f"got {type(variant).__name__}"
        )


class Teacher:
    """Draws lessons.

    Parameters
    ----------
    settings
        The environment; its scenario is not used.
    systems
        What states are drawn from.
    rng
        Source of randomness.
    """

    def __init__(self, settings: Settings, systems: Systems, rng: np.random.Generator) -> None:
        check_teachable(settings)
        self.settings = settings
        self.systems = systems
        self.rng = rng

    def lesson(self, size: int) -> Lesson:
        """Draw a lesson of so many states.

        Lengths are those of the optimum over real lengths: they change smoothly from state to state, and a network
        learnt them faster and no worse than the whole ones. They are whole where one length is common, and for a server
        whose time depends on tokens: lengths are short there, and real ones, each rounded, lose 1 to 7 %.
        """
        scenario, system = self.systems.draw(self.rng)
        settings = Settings(scenario, self.settings.variant, self.settings.action)
        state = sample_state(scenario, self.rng, size)
        observation = settings.observations.encode(state)
        observation[SHARED][:, USERS_ENTRY] = np.log10(system)
        problem = make_problem(scenario, state)
        if settings.actions.common_draft_length or scenario.verification_pieces:
            decision = settings.best_controller(state)
            length = decision.draft_length.astype(np.float64)
        else:
            length = relaxed_optimum(problem, TOLERANCE).length
            decision = _rounded(settings, length, state)
        return Lesson(observation, *_target(settings, problem, length, decision, state))


def _rounded(settings: Settings, length: FloatArray, state: SystemState) -> Decision:
    """The nearest whole lengths, with the bandwidth that suits them."""
    return settings.best_controller.with_equal_latency(np.rint(length).astype(np.int64), state)


def _target(
    settings: Settings, problem: Problem, length: FloatArray, decision: Decision, state: SystemState
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Actions and what errors in them cost."""
    codec = cast(RoundsCodec, settings.actions)  # of an environment that is teachable
    action = codec.encode(decision, state)
    column = np.clip(codec.length_column(length), -1.0, 1.0)
    action[..., 0] = column
    slope = codec.length_slope(codec.real_length(column))
    cost = np.empty(action.shape, dtype=np.float32)
    cost[..., 0] = cost_of_errors(problem, length) * slope**2
    cost[..., 1:] = cost[..., :1].mean(-2, keepdims=True)  # bandwidth counts as much as a length
    return action, cost


def cost_of_errors(problem: Problem, length: FloatArray) -> FloatArray:
    """Half of −∂²G/∂L_k² / G at lengths (n, K), leaving out that others feel a change of φ and of the shares.

    Two parts: tokens are worth less and less, and, φ held, the share of the budget that a token needs grows as
    1 / (φ − L T). On a server whose time depends on tokens lengths are whole, and the longest fill φ: there that
    difference is taken to be `WHOLE_ROOM` of φ at least.
    """
    draft, token = problem.draft_time, problem.token_time
    phi, tokens = problem.latency(length[:, None]), problem.tokens(length[:, None])
    least = REAL_ROOM if problem.flat else WHOLE_ROOM
    room = np.maximum(phi - length * draft, np.maximum(least * phi, NO_TIME))
    pull = np.maximum((token * length / room**2).sum(-1, keepdims=True), NO_TIME)
    decay = problem.decay
    bends = decay**2 * np.exp(-decay * (length + 1.0)) / -np.expm1(-decay)
    price = tokens / (phi + problem.server_time(length[:, None]))
    cost: FloatArray = 0.5 * (bends + price * 2.0 * token * phi * draft / room**3 / pull) / tokens
    return cost
