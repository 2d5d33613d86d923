"""Optimum of rounds with drafting ahead, against a renewal argument and simulation."""

import math
from itertools import product

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.evidence.bound_ahead import drawn_system
from multispin_env.bounds import ahead
from multispin_env.bounds.ahead import ahead_rate
from tests.reference import equal_latency, expected_tokens, server_time


def system(pair, server, alphas, least=0, factors=None, **fields):
    """Return devices with mean gain 0.35 and T̄ times the factors; uploads are ids for a measured server."""
    scenario = ms.Scenario.preset(pair, num_users=len(alphas), min_draft_length=least, draft_ahead=True, **fields)
    if server:
        scenario = scenario.replace(server=server, payload="ids")
    efficiency = math.log2(1.0 + scenario.transmit_snr * 0.35)
    draft_time = scenario.mean_draft_time * np.array(factors or [1.0] * len(alphas))
    return scenario, ms.SystemState(draft_time, np.full(len(alphas), efficiency), np.array(alphas))


def simple():
    """Return one device with α = 0.7, T = 10 ms, V = 30 ms and almost no upload."""
    law = {"verification_fixed_time": 0.03, "verification_time_per_draft": 1e-15}
    scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=0, draft_ahead=True, **law)
    return scenario, ms.SystemState(np.array([0.01]), np.array([1e12]), np.array([0.7]))


def duration(scenario, state, lengths, chains):
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    devices = zip(lengths, chains, state.draft_time, token_time, strict=True)
    work = [(n, max(n - a, 0.0) * t / n, c) for n, a, t, c in devices if n]
    return server_time(scenario, lengths) + (equal_latency(*zip(*work, strict=True)) if work else 0.0)


def of_a_run(scenario, state, rate, step, waits=(0.0,)):
    """Return the best E Σ (N − rate τ) from one miss of a device to the next, which is 0 at the best long-run rate.

    The device may wait for some of these seconds before the end of each round.
    """
    alpha, draft_time = float(state.acceptance_rate[0]), float(state.draft_time[0])
    points, menu = round(scenario.max_draft_length / step), []
    for i in range(points + 1):
        row = []
        for length, wait in product(range(scenario.min_draft_length, scenario.max_draft_length + 1), waits):
            time = duration(scenario, state, [length], [i * step]) + wait
            left = min(max(i * step + time / draft_time - length - 1.0, 0.0), scenario.max_draft_length) / step
            below = min(int(left), points - 1)
            hit, up = alpha ** (length + 1), left - below
            row.append((expected_tokens(length, alpha) - rate * time, hit * (1.0 - up), hit * up, below))
        menu.append(row)
    values, change = [0.0] * (points + 1), 1.0
    while change > 1e-9:
        later = [max(n + down * values[i] + up * values[i + 1] for n, down, up, i in row) for row in menu]
        change = max(abs(a - b) for a, b in zip(later, values, strict=True))
        values = later
    return values[0]


CELLS = [  # the paper's server with drafts of 0 tokens is a little faster than without them
    ("llama2", "", 0.7126, 1, 36.8, 45.2, 0.949),
    ("qwen3.5", "", 0.965, 1, 49.3, 68.3, 0.924),
    ("llama2", "", 0.7126, 0, 36.8, 45.5, 0.944),
    ("llama2", "a100-32b", 0.8582, 0, 50.5, 63.9, 0.944),
    ("qwen3.5", "a100-32b", 0.965, 0, 72.1, 91.2, 0.971),
]


@pytest.mark.parametrize(("pair", "server", "alpha", "least", "without", "rate", "ratio"), CELLS)
def test_one_device_has_the_stated_optimum(pair, server, alpha, least, without, rate, ratio):
    best = ms.bounds.rate_optimum(*system(pair, server, [alpha], least), step=0.125)
    assert [best.rate_without_ahead, best.rate] == pytest.approx([without, rate], abs=0.051)
    assert best.myopic_rate / best.rate == pytest.approx(ratio, abs=0.0006)
    assert 0.0 <= best.bound - best.rate + 1e-12 <= 1e-9
    scenario, state = system(pair, server, [alpha], least, max_draft_length=16)
    rate = ms.bounds.rate_optimum(scenario, state, step=0.5).rate
    above, below = (of_a_run(scenario, state, rate * (1.0 + change), 0.5) for change in (1e-6, -1e-6))
    assert above < 0.0 < below


def test_waiting_or_less_bandwidth_gains_nothing():
    scenario, state = system("qwen3.5", "", [0.965], max_draft_length=10)
    best = ms.bounds.rate_optimum(scenario, state)
    assert of_a_run(scenario, state, best.rate * (1.0 + 1e-6), 0.5, (0.0, 0.002, 0.01, 0.04)) < 0.0
    rng = np.random.default_rng(0)

    def slower(state):
        part = rng.uniform(0.1, 1.0, state.head_start.shape)
        return ms.Decision(best.lengths(state.head_start), part * scenario.total_bandwidth)

    assert ahead_rate(scenario, state, slower) < best.rate


def test_a_case_solved_by_hand():
    # after a miss no draft; 30 ms later, with probability 0.7, there are 2 tokens, and so after every hit
    scenario, state = simple()
    best = ms.bounds.rate_optimum(scenario, state)
    hits = 0.7 / (1.0 - 0.343)  # rounds with a head start of 2, for each one without
    assert best.rate == pytest.approx((1.0 + 2.19 * hits) / (1.0 + hits) / 0.03, abs=1e-6)
    assert best.lengths(np.array([[0.0], [2.0]])).tolist() == [[0], [2]]
    assert best.rate_without_ahead == pytest.approx(2.19 / 0.05, abs=1e-6)
    always_two = ms.make_controller("fixed", scenario, draft_length=2)
    assert ahead_rate(scenario, state, always_two) == pytest.approx(2.19 / (0.657 * 0.05 + 0.343 * 0.03), abs=1e-6)


def test_head_starts_are_rounded_to_the_nearest_point_of_the_grid():
    best = ms.bounds.rate_optimum(*simple())
    for part, nearest in ((0.4, best.draft_length[:-1]), (0.6, best.draft_length[1:])):
        between = best.head_start[:-1] + part * best.head_start[1]
        assert (best.lengths(between[:, None]) == nearest).all()
    assert (best.draft_length[1:] != best.draft_length[:-1]).any()


TWO = [
    ("llama2", "a100-32b", (0.7126, 0.8582), (0.5, 2), 0, 89.6, 104.5),
    ("qwen3.5", "", (0.965, 0.81), (0.5, 2), 1, 83.3, 108.1),
]


@pytest.mark.parametrize(("pair", "server", "alphas", "factors", "least", "without", "rate"), TWO)
def test_two_devices(pair, server, alphas, factors, least, without, rate):
    best = ms.bounds.rate_optimum(*system(pair, server, alphas, least, factors), step=1.0)
    assert best.rate_without_ahead == pytest.approx(without, abs=0.051)
    assert best.rate == pytest.approx(rate, rel=0.02)
    assert best.myopic_rate <= best.rate <= best.bound + 1e-12 <= best.rate + 2e-9
    one, other = (
        ms.bounds.rate_optimum(
            *system(pair, server, alphas[::order], least, factors[::order], max_draft_length=8), step=1.0
        )
        for order in (1, -1)
    )
    for name in ("rate", "myopic_rate", "rate_without_ahead"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9)


def test_the_package_plays_it_to_the_same_rate():
    # with head starts off the grid, each rounded to the nearest point
    scenario, state = system("qwen3.5", "a100-32b", [0.81, 0.965], max_draft_length=12)
    best = ms.bounds.rate_optimum(scenario, state)

    class Best(ms.RoundsController):
        def decide(self, state):
            return self.with_equal_latency(best.lengths(state.head_start), state)

    envs = state.mapped(lambda array: np.tile(array, (200, 1)))
    assert ms.long_run(Best(scenario), envs, warm_up=2.0, horizon=6.0).rate.mean() == pytest.approx(best.rate, rel=0.01)
    assert ahead_rate(scenario, state, Best(scenario)) == pytest.approx(best.rate, rel=1e-10)


@pytest.mark.parametrize("seed", range(60))
def test_random_systems(seed):
    scenario, state = drawn_system(seed)
    scenario = scenario.replace(num_users=1, max_draft_length=1 + seed % 12)
    state = state.mapped(lambda array: array[:1])
    best, slack = ms.bounds.rate_optimum(scenario, state), 1.0 + 1e-10
    assert max(best.rate_without_ahead, best.myopic_rate) <= best.rate * slack
    assert best.rate <= best.bound * slack <= best.rate * slack**2
    drafts = ms.make_controller("fixed", scenario, draft_length=1 + seed % scenario.max_draft_length)
    assert ahead_rate(scenario, state, drafts) <= best.bound * slack
    decision = ms.make_controller("optimal", scenario.replace(draft_ahead=False), certify=1e-9)(state)
    assert best.rate_without_ahead == pytest.approx(float(decision.value), rel=1e-8)


def test_many_systems_at_once():
    scenario, _ = simple()
    state = ms.sample_state(scenario, np.random.default_rng(0), size=3)
    together, alone = (
        ms.bounds.rate_optimum(scenario, state),
        [ms.bounds.rate_optimum(scenario, state[i]) for i in range(3)],
    )
    for name in ("rate", "bound", "myopic_rate", "rate_without_ahead", "draft_length"):
        assert (getattr(together, name) == [getattr(best, name) for best in alone]).all()
    assert alone[1].rate.shape == ()


@pytest.mark.parametrize(
    "function", [ms.bounds.rate_optimum, lambda *args, **fields: ahead_rate(*args, None, **fields)]
)
@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        (lambda scenario, state: (scenario.replace(draft_ahead=False), state), {}, "draft_ahead"),
        (lambda scenario, state: (scenario, state), {"step": 0.0}, "step"),
        (lambda scenario, state: (scenario, state.changed(acceptance_rate=np.ones(1))), {}, "acceptance_rate"),
        (lambda *_: system("llama2", "", [0.7] * 9), {}, "num_users"),
        (
            lambda scenario, state: (scenario.replace(upload_loss=0.1, repeat_time=0.5), state),
            {},
            "^upload_loss: expected 0 in rounds with draft_ahead, got 0.1$",
        ),
    ],
)
def test_bad_arguments(function, change, fields, message):
    with pytest.raises(ValueError, match=message):
        function(*change(*simple()), **fields)


def test_a_rule_plays_one_system():
    scenario, state = simple()
    with pytest.raises(ValueError, match=r"^state: expected one system, of shape \(1,\), got shape \(2, 1\)$"):
        ahead_rate(scenario, state.mapped(lambda array: np.stack([array] * 2)), None)


def test_a_rule_has_one_choice_at_each_point(monkeypatch):
    scenario, state = simple()
    outcomes = 3 * (round(scenario.max_draft_length / 0.5) + 1)
    rule = ms.make_controller("fixed", scenario, draft_length=2)
    monkeypatch.setattr(ahead, "_MOST_OUTCOMES", outcomes)
    assert ahead_rate(scenario, state, rule, step=0.5) > 0.0
    with pytest.raises(ValueError, match=r"^num_users: expected at most"):  # which tries every length
        ms.bounds.rate_optimum(scenario, state, step=0.5)
    monkeypatch.setattr(ahead, "_MOST_OUTCOMES", outcomes - 1)
    with pytest.raises(ValueError, match=rf"^num_users: expected at most {outcomes - 1} outcomes"):
        ahead_rate(scenario, state, rule, step=0.5)


def test_three_devices_need_a_coarse_grid():
    scenario, state = system("llama2", "a100-32b", [0.7] * 3)
    with pytest.raises(ValueError, match=r"num_users: .* 3 devices with .* step larger than 0\.5"):
        ms.bounds.rate_optimum(scenario, state)
    best = ms.bounds.rate_optimum(scenario.replace(max_draft_length=3), state, step=1.0)
    assert best.rate_without_ahead < best.myopic_rate <= best.rate
    assert best.draft_length.shape == (4, 4, 4, 3)
