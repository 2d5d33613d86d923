from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, kstest

import multispin_env as ms
from multispin_env.draft import expected_tokens
from multispin_env.evaluation.contenders import ContenderError
from multispin_env.physics.radio import channel_gain
from multispin_lab.models.contender import (
    LiveContender,
    Prediction,
    draw_conditions,
    live_plug_in,
    make_assumptions,
)

SCENARIO = ms.Scenario.preset("llama2", num_users=3, round_trip_time=0.01)


class Fake:
    """Devices that accept up to two tokens; the first device's request ends after each round."""

    def __init__(self):
        self.number, self.age = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        self.task, self.left = np.array([0, 1, 2]), np.array([1, 50, 50])

    def play(self, length):
        accepted = np.minimum(length, 2)
        self.number = self.number + np.array([1, 0, 0])
        self.age = (self.age + 1) * [0, 1, 1]
        gained = np.minimum(accepted + 1, self.left)
        times = dict.fromkeys(("accepting_time", "drafting_time", "prompt_time"), 0.01)
        return SimpleNamespace(accepted=accepted, gained=gained, verification_time=0.5, **times)


def made(name="optimal+filter", scenario=SCENARIO, rounds=6):
    fake = Fake()
    return LiveContender(name, scenario, draw_conditions(scenario, rounds, np.random.default_rng(0)), fake, fake.play)


def test_decisions_are_those_of_the_public_loop():
    contender = made()
    for _ in range(6):
        contender.step()
    plug_in = ms.make_controller("optimal+filter", SCENARIO, assumptions=make_assumptions(SCENARIO))
    drafted, accepted = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    hits, misses = np.zeros(3), np.zeros(3)  # of the current requests
    for number, entry in enumerate(contender.rounds):
        numbers = {"task": np.arange(3), "drafted": drafted, "accepted": accepted, "age": entry.age}
        observed = ms.Observed(contender.conditions.draft_time, contender.conditions.efficiency[number], **numbers)
        hits = np.where(entry.age == 0, 0.0, hits + accepted)
        misses = np.where(entry.age == 0, 0.0, misses + (accepted < drafted))
        expected = prediction(scenario=SCENARIO).tokens(entry.draft_length, Fake().left, hits, misses, np.arange(3))
        np.testing.assert_allclose(entry.predicted, expected)
        decision = plug_in(observed)
        np.testing.assert_array_equal(entry.draft_length, decision.draft_length)
        np.testing.assert_array_equal(entry.bandwidth, decision.bandwidth)
        drafted, accepted = decision.draft_length, np.minimum(decision.draft_length, 2)
        np.testing.assert_array_equal(entry.age, [0, number, number])
        np.testing.assert_array_equal(entry.request, [number, 0, 0])


def test_a_round_is_priced_as_the_model_prices_it():
    scenario = SCENARIO.replace(server="a100-32b", padded_verification=True)
    entry = made(scenario=scenario).step()
    conditions = draw_conditions(scenario, 6, np.random.default_rng(0))
    state = ms.SystemState(conditions.draft_time, conditions.efficiency[0], np.full(3, 0.5))
    outcome = ms.expected_outcome(scenario, state, ms.Decision(entry.draft_length, entry.bandwidth))
    np.testing.assert_allclose(entry.predicted_time, outcome.round_latency)
    np.testing.assert_allclose(entry.predicted_pass, outcome.verification_time)
    np.testing.assert_allclose(entry.measured_time, outcome.round_latency - outcome.verification_time + 0.5 + 0.01)
    assert entry.predicted[0] == 1.0  # of the request that gets one more token


def test_chains_grow_by_the_clock_of_the_scenario_whatever_the_pass_takes():
    """All guesses hit; the first device's request ends after each round."""
    scenario = SCENARIO.replace(draft_ahead=True, min_draft_length=0, server="a100-32b", padded_verification=True)
    contender, asked = made(scenario=scenario), []
    fake = contender._play

    def play(length, ahead):
        asked.append(ahead)
        played = fake(length)
        played.hit = np.full(3, True)
        return played

    contender._play = play
    head_start, drafted = np.zeros(3), contender.conditions.draft_time
    for _ in range(6):
        entry = contender.step()
        assert entry.chains is not None
        np.testing.assert_allclose(entry.chains.head_start, head_start)
        np.testing.assert_allclose(
            entry.drafting, np.maximum(entry.draft_length - head_start, 0.0) * drafted, atol=1e-12
        )
        rate = np.array([task.acceptance_rate for task in scenario.tasks[:3]])
        np.testing.assert_allclose(entry.chains.predicted, rate ** (entry.draft_length + 1))
        grown = head_start + (entry.access + entry.predicted_pass) / drafted - entry.draft_length - 1.0
        head_start = np.clip(grown, 0.0, scenario.max_draft_length) * [0, 1, 1]
        np.testing.assert_array_equal(asked[-1][1:], np.floor(head_start[1:]))
    assert head_start.max() > 1.0


def test_devices_differ_as_in_states_of_the_scenario():
    scenario = ms.Scenario.preset("llama2", num_users=4_000)
    conditions = draw_conditions(scenario, 2, np.random.default_rng(0))
    state = ms.sample_state(scenario, np.random.default_rng(1))
    assert kstest(conditions.draft_time, state.draft_time).pvalue > 1e-3
    for entry in conditions.efficiency:
        assert kstest(entry, state.spectral_efficiency).pvalue > 1e-3
    assert abs(np.corrcoef(conditions.efficiency)[0, 1]) < 0.2  # they share mean gains, and nothing else
    more = draw_conditions(scenario, 3, np.random.default_rng(0))  # begin with the same
    np.testing.assert_array_equal(more.draft_time, conditions.draft_time)
    np.testing.assert_array_equal(more.efficiency[:2], conditions.efficiency)


@pytest.mark.parametrize(("channel", "low", "high"), [("independent", -0.1, 0.1), ("gauss-markov", 0.7, 0.9)])
def test_the_channel_remembers_what_its_model_says(channel, low, high):
    """The correlation of gains is ρ² = 0.81 for Gauss–Markov fading."""
    scenario = ms.Scenario.preset("llama2", num_users=50, channel=channel)
    gain = channel_gain(scenario, draw_conditions(scenario, 400, np.random.default_rng(2)).efficiency)
    apart = gain - gain.mean(0)
    assert low < (apart[1:] * apart[:-1]).mean() / apart.var() < high


def system(*tasks, **fields):
    named = tuple(
        ms.Task(name=f"t{i}", acceptance_rate=mean, acceptance_std=std) for i, (mean, std) in enumerate(tasks)
    )
    return ms.Scenario.preset("llama2", num_users=3, tasks=named, **fields)


TWO_TASKS = system((0.6, 0.1), (0.8, 0.2))


def prediction(name="optimal+filter", scenario=TWO_TASKS, **options):
    assumptions = make_assumptions(scenario)
    return Prediction(ms.make_controller(name, scenario, assumptions=assumptions, **options), scenario, assumptions)


def integral(length, left, hits, misses, mean, spread):
    """E[min(N, R)] by quadrature, N of [MS] (11) given α, over α's posterior."""
    size = mean * (1 - mean) / spread**2 - 1
    prior = beta(mean * size, (1 - mean) * size)

    def arguments(rate):
        chances = [rate**n * (1 - rate) for n in range(length)] + [rate**length]
        return sum(chance * min(n + 1, left) for n, chance in enumerate(chances))

    def weight(rate):
        return prior.pdf(rate) * rate**hits * (1 - rate) ** misses

    return quad(lambda rate: arguments(rate) * weight(rate), 0, 1)[0] / quad(weight, 0, 1)[0]


def test_tokens_are_an_integral_over_the_posterior():
    length, left = np.array([4, 7, 3]), np.array([9, 3, 1])
    hits, misses, task = np.array([0.0, 12.0, 5.0]), np.array([0.0, 2.0, 5.0]), np.array([0, 1, 1])
    result = prediction().tokens(length, left, hits, misses, task)
    expected = [
        integral(int(length[k]), int(left[k]), hits[k], misses[k], *((0.6, 0.1), (0.8, 0.2))[task[k]]) for k in range(3)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-7)
    assert result[2] == 1.0
    np.testing.assert_array_equal(prediction().tokens(0 * length, left, hits, misses, task), 1.0)


@pytest.mark.parametrize("name", ["optimal+filter", "optimal+task-mean"])
def test_without_a_spread_it_is_the_formula_of_the_paper(name):
    scenario = system((0.7, 0.0))
    length, counts = np.array([1, 6, 25]), np.array([0.0, 9.0, 3.0])
    result = prediction(name, scenario).tokens(length, length + 2, counts, counts, np.zeros(3, dtype=np.int64))
    np.testing.assert_allclose(result, expected_tokens(length, np.array(0.7)), rtol=2e-5)


def test_counts_are_for_those_who_read_them():
    length, left, task = np.full(3, 5), np.full(3, 50), np.zeros(3, dtype=np.int64)
    hits, misses = np.array([0.0, 30.0, 0.0]), np.array([0.0, 0.0, 30.0])
    values, deaf = (
        prediction(f"optimal+{name}").tokens(length, left, hits, misses, task) for name in ("beta", "task-mean")
    )
    assert values[1] > values[0] > values[2]
    assert deaf[0] == deaf[1] == deaf[2] == values[0]
    wide = prediction(spreads=(0.5, 2.0)).tokens(length, left, hits, misses, task)
    assert wide[1] > values[1]
    assert wide[2] < values[2]


def test_assumptions_and_the_name_of_the_contender():
    assert make_assumptions(system((0.6, 0.1), (0.8, 0.7))).acceptance_spread == (0.1, 0.5)  # that of a coin at most
    plug_in = live_plug_in("optimal+quantile", SCENARIO, make_assumptions(SCENARIO))
    assert plug_in.parts == ["spectral_efficiency", "acceptance_rate"]
    contender = made()
    contender.plug_in = lambda observed: None
    with pytest.raises(ContenderError, match=r"^optimal\+filter: "):
        contender.step()
