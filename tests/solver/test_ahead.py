"""Best lengths of rounds with head starts: against exhaustive search, and by themselves."""

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
WORTHS = [(None, 1.2), (0.0, 1.2), (0.5, 1.5), (1.0, 1.5), (1.0, 3.0)]
"""β, or none for the goodput of the round, and ρ in units of a rate without head starts."""


def drawn(law: str, users: int, count: int, longest: int, **options: object) -> tuple[ms.Scenario, ms.SystemState]:
    """A system and states with head starts, half of them 0."""
    scenario = ms.Scenario.preset(
        "qwen3.5",
        num_users=users,
        draft_ahead=True,
        min_draft_length=0,
        max_draft_length=longest,
        **LAWS[law],
        **options,
    )
    rng = np.random.default_rng(users)
    state = ms.sample_state(scenario, rng, count)
    chain = rng.uniform(0.0, longest, (count, users)) * rng.integers(0, 2, (count, users))
    return scenario, state.changed(head_start=chain)


def rounds_of(scenario: ms.Scenario, state: ms.SystemState, weight: float | None, rate: float) -> AheadRound:
    """Rounds that are worth F, or their goodput."""
    problem = make_problem(scenario, state)
    if weight is None:
        return AheadRound.by_goodput(problem, scenario, state.head_start)
    without = AheadRound.by_goodput(problem, scenario, np.zeros_like(state.head_start))
    return AheadRound(scenario, problem, state.head_start, rate * without.rho, weight)


def worth(rounds: AheadRound, lengths: np.ndarray) -> np.ndarray:
    """Worth of lengths (n, K)."""
    return rounds.value(lengths[:, None])[:, 0]


@pytest.mark.parametrize("law", LAWS)
def test_lengths_are_those_of_an_exhaustive_search(law: str) -> None:
    exact, losses = [], []
    for users in (1, 2, 3):
        every = np.array(list(itertools.product(range(7), repeat=users)))
        for weight, rate in WORTHS:
            scenario, state = drawn(law, users, 40, 6)
            rounds = rounds_of(scenario, state, weight, rate)
            value = rounds.value(np.broadcast_to(every, (40, *every.shape)))
            best = every[value.argmax(-1)]
            scale = value.max(-1) if weight is None else rounds.problem.tokens(best[:, None])[:, 0]
            loss = (value.max(-1) - worth(rounds, best_lengths(rounds))) / scale
            assert loss.min() >= -1e-12  # nothing betters all there are
            losses.append(loss.max())
            exact.append(np.mean(loss < 1e-9))
    assert np.mean(exact) > 0.99
    assert max(losses) < 0.03


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("weight", "rate"), WORTHS)
def test_no_lengths_nearby_are_much_better(law: str, weight: float | None, rate: float) -> None:
    """Twenty devices: random lengths near the ones found, and near whole head starts, are worth no more."""
    scenario, state = drawn(law, 20, 6, 25)
    rounds = rounds_of(scenario, state, weight, rate)
    found = best_lengths(rounds)
    rng = np.random.default_rng(0)
    whole = np.floor(state.head_start).astype(np.int64)
    near = [np.clip(centre[:, None] + rng.integers(-2, 3, (6, 500, 20)), 0, 25) for centre in (found, whole)]
    value = rounds.value(np.concatenate(near, 1)).max(-1)
    scale = value if weight is None else rounds.problem.tokens(found[:, None])[:, 0]
    assert ((value - worth(rounds, found)) / scale).max() < 0.02


def test_a_batch_decides_as_its_states_do_alone() -> None:
    scenario, state = drawn("tokens", 5, 30, 25)
    rounds = rounds_of(scenario, state, 0.5, 1.5)
    alone = np.concatenate([best_lengths(rounds[i : i + 1]) for i in range(30)])
    np.testing.assert_array_equal(best_lengths(rounds), alone)


def test_long_drafts() -> None:
    scenario, state = drawn("flat", 2, 3, 300)
    rounds = rounds_of(scenario, state, 0.5, 1.2)
    found = best_lengths(rounds)
    assert found.min() >= 0
    assert (worth(rounds, found) >= worth(rounds, np.zeros_like(found))).all()


@pytest.mark.parametrize("law", LAWS)
def test_without_head_starts_the_best_goodput_is_the_optimum(law: str) -> None:
    scenario, state = drawn(law, 8, 30, 25)
    chains = np.zeros((30, 8))
    found = best_lengths(AheadRound.by_goodput(make_problem(scenario, state), scenario, chains))
    plain = ms.SystemState(state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    optimal = ms.make_controller("optimal", scenario.replace(draft_ahead=False))
    values = [
        ms.expected_outcome(scenario, plain, decision).goodput
        for decision in (optimal.with_equal_latency(found, plain), optimal(plain))
    ]
    loss = 1.0 - values[0] / values[1]
    assert loss.mean() < 1e-3
    assert loss.max() < (1e-3 if law == "flat" else 1e-2)
