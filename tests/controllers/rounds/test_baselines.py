import itertools

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import sample_tokens
from multispin_env.solver.problem import Problem


def test_fixed_is_eight_or_the_nearest_to_it(scenario, rng):
    state = ms.sample_state(scenario, rng, 3)
    decision = ms.make_controller("fixed", scenario)(state)
    assert (decision.draft_length == 8).all()
    assert (decision.bandwidth == 5e5).all()
    assert (ms.make_controller("fixed", scenario, draft_length=3)(state).draft_length == 3).all()
    assert (ms.make_controller("fixed", scenario.replace(max_draft_length=5))(state).draft_length == 5).all()
    with pytest.raises(ValueError, match=r"draft_length: expected an integer in 1\.\.25, got 99"):
        ms.make_controller("fixed", scenario, draft_length=99)


@pytest.mark.parametrize("low", [0, 1])
def test_uniform_bandwidth_equals_brute_force(preset, rng, low):
    scenario = ms.Scenario.preset(preset, num_users=3, max_draft_length=7, min_draft_length=low, total_bandwidth=2e6)
    state = ms.sample_state(scenario, rng, 40)
    found = ms.expected_outcome(scenario, state, ms.make_controller("uniform-bandwidth", scenario)(state)).goodput
    share = np.full(3, scenario.total_bandwidth / 3)
    every = np.array(list(itertools.product(range(low, 8), repeat=3)))
    decisions = ms.Decision(every[:, None], np.broadcast_to(share, every[:, None].shape))
    best = ms.expected_outcome(scenario, state, decisions).goodput.max(0)
    assert found == pytest.approx(best, rel=1e-12)


LAWS = {
    "one piece": {"server": "a100-32b"},
    "steep": {"verification_pieces": ((0.01, 0.02),)},
    "a kink": {"verification_pieces": ((0.2, 0.0), (0.05, 0.0131))},  # at 11.45 tokens
    "two kinks": {"verification_pieces": ((0.5, 0.0), (0.3, 0.02), (0.01, 0.0453)), "round_trip_time": 0.1},
    "padded": {"server": "cpu-1.5b"},
    "padded, a kink": {"verification_pieces": ((0.2, 0.0), (0.05, 0.0131)), "padded_verification": True},
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("low", [0, 1])
def test_uniform_bandwidth_and_homogeneous_equal_brute_force_under_each_law(law, low):
    seen = set()
    for bandwidth in (5e5, 2e6, 2e7):
        scenario = ms.Scenario.preset("qwen3.5", num_users=3, max_draft_length=7, total_bandwidth=bandwidth)
        scenario = scenario.replace(min_draft_length=low, **LAWS[law])
        state = ms.sample_state(scenario, np.random.default_rng(0), 20)
        every = np.array(list(itertools.product(range(low, 8), repeat=3)))[:, None]
        share = np.full(every.shape, scenario.total_bandwidth / 3)
        best = ms.expected_outcome(scenario, state, ms.Decision(every, share)).goodput.max(0)
        decision = ms.make_controller("uniform-bandwidth", scenario)(state)
        assert ms.expected_outcome(scenario, state, decision).goodput == pytest.approx(best, rel=1e-12)
        seen.update(decision.draft_length.sum(-1).tolist())
        fixed = [
            ms.make_controller("optimal", scenario, fixed_length=np.full(3, length))(state) for length in range(low, 8)
        ]
        best = np.max([ms.expected_outcome(scenario, state, one).goodput for one in fixed], 0)
        decision = ms.make_controller("homogeneous", scenario)(state)
        assert ms.expected_outcome(scenario, state, decision).goodput == pytest.approx(best, rel=1e-12)
    assert len(seen) > 2
    if "kink" in law and "padded" not in law:
        assert seen & {8, 9}  # on both sides of 11.45 tokens, 3 of them the server's


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
    with pytest.raises(ValueError, match=r"rng: expected a numpy\.random\.Generator, got 3"):
        ms.make_controller("random", scenario, rng=3)


def alone(scenario, alpha, token_latency):
    t_ver = scenario.verification_fixed_time + scenario.verification_time_per_draft
    lengths = range(scenario.min_draft_length, scenario.max_draft_length + 1)
    return max(sum(alpha**i for i in range(n + 1)) / (n * token_latency + t_ver) for n in lengths)


@pytest.mark.parametrize(("low", "bandwidth"), [(1, 1e7), (1, 1e5), (0, 1e5)])  # where none is best, one is too many
def test_systems_by_hand(preset, rng, low, bandwidth):
    scenario = ms.Scenario.preset(preset, min_draft_length=low, total_bandwidth=bandwidth)
    state = ms.sample_state(scenario, rng)
    upload = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    p2p = [alone(scenario, a, t) for a, t in zip(state.acceptance_rate, state.draft_time + upload, strict=True)]
    assert ms.p2p_goodput(scenario, state) == pytest.approx(np.mean(p2p))
    central = [alone(scenario, a, 0.004) for a in state.acceptance_rate]
    assert ms.centralized_goodput(scenario, state) == pytest.approx(np.mean(central))
    batch = ms.sample_state(scenario, rng, 3)
    for system in (ms.p2p_goodput, ms.centralized_goodput):
        assert system(scenario, batch) == pytest.approx([float(system(scenario, batch[i])) for i in range(3)])


@pytest.mark.parametrize("name", ms.controller_names("rounds"))
def test_every_controller_decides_for_any_batch_shape(name, scenario, rng):
    state = ms.sample_state(scenario, rng, 6)
    folded = ms.SystemState(
        *(x.reshape(2, 3, 20) for x in (state.draft_time, state.spectral_efficiency, state.acceptance_rate))
    )
    options = {"phi_points": 10, "lambda_points": 10} if name == "algorithm1" else {}
    flat = ms.make_controller(name, scenario, **options)(state)
    deep = ms.make_controller(name, scenario, **options)(folded)
    assert (deep.draft_length.reshape(6, 20) == flat.draft_length).all()
    assert flat.draft_length.dtype == np.int64
    one = ms.make_controller(name, scenario, **options)(state[0])
    assert one.draft_length.shape == (20,)
    assert one.bandwidth.shape == (20,)
    ms.expected_outcome(scenario, state, flat)  # feasible


@pytest.mark.parametrize("name", ms.controller_names("rounds"))
def test_misspelt_option_and_bad_state(name, scenario):
    with pytest.raises(TypeError, match=f"controller '{name}': got an unexpected keyword argument 'colour'"):
        ms.make_controller(name, scenario, colour=1)
    bad = ms.SystemState(np.full(20, np.nan), np.ones(20), np.full(20, 0.5))
    with pytest.raises(ValueError, match=r"draft_time\[0\]: expected finite numbers, got nan"):
        ms.make_controller(name, scenario)(bad)


@pytest.mark.parametrize("name", [name for name in ms.controller_names("rounds") if name != "random"])
def test_pieces_of_a_batch_are_joined_in_their_order(name, rng, monkeypatch):
    scenario = ms.Scenario.preset("llama2", num_users=3, max_draft_length=6)
    state = ms.sample_state(scenario, rng, 11)
    options = {"phi_points": 4, "lambda_points": 4} if name == "algorithm1" else {}
    controllers = [ms.make_controller(name, scenario, **options)]
    if name == "optimal":
        controllers.append(ms.make_controller(name, scenario, certify=1e-6))
    whole = [controller(state) for controller in controllers]
    sizes = []
    monkeypatch.setattr("multispin_env.solver.problem.CHUNK_ENTRIES", 4 * 18)
    monkeypatch.setattr("multispin_env.solver.problem.SOLVER_ENTRIES", 4 * 3)
    problem_rows = Problem.rows
    monkeypatch.setattr(Problem, "rows", lambda self, rows: sizes.append(rows) or problem_rows(self, rows))
    for controller, decision in zip(controllers, whole, strict=True):
        pieces = controller(state)
        assert (pieces.draft_length == decision.draft_length).all()
        assert (pieces.bandwidth == decision.bandwidth).all()
    if name == "optimal":
        pieces = [s for s in sizes if isinstance(s, slice) and s.stop - s.start == 4]
        assert pieces[:3] == [slice(0, 4), slice(4, 8), slice(8, 12)]


SERVER = ms.Scenario.preset("qwen3.5", server="a100-7b-gemm", num_users=3, min_draft_length=0)


def test_systems_on_a_server_equal_a_simulation_that_draws_tokens(rng):
    """Tokens of many rounds over their time, with the length that the closed form finds best."""
    state = ms.sample_state(SERVER, rng)
    rounds = 200_000
    rate = np.broadcast_to(state.acceptance_rate, (rounds, 3))
    values = []
    for length in range(SERVER.max_draft_length + 1):
        time = length * SERVER.server_draft_time + SERVER.pass_time(3, 3 * (length + 1))
        tokens = sample_tokens(np.full((rounds, 3), length), rate, rng)
        values.append(tokens.sum() / (rounds * time))
    assert ms.colocated_goodput(SERVER, state) == pytest.approx(max(values), rel=0.01)
    assert ms.autoregressive_goodput(SERVER) == pytest.approx(values[0], rel=1e-12)


def test_systems_on_a_server_by_hand(rng):
    state = ms.sample_state(SERVER, rng, 4)
    alone = ms.autoregressive_goodput(SERVER)
    assert alone == 3 / SERVER.pass_time(3, 3)
    assert (ms.autoregressive_goodput(SERVER, state) == np.full(4, alone)).all()
    assert (ms.colocated_goodput(SERVER, state) >= alone).all()
    slow = SERVER.replace(server_draft_time=10.0)
    assert (ms.colocated_goodput(slow, state) == alone).all()  # drafting does not pay
    upload = full_share_token_time(SERVER, state.spectral_efficiency)
    lengths = np.arange(26)
    tokens = (1.0 - state.acceptance_rate[..., None] ** (lengths + 1)) / (1.0 - state.acceptance_rate[..., None])
    time = lengths * (state.draft_time + upload)[..., None] + SERVER.pass_time(1, lengths + 1)
    assert ms.p2p_goodput(SERVER, state) == pytest.approx((tokens / time).max(-1).mean(-1), rel=1e-12)
    far = SERVER.replace(round_trip_time=1.0)
    assert ms.p2p_goodput(far, state) == pytest.approx((tokens / (time + 1.0)).max(-1).mean(-1), rel=1e-12)


class Zeros(np.random.Generator):
    """A generator whose exponentials are all 0, as one in 2⁵³ is."""

    def standard_exponential(self, size):
        return np.zeros(size)


def test_random_shares_are_never_nothing():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    state = ms.sample_state(scenario, np.random.default_rng(0), 2)
    decision = ms.make_controller("random", scenario, rng=Zeros(np.random.PCG64(0)))(state)
    assert decision.bandwidth == pytest.approx(np.full((2, 3), scenario.total_bandwidth / 3))
