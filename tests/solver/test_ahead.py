"""Best lengths of rounds with head starts, against exhaustive search."""

import itertools

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.problem import make_problem

LAWS = {
    "flat": {},
    "tokens": {"server": "a100-32b", "payload": "ids"},
    "padded": {"server": "a100-32b", "padded_verification": True},
}
OBJECTIVES = [(None, 1.2), (0.0, 1.2), (0.5, 1.5), (1.0, 1.5), (1.0, 3.0)]
"""β, or None for the goodput of the round, and ρ relative to a rate without head starts."""


def drawn(law: str, users: int, count: int, longest: int) -> tuple[ms.Scenario, ms.SystemState]:
    fields = {"num_users": users, "min_draft_length": 0, "max_draft_length": longest, **LAWS[law]}
    scenario = ms.Scenario.preset("qwen3.5", draft_ahead=True, **fields)
    rng = np.random.default_rng(users)
    state = ms.sample_state(scenario, rng, count)
    head_start = rng.uniform(0.0, longest, (count, users)) * rng.integers(0, 2, (count, users))
    return scenario, state.changed(head_start=head_start)


def rounds_of(scenario: ms.Scenario, state: ms.SystemState, weight: float | None, rate: float) -> AheadRound:
    problem = make_problem(scenario, state)
    if weight is None:
        return AheadRound.by_goodput(problem, scenario, state.head_start)
    without = AheadRound.by_goodput(problem, scenario, np.zeros_like(state.head_start))
    return AheadRound(scenario, problem, state.head_start, rate * without.rho, weight)


def value_of(rounds: AheadRound, lengths: np.ndarray) -> np.ndarray:
    return rounds.value(lengths[:, None])[:, 0]


@pytest.mark.parametrize("law", LAWS)
def test_lengths_are_those_of_an_exhaustive_search(law: str) -> None:
    exact, losses = [], []
    for users in (1, 2, 3):
        every = np.array(list(itertools.product(range(7), repeat=users)))
        for weight, rate in OBJECTIVES:
            scenario, state = drawn(law, users, 40, 6)
            rounds = rounds_of(scenario, state, weight, rate)
            value = rounds.value(np.broadcast_to(every, (40, *every.shape)))
            best = every[value.argmax(-1)]
            scale = value.max(-1) if weight is None else rounds.problem.tokens(best[:, None])[:, 0]
            loss = (value.max(-1) - value_of(rounds, best_lengths(rounds))) / scale
            assert loss.min() >= -1e-12
            losses.append(loss.max())
            exact.append(np.mean(loss < 1e-9))
    assert np.mean(exact) > 0.99
    assert max(losses) < 0.03


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("weight", "rate"), OBJECTIVES)
def test_no_lengths_nearby_are_much_better(law: str, weight: float | None, rate: float) -> None:
    scenario, state = drawn(law, 20, 6, 25)
    rounds = rounds_of(scenario, state, weight, rate)
    best = best_lengths(rounds)
    rng = np.random.default_rng(0)
    whole = np.floor(state.head_start).astype(np.int64)
    near = [np.clip(centre[:, None] + rng.integers(-2, 3, (6, 500, 20)), 0, 25) for centre in (best, whole)]
    value = rounds.value(np.concatenate(near, 1)).max(-1)
    scale = value if weight is None else rounds.problem.tokens(best[:, None])[:, 0]
    assert ((value - value_of(rounds, best)) / scale).max() < 0.02


@pytest.mark.parametrize(("law", "users", "longest"), [("tokens", 5, 25), ("flat", 2, 300)])
def test_a_batch_decides_as_its_states_do_alone(law: str, users: int, longest: int) -> None:
    scenario, state = drawn(law, users, 20, longest)
    rounds = rounds_of(scenario, state, 0.5, 1.5)
    best = best_lengths(rounds)
    np.testing.assert_array_equal(best, np.concatenate([best_lengths(rounds[i : i + 1]) for i in range(20)]))
    assert (value_of(rounds, best) >= value_of(rounds, np.zeros_like(best))).all()


@pytest.mark.parametrize("law", LAWS)
def test_without_head_starts_the_best_goodput_is_the_optimum(law: str) -> None:
    scenario, state = drawn(law, 8, 30, 25)
    chains = np.zeros((30, 8))
    best = best_lengths(AheadRound.by_goodput(make_problem(scenario, state), scenario, chains))
    plain = ms.SystemState(state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    optimal = ms.make_controller("optimal", scenario.replace(draft_ahead=False))
    values = [
        ms.expected_outcome(scenario, plain, decision).goodput
        for decision in (optimal.with_equal_latency(best, plain), optimal(plain))
    ]
    loss = 1.0 - values[0] / values[1]
    assert loss.mean() < 1e-3
    assert loss.max() < (1e-3 if law == "flat" else 1e-2)
