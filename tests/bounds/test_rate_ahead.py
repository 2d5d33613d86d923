"""The bound where devices draft ahead: against the exact optimum of one device, rules, and a second writing of it."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

import multispin_env as ms
from benchmarks.evidence.bound_ahead import cell, controllers, drawn_system, played
from multispin_env.bounds.rate_program import _Shares
from multispin_env.physics.tokens import expected_tokens
from multispin_env.solver.problem import user_times

ROUNDING = 1.0 + 1e-9
GUESS = {"greedy": lambda a: a, "shared-seed": lambda a: a / (2.0 - a), "independent": lambda a: a * a}


def simple(alpha=0.7, users=1, **fields):
    """Devices that draft a token in 10 ms and upload in no time, and a pass of 30 ms."""
    given = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "verification_pieces": ((0.03, 0.0),)}
    given |= {"total_bandwidth": 1e30, "min_draft_length": 0, "max_draft_length": 5, "draft_ahead": True}
    scenario = ms.Scenario.preset("llama2", num_users=users, **(given | fields))
    return scenario, ms.SystemState(np.full(users, 0.01), np.ones(users), np.full(users, alpha))


def best_alone(scenario, state, steps):
    """Tokens/s of a best policy of one device whose head starts are cut down to a grid, and so at most the optimum.

    A miss begins anew. So the rate is ρ where a run without head start is worth 0: W(A) = max E N − ρ τ + h W(A').
    """
    (pace,), (air,), (alpha,) = state.draft_time, user_times(scenario, state)[1], state.acceptance_rate
    length = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    chain = np.arange(scenario.max_draft_length * steps + 1)[:, None] / steps
    cycle = np.maximum(length - chain, 0.0) * pace + length * air + scenario.pass_time(1, length + 1)
    hit, tokens = GUESS[scenario.guess](alpha) * alpha**length, sum(alpha**n * (n <= length) for n in range(26))
    left = np.clip(chain + cycle / pace - length - 1.0, 0.0, scenario.max_draft_length)
    after = np.floor(left * steps + 1e-9).astype(int)
    time, rate = cycle + scenario.round_trip_time, 0.0
    for _ in range(50):
        worth = np.zeros(len(chain))
        for _ in range(100_000):
            old, value = worth, tokens - rate * time + hit * worth[after]
            worth = value.max(-1)
            if np.abs(worth - old).max() <= 1e-10:
                break
        choice = value.argmax(-1)[:, None]
        follow, kept = (np.take_along_axis(each, choice, -1)[:, 0] for each in (after, hit + 0.0 * value))
        seconds, matrix = np.take_along_axis(time, choice, -1)[:, 0], np.eye(len(chain))
        matrix[np.arange(len(chain)), follow] -= kept
        step = worth[0] / np.linalg.solve(matrix, seconds)[0]
        rate += step
        if step <= 1e-9 * rate:
            return rate
    raise AssertionError("the rate did not settle")


def test_the_candidate_that_takes_hits_as_independent_of_lengths_is_exceeded():
    scenario, state = simple()
    length = np.arange(6)
    candidate = (expected_tokens(length, 0.7) / ((1.0 - 0.7 ** (length + 1)) * length * 0.01 + 0.03)).max()
    best = best_alone(scenario, state, 1)  # the grid is exact: all times are whole drafts
    assert candidate == pytest.approx(50.76, abs=0.005)
    assert best == pytest.approx(53.80, abs=0.005)
    assert candidate < best <= ms.rate_bound(scenario, state) <= 1.05 * best
    assert ms.rate_bound(scenario.replace(draft_ahead=False), state) < 0.9 * best  # so is the bound without


@pytest.mark.parametrize(
    ("preset", "server", "pick", "ratio"),
    [
        ("llama2", "paper", min, 0.999),
        ("llama2", "paper", max, 0.997),
        ("qwen3.5", "paper", min, 0.996),
        ("qwen3.5", "paper", max, 0.999),
        ("llama2", "a100-32b", min, 0.974),
        ("llama2", "a100-32b", max, 0.979),
        ("qwen3.5", "a100-32b", min, 0.989),
        ("qwen3.5", "a100-32b", max, 0.997),
    ],
)
def test_the_exact_optimum_of_known_cells(preset, server, pick, ratio):
    scenario, state = cell(preset, server, pick)
    assert ms.rate_optimum(scenario, state, step=0.125) / ms.rate_bound(scenario, state) == pytest.approx(
        ratio, abs=6e-4
    )


def test_no_best_policy_of_one_device_is_above():
    ratios = []
    for seed in range(50):
        scenario, state = drawn_system(seed)
        scenario, state = scenario.replace(num_users=1), state.mapped(lambda array: array[:1])
        scenario = scenario.replace(max_draft_length=min(scenario.max_draft_length, 8))
        ratios.append(best_alone(scenario, state, 4) / float(ms.rate_bound(scenario, state)))
    assert max(ratios) <= ROUNDING
    assert np.median(ratios) > 0.9


def test_no_rule_is_above():
    ratios = []
    for seed in range(3):
        scenario, state = drawn_system(seed)
        bound = float(ms.rate_bound(scenario, state))
        for controller in controllers(scenario).values():
            rate, error = played(controller, state, 1.5)
            assert rate - 4.0 * error <= bound * ROUNDING
            ratios.append(rate / bound)
    assert max(ratios) > 0.8


def test_no_rule_is_above_in_a_fading_channel():
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, server="a100-32b", payload="ids", draft_ahead=True)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    gain = np.full(3, 0.3)
    static = ms.physics.radio.spectral_efficiency(scenario, gain)
    many = ms.SystemState(state.draft_time, static, state.acceptance_rate).mapped(
        lambda array: np.repeat(array[None], 8, 0)
    )
    bound = float(ms.rate_bound(scenario, state, channel="independent", mean_gain=gain))
    for name in ("greedy", "plainest 1, waits for none", "plainest 4, waits for all"):
        controller = controllers(scenario)[name]
        rates = ms.long_run_rate(controller, many, warm_up=1.0, horizon=3.0, channel="independent")
        assert rates.mean() - 4.0 * rates.std(ddof=1) / 8**0.5 <= bound
    assert ms.rate_bound(scenario.replace(draft_ahead=False), state, channel="independent", mean_gain=gain) < bound


def written_again(scenario, state):
    """The program with one dense row after another, for devices in one set whose α are alike."""
    users, lengths = scenario.num_users, range(scenario.min_draft_length, scenario.max_draft_length + 1)
    pace, air = state.draft_time, user_times(scenario, state)[1]
    delay, sizes = scenario.round_trip_time, range(1, users + 1)
    verify = {n: scenario.pass_time(n, n * (1 + lengths[0])) for n in sizes}
    alpha = state.acceptance_rate
    hit = {
        (k, length): GUESS[scenario.guess](alpha[k]) * alpha[k] ** length for k in range(users) for length in lengths
    }
    unit = verify[1]  # the knots are in units of it
    longest = 2.0 * (verify[users] + delay + pace.max() * lengths[-1])
    last = min((air * lengths[-1]).max(), longest)
    knots = unit * np.concatenate([[0.0], last / unit * np.logspace(-3.0, 0.0, 47)])
    names = [("x", k, a, length) for k in range(users) for a in (0, 1) for length in lengths]
    names += [("z", n) for n in sizes] + [(name, k, n) for name in ("y", "m") for k in range(users) for n in sizes]
    names += [("v", r, j) for r in range(len(knots)) for j in sizes]
    at = {name: i for i, name in enumerate(names)}
    rows, limits, equal, values = [], [], [], []

    def row(terms, limit=0.0, same=False):
        line = np.zeros(len(names))
        for name, amount in terms:
            line[at[name]] += amount
        (equal if same else rows).append(line)
        (values if same else limits).append(limit)

    cycles = {k: [("x", k, a, length) for a in (0, 1) for length in lengths] for k in range(users)}
    every = [name for k in range(users) for name in cycles[k]]
    row([(("z", n), verify[n]) for n in sizes], 1.0)
    row([(name, air[name[1]] * name[3]) for name in every], 1.0)

    def own(name):
        return delay + (name[2] == 0) * name[3] * pace[name[1]]

    for k in range(users):
        waits = [(("y", k, n), verify[n]) for n in sizes]
        row([(name, own(name) + name[3] * air[k]) for name in cycles[k]] + waits, 1.0)  # 3a
        row([(name, name[2] - hit[k, name[3]]) for name in cycles[k]])  # 3b
        chain = [(name, delay + (name[3] + name[2]) * pace[k]) for name in cycles[k]]
        ends = [(name, (1.0 - hit[k, name[3]]) * name[3] * air[k]) for name in cycles[k]]
        ends += [(name, (hit[k, name[3]] - name[2]) * verify[1]) for name in cycles[k]]
        row(chain + ends + [(("m", k, n), verify[n]) for n in sizes], 1.0)  # 3c
        row([(name, 1.0 - hit[k, name[3]]) for name in cycles[k]] + [(("m", k, n), -1.0) for n in sizes])
        row([(name, 1.0) for name in cycles[k]] + [(("y", k, n), -1.0) for n in sizes], same=True)
        for n in sizes:
            row([(("y", k, n), 1.0), (("z", n), -1.0)])
            row([(("m", k, n), 1.0), (("y", k, n), hit[k, lengths[-1]] - 1.0)])
            row([(("m", k, n), -1.0), (("y", k, n), 1.0 - hit[k, lengths[0]])])
    for n in sizes:
        row([(("y", k, n), 1.0) for k in range(users)] + [(("z", n), -n)], same=True)
        row([(("v", r, n), 1.0) for r in range(len(knots))] + [(("z", size), -1.0) for size in sizes if size >= n])
    for r in range(len(knots)):
        shares = [(name, np.interp(air[name[1]] * name[3], knots, np.arange(len(knots)) == r)) for name in every]
        row(shares + [(("v", r, j), -1.0) for j in sizes])
    positions = [(("v", r, j), knots[r] * j) for r, j in itertools.product(range(len(knots)), sizes)]
    waits = [(("y", k, n), verify[n]) for k in range(users) for n in sizes]
    row([(name, own(name)) for name in every] + positions + waits, float(users))  # 5'
    gain = np.zeros(len(names))
    for name in every:
        gain[at[name]] = expected_tokens(name[3], alpha[name[1]])
    return -linprog(-gain, np.array(rows), limits, np.array(equal), values).fun


@pytest.mark.parametrize("guess", GUESS)
@pytest.mark.parametrize("bandwidth", [3e5, 3e6])
def test_a_second_writing_of_the_program(guess, bandwidth):
    scenario, state = simple(0.8, 2, guess=guess, max_draft_length=3, round_trip_time=0.004, total_bandwidth=bandwidth)
    scenario = scenario.replace(payload="ids", verification_time_per_draft=0.02, min_draft_length=0)
    state = ms.SystemState(np.array([0.010, 0.017]), np.array([0.02, 0.01]), state.acceptance_rate)
    assert ms.rate_bound(scenario, state) == pytest.approx(written_again(scenario, state), rel=1e-6)


def test_any_prices_prove_a_bound(monkeypatch):
    scenario, state = drawn_system(3)
    exact, solved = float(ms.rate_bound(scenario, state)), _Shares._prices
    for seed in range(3):
        noise = np.random.default_rng(seed)

        def worse(self, active, noise=noise):
            found = solved(self, active)
            found.x = found.x * noise.uniform(0.9, 1.1, found.x.shape)
            return found

        monkeypatch.setattr(_Shares, "_prices", worse)
        assert exact * (1.0 - 1e-6) <= ms.rate_bound(scenario, state) < 3.0 * exact


def test_prices_add_up_and_time_has_no_scale():
    scenario, state = drawn_system(6)
    prices = ms.rate_prices(scenario, state)
    assert prices.server + prices.uplink + prices.device.sum() == pytest.approx(prices.bound, rel=1e-12)
    assert (prices.device >= 0.0).all()
    assert prices.server > 0.0
    ahead, state = simple(0.8, 3)
    slower = ahead.replace(verification_pieces=((30.0, 0.0),))
    stretched = ms.SystemState(1e3 * state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    assert 1e3 * ms.rate_bound(slower, stretched) == pytest.approx(ms.rate_bound(ahead, state), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_drafting_ahead_where_nothing_or_everything_is_accepted(alpha):
    scenario, state = simple(alpha, 2)
    assert ms.rate_bound(scenario, state) == pytest.approx(2 / 0.03 if alpha == 0.0 else 2 / 0.01, rel=1e-6)


def test_better_guesses_are_not_worse():
    scenario, state = simple(0.8, 3)
    bounds = [float(ms.rate_bound(scenario.replace(guess=guess), state)) for guess in GUESS]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > ms.rate_bound(scenario.replace(draft_ahead=False), state)


def test_no_best_policy_of_rounds_with_two_devices_is_above():
    ratios = []
    for seed in range(60):
        scenario, state = drawn_system(seed)
        if scenario.num_users > 1 and scenario.max_draft_length == 3:
            scenario, state = scenario.replace(num_users=2), state.mapped(lambda array: array[:2])
            best = float(ms.rate_optimum(scenario, state))
            ratios.append([best / float(ms.rate_bound(scenario, state, barrier=barrier)) for barrier in (True, False)])
    assert np.max(ratios) <= ROUNDING
    assert (np.median(ratios, axis=0) > [0.95, 0.85]).all()
    assert len(ratios) > 10


def test_a_bound_on_rounds_alone():
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=8)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    for draft_ahead in (False, True):
        here = scenario.replace(draft_ahead=draft_ahead)
        rounds, bound = ms.rate_bound(here, state, barrier=True), ms.rate_bound(here, state)
        assert rounds < 0.95 * bound
        known = ms.upper_bound(here, state) if not draft_ahead else ms.rate_optimum(here, state)
        assert 0.8 * rounds < known <= rounds
    with pytest.raises(ValueError, match="barrier: expected True or False, got 1"):
        ms.rate_bound(scenario, state, barrier=1)


def test_no_tight_bound():
    scenario, state = simple()
    with pytest.raises(ValueError, match="tight: expected False where draft_ahead is True, got True"):
        ms.rate_bound(scenario, state, tight=True)
