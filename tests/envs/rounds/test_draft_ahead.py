"""Drafting ahead in rounds, compared with an independent slow simulator."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import brentq

import multispin_env as ms
from multispin_env.evaluation.statistics import EPISODE_SEED
from multispin_env.registry import ENCODINGS
from tests.alike import equal
from tests.families import ROUNDS
from tests.reference import expected_tokens, server_time

AHEAD, PLAIN = "MultiSpin/DraftAhead-v0", "MultiSpin/Heterogeneous-v0"
TASKS = tuple(ms.Task(name=str(rate), acceptance_rate=rate) for rate in (0.5, 0.7, 0.9, 0.95))


def vector(env_id=AHEAD, num_envs=4, **options):
    options = {"rho": 100.0, **options} if env_id == AHEAD else options
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **options).unwrapped


class Device:
    def __init__(self, draft_time):
        self.draft_time = draft_time
        self.chain = 0.0  # tokens, the last of them in part
        self.drafted = 0.0  # tokens in this round

    def draft_until(self, tokens):
        time = 0.0
        while self.chain < tokens:
            rest = np.floor(self.chain) + 1.0 - self.chain
            time += rest * self.draft_time
            self.chain += rest
            self.drafted += rest
        return time

    def draft_for(self, time, most):
        while time > 0.0 and self.chain < most:
            rest = np.floor(self.chain) + 1.0 - self.chain
            part = min(rest, time / self.draft_time)
            self.chain += part
            self.drafted += part
            time = 0.0 if part < rest else time - rest * self.draft_time


def access_time(action, lengths, ready, uploads, shares, encoding):
    """Seconds until the last upload ends, with softmax shares or the root of uploads f(x) times as long."""
    if not any(lengths):
        return 0.0
    if encoding == "shares":
        return max(r + n * u / s if n else 0.0 for r, n, u, s in zip(ready, lengths, uploads, shares, strict=True))
    factors = [1.0] * len(lengths)
    if encoding == "residual":
        factors = [np.exp(0.14 * x) for x in action[:, 1].astype(float)]
    work = [(n * u * f, r) for n, u, f, r in zip(lengths, uploads, factors, ready, strict=True) if n]
    slowest, total = max(r for _, r in work), sum(w for w, _ in work)
    bracket = 1e-9 * total, 1.001 * total
    late = brentq(lambda d: sum(w / (d + (slowest - r)) for w, r in work) - 1.0, *bracket, xtol=1e-300, rtol=1e-15)
    rows = zip(lengths, uploads, factors, ready, strict=True)
    return max(r + n * u / (n * u * f / (slowest + late - r)) for n, u, f, r in rows if n)


SYSTEMS = {
    "paper": {},
    "round trip": {"round_trip_time": 0.013, "guess": "shared-seed"},
    "by tokens": {"server": "a100-32b", "payload": "ids", "round_trip_time": 0.004},
    "padded": {"server": "a100-32b", "padded_verification": True, "max_draft_length": 4, "guess": "independent"},
}


@pytest.mark.parametrize("encoding", ENCODINGS.names())
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("users", [1, 2, 5, 30])
def test_rounds_equal_a_slow_simulator(users, system, encoding):
    env = vector(num_envs=1, num_users=users, action=encoding, tasks=TASKS, **SYSTEMS[system])
    env.reset(seed=users)
    scenario, rng = env.scenario, np.random.default_rng(0)
    devices = [Device(time) for time in env.state.draft_time[0].tolist()]
    used = lost = 0
    for _ in range(25):
        assert env.state.head_start[0] == pytest.approx([device.chain for device in devices], rel=1e-12, abs=1e-11)
        state, action = env.state[0], rng.uniform(-5.0, 5.0, (1, *env.single_action_space.shape)).astype(np.float32)
        action *= [1.0, 0.4][: action.shape[-1]]  # else a single upload dominates a round
        action[..., 0] -= 3.5 * (action[..., 0] > 0.0)  # short drafts have more hits
        lengths = env.decode_action(action).draft_length[0].tolist()
        begun = [device.chain for device in devices]
        ready = [device.draft_until(length) for device, length in zip(devices, lengths, strict=True)]
        uploads = (scenario.bits_per_token / scenario.total_bandwidth / state.spectral_efficiency).tolist()
        shares = np.exp(0.3 * action[0, :, -1].astype(float))
        access = access_time(action[0], lengths, ready, uploads, (shares / shares.sum()).tolist(), encoding)
        _, reward, _, _, info = env.step(action)
        duration = access + server_time(scenario, lengths)
        tokens = [expected_tokens(n, rate) for n, rate in zip(lengths, state.acceptance_rate.tolist(), strict=True)]
        assert info["round_latency"][0] == pytest.approx(duration, rel=1e-12)
        assert info["accepted_tokens"][0] == pytest.approx(tokens, rel=1e-12)
        assert info["head_start"][0] == pytest.approx(begun, rel=1e-12, abs=1e-11)
        assert reward[0] == pytest.approx((sum(tokens) - 100.0 * duration) / users, rel=1e-11, abs=1e-12)
        parts = zip(devices, ready, lengths, info["hit"][0], uploads, info["joules"][0], strict=True)
        for device, time, length, hit, upload, joules in parts:
            device.draft_for(duration - scenario.round_trip_time - time, length + 1 + scenario.max_draft_length)
            spent = scenario.draft_energy * device.drafted + scenario.transmit_power * upload * length
            assert joules == pytest.approx(spent, rel=1e-12)
            device.drafted = 0.0
            ahead = min(max(device.chain - length - 1.0, 0.0), scenario.max_draft_length)
            used, lost = used + bool(hit and ahead), lost + bool(not hit and ahead)
            device.chain = ahead if hit else 0.0
    assert used
    assert lost


@pytest.mark.parametrize("guess", ["greedy", "shared-seed", "independent"])
def test_hits_need_an_accepted_draft_and_a_guess(guess):
    """The share of hits is g α^L."""
    env = vector(num_envs=2000, num_users=4, tasks=TASKS[:3], guess=guess, reward="sampled", action="shares")
    env.reset(seed=1)
    hits, expected, whole = 0.0, 0.0, 0.0
    for length in (0, 1, 3):
        alpha = env.state.acceptance_rate
        decision = ms.Decision(np.full(alpha.shape, length), np.full(alpha.shape, env.scenario.total_bandwidth / 4))
        info = env.step(env.encode_action(decision))[-1]
        guessed = {"greedy": alpha, "shared-seed": alpha / (2.0 - alpha), "independent": alpha**2}[guess]
        assert not (info["hit"] & (info["accepted_tokens"] <= length)).any()
        hits, expected = hits + info["hit"].mean(), expected + (guessed * alpha**length).mean()
        whole += (info["accepted_tokens"] > length).mean()
    assert hits / 3 == pytest.approx(expected / 3, abs=0.01)
    assert hits < whole


@pytest.mark.parametrize("reward", ["expected", "sampled"])
@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_without_drafting_ahead_it_is_the_plain_environment(encoding, reward):
    options = {"action": encoding, "reward": reward, "num_users": 6, "min_draft_length": 0, "rounds": 7}
    ours, theirs = vector(draft_ahead=False, **options), vector(PLAIN, **options)
    (observation, _), (expected, _) = ours.reset(seed=3), theirs.reset(seed=3)
    for _ in range(20):
        assert equal(ours.config.observations.encode(ours.state), observation)
        for key in ("compute", "channel", "acceptance"):
            assert (observation[key] == expected[key]).all()
        assert not observation["head_start"].any()
        action = ours.action_space.sample()
        observation, *_, info = ours.step(action)
        expected, *_, other_info = theirs.step(action)
        for key in ("goodput", "round_latency", "accepted_tokens", "draft_length", "bandwidth"):
            assert (info[key] == other_info[key]).all()
        assert not any(info[key].any() for key in ("hit", "head_start", "drafted_ahead"))


@pytest.mark.parametrize("encoding", ["residual", "shares"])
def test_encodings_with_head_starts(encoding):
    env = vector(num_envs=64, num_users=7, action=encoding, scenario="qwen3.5")
    env.reset(seed=5)
    action = np.zeros(env.action_space.shape, dtype=np.float32)
    action[..., 0] = -1.5
    rng, count = np.random.default_rng(1), 0
    for _ in range(6):
        env.step(action)
        count += (env.state.head_start > 0.0).sum()
        decision = env.decode_action(rng.uniform(-5.0, 5.0, action.shape))
        again = env.decode_action(env.encode_action(decision))
        assert (again.draft_length == decision.draft_length).all()
        if encoding == "shares":
            assert again.bandwidth == pytest.approx(decision.bandwidth, rel=1e-4)
        latency = ms.expected_outcome(env.scenario, env.state, again).round_latency
        expected = ms.expected_outcome(env.scenario, env.state, decision).round_latency
        used = (decision.draft_length > 0).all(-1)  # else the residual uses the bandwidth of the others
        assert latency[used] == pytest.approx(expected[used], rel=1e-4)
        assert (latency <= expected * (1.0 + 1e-4)).all()
    assert count > 100


def test_new_episodes_begin_without_chains():
    env = vector(num_envs=6, num_users=5, rounds=4, action="shares")
    env.reset(seed=0)
    action = np.full(env.action_space.shape, -4.5, dtype=np.float32)
    for _ in range(3):
        env.step(action)
    assert env.state.head_start.any(-1).all()
    env.reset(options={"reset_mask": np.arange(6) < 2})
    assert env.state.head_start.any(-1).tolist() == [False] * 2 + [True] * 4
    before = env.state.head_start[2:].copy()
    *_, truncated, info = env.step(action)
    assert (truncated == (np.arange(6) >= 2)).all()
    assert (info["head_start"][2:] == before).all()
    *_, info = env.step(action)  # restarts four environments
    for array in (env.state.head_start, info["hit"], info["drafted_ahead"]):
        assert not array[2:].any()


def test_new_requests_begin_without_a_chain():
    env = vector(num_envs=50, num_users=8, acceptance="by-request", action="shares")
    env.reset(seed=0)
    action, rate, lost = np.full(env.action_space.shape, -4.5, dtype=np.float32), env.state.acceptance_rate, 0
    for _ in range(20):
        *_, info = env.step(action)
        new, rate = env.state.acceptance_rate != rate, env.state.acceptance_rate
        hits = np.where(info["hit"], info["drafted_ahead"], 0.0)
        assert (env.state.head_start == np.where(new, 0.0, hits)).all()
        lost += (new & (hits > 0.0)).sum()
    assert lost > 10


@pytest.mark.parametrize("env_id", [name for name in ROUNDS if name != AHEAD])
def test_other_rounds_do_not_draft_ahead(env_id):
    words = r"^draft_ahead: expected False in .*; use MultiSpin/DraftAhead-v0$|^battery_rounds: .* draft_ahead=True, "
    for make in (gym.make, gym.make_vec, ms.compare):
        with pytest.raises(ValueError, match=words):
            make(env_id, draft_ahead=True)


def test_comparisons_use_tokens_over_time():
    options = {"num_users": 3, "rho": 50.0, "rounds": 6, "reward": "sampled", "action": "shares"}
    table = ms.compare(AHEAD, ["optimal", "fixed"], episodes=4, **options)
    assert table.metric == "token_goodput"
    env = vector(num_envs=4, **options)
    env.reset(seed=EPISODE_SEED)
    controller, tokens, time = ms.make_controller("fixed", env.scenario), np.zeros(4), np.zeros(4)
    for _ in range(6):
        info = env.step(env.encode_action(controller(env.state)))[-1]
        tokens, time = tokens + info["accepted_tokens"].sum(-1), time + info["round_latency"]
    assert table["fixed"].mean == pytest.approx((tokens / time).mean(), rel=1e-12)
    with pytest.raises(ValueError, match="expected an environment whose reward has derivatives"):
        env.reward_slopes(np.zeros(env.action_space.shape))
