"""The compiled search: brute force with every option, hostile problems against branch and bound in NumPy, batches."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.solver import certify
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.exact import best_decisions
from multispin_env.solver.pace import is_in_time, least_tpot
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.search import branch_and_bound

LAWS = {
    "flat": ([[0.0, 0.0]], False),
    "line": ([[0.02, 0.004]], False),
    "kinks": ([[0.05, 1e-5], [0.03, 0.004], [-0.02, 0.01]], False),  # the last one is negative at no token
    "padded": ([[0.02, 0.003], [0.0, 0.006]], True),
}


def random_problem(rng, law, users, size=12, longest=5):
    lines, padded = LAWS[law]
    shape, least = (size, users), int(rng.integers(0, 2))
    return Problem(
        draft_time=10.0 ** rng.uniform(-3.0, -1.0, shape),
        token_time=10.0 ** (rng.uniform(-6.0, -1.5) + rng.uniform(-0.5, 0.5, shape)),
        acceptance_rate=rng.choice([0.0, 0.3, 0.7, 0.9, 0.99, 1.0], shape),
        weights=rng.choice([0.0, 0.3, 1.0, 1.0, 5.0], shape),
        low=np.full(shape, least),
        high=rng.integers(1, longest + 1, shape),
        constant_time=10.0 ** rng.uniform(-2.5, 0.0, size),
        lines=np.array(lines),
        padded=padded,
    )


def with_option(rng, problem, option):
    shape = problem.low.shape
    if option == "price":
        return replace(problem, token_price=rng.uniform(0.0, 0.5, shape))
    if option == "delay":
        return replace(problem, access_delays=rng.choice([0.0, 0.03], shape[1]))
    if option == "repeats":
        return replace(problem, constant_time=problem.constant_time + 0.1, repeat_delay=0.1)
    if option == "fixed":
        fixed = rng.random(shape) < 0.4
        return replace(problem, low=np.where(fixed, problem.high, problem.low))
    if option == "table":
        gains = np.sort(rng.uniform(0.0, 1.0, (*shape, int(problem.high.max()))))[..., ::-1]
        return replace(problem, token_table=1.0 + np.concatenate([np.zeros((*shape, 1)), gains.cumsum(-1)], -1))
    if option == "tpot":
        return replace(problem, tpot=float(np.median(least_tpot(problem).tpot) * rng.uniform(0.8, 1.5)))
    return problem


def every_decision(problem):
    """Lengths (n, m, K) up to the largest of any row."""
    axes = [np.arange(int(problem.high.max()) + 1)] * problem.low.shape[1]
    lengths = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)).astype(float)
    return np.broadcast_to(lengths, (len(problem), *lengths.shape))


def brute_force(problem):
    """Best value (n,) over every decision, 0 where none is in time."""
    every = every_decision(problem)
    value = problem.value(every)
    allowed = ((every >= problem.low[:, None]) & (every <= problem.high[:, None])).all(-1)
    if problem.tpot < np.inf:
        time = problem.latency(every) + problem.verification_time(every)
        allowed &= time <= problem.longest_round(every)
    return np.where(allowed, value, 0.0).max(-1)


@pytest.mark.parametrize("option", ["none", "price", "delay", "repeats", "fixed", "table", "tpot"])
@pytest.mark.parametrize("law", LAWS)
def test_the_best_of_all_decisions_is_found_and_proven(law, option):
    rng = np.random.default_rng([sorted(LAWS).index(law), len(option)])
    for users in (1, 2, 3, 4):
        problem = with_option(rng, random_problem(rng, law, users, longest=5 if users < 4 else 3), option)
        best, solved = brute_force(problem), certified_lengths(problem, 1e-9)
        np.testing.assert_allclose(solved.value, best, rtol=1e-9)
        assert (solved.bound >= best * (1.0 - 1e-14)).all()
        assert (solved.bound <= solved.value * (1.0 + 1e-9)).all()
        assert (solved.lengths >= problem.low).all()
        assert (solved.lengths <= problem.high).all()
        if option == "tpot":
            assert ((best > 0.0) == is_in_time(problem, solved.lengths))[problem.weights.any(-1)].all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("times", [(1e-130, 1e-130), (1e-130, 1e130), (1e130, 1e-130), (1e130, 1e130), (1e-3, 1e-130)])
def test_times_and_weights_far_from_any_device(times, law):
    rng = np.random.default_rng(1)
    for constant_time in (1e-130, 1.0, 1e130):
        problem = random_problem(rng, law, 2)
        spread = rng.choice([1.0, 3.0, 1e3], problem.low.shape)
        draft_time, token_time = (np.clip(time * spread, 1e-130, 1e130) for time in times)
        weights = rng.choice([0.0, 1e-150, 1.0, 1e100], problem.low.shape)
        constant = np.full(len(problem), constant_time)
        problem = replace(
            problem, draft_time=draft_time, token_time=token_time, constant_time=constant, weights=weights
        )
        best, solved = brute_force(problem), certified_lengths(problem, 1e-9)
        np.testing.assert_allclose(solved.value, best, rtol=1e-9)
        assert (solved.bound >= best * (1.0 - 1e-14)).all()


@pytest.mark.parametrize("law", LAWS)
def test_drafts_of_ten_thousand_tokens(law):
    one = random_problem(np.random.default_rng(2), law, 1, longest=1)
    one = replace(one, high=np.full((12, 1), 10_000), acceptance_rate=1.0 - one.draft_time * 1e-3)
    np.testing.assert_allclose(certified_lengths(one, 1e-9).value, brute_force(one), rtol=1e-9)
    two = random_problem(np.random.default_rng(3), law, 2, size=2, longest=1)
    two = replace(
        two, high=np.full((2, 2), 10_000 if law != "padded" else 300), acceptance_rate=np.full((2, 2), 0.9999)
    )
    second = branch_and_bound(two, two.low.astype(float), 1e-9, 400)
    np.testing.assert_allclose(certified_lengths(two, 1e-9).value, second.value, rtol=2e-9)


@pytest.mark.parametrize("limit", [0.0, 3.0])
def test_a_limited_power_has_the_same_optimum_as_all_decisions(limit):
    scenario = ms.Scenario.preset("llama2", num_users=3, max_draft_length=8, link="power", efficiency_limit=limit)
    problem = make_problem(scenario, ms.sample_state(scenario, 0, 20))
    for part in (problem, replace(problem, access_delays=np.array([0.0, 0.05, 0.0]))):
        solved = certified_lengths(part, 1e-9)
        np.testing.assert_allclose(solved.value, brute_force(part), rtol=1e-9)


def hostile_problem(rng, size=8):
    """A problem with kinked laws, times over three decades, rates of 0 and 1, and weights of 0."""
    users = int(rng.integers(2, 11))
    problem = random_problem(rng, "flat", users, size, longest=25)
    slopes = np.sort(10.0 ** rng.uniform(-5.0, -2.5, int(rng.integers(1, 4))))
    lines, kink = [[0.01, slopes[0]]], 0.0
    for slope in slopes[1:]:
        kink += rng.uniform(1.0, 8.0 * users)
        lines.append([lines[-1][0] + (lines[-1][1] - slope) * kink, slope])
    spread = 10.0 ** rng.uniform(-1.5, 1.5, problem.low.shape)
    return replace(problem, draft_time=0.003 * spread, lines=np.array(lines), padded=bool(rng.random() < 0.3))


def test_hostile_problems_agree_with_the_search_in_numpy():
    rng = np.random.default_rng(7)
    for _ in range(12):
        problem = hostile_problem(rng)
        solved = certify.exact_lengths(problem, 0.999e-9)
        second = branch_and_bound(problem, problem.low.astype(float), 1e-9, 400)
        assert (solved.value >= second.value * (1.0 - 1e-12)).all()
        assert (solved.bound >= second.value * (1.0 - 1e-12)).all()
        np.testing.assert_allclose(solved.value, problem.value(solved.lengths[:, None])[:, 0], rtol=1e-12)


def test_a_state_does_not_depend_on_its_batch():
    problem = hostile_problem(np.random.default_rng(3))
    together = certified_lengths(problem, 1e-9)
    for row in range(len(problem)):
        alone = certified_lengths(problem[row : row + 1], 1e-9)
        assert [a[0].tobytes() for a in alone] == [a[row].tobytes() for a in together]


def test_states_without_a_proof_go_to_the_search_in_numpy(monkeypatch):
    problem = hostile_problem(np.random.default_rng(5))
    best = certified_lengths(problem, 1e-9).value
    monkeypatch.setattr(certify, "MOST_NODES", 1)
    solved = certified_lengths(problem, 1e-9)
    np.testing.assert_allclose(solved.value, best, rtol=1e-9)
    assert (solved.bound <= solved.value * (1.0 + 1e-9)).all()


def test_after_the_time_limit_states_keep_a_start_and_a_finite_bound():
    problem = hostile_problem(np.random.default_rng(5))
    best, stopped = certified_lengths(problem, 1e-9), certified_lengths(problem, 1e-9, time_limit=0.0)
    assert (stopped.value > 0.5 * best.value).all()
    assert (stopped.value <= best.value * (1.0 + 1e-9)).all()
    assert (stopped.bound >= best.value * (1.0 - 1e-12)).all()
    assert np.isfinite(stopped.bound).all()


def test_machine_code_is_cached_and_its_absence_or_age_is_noticed(monkeypatch, tmp_path):
    certify.compile_search()
    assert certify.is_compiled()
    index = best_decisions._cache._cache_file
    for name, value in (("_source_stamp", "of a later source"), ("_index_path", str(tmp_path / "none.nbi"))):
        with monkeypatch.context() as patch:
            patch.setattr(index, name, value)
            assert not certify.is_compiled()
