"""Annealed tables of lengths: what they earn, and that the search finds the best."""

from itertools import product

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.continuous_systems import chosen
from benchmarks.plan.__main__ import INSTANCES, tables_of
from benchmarks.plan.annealing import search
from benchmarks.plan.table import Plan, Tables
from multispin_env.evaluation.statistics import HELD_OUT_SEED

TABLES = (np.array([[3, 3, 0, 0], [0, 0, 4, 4]]), np.array([[2, 2, 0, 0], [0, 0, 5, 0], [3, 0, 0, 6]]))


@pytest.mark.parametrize("server", ["paper", "a100-32b", "cpu-1.5b"])
def test_a_table_earns_what_the_core_plays(server):
    scenario = ms.Scenario.preset("llama2", num_users=4, server=None if server == "paper" else server)
    state = ms.sample_state(scenario, np.random.default_rng(0), len(TABLES))
    rate = ms.long_run_rate(Plan(scenario, TABLES), state, warm_up=5.0, horizon=60.0)
    for copy, table in enumerate(TABLES):
        expected = Tables.of(scenario, state[copy : copy + 1]).rate(table[None])
        assert rate[copy] == pytest.approx(expected[0], rel=2e-3)  # the window may hold a part of a period


def test_a_table_that_leaves_somebody_out_earns_nothing():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = ms.sample_state(scenario, np.random.default_rng(0), 2)
    table = np.full((2, 2, 4), 3)
    table[0, :, 2] = 0  # a device without a batch
    table[1, 1] = 0  # a batch without a device
    assert (Tables.of(scenario, state).rate(table) == -np.inf).all()


def test_search_finds_the_best_of_all_small_tables():
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=4, total_bandwidth=1e6)
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    tables = Tables.of(scenario, state)
    every = np.array([np.reshape(cells, (2, 2)) for cells in product(range(5), repeat=4)])
    best = tables[np.zeros(len(every), dtype=int)].rate(every).max()
    found = search(scenario, state, moves=200, chains=4)
    assert tables.rate(found[None])[0] >= best * (1.0 - 1e-12)


def test_stored_tables_earn_what_the_docs_say():
    (system,) = chosen("llama2 K8 B10 narrow")
    state = system.states(HELD_OUT_SEED, INSTANCES)
    rates = [
        Tables.of(system.scenario, state[copy : copy + 1]).rate(table[None])
        for copy, table in enumerate(tables_of(system))
    ]
    assert np.mean(rates) == pytest.approx(187.2, abs=0.05)
