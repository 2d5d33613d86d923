"""Finite results without warnings for any positive numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.physics.types import checked_decision
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import make_problem
from tests.hostile import unchecked

POSITIVES = [5e-324, 1e-308, 1e-100, 1e-9, 1e-3, 1.0, 7.0, 1e5, 1e100, 1e308]
RATES = [0.0, 5e-324, 1e-12, 0.3, 0.9, 1.0 - 1e-12, 1.0 - 2.0**-53, 1.0]
WEIGHTS = [0.0, 5e-324, 1e-3, 1.0, 1e3, 1e308]
POSITIVE, RATE, WEIGHT = map(st.sampled_from, (POSITIVES, RATES, WEIGHTS))
TIME = st.sampled_from([0.0, 5e-324, 1e-100, 1e-6, 1e-3, 1.0, 1e5, 1e100, 1e300])


@pytest.mark.filterwarnings("error")
@settings(max_examples=40, deadline=None, derandomize=True)
@pytest.mark.parametrize("link", ["density", "power"])
@given(data=st.data(), options=st.sampled_from([{}, {"certify": 1e-6}]))
def test_any_numbers(options, link, data):
    num_users = data.draw(st.integers(1, 4))
    arrays = [
        np.array(data.draw(st.lists(kind, min_size=num_users, max_size=num_users)))
        for kind in (POSITIVE, POSITIVE, RATE, WEIGHT)
    ]
    scenario = ms.Scenario.preset(
        "llama2",
        num_users=num_users,
        min_draft_length=data.draw(st.integers(0, 1)),
        max_draft_length=data.draw(st.sampled_from([1, 2, 25, 200] if link == "density" else [1, 2, 25])),
        padded_verification=data.draw(st.booleans()),
        link=link,
        efficiency_limit=data.draw(st.sampled_from([0.0, 7.4])) if link == "power" else 0.0,
    )
    pieces = data.draw(st.lists(st.tuples(TIME, TIME), max_size=3).map(tuple))
    scenario = unchecked(scenario, verification_pieces=pieces)
    tpot = data.draw(st.sampled_from([None, None, 5e-324, 1e-9, 1.0, 1e308] if options else [None]))
    controller = unchecked(ms.make_controller("optimal", scenario, weights=arrays[3], **options), tpot=tpot)
    decision = controller(ms.SystemState(*arrays[:3]))
    checked_decision(scenario, decision)
    if options:
        assert np.isfinite(decision.value)
        assert np.isfinite(decision.bound)
        assert decision.bound >= decision.value
        assert tpot is None or decision.feasible or decision.value == 0.0


@pytest.mark.parametrize(("users", "low", "longest"), [(2, 0, 200), (3, 1, 25), (4, 0, 2), (4, 1, 200), (3, 0, 25)])
def test_the_optimum_is_never_below_the_shortest_lengths(users, low, longest):
    rng = np.random.default_rng(users + longest)
    scenario = ms.Scenario.preset("llama2", num_users=users, min_draft_length=low, max_draft_length=longest)
    *state, weights = (rng.choice(values, (100, users)) for values in (POSITIVES, POSITIVES, RATES, WEIGHTS))
    problem = make_problem(scenario, ms.SystemState(*state), weights)
    value = problem.value(certified_lengths(problem, 1e-6).lengths[:, None])
    assert (value >= problem.value(problem.low[:, None]) * (1.0 - 1e-9)).all()
