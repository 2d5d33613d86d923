"""What pictures remember of an episode."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.engine import Step
from multispin_env.envs.rendering.views import Histories, History, Scales, round_up
from multispin_env.envs.rounds.variants.heterogeneous import Heterogeneous
from multispin_env.envs.settings import Settings
from multispin_env.physics.types import Decision, Outcome
from tests.envs.rendering.strokes import make_round


def test_ends_of_axes_are_round_numbers():
    values = (-1.0, 0.0, 1.0, 1.2, 1.21, 0.1, 0.05, 0.0301, 8.0, 8.1, 99.0, 100.0)
    found = [round_up(value) for value in values]
    assert found == pytest.approx([1.0, 1.0, 1.0, 1.2, 1.6, 0.1, 0.05, 0.04, 8.0, 10.0, 100.0, 100.0])


def test_scales_before_and_after_rounds():
    history = History()
    assert history.scales == Scales(0.0, 0.0, 0.0, 8, 16)
    history.add(make_round([9, 2], [3.0, 1.0], [0.1, 0.2], [0.1, 0.2], [7e6, 1e6]), None)  # 8 tokens/s in 0.5 s
    assert history.goodput == [8.0]
    assert history.scales == pytest.approx((0.5, 8e6, 10.0, 10, 16))
    history.add(make_round([3, 3], [1.0, 1.0], [0.05, 0.05], [0.05, 0.05], [1e6, 1e6]), 12.0)  # 10 tokens/s in 0.2 s
    assert history.goodput == [8.0, 9.0]
    assert history.optimum == [12.0]
    assert history.scales == pytest.approx((0.2, 8e6, 16.0, 10, 16))  # time is the last round's
    history.add(make_round([3], [0.3], [0.1], [0.1]), 15.0)
    assert history.goodput == [8.0, 9.0, pytest.approx(19.0 / 3.0)]
    assert history.optimum == [12.0, 13.5]


def test_the_scale_of_goodput_fits_the_means():
    slow, fast = (make_round([2], [goodput / 2], [0.2], [0.2]) for goodput in (8.0, 20.0))  # in 0.5 s
    own, other = History(), History()
    for last, optimum in ((slow, 12.0), (fast, 28.0)):
        own.add(last, None)
        other.add(slow, optimum)
    assert (own.goodput, own.scales.goodput) == ([8.0, 14.0], 16.0)
    assert (other.optimum, other.scales.goodput) == ([12.0, 20.0], 24.0)


def test_scales_forget_what_is_long_past():
    history = History()
    history.add(make_round([20], [9.0], [0.1], [0.1], [9e6]), None)
    for _ in range(11):
        history.add(make_round([2], [1.0], [0.1], [0.1], [1e6]), None)
    assert history.scales.cells == 21
    history.add(make_round([2], [1.0], [0.1], [0.1], [1e6]), None)
    assert history.scales.cells == 8
    assert history.scales.bandwidth == 1e6
    for rounds, shown in ((16, 16), (17, 32), (32, 32), (33, 64)):
        while len(history.goodput) < rounds:
            history.add(make_round([2], [1.0], [0.1], [0.1], [1e6]), None)
        assert history.scales.rounds == shown


def step_of(tokens, optimum=None):
    """A round of as many copies as there are lines of tokens."""
    gained = np.array(tokens)
    copies, ones = len(gained), np.ones_like(gained)
    outcome = Outcome(gained.sum(-1), gained, np.ones(copies), 0.4 * ones, 0.4 * ones, np.full(copies, 0.2))
    info = {"accepted_tokens": gained} | ({} if optimum is None else {"optimal_goodput": np.array(optimum)})
    nothing = np.zeros(copies)
    steps = (nothing, nothing > 0.0, nothing > 0.0, nothing)
    return Step({}, *steps, info, Decision(gained.astype(np.int64), ones.copy()), outcome)


def settings_of(reward):
    return Settings(ms.Scenario.preset("llama2", num_users=2), Heterogeneous(), reward=reward)


@pytest.fixture
def histories():
    return Histories(settings_of("sampled"), num_copies=2)


def test_copies_have_episodes_of_their_own(histories):
    histories.add(step_of([[1.0, 2.0], [3.0, 4.0]], [5.0, 8.0]))
    assert [histories.view(copy).goodput for copy in range(2)] == [(3.0,), (7.0,)]
    assert [histories.view(copy).reference for copy in range(2)] == [(5.0,), (8.0,)]
    assert histories.view(1).last.tokens.tolist() == [3.0, 4.0]
    assert histories.view().reference_name == "optimum (expected)"
    histories.add(step_of([[1.0, 1.0], [2.0, 2.0]]), np.array([False, True]))
    assert [histories.view(copy).goodput for copy in range(2)] == [(3.0, 2.5), ()]
    assert histories.view(1).last is None
    histories.begin(np.array([0]))
    assert histories.view(0).goodput == ()
    assert Histories(settings_of("expected"), num_copies=1).view().reference_name == "optimum"


def test_a_view_stays_as_it_is(histories):
    step = step_of([[1.0, 2.0], [3.0, 4.0]])
    histories.add(step)
    view = histories.view()
    for array in (step.decision.draft_length, step.decision.bandwidth, step.info["accepted_tokens"]):
        array[:] = 99
    histories.add(step_of([[1.0, 1.0], [2.0, 2.0]]))
    assert view.last.decision.draft_length.tolist() == [1, 2]
    assert view.last.decision.bandwidth.tolist() == [1.0, 1.0]
    assert view.last.tokens.tolist() == [1.0, 2.0]
    assert view.goodput == (3.0,)
