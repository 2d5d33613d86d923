"""Equal latency against a bracketing root finder, and its invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multispin_env.solver.equalization import equal_latency
from tests import reference

BITS = 31_744


def hostile_instances():
    """K = 1 to 200, rates from 1e-3 to 20 bit/s/Hz, bandwidths from 0.1 to 200 MHz, one device 1,000 times slower."""
    rng = np.random.default_rng(5)
    for users, bandwidth, slow in 5 * list(itertools.product((1, 2, 20, 200), (1e5, 1e7, 2e8), (1.0, 1000.0))):
        draft_time = rng.uniform(5e-3, 2e-2, users)
        draft_time[0] *= slow
        rate = np.exp(rng.uniform(np.log(1e-3), np.log(20), users))
        yield rng.integers(1, 26, users), draft_time, BITS / (bandwidth * rate)


@pytest.mark.parametrize("case", list(hostile_instances()), ids=lambda case: f"K{len(case[0])}")
def test_roots_agree_with_brentq(case):
    lengths, draft_time, token_time = case
    for length in (lengths, np.ones_like(lengths)):
        latency, share = equal_latency(length, draft_time, token_time)
        assert latency == pytest.approx(reference.equal_latency(length, draft_time, token_time), rel=1e-10)
        assert share.sum() == pytest.approx(1.0, rel=1e-12)
        assert (share > 0).all()
        assert length * (draft_time + token_time / share) == pytest.approx(np.full(len(length), latency), rel=1e-9)


positive = st.floats(1e-6, 1e6)


@given(st.lists(st.tuples(st.integers(0, 200), positive, positive), min_size=1, max_size=8))
def test_invariants(users):
    lengths, draft_time, token_time = (np.array(column) for column in zip(*users, strict=True))
    result = equal_latency(lengths, draft_time, token_time)
    assert np.isfinite(result.latency)
    assert (result.share >= 0).all()
    assert result.latency >= (lengths * draft_time).max()
    if lengths.any():
        assert result.share.sum() == pytest.approx(1.0, rel=1e-12)
        assert ((result.share > 0) == (lengths > 0)).all()
        doubled = equal_latency(lengths * 2, draft_time, token_time)
        assert doubled.latency == pytest.approx(2 * result.latency, rel=1e-9)  # homogeneous of degree 1
    else:
        assert result.latency == 0.0


@pytest.mark.parametrize("users", [1, 2, 7, 8, 9, 20, 64, 65, 127, 128, 129, 300])
def test_a_row_does_not_depend_on_its_batch(users, rng, monkeypatch):
    lengths = rng.integers(0, 26, (30, users))
    lengths[3] = 0
    draft_time = rng.uniform(5e-3, 2e-2, (30, users))
    token_time = np.exp(rng.uniform(-16, 3, (30, users)))
    token_time[10:, 2:] *= 1e-6  # some rows need more steps than all take
    batch = equal_latency(lengths, draft_time, token_time)
    monkeypatch.setattr("multispin_env.solver.equalization.BLOCK_ENTRIES", 4 * users)
    middle = [array[:, None] for array in (lengths, draft_time, token_time)]
    for other in (equal_latency(lengths, draft_time, token_time), equal_latency(*middle)):
        assert (other.latency.ravel() == batch.latency).all()
        assert (other.share.reshape(30, users) == batch.share).all()
    for i in range(30):
        row = equal_latency(lengths[i], draft_time[i], token_time[i])
        single = equal_latency(lengths[i : i + 1], draft_time[i : i + 1], token_time[i : i + 1])
        assert row.latency == single.latency[0] == batch.latency[i]
        assert (row.share == batch.share[i]).all()
        assert (single.share[0] == batch.share[i]).all()
