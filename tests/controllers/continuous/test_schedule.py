"""Tables of lengths: their rates, and the search for the best."""

from itertools import product

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.annealing import Annealing
from multispin_env.controllers.continuous.schedule import PERIODS, Tables
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.tokens import expected_tokens

SCENARIOS = {
    "paper": ms.Scenario.preset("llama2", num_users=5),
    "scarce": ms.Scenario.preset("qwen3.5", num_users=7, total_bandwidth=2e6),
    "tokens": ms.Scenario.preset("qwen3.5", num_users=4, server="a100-32b", payload="ids", round_trip_time=0.01),
    "padded": ms.Scenario.preset("llama2", num_users=4, server="cpu-1.5b"),
}


def random_tables(rng, copies, periods, users):
    table = rng.integers(1, 10, (copies, periods, users)) * (rng.random((copies, periods, users)) < 0.6)
    rows = np.arange(copies)
    for user in range(users):  # everybody is somewhere, and every batch has somebody
        absent = rows[(table[:, :, user] == 0).all(1)]
        table[absent, rng.integers(0, periods, len(absent)), user] = 4
    for row in range(periods):
        table[(table[:, row] == 0).all(1), row, 0] = 3
    return table


def played(scenario, state, table):
    """Rate of a table when the core plays it, batch by batch."""
    copies, periods, users = table.shape
    core = ContinuousCore(ContinuousSystem.of(scenario.replace(channel="static")), copies, drawn=False)
    core.hold(state)
    tokens, ends = np.zeros(copies), []
    for batch in range(PERIODS * periods):
        inside = np.stack([table[:, (batch + step) % periods] > 0 for step in range(periods)], 1)
        offset = inside.argmax(1)
        length = table[np.arange(copies)[:, None], (batch + offset) % periods, np.arange(users)]
        aim = np.where(core.state.phase == ms.Phase.FREE, batch + offset, core.state.aim)
        join = np.where(aim == batch, ms.Join.WAIT, ms.Join.LEAVE)
        outcome = core.step(ms.ContinuousDecision(length, join, priority=aim.astype(float), aim=aim))
        tokens += outcome.tokens.sum(-1) * (batch >= periods)
        ends.append(core.state.time)
    return tokens / (ends[-1] - ends[periods - 1])


@pytest.mark.parametrize("periods", [1, 2, 3, 5])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_rate_is_what_the_core_plays(scenario, periods):
    rng = np.random.default_rng(periods)
    state = ms.sample_state(scenario, rng, 30)
    table = random_tables(rng, 30, periods, scenario.num_users)
    rate = Tables.of(scenario, state).rate(table)
    assert rate == pytest.approx(played(scenario, state, table), rel=1e-12)


def test_one_batch_for_all_is_the_barrier():
    """With lengths of one period the rate is that of the round in which everybody uploads one after the other."""
    scenario = SCENARIOS["paper"]
    state = ms.sample_state(scenario, np.random.default_rng(0), 20)
    length = np.random.default_rng(1).integers(1, 9, (20, 5))
    token_air = scenario.bits_per_token / scenario.total_bandwidth / state.spectral_efficiency
    drafted, air = length * state.draft_time, length * token_air
    last = np.array([[d + a[i >= d].sum() for d in i] for i, a in zip(drafted, air, strict=True)]).max(-1)
    expected = expected_tokens(length, state.acceptance_rate).sum(-1) / (last + scenario.verification_time)
    assert Tables.of(scenario, state).rate(length[:, None]) == pytest.approx(expected, rel=1e-12)


def test_a_table_that_leaves_somebody_out_earns_nothing():
    scenario = SCENARIOS["paper"]
    state = ms.sample_state(scenario, np.random.default_rng(0), 2)
    table = np.full((2, 2, 5), 3)
    table[0, :, 2] = 0  # a device without a batch
    table[1, 1] = 0  # a batch without a device
    assert (Tables.of(scenario, state).rate(table) == -np.inf).all()


@pytest.mark.parametrize("seed", range(3))
def test_search_finds_the_best_of_all_small_tables(seed):
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=4, total_bandwidth=1e6)
    state = ms.sample_state(scenario, np.random.default_rng(seed), 1)
    tables = Tables.of(scenario, state)
    every = np.array([np.reshape(cells, (2, 2)) for cells in product(range(5), repeat=4)])
    best = tables[np.zeros(len(every), dtype=int)].rate(every).max()
    (found,) = Annealing(moves=200, chains=4).search(scenario, state, np.random.default_rng(0))
    assert tables.rate(found[None])[0] >= best * (1.0 - 1e-12)


def test_search_does_not_depend_on_other_systems_and_repeats():
    scenario = SCENARIOS["paper"]
    state = ms.sample_state(scenario, np.random.default_rng(0), 3)
    together = Annealing(moves=60, chains=4).search(scenario, state, np.random.default_rng(5))
    for copy, table in enumerate(together):
        (alone,) = Annealing(moves=60, chains=4).search(scenario, state[copy : copy + 1], np.random.default_rng(5))
        assert alone.tolist() == table.tolist()


def test_search_tells_how_far_it_is():
    scenario = SCENARIOS["paper"]
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    told = []
    Annealing(moves=400, chains=2).search(
        scenario, state, np.random.default_rng(0), lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (1600, 1600)
