"""The optimum of two or three devices, against closed forms, all small tables, random policies and the simulator."""

import re
from itertools import pairwise

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.evidence.exact import Case, text
from benchmarks.exact_continuous import OUTSIDE, make_fleet, optimum, table_rate
from benchmarks.plan.__main__ import Plan
from benchmarks.tools import run_tool
from multispin_env.physics.continuous.averages import long_run_averages
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.solver.problem import user_times
from tests.controllers.continuous import periodic

IDS = {"server": "a100-32b", "payload": "ids", "min_draft_length": 0}


def tiny(users, longest, seed=0, **fields):
    fields = {"num_users": users, "max_draft_length": longest, **fields}
    scenario = ms.Scenario.preset("llama2", **fields)
    state = ms.sample_state(scenario, np.random.default_rng(seed))
    return scenario, state.changed(draft_time=state.draft_time * 2.0 ** np.linspace(-1.0, 1.0, users))


def best_table(scenario, state, batches):
    """Return the largest rate of all tables in plain Python."""
    draft, air = user_times(scenario, state)

    def passed(lengths):
        return float(scenario.law.time(len(lengths), len(lengths) + sum(lengths)))

    lengths = range(scenario.min_draft_length, scenario.max_draft_length + 1)
    arrays = (array.tolist() for array in (draft, air, state.acceptance_rate))
    return periodic.best_rate(scenario.num_users, batches, lengths, *arrays, passed)


@pytest.mark.parametrize("fields", [{}, IDS])
def test_one_device_is_exact(fields):
    scenario, state = tiny(1, 25, **fields)
    best = optimum(make_fleet(scenario, state))
    draft, air = user_times(scenario, state)
    lengths = np.arange(scenario.min_draft_length, 26)
    tokens = (1.0 - state.acceptance_rate ** (lengths + 1)) / (1.0 - state.acceptance_rate)
    rates = tokens / (lengths * (draft + air) + scenario.law.time(1, lengths + 1))
    assert best.rate == pytest.approx(rates.max(), rel=1e-12)
    assert best.bound == pytest.approx(rates.max(), rel=1e-9)
    assert best.rate == pytest.approx(float(ms.rate_bound(scenario, state).value), rel=1e-6)


@pytest.mark.parametrize(
    ("users", "longest", "batches", "fields"),
    [
        (2, 3, 2, {"total_bandwidth": 1e6}),
        (2, 1, 3, {"total_bandwidth": 5e5}),
        (2, 1, 2, IDS),
        (3, 1, 2, {"total_bandwidth": 5e5}),
        (3, 1, 2, IDS),
        pytest.param(2, 4, 3, {}, marks=pytest.mark.slow),
        pytest.param(2, 3, 3, IDS, marks=pytest.mark.slow),
        pytest.param(3, 2, 2, {"total_bandwidth": 2e6}, marks=pytest.mark.slow),
    ],
)
def test_no_small_table_is_better(users, longest, batches, fields):
    scenario, state = tiny(users, longest, **fields)
    best, found = optimum(make_fleet(scenario, state)), best_table(scenario, state, batches)
    assert found <= best.bound * (1.0 + 1e-9)
    if len(best.table) <= batches:
        assert best.rate == pytest.approx(found, rel=1e-9)


def test_rates_of_tables_are_those_of_plain_python():
    rng = np.random.default_rng(1)
    for seed in range(12):
        scenario, state = tiny(3, 4, seed, total_bandwidth=1e6, **(IDS if seed % 2 else {}))
        table = rng.integers(-2, 5, (4, 3)).clip(OUTSIDE)
        table[:, 0] = np.where((table < 0).all(-1), 1, table[:, 0])
        table = np.where(table == 0, scenario.min_draft_length, table)
        rows = [tuple(None if n == OUTSIDE else int(n) for n in row) for row in table]
        draft, air = (times.tolist() for times in user_times(scenario, state))

        def passed(lengths, law=scenario.law):
            return float(law.time(len(lengths), len(lengths) + sum(lengths)))

        expected = periodic.rate(rows, draft, air, state.acceptance_rate.tolist(), passed)
        assert table_rate(make_fleet(scenario, state), table) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", [Case(2, "paper 2.5", "unequal"), Case(3, "a100-32b", "unequal")])
def test_best_cycles_have_their_rate_in_the_simulator(case):
    scenario, state = case.scenario.replace(max_draft_length=6), case.state
    best = optimum(make_fleet(scenario, state), 5e-3)
    assert 0.995 * best.bound <= best.rate <= best.bound * (1.0 + 1e-9)
    played = ms.long_run(Plan(scenario, (best.table,)), state, warm_up=2.0, horizon=20.0)
    assert played.rate == pytest.approx(best.rate, rel=5e-3)  # the window may hold a part of a period
    assert best.bound <= float(ms.rate_bound(scenario, state).value)


def test_finer_grids_have_lower_ends():
    scenario, state = tiny(2, 8)
    bounds = optimum(make_fleet(scenario, state), 1e-4).bounds
    assert len(bounds) > 4
    assert all(fine <= coarse * (1.0 + 1e-4) for coarse, fine in pairwise(bounds))


class RandomPolicy(ms.ContinuousController):
    """Controller whose decisions depend on the batch's place in a period, at random."""

    def __init__(self, scenario, seed, period=6):
        super().__init__(scenario)
        rng = np.random.default_rng(seed)
        shape, low = (period, scenario.num_users), scenario.min_draft_length
        lengths = rng.integers(low, scenario.max_draft_length + 1, shape)
        join = rng.integers(0, 3, shape)
        join[:, 0] = np.where(join.max(-1) == 0, 2, join[:, 0])
        timeout = np.where(rng.random(period) < 0.5, 1e3, rng.exponential(0.05, period))
        choices = lengths, join, rng.random(shape), timeout
        object.__setattr__(self, "choices", choices)

    def decide(self, state):
        place = state.batch % len(self.choices[0])
        length, join, priority, timeout = (choice[place] for choice in self.choices)
        return ms.ContinuousDecision(length, join, priority=priority, timeout=timeout)


@pytest.mark.parametrize("policies", [40, pytest.param(800, marks=pytest.mark.slow)])
def test_no_random_policy_is_above_the_end(policies):
    case = Case(2, "paper 2.5", "unequal")
    scenario, state = case.scenario.replace(max_draft_length=6), case.state
    best, rates = optimum(make_fleet(scenario, state), 1e-3), []
    for seed in range(policies):
        rule = RandomPolicy(scenario, seed)
        system = ContinuousSystem.of(scenario, ("serial", "shared")[seed % 2])
        rates.append(float(long_run_averages(rule.decide, system, state, 0.5, 10.0).rate))
    assert 0.7 * best.rate < max(rates) <= 1.005 * best.bound  # as above


@pytest.mark.slow
def test_table_of_optima(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    line = ["exact", "--systems", "K2 paper unequal", "--workers", "1", "--folder", str(tmp_path)]
    assert run_tool("evidence", line) == 0
    out = capsys.readouterr().out
    assert re.search(r"^K2 paper unequal +12 +62.48 ", out, re.MULTILINE)
    assert {file.name for file in tmp_path.iterdir()} == {"exact.csv", "exact.png", "exact-cycle.png"}


def test_tables_as_text():
    assert text(np.array([[5, -1], [-1, 0]])) == "(5,–) (–,0)"
