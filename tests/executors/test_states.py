"""Many states in parts are the states together."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.executors import Processes, Serial, decide

SCENARIO = ms.Scenario.preset("qwen3.5", num_users=4)


def states(size):
    return ms.sample_state(SCENARIO, np.random.default_rng(0), size=size)


@pytest.mark.parametrize(("executor", "options"), [(Serial(), {}), (Processes(2), {"certify": 1e-6})])
def test_parts_are_decided_as_the_whole(executor, options):
    state = states(7)
    whole = ms.make_controller("optimal", SCENARIO, **options)(state)
    parts = decide(executor, "optimal", SCENARIO, state, chunk=3, **options)
    assert type(parts) is type(whole)
    assert (parts.draft_length == whole.draft_length).all()
    np.testing.assert_allclose(parts.bandwidth, whole.bandwidth, rtol=1e-12)
    if options:
        assert (parts.gap <= 1e-6).all()


def test_mistakes_are_one_sentence():
    with pytest.raises(ValueError, match="did you mean 'optimal'"):
        decide(Serial(), "optima", SCENARIO, states(2))
    with pytest.raises(ValueError, match="chunk: expected an integer ≥ 1, got 0"):
        decide(Serial(), "optimal", SCENARIO, states(2), chunk=0)
    bad = states(2).changed(draft_time=np.full((2, 4), -1.0))
    with pytest.raises(ValueError, match=r"draft_time.*expected"):
        decide(Serial(), "optimal", SCENARIO, bad)
