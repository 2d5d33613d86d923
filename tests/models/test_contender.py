"""Controllers decide for devices through what a server sees; no model is needed for that."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import kstest

import multispin_env as ms
from multispin_env.models.contender import LiveContender, assumptions_of, draw_air, live_plug_in
from multispin_env.physics.radio import channel_gain

SCENARIO = ms.Scenario.preset("llama2", num_users=3, round_trip_time=0.01)


class Told(NamedTuple):
    accepted: np.ndarray
    gained: np.ndarray
    pass_time: float = 0.5
    accepting_time: float = 0.01
    drafting_time: float = 0.02
    prompt_time: float = 0.03


class Fake:
    """Devices whose drafts are accepted up to two tokens; the first one's request ends behind each round."""

    def __init__(self):
        self.number, self.age = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        self.task, self.left = np.array([0, 1, 2]), np.array([1, 50, 50])

    def play(self, length):
        accepted = np.minimum(length, 2)
        self.number = self.number + np.array([1, 0, 0])
        self.age = (self.age + 1) * [0, 1, 1]
        return Told(accepted, np.minimum(accepted + 1, self.left))


def made(name="optimal+filter", scenario=SCENARIO, rounds=6):
    fake = Fake()
    return LiveContender(name, scenario, draw_air(scenario, rounds, np.random.default_rng(0)), fake, fake.play)


def test_decisions_are_those_of_the_public_loop():
    """The same observations, handed to `ms.make_controller` by hand."""
    contender = made()
    for _ in range(6):
        contender.step()
    plug_in = ms.make_controller("optimal+filter", SCENARIO, assumptions=assumptions_of(SCENARIO))
    air, drafted, accepted = contender.air, np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for number, one in enumerate(contender.rounds):
        observed = ms.Observed(
            air.draft_time, air.efficiency[number], task=np.arange(3), drafted=drafted, accepted=accepted, age=one.age
        )
        decision = plug_in(observed)
        np.testing.assert_array_equal(one.draft_length, decision.draft_length)
        np.testing.assert_array_equal(one.bandwidth, decision.bandwidth)
        drafted, accepted = decision.draft_length, np.minimum(decision.draft_length, 2)
        np.testing.assert_array_equal(one.age, [0, number, number])
        np.testing.assert_array_equal(one.request, [number, 0, 0])


def test_a_round_is_priced_as_the_model_prices_it():
    scenario = SCENARIO.replace(server="a100-32b", padded_verification=True)
    one = made(scenario=scenario).step()
    air = draw_air(scenario, 6, np.random.default_rng(0))
    state = ms.SystemState(air.draft_time, air.efficiency[0], np.full(3, 0.5))
    outcome = ms.expected_outcome(scenario, state, ms.Decision(one.draft_length, one.bandwidth))
    np.testing.assert_allclose(one.predicted_time, outcome.round_latency)
    np.testing.assert_allclose(one.predicted_pass, outcome.verification_time)
    np.testing.assert_allclose(one.measured_time, outcome.round_latency - outcome.verification_time + 0.5)
    assert one.predicted[0] == 1.0  # of the request that gets one more token


def test_a_controller_alone_knows_the_mean_of_the_task():
    bare, named = (made(name) for name in ("homogeneous", "homogeneous+task-mean"))
    for _ in range(3):
        bare.step()
        named.step()
    for one, other in zip(bare.rounds, named.rounds, strict=True):
        np.testing.assert_array_equal(one.draft_length, other.draft_length)
        np.testing.assert_array_equal(one.predicted, other.predicted)
    assert live_plug_in("optimal+quantile", SCENARIO, assumptions_of(SCENARIO)).parts == [
        "spectral_efficiency",
        "acceptance_rate",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("optimall", "controller: expected one of .*did you mean 'optimal'"),
        ("optimal+fliter", "estimator: expected one of .*did you mean 'filter'"),
        ("greedy", "controller: expected one that live has all it needs for, got 'greedy'"),
        (
            "optimal+clairvoyant",
            "controller: expected one that is not told the true acceptance, as 'optimal.filter', got",
        ),
        (
            "optimal+gradient",
            r"controller: expected one that live has all it needs for, got 'optimal\+gradient' \(through",
        ),
    ],
)
def test_what_cannot_decide_is_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        live_plug_in(name, SCENARIO, assumptions_of(SCENARIO))
    assert str(caught.value).count("\n") == 0


def test_devices_differ_as_in_states_of_the_scenario():
    scenario = ms.Scenario.preset("llama2", num_users=4_000)
    air = draw_air(scenario, 2, np.random.default_rng(0))
    state = ms.sample_state(scenario, np.random.default_rng(1))
    assert kstest(air.draft_time, state.draft_time).pvalue > 1e-3
    for one in air.efficiency:
        assert kstest(one, state.spectral_efficiency).pvalue > 1e-3
    assert abs(np.corrcoef(air.efficiency)[0, 1]) < 0.2  # they share mean gains, and nothing else


@pytest.mark.parametrize(("channel", "low", "high"), [("independent", -0.1, 0.1), ("gauss-markov", 0.7, 0.9)])
def test_the_channel_remembers_what_its_model_says(channel, low, high):
    """The correlation of gains is ρ² = .81 for Gauss–Markov fading."""
    scenario = ms.Scenario.preset("llama2", num_users=50, channel=channel)
    gain = channel_gain(scenario, draw_air(scenario, 400, np.random.default_rng(2)).efficiency)
    apart = gain - gain.mean(0)
    assert low < (apart[1:] * apart[:-1]).mean() / apart.var() < high


def test_more_rounds_begin_with_the_same():
    few, many = (draw_air(SCENARIO, rounds, np.random.default_rng(3)) for rounds in (4, 9))
    np.testing.assert_array_equal(few.draft_time, many.draft_time)
    np.testing.assert_array_equal(few.efficiency, many.efficiency[:4])
