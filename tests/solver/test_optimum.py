"""Certified optimum and fast rule against brute force, for realistic and extreme systems."""

from dataclasses import astuple
from hashlib import sha256
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.registry import SERVERS
from multispin_env.solver.moves import improve
from multispin_env.solver.problem import make_problem
from multispin_env.solver.relaxed import is_idle, relaxed_longest, relaxed_optimum
from tests.hostile import extreme_instance, hostile_instance, hostile_law
from tests.reference import best_goodput, server_time
from tests.reference import equal_latency as root
from tests.strategies import KINDS, instances, problems


def weighted(scenario, state, weights, decision):
    outcome = ms.expected_outcome(scenario, state, decision)
    return float((weights * outcome.tokens).sum(-1) / outcome.round_latency)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_certified_equals_brute_force(kind, data):
    scenario, state, weights = data.draw(instances(kind))
    best = best_goodput(scenario, state, weights)
    certified = ms.make_controller("optimal", scenario, certify=1e-8, weights=weights)(state)
    assert certified.certified
    assert certified.bound >= best * (1.0 - 1e-14)
    assert weighted(scenario, state, weights, certified) == pytest.approx(best, rel=1e-8)
    assert certified.value == pytest.approx(best, rel=1e-8)
    quick = ms.make_controller("optimal", scenario, weights=weights)(state)
    assert weighted(scenario, state, weights, quick) >= 0.999 * best


@pytest.mark.parametrize("server", SERVERS.names())
def test_certified_equals_brute_force_on_every_server(server):
    rng = np.random.default_rng(0)
    for users, longest, payload, low in ((1, 25, "ids", 0), (2, 12, "distributions", 1), (3, 6, "ids", 0)):
        fields = {"num_users": users, "max_draft_length": longest, "payload": payload, "min_draft_length": low}
        bandwidth = float(rng.choice([0.2e6, 1e6, 10e6]))
        context = {"context_time": 1e-6, "context": 20_000}
        scenario = ms.Scenario.preset("qwen3.5", server=server, total_bandwidth=bandwidth, **fields, **context)
        state = ms.sample_state(scenario, rng)
        best = best_goodput(scenario, state)
        certified = ms.make_controller("optimal", scenario, certify=1e-8)(state)
        assert certified.certified
        assert certified.bound >= best * (1.0 - 1e-14)
        assert ms.expected_outcome(scenario, state, certified).goodput == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(data=st.data())
def test_fixed_lengths(kind, data):
    scenario, state, weights = data.draw(instances(kind, users=3))
    fixed = np.where(data.draw(st.tuples(*[st.booleans()] * 3)), scenario.max_draft_length, -1)
    best = best_goodput(scenario, state, weights, fixed)
    for options in ({"certify": 1e-9}, {}):
        decision = ms.make_controller("optimal", scenario, **options, weights=weights, fixed_length=fixed)(state)
        assert (decision.draft_length[fixed >= 0] == fixed[fixed >= 0]).all()
        assert weighted(scenario, state, weights, decision) == pytest.approx(best, rel=1e-9 if options else 1e-3)
    assert ms.upper_bound(scenario, state, weights, fixed) >= best * (1.0 - 1e-14)


def test_batch_does_not_matter():
    pieces = {"verification_pieces": ((1.0, 0.0), (0.1, 0.01))}
    for law in ({}, {"total_bandwidth": 2e8}, {"server": "a100-32b"}, {"server": "cpu-1.5b"}, pieces):
        scenario = ms.Scenario.preset("qwen3.5", num_users=6, min_draft_length=0, **law)
        state = ms.sample_state(scenario, np.random.default_rng(3), 20)
        for options in ({}, {"certify": 1e-6}):
            controller = ms.make_controller("optimal", scenario, **options)
            whole, turned = controller(state), controller(state[::-1])
            folded = controller(state.mapped(lambda x: x.reshape(2, 10, 6)))
            for i in range(0, 20, 7):
                for other in (controller(state[i]), turned[19 - i], folded[i // 10, i % 10]):
                    assert (other.draft_length == whole.draft_length[i]).all()
                    assert (other.bandwidth == whole.bandwidth[i]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_nothing_near_the_relaxed_optimum_is_better(kind, seed):
    rng, (pieces, padded) = np.random.default_rng(seed), KINDS[kind]
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, total_bandwidth=2e6, min_draft_length=0)
    scenario = hostile_law(rng, scenario, pieces, padded) if pieces else scenario
    problem = make_problem(scenario, ms.sample_state(scenario, rng))
    at = relaxed_optimum(problem)

    def value(lengths):
        time = root(lengths, problem.draft_time[0], problem.token_time[0]) + server_time(scenario, lengths)
        return problem.tokens(lengths[None, None])[0, 0] / time

    best = value(at.length[0])
    assert at.value[0] == pytest.approx(best, rel=1e-12)
    for scale in np.repeat([3.0, 0.3, 0.01, 1e-4], 25):
        for change in (rng.normal(size=3), rng.random()):  # also all at once, as padding requires
            assert value(np.clip(at.length[0] + scale * change, 0.0, 25.0)) <= best * (1.0 + 1e-10)


@pytest.mark.parametrize(("seed", "pieces"), [(210, 2), (280, 2), (132, 1), (9, 1), *product((51, 101), (1, 2))])
def test_the_rule_finds_the_longest_draft_where_padding_earns_little(seed, pieces):
    # in the last ones uploads take no time, so that λ has few digits, and a rule that relies on it loses a third
    rng = np.random.default_rng(seed)
    scenario, state, weights = hostile_instance(rng, max_decisions=1000)
    scenario = hostile_law(rng, scenario, pieces, True)
    best = best_goodput(scenario, state, weights)
    quick = ms.make_controller("optimal", scenario, weights=weights)(state)
    assert weighted(scenario, state, weights, quick) >= 0.999 * best


@settings(max_examples=60)
@given(case=instances("one piece", users=2))
def test_no_device_drafts_exactly_where_the_relaxed_optimum_is_idle(case):
    scenario, state, weights = case
    scenario = scenario.replace(min_draft_length=0, round_trip_time=0.0)
    problem = make_problem(scenario, state, weights)
    at_zero = problem.value(np.zeros((1, 1, 2)))[0, 0]
    steps = 1e-6 * np.array([[a, 1.0 - a] for a in np.linspace(0.0, 1.0, 41)])
    drafting = problem.value(steps[None])[0].max() > at_zero * (1.0 + 1e-13)
    assert bool(is_idle(problem)[0]) == (not drafting)
    if not drafting:
        assert not ms.make_controller("optimal", scenario, weights=weights)(state).draft_length.any()


@pytest.mark.parametrize("padded", [False, True])
def test_a_law_without_a_slope_is_the_papers_to_the_bit(padded, scenario, rng):
    state = ms.sample_state(scenario, rng, 12)
    flat = scenario.replace(verification_pieces=((0.0, 0.0),), padded_verification=padded)
    for options in ({}, {"certify": 1e-6}, {"weights": np.linspace(0.0, 2.0, scenario.num_users)}):
        decisions = [ms.make_controller("optimal", system, **options)(state) for system in (scenario, flat)]
        assert all(np.array_equal(*pair) for pair in zip(*map(astuple, decisions), strict=True))
    paper, other = (ms.sensitivities(system, state) for system in (scenario, flat))
    for name in ("goodput", "bandwidth_price", "snr_db"):
        assert (getattr(paper, name) == getattr(other, name)).all()


@pytest.mark.parametrize(
    ("preset", "digest", "value", "bound"),
    [
        ("llama2", "90f3026475930756", 171.25332952846802, 171.25350061054422),
        ("qwen3.5", "08d7ad2cff96c7af", 239.44463737588217, 239.4448765810749),
    ],
)
def test_the_papers_law_has_the_stored_numbers(preset, digest, value, bound):
    scenario = ms.Scenario.preset(preset)
    state = ms.sample_state(scenario, np.random.default_rng(1), 40)
    quick, certified = (ms.make_controller("optimal", scenario, certify=gap)(state) for gap in (None, 1e-6))
    lengths = np.stack([quick.draft_length, certified.draft_length]).astype("<i8")
    assert sha256(lengths.tobytes()).hexdigest()[:16] == digest
    assert [certified.value.mean(), certified.bound.mean()] == pytest.approx([value, bound], rel=1e-13)


@pytest.mark.parametrize("kind", ["padded", "padded, two pieces", "measured"])
@settings(max_examples=8)
@given(data=st.data())
def test_the_longest_draft_of_padded_passes_is_the_best_of_all(kind, data):
    if kind == "measured":  # drafts are cut at ends, just after one of which the latency is
        scenario = ms.Scenario.preset("qwen3.5", num_users=8, server="cpu-1.5b", min_draft_length=0, payload="ids")
        problem = make_problem(scenario, ms.sample_state(scenario, data.draw(st.integers(0, 2**32))))
    else:
        problem = data.draw(problems(kind))
    longest, at = relaxed_longest(problem, 1e-6)
    every = np.arange(problem.low.max(), problem.high.max() + 1)
    part = problem[np.zeros(len(every), dtype=int)].with_longest(every)
    best = relaxed_optimum(part, 1e-6).value  # each M separately, by another search
    assert best.max() <= best[every == longest[0]][0] * (1.0 + 1e-6)
    assert at.value[0] >= best.max() * (1.0 - 1e-6)


LOST = [24, 831, 1997, 3588, 5372, 5723, 6453, 6500, 6816, 9419, 10261, 10410, 10857, 12857, 13058, 13760, 14222,
        14685, 14941, 14976, 24809]  # fmt: skip
"""Seeds of instances for which an earlier rule lost more than 1 %."""


def test_a_certificate_that_was_not_reached_is_not_claimed(scenario, rng):
    state = ms.sample_state(scenario, rng, 30)
    decision = ms.make_controller("optimal", scenario, certify=1e-9, time_limit=0.0)(state)
    assert (decision.certified == (decision.gap <= 1e-9)).all()
    assert not decision.certified.all()
    assert (decision.gap < 1.0).all()  # there is a bound nevertheless
    assert (decision.bound >= decision.value).all()


def loss_of_the_rule(scenario, state):
    best = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    assert best.certified.all()
    assert ms.expected_outcome(scenario, state, best).goodput == pytest.approx(best.value, rel=1e-9)
    quick = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    assert (quick <= best.bound).all()
    return 1.0 - quick / best.value


@pytest.mark.parametrize("server", ["", "a100-32b", "a100-70b", "a100-7b-gemm", "cpu-1.5b", "h100-27b", "l40s-32b"])
@pytest.mark.parametrize("name", ["llama2", "qwen3.5"])
def test_the_rule_is_close_on_networks(name, server):
    wide = [{"total_bandwidth": bandwidth} for bandwidth in (2e6, 1e7, 2e8)]
    tokens = [{"server": server, "min_draft_length": 0, "payload": payload} for payload in ("ids", "distributions")]
    for fields in tokens if server else wide:
        scenario = ms.Scenario.preset(name, num_users=8, **fields)
        lost = loss_of_the_rule(scenario, ms.sample_state(scenario, np.random.default_rng(1), 20 if server else 60))
        assert lost.max() <= (4e-3 if server else 1e-14)  # 3e-16 are measured for the paper's law
        assert (lost <= 1e-3).mean() >= 0.9


@pytest.mark.parametrize("seeds", [*([seed] for seed in LOST), range(30)], ids=str)
def test_the_rule_loses_little_far_from_any_network(seeds):
    for seed in seeds:
        assert loss_of_the_rule(*extreme_instance(np.random.default_rng(seed))) <= 1e-2, seed


@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("decibels", [-60, -90, -120])
def test_the_rule_loses_nothing_in_very_weak_channels(low, decibels):
    scenario = ms.Scenario.preset("llama2", num_users=8, total_bandwidth=1e3, min_draft_length=low)
    rng = np.random.default_rng(0)
    efficiency = np.log1p(10.0 ** (decibels / 10.0) * rng.exponential(1.0, (20, 8))) / np.log(2.0)
    state = ms.SystemState(np.full((20, 8), 1e-3), efficiency, rng.uniform(0.5, 0.95, (20, 8)))
    assert loss_of_the_rule(scenario, state).max() <= 1e-6


@pytest.mark.parametrize("options", [{}, {"server": "cpu-1.5b"}, {"upload_loss": 0.1, "repeat_time": 0.05}], ids=str)
@pytest.mark.parametrize("bandwidth", [1e13, 1e20, 1e30])
def test_a_band_without_limits_loses_nothing(bandwidth, options):
    fields = {"num_users": 4, "min_draft_length": 0, "payload": "ids", **options}
    scenario = ms.Scenario.preset("llama2", total_bandwidth=bandwidth, **fields)
    state = ms.sample_state(scenario, 0, 10)
    best = ms.oracle(scenario, certify=1e-6)(state)
    goodput = ms.expected_outcome(scenario, state, ms.oracle(scenario)(state)).goodput
    assert best.certified.all()
    assert goodput == pytest.approx(best.value, rel=1e-6)


def test_gaps_by_hand():
    ones, value, bound = np.ones((4, 2)), np.array([2.0, 4.0, 0.0, 0.0]), np.array([3.0, 4.0, 0.0, 1.0])
    decision = ms.CertifiedDecision(ones.astype(int), ones, value, bound, 0.5)
    assert decision.gap.tolist() == [0.5, 0.0, 0.0, np.inf]
    assert decision.certified.tolist() == [True, True, True, False]
    assert decision[1:].gap.tolist() == [0.0, 0.0, np.inf]
    assert decision[0].tolerance == 0.5


def test_starts_of_one_instance_end_at_the_same_best_together_and_apart(rng):
    scenario = ms.Scenario.preset("qwen3.5", num_users=6, server="a100-32b", min_draft_length=0)
    problem = make_problem(scenario, ms.sample_state(scenario, rng, 40))
    starts = rng.integers(0, 6, (40, 3, 6)).astype(float)
    starts[:20, 1] = starts[:20, 0]  # the same from the beginning
    part, flat = problem[np.repeat(np.arange(40), 3)], starts.reshape(120, 6)
    latency = part.latency(flat[:, None])
    apart = improve(part, flat, latency).reshape(starts.shape)
    together = improve(part, flat, latency, 3).reshape(starts.shape)
    best = problem.value(apart).argmax(-1)
    np.testing.assert_array_equal(problem.value(together).argmax(-1), best)
    np.testing.assert_array_equal(together[np.arange(40), best], apart[np.arange(40), best])
    assert (together != apart).any()  # some stop where another goes on
