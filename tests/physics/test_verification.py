"""The law of verification: time of a pass by its drafts and tokens."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.rounds import price, slopes
from multispin_env.physics.tokens import expected_tokens, pass_tokens, verification_time
from multispin_env.physics.types import RealDecision

PIECES = ((0.010, 0.001), (0.004, 0.002), (0.0, 0.0))
LENGTHS = np.array([[0, 4, 2], [10, 0, 0], [3, 3, 3]])


def law(pieces=PIECES, **others):
    fields = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "num_users": 3, **others}
    return ms.Scenario.preset("llama2", verification_pieces=pieces, min_draft_length=0, **fields)


def test_tokens_of_a_pass():
    assert pass_tokens(law(), LENGTHS).tolist() == [9, 13, 12]
    assert pass_tokens(law(padded_verification=True), LENGTHS).tolist() == [15, 33, 12]


@pytest.mark.parametrize("padded", [False, True])
def test_the_largest_piece_counts(padded):
    scenario = law(padded_verification=padded, verification_fixed_time=0.02, verification_time_per_draft=0.001)
    tokens = pass_tokens(scenario, LENGTHS)
    expected = [0.02 + 3 * 0.001 + max(a + b * n for a, b in PIECES) for n in tokens]
    assert verification_time(scenario, LENGTHS) == pytest.approx(expected, rel=1e-14)
    assert [float(verification_time(scenario, row)) for row in LENGTHS] == pytest.approx(expected, rel=1e-14)


def test_the_papers_law_has_one_time_for_every_pass():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    time = verification_time(scenario, LENGTHS)
    assert time.shape == (3,)
    assert (time == 0.02268 + 3 * 0.01272).all()
    outcome = ms.expected_outcome(
        scenario, ms.sample_state(scenario, np.random.default_rng(0), 2), ms.Decision(np.ones(3, int), np.full(3, 3e6))
    )
    assert (outcome.verification_time == time[:2]).all()


def test_a_round_has_its_round_trip():
    scenario = law()
    state = ms.sample_state(scenario, np.random.default_rng(0), 4)
    decision = ms.Decision(np.full((4, 3), 2), np.full((4, 3), scenario.total_bandwidth / 3))
    here, far = (ms.expected_outcome(one, state, decision) for one in (scenario, scenario.replace(round_trip_time=0.1)))
    assert far.round_latency == pytest.approx(here.round_latency + 0.1, rel=1e-12)
    assert (far.verification_time == here.verification_time).all()
    assert far.goodput == pytest.approx(here.tokens.sum(-1) / (here.round_latency + 0.1), rel=1e-12)
    access = (here.draft_time + here.upload_time).max(-1)
    assert here.round_latency == pytest.approx(access + here.verification_time, rel=1e-12)


@pytest.mark.parametrize("fields", [{}, {"padded_verification": True}, {"pieces": (), "verification_fixed_time": 0.02}])
@pytest.mark.parametrize("start", [[3.2, 1.1, 2.4], [0.2, 0.3, 0.1]], ids=["steep", "flat"])
def test_slopes_are_differences(fields, start):
    scenario = law(**{"pieces": ((0.010, 0.001), (0.004, 0.0019)), "verification_time_per_draft": 0.001} | fields)
    state = ms.sample_state(scenario, np.random.default_rng(1))
    length, bandwidth, weights = np.array(start), np.full(3, 3e6), np.array([1.0, 0.5, 2.0])

    def priced(length, bandwidth):
        return price(scenario, state, RealDecision(length, bandwidth), expected_tokens(length, state.acceptance_rate))

    def value(length, bandwidth):
        outcome = priced(length, bandwidth)
        return (weights * outcome.tokens).sum() / outcome.round_latency

    step, decay = 1e-6, -np.log(state.acceptance_rate)
    token_slope = decay * state.acceptance_rate ** (length + 1.0) / (1.0 - state.acceptance_rate)
    found = slopes(scenario, RealDecision(length, bandwidth), priced(length, bandwidth), token_slope, weights)
    for user in range(3):
        move = step * (np.arange(3) == user)
        difference = (value(length + move, bandwidth) - value(length - move, bandwidth)) / (2.0 * step)
        assert found.draft_length[user] == pytest.approx(difference, rel=1e-4, abs=1e-7)
        wide = 1e6 * move
        difference = (value(length, bandwidth + wide) - value(length, bandwidth - wide)) / 2.0
        assert found.bandwidth[user] == pytest.approx(difference, rel=1e-4, abs=1e-12)


def test_an_outcome_of_many_states_and_one_decision():
    scenario = law()
    state = ms.sample_state(scenario, np.random.default_rng(0), 5)
    outcome = ms.expected_outcome(scenario, state, ms.Decision(np.array([1, 2, 3]), np.full(3, 3e6)))
    assert outcome.verification_time.shape == outcome.goodput.shape == (5,)
    assert outcome[2].verification_time == outcome.verification_time[2]
