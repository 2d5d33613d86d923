"""Decisions of rounds against brute force, and other systems by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.physics.energy import token_energy
from multispin_env.solver.problem import Problem
from tests import reference
from tests.alike import equal
from tests.families import RULES


def value(scenario, state, **options):
    return ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario, **options)(state)).goodput


LAWS = {
    "paper": {},
    "one piece": {"server": "a100-32b"},
    "steep": {"verification_pieces": ((0.01, 0.02),)},
    "a kink": {"verification_pieces": ((0.2, 0.0), (0.05, 0.0131))},  # at 11.45 tokens
    "two kinks": {"verification_pieces": ((0.5, 0.0), (0.3, 0.02), (0.01, 0.0453)), "round_trip_time": 0.1},
    "padded": {"server": "cpu-1.5b"},
    "padded, a kink": {"verification_pieces": ((0.2, 0.0), (0.05, 0.0131)), "padded_verification": True},
}


@pytest.mark.parametrize("law", ["paper", "one piece", "a kink", "padded"])
@pytest.mark.parametrize(
    ("users", "longest", "low", "energy_price"), [(2, 12, 0, 3.0), (3, 6, 1, 1.0), (2, 12, 0, 9.0)]
)
def test_a_price_of_energy_equals_brute_force(law, users, longest, low, energy_price, rng):
    fields = {"num_users": users, "max_draft_length": longest, "min_draft_length": low, "acceptance": "by-request"}
    scenario = ms.Scenario.preset("qwen3.5", **fields, **LAWS[law])
    state, weights = ms.sample_state(scenario, rng, 20), rng.choice([1.0, 3.0], users)
    energy = token_energy(scenario, state)
    options = {"weights": weights, "energy_price": energy_price}
    plain = ms.make_controller("optimal", scenario)
    certified, quick = (ms.make_controller("optimal", scenario, **options, certify=gap)(state) for gap in (1e-8, None))

    def priced(decision):
        outcome = ms.expected_outcome(scenario, state, decision)
        paid = energy_price * (energy * decision.draft_length).sum(-1)
        return ((weights * outcome.tokens).sum(-1) - paid) / outcome.round_latency

    every = itertools.product(range(low, longest + 1), repeat=users)
    shape = state.draft_time.shape
    best = np.max([priced(plain.with_equal_latency(np.broadcast_to(lengths, shape), state)) for lengths in every], 0)
    assert certified.certified.all()
    assert (certified.bound >= best * (1.0 - 1e-12)).all()
    assert certified.value == pytest.approx(best, rel=1e-8)
    assert priced(certified) == pytest.approx(best, rel=1e-8)
    assert priced(quick) == pytest.approx(best, rel=0.01)


def test_the_oracle_is_the_optimal_controller():
    scenario, state = ms.Scenario.preset("llama2", num_users=4), draw_state(0, 4)
    assert equal(ms.oracle(scenario, certify=1e-6)(state), ms.make_controller("optimal", scenario, certify=1e-6)(state))
    with pytest.raises(TypeError, match="did you mean 'certify'"):
        ms.oracle(scenario, certfy=1e-6)


def draw_state(seed, users):
    rng = np.random.default_rng(seed)
    return ms.SystemState(rng.uniform(5e-3, 3e-2, users), rng.uniform(0.05, 9, users), rng.uniform(0, 1, users))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), users=st.integers(1, 7), factor=st.floats(1, 10))
def test_order_of_users_bandwidth_and_units_of_time(seed, users, factor):
    scenario, state = ms.Scenario.preset("llama2", num_users=users), draw_state(seed, users)
    controller = ms.make_controller("optimal", scenario)
    order = np.random.default_rng(seed + 1).permutation(users)
    direct, permuted = controller(state), controller(state[order])
    assert (permuted.draft_length == direct.draft_length[order]).all()
    assert permuted.bandwidth == pytest.approx(direct.bandwidth[order], rel=1e-9)
    if users < 5:
        best = value(scenario, state)
        assert value(scenario.replace(total_bandwidth=1e7 * factor), state) >= best * (1 - 1e-12)
        slower = scenario.replace(
            verification_fixed_time=factor * scenario.verification_fixed_time,
            verification_time_per_draft=factor * scenario.verification_time_per_draft,
        )
        scaled = ms.SystemState(factor * state.draft_time, state.spectral_efficiency / factor, state.acceptance_rate)
        assert value(slower, scaled) == pytest.approx(best / factor, rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("users", [1, 200])
@pytest.mark.parametrize("bandwidth", [1e3, 1e11])
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1 - 1e-12, 1.0])
def test_extremes(users, bandwidth, alpha):
    scenario = ms.Scenario.preset("llama2", num_users=users, total_bandwidth=bandwidth)
    draft_time = np.full(users, 0.01)
    draft_time[0] *= 1000
    state = ms.SystemState(draft_time, np.linspace(1e-3, 20, users), np.full(users, alpha))
    best, common = (
        ms.expected_outcome(scenario, state, ms.make_controller(name, scenario)(state)).goodput
        for name in ("optimal", "homogeneous")
    )
    assert np.isfinite(best)
    assert best >= common * (1 - 1e-9)


def test_fixed_is_eight_or_the_nearest_to_it(scenario, rng):
    state = ms.sample_state(scenario, rng, 3)
    decision = ms.make_controller("fixed", scenario)(state)
    assert (decision.draft_length == 8).all()
    assert (decision.bandwidth == 5e5).all()
    assert (ms.make_controller("fixed", scenario, draft_length=3)(state).draft_length == 3).all()
    assert (ms.make_controller("fixed", scenario.replace(max_draft_length=5))(state).draft_length == 5).all()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("low", [0, 1])
def test_uniform_bandwidth_and_homogeneous_equal_brute_force_under_each_law(law, low):
    totals = set()
    for bandwidth in (5e5, 2e6, 2e7):
        scenario = ms.Scenario.preset("qwen3.5", num_users=3, max_draft_length=7, total_bandwidth=bandwidth)
        scenario = scenario.replace(min_draft_length=low, **LAWS[law])
        state = ms.sample_state(scenario, np.random.default_rng(0), 20)

        def goodput(decision, scenario=scenario, state=state):
            return ms.expected_outcome(scenario, state, decision).goodput

        every = np.array(list(itertools.product(range(low, 8), repeat=3)))[:, None]
        best = goodput(ms.Decision(every, np.full(every.shape, bandwidth / 3))).max(0)
        decision = ms.make_controller("uniform-bandwidth", scenario)(state)
        assert goodput(decision) == pytest.approx(best, rel=1e-12)
        totals.update(decision.draft_length.sum(-1).tolist())
        fixed = [{"fixed_length": np.full(3, length)} for length in range(low, 8)]
        best = np.max([goodput(ms.make_controller("optimal", scenario, **options)(state)) for options in fixed], 0)
        assert goodput(ms.make_controller("homogeneous", scenario)(state)) == pytest.approx(best, rel=1e-12)
    assert len(totals) > 2
    if "kink" in law and "padded" not in law:
        assert totals & {8, 9}  # on both sides of 11.45 tokens, 3 of them from the server


def test_random_uses_its_generator(scenario, rng):
    state = ms.sample_state(scenario, rng, 200)

    def play(seed):
        return ms.make_controller("random", scenario, rng=np.random.default_rng(seed))(state)

    assert (play(1).bandwidth == play(1).bandwidth).all()
    assert (play(1).draft_length != play(2).draft_length).any()
    share = play(1).bandwidth / scenario.total_bandwidth
    assert share.sum(-1) == pytest.approx(np.ones(200))
    assert (share**2).mean() == pytest.approx(2.0 / (20 * 21), rel=0.1)  # uniform over the simplex; 4,000 of them
    assert set(np.unique(play(1).draft_length)) == set(range(1, 26))
    zeros = type("Zeros", (np.random.Generator,), {"standard_exponential": lambda self, size: np.zeros(size)})
    equal = ms.make_controller("random", scenario, rng=zeros(np.random.PCG64(0)))(state)  # zero has probability 2⁻⁵³
    assert equal.bandwidth == pytest.approx(np.full((200, 20), scenario.total_bandwidth / 20))
    assert (ms.make_controller("random", scenario, rng=1)(state).bandwidth == play(1).bandwidth).all()


def alone(scenario, alpha, token_latency):
    lengths = range(scenario.min_draft_length, scenario.max_draft_length + 1)
    times = {n: n * token_latency + scenario.law.time(1, n + 1) + scenario.round_trip_time for n in lengths}
    return max(reference.expected_tokens(n, alpha) / time for n, time in times.items())


@pytest.mark.parametrize("server", [{}, {"server": "a100-7b-gemm", "round_trip_time": 1.0}])
@pytest.mark.parametrize(("low", "bandwidth"), [(1, 1e7), (1, 1e5), (0, 1e5)])  # where none is best, one is too many
def test_systems_by_hand(preset, rng, low, bandwidth, server):
    scenario = ms.Scenario.preset(preset, min_draft_length=low, total_bandwidth=bandwidth).replace(**server)
    state = ms.sample_state(scenario, rng)
    upload = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    p2p = [alone(scenario, a, t) for a, t in zip(state.acceptance_rate, state.draft_time + upload, strict=True)]
    assert ms.baselines.p2p_goodput(scenario, state) == pytest.approx(np.mean(p2p))
    central = [alone(scenario, a, scenario.server_draft_time) for a in state.acceptance_rate]
    assert ms.baselines.centralized_goodput(scenario, state) == pytest.approx(np.mean(central))
    batch = ms.sample_state(scenario, rng, 3)
    for system in (ms.baselines.p2p_goodput, ms.baselines.centralized_goodput):
        assert system(scenario, batch) == pytest.approx([float(system(scenario, batch[i])) for i in range(3)])


@pytest.mark.parametrize("name", RULES)
def test_any_batch_shape(name, scenario, rng):
    state = ms.sample_state(scenario, rng, 6)
    arrays = state.draft_time, state.spectral_efficiency, state.acceptance_rate
    options = {"phi_points": 10, "lambda_points": 10} if name == "algorithm1" else {}
    flat, folded, single = (
        ms.make_controller(name, scenario, **options)(case)
        for case in (state, ms.SystemState(*(x.reshape(2, 3, 20) for x in arrays)), state[0])
    )
    assert (folded.draft_length.reshape(6, 20) == flat.draft_length).all()
    assert flat.draft_length.dtype == np.int64
    assert single.draft_length.shape == single.bandwidth.shape == (20,)
    bad = ms.SystemState(np.full(20, np.nan), np.ones(20), np.full(20, 0.5))
    with pytest.raises(ValueError, match=r"draft_time\[0\]: expected finite numbers, got nan"):
        ms.make_controller(name, scenario, **options)(bad)


@pytest.mark.parametrize("name", [name for name in RULES if name != "random"])
def test_chunks_of_a_batch_keep_their_order(name, rng, monkeypatch):
    scenario = ms.Scenario.preset("llama2", num_users=3, max_draft_length=6)
    state = ms.sample_state(scenario, rng, 11)
    options = {"phi_points": 4, "lambda_points": 4} if name == "algorithm1" else {}
    kinds = [options, {"certify": 1e-6}] if name == "optimal" else [options]
    controllers = [ms.make_controller(name, scenario, **options) for options in kinds]
    whole = [controller(state) for controller in controllers]
    rows = []
    for module in ("problem", "certify"):
        monkeypatch.setattr(f"multispin_env.solver.{module}.CHUNK_ENTRIES", 4 * 18)
    monkeypatch.setattr("multispin_env.solver.problem.SOLVER_ENTRIES", 4 * 3)
    problem_rows = Problem.__getitem__
    monkeypatch.setattr(Problem, "__getitem__", lambda self, part: rows.append(part) or problem_rows(self, part))
    for controller, decision in zip(controllers, whole, strict=True):
        chunked = controller(state)
        assert (chunked.draft_length == decision.draft_length).all()
        assert (chunked.bandwidth == decision.bandwidth).all()
    if name == "optimal":
        chunks = [part for part in rows if isinstance(part, slice) and part.stop - part.start == 3]
        assert chunks[:3] == [slice(0, 3), slice(3, 6), slice(6, 9)]


SERVER = ms.Scenario.preset("qwen3.5", server="a100-7b-gemm", num_users=3, min_draft_length=0)
BY_BATCH = {"server_draft_pieces": ((0.002, 0.0), (0.0005, 0.0008))}  # 2.9 ms for three requests


def test_colocated_by_plain_python(rng):
    state = ms.sample_state(SERVER, rng, 4)
    base = ms.baselines.autoregressive_goodput(SERVER)
    assert base == 3 / SERVER.law.time(3, 3)
    assert (ms.baselines.autoregressive_goodput(SERVER, state) == np.full(4, base)).all()
    assert (ms.baselines.colocated_goodput(SERVER.replace(server_draft_time=1.0), state) == base).all()
    for users, fields in ((1, {}), (3, {}), (1, BY_BATCH), (2, BY_BATCH), (5, BY_BATCH), (40, BY_BATCH)):
        server = SERVER.replace(num_users=users, **fields)
        state = ms.sample_state(server, rng)
        pieces = server.server_draft_pieces or ((server.server_draft_time, 0.0),)
        step = max(start + slope * users for start, slope in pieces)
        in_turn, at_once = [], []
        for length in range(server.max_draft_length + 1):
            tokens = sum(sum(alpha**position for position in range(length + 1)) for alpha in state.acceptance_rate)
            drafting, verifying = length * step, server.law.time(users, users * (length + 1))
            in_turn.append(tokens / (drafting + verifying))
            at_once.append(tokens / max(drafting, verifying))
        assert ms.baselines.colocated_goodput(server, state) == pytest.approx(max(in_turn), rel=1e-12)
        assert ms.baselines.overlapping_goodput(server, state) == pytest.approx(max(at_once), rel=1e-12)
        assert ms.baselines.centralized_goodput(server, state) == ms.baselines.centralized_goodput(
            SERVER.replace(num_users=users), state
        )


@pytest.mark.parametrize(("users", "tolerance"), [(1, 1e-9), (50, 1e-9), (51, 1e-4)])
def test_decisions_have_a_proof_without_certify(users, tolerance):
    scenario = ms.Scenario.preset("qwen3.5", num_users=users, server="a100-32b", payload="ids")
    state = ms.sample_state(scenario, 0, 3)
    decision = ms.oracle(scenario)(state)
    assert decision.tolerance == tolerance
    assert decision.certified.all()
    best = ms.oracle(scenario, certify=1e-6)(state)
    assert decision.value == pytest.approx(best.value, rel=max(tolerance, 1e-6))
    assert decision.value == pytest.approx(ms.expected_outcome(scenario, state, decision).goodput, rel=1e-12)


def test_a_price_at_which_no_draft_pays_proves_nothing():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    decision = ms.oracle(scenario, energy_price=50.0)(ms.sample_state(scenario, 0, 4))
    assert (decision.draft_length == 1).all()
    assert np.isinf(decision.gap).all()
    assert not decision.certified.any()
