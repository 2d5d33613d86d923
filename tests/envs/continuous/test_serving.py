import copy
import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.service_log import QUANTILES, ServiceLog
from multispin_env.simulation.reference import reference_rate

ID = "MultiSpin/Serving-v0"
SMALL = {"num_users": 3, "horizon": 12.0, "warm_up": 2.0, "rho": 40.0}
QUANTILE_NAMES = [f"{name}_p{percent}" for name in ("ttft", "tpot", "e2el") for percent in (50, 95, 99)] + ["gap_p99"]


def episode(env, seed, action=None):
    """Start times, rewards and infos of an episode of one action, or of random actions with few drops."""
    env.reset(seed=seed)
    rng = np.random.default_rng(0)
    begun, truncated = 0.0, False
    while not truncated:
        played = rng.uniform(-5.0, 5.0, env.action_space.shape) if action is None else action
        if action is None:
            played[:, -1] = np.where(rng.random(len(played)) < 0.02, 1.0, -1.0)
        _, reward, terminated, truncated, info = env.step(played.astype(np.float32))
        assert not terminated
        yield begun, reward, info
        begun = info["time"]


def record_steps(env):
    """List of the steps of the simulator, which grows while the environment plays."""
    steps, step = [], env._simulator.step
    env._simulator.step = lambda action, over=None: steps.append(step(action, over)) or steps[-1]
    return steps


@pytest.mark.parametrize("rewarded", ["tokens", "requests"])
def test_rewards_are_of_requests_in_time(rewarded):
    env = gym.make(ID, action="plain", rewarded=rewarded, e2el=3.0, mean_output=10.0, **SMALL)
    served = 0
    for _, reward, info in episode(env, 3):
        timely = info["timely_tokens"]
        assert not timely[~info["finished"]].any()
        served += (timely > 0.0).sum()
        expected = (timely.sum() - 40.0 * info["duration"]) / 10.0 if rewarded == "tokens" else (timely > 0.0).sum()
        assert reward == pytest.approx(expected, rel=1e-12)
    assert served > 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_copies_count_the_same_requests(copied):
    env = gym.make(ID, action="plain", **SMALL).unwrapped
    played = list(episode(env, 1))
    env.reset(seed=1)
    *_, (_, _, last) = again = list(episode(copied(env), 1))
    np.testing.assert_equal(again, played)
    assert 0.0 < last["share_missed"] < 1.0


def test_info_is_that_of_a_service_log():
    env = gym.make(ID, action="plain", **SMALL).unwrapped
    steps = record_steps(env)
    *_, (_, _, last) = rows = list(episode(env, 1))
    assert sum(info["dropped"].sum() for *_, info in rows) > 0
    log = ServiceLog(1, 3, 2.0)
    for (begun, _, info), step in zip(rows, steps, strict=True):
        log.add(step.outcome, np.array([begun]))
        run = log.result()
        for name in ("tokens_in_time", "request_goodput", "least_served"):
            assert info[name] == pytest.approx(float(getattr(run, name)[0]), rel=1e-12)
        ended = info is last
        assert ended or info["share_missed"] == pytest.approx(float(run.share_missed[0]), rel=1e-12)
        assert ended or not any(info[name] for name in QUANTILE_NAMES)
    missed = run.missed.sum() + env._simulator._core.overdue(env._simulator.state.time).sum()
    assert last["share_missed"] * (missed + run.in_time.sum()) == pytest.approx(missed)
    for name in ("ttft", "tpot", "e2el"):
        for position, percent in enumerate((50, 95, 99)):
            assert QUANTILES[position] == pytest.approx(percent / 100.0)
            assert last[f"{name}_p{percent}"] == pytest.approx(getattr(run.latency, name)[0, position], rel=1e-12)
    assert last["gap_p99"] == pytest.approx(run.latency.gap[0, 2], rel=1e-12)
    assert last["e2el_p95"] > last["ttft_p95"] > 0.0


def test_overdue_requests_are_counted_once_after_the_end():
    env = gym.make(ID, action="plain", load=3.0, e2el_per_token=0.0, **SMALL).unwrapped
    *_, (_, _, last) = episode(env, 1, np.full((3, 4), -0.2))
    shares = [env.step(np.full((3, 4), -0.2, np.float32))[-1]["share_missed"] for _ in range(5)]
    assert 0.5 < last["share_missed"] < 1.0 or shares == pytest.approx([1.0] * 5)
    assert shares == pytest.approx([last["share_missed"]] * 5, abs=0.05)


@pytest.mark.parametrize("encoding", ["residual", "plain", "full"])
def test_drops_need_a_request(encoding):
    env = gym.make(ID, action=encoding, **SMALL).unwrapped
    observation, _ = env.reset(seed=0)
    assert (env.state.phase == ms.physics.Phase.IDLE).all()
    assert observation["phase"].reshape(3, 5)[:, 4].tolist() == [1.0] * 3
    action = np.zeros(env.action_space.shape, np.float32)
    action[:, -1] = 5.0
    for _ in range(30):
        busy = env.state.phase != ms.physics.Phase.IDLE
        assert (env.decode_action(action).drop == busy).all()
        assert (env.step(action)[-1]["dropped"] == busy).all()


def test_workload_of_the_arguments():
    scenario = ms.Scenario.preset("llama2", num_users=8)
    config = ms.EnvConfig.of(ID, num_users=8, load=0.5, rho=90.0)
    full = reference_rate(ContinuousSystem.of(scenario))
    workload = config.workload
    assert workload.tokens_per_second == pytest.approx(0.5 * full)
    assert workload.level.e2el == 0.5
    assert workload.level.e2el_per_token == pytest.approx(2.0 * 8 / full)
    assert workload.mean_output == 60.0
    assert config.replace(full_rate=full).workload == workload
    limits = {"ttft": 1.0, "tpot": 0.2, "e2el": None, "e2el_per_token": 0.1}
    changed = {"load": [0.2, 0.9], "arrivals": "gamma", "burstiness": 0.5, "mean_output": 20, **limits}
    workload = config.replace(**changed).workload
    assert workload.rate == pytest.approx((0.2 * full / 20.0, 0.9 * full / 20.0))
    assert workload.arrivals == ms.requests.make_arrivals("gamma", burstiness=0.5)
    assert (workload.level.ttft, workload.level.tpot, workload.level.e2el) == (1.0, 0.2, np.inf)
    arrivals = ms.requests.make_arrivals("ramp", low=0.0, high=2.0, period=5.0)
    workload = config.replace(
        arrivals=arrivals, lengths=ms.requests.make_lengths("geometric", mean_output=9.0)
    ).workload
    assert workload.arrivals is arrivals
    assert workload.mean_output == 9.0
    for preset, users, bandwidth, limit in (("llama2", 8, 10e6, 0.083), ("qwen3.5", 20, 5e6, 0.108)):
        level = ms.EnvConfig.of(ID, preset, num_users=users, total_bandwidth=bandwidth).workload.level
        assert level.e2el_per_token == pytest.approx(limit, abs=5e-4)


@pytest.mark.parametrize("context", [0, 9000])
def test_verification_takes_longer_as_the_answer_grows(context):
    """The context of the scenario is for planning only."""
    arguments = SMALL | {"num_users": 1, "mean_output": 30.0, "mean_prompt": 200.0}
    env = gym.make(ID, action="plain", context_time=1e-4, context=context, **arguments).unwrapped
    steps = record_steps(env)
    infos = [info for *_, info in episode(env, 1, np.full((1, 4), -0.2))]
    times = np.array([float(step.outcome.verification_time[0]) for step in steps])
    gained = np.array([info["tokens"][0] for info in infos])
    continued = ~np.array([info["finished"][0] for info in infos])[:-1]
    assert np.diff(times)[continued] == pytest.approx(1e-4 * gained[:-1][continued], rel=1e-9)
    assert continued.sum() > 10
    assert 0.0 < times.min() - env.scenario.replace(context=0).law.time(1, 1) < 0.2


def test_mean_reward_of_the_reference_at_the_default_price_is_zero():
    env = gym.make_vec(ID, num_envs=40, num_users=4)
    env.reset(seed=0)
    rho = env.unwrapped.objective.rho
    rates, rewards = np.zeros(40), np.zeros(40)
    playing = np.ones(40, dtype=bool)
    while playing.any():
        _, reward, _, ended, info = env.step(np.zeros(env.action_space.shape, np.float32))
        rewards += playing * reward
        rates[ended & playing] = info["tokens_in_time"][ended & playing]
        playing &= ~ended
    assert rates.mean() == pytest.approx(rho, rel=0.25)  # standard errors of 3 in both, of 54
    assert rewards.mean() == pytest.approx((rates.mean() - rho) * 30.0 / 60.0, abs=4.0)  # except the warm-up


def test_start_of_a_trace():
    """The first recorded request arrives at time 0."""
    trace = ms.requests.load_trace("azure-chat")
    start = int(np.argmax(trace.output))
    env = gym.make(ID, num_users=2, arrivals="trace", start=start, action="full")
    for seed in (0, 1):
        env.reset(seed=seed)
        env.step(np.zeros(env.action_space.shape))
        demand = env.unwrapped.state.demand
        assert trace.output[start] in demand.output[demand.arrived == 0.0].tolist()


def test_arrivals_become_rare_after_the_episode():
    """Earlier ones are those of the workload, for any size of blocks."""
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals("poisson"), rate=6.0, lengths=ms.requests.make_lengths("geometric")
    )
    thinning = replace(workload, thins_after=20.0)
    source, twin, plain = (kind.open(np.random.default_rng(3), 2) for kind in (thinning, thinning, workload))
    rows = source(300)
    parts = [twin(count) for count in (7, 100, 193)]
    assert all((rows[i] == np.concatenate([part[i] for part in parts])).all() for i in range(3))
    times, expected = np.cumsum(rows.gap, 0), np.cumsum(plain(300).gap, 0)
    before = expected <= 20.0
    assert before.sum(0).min() > 30
    assert (times[before] == expected[before]).all()
    assert ((times > 20.0) & (times < 1e6)).sum(0).max() < 40
    assert np.isfinite(times).all()


def test_very_long_uploads_take_no_memory():
    """A device with a tiny share of the band uploads for up to 1e5 s."""
    env = gym.make(ID, action="plain", discipline="reserved", total_bandwidth=1e5, **SMALL | {"num_users": 2}).unwrapped
    env.reset(seed=0)
    action = 5.0 * np.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]], np.float32)
    over = False
    while not over:
        *_, over, info = env.step(action)
    assert info["time"] > 1e4
    assert env._simulator._core.queues._gap.shape[1] <= 128


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "num_users", "server", "most"),
    [
        ("Serving", 4, {"verification_fixed_time": 1e-6, "verification_time_per_draft": 1e-9}, 200_000),
        ("Serving", 512, {"server": "cpu-1.5b"}, 200_000),
        ("Continuous", 300, {}, 6000),
        ("DraftAhead", 300, {}, 60_000),
        ("DraftAhead", 20, {"server": "h100-8b"}, 45_000),
    ],
)
def test_making_an_environment_simulates_few_steps(env_id, num_users, server, most, monkeypatch):
    """For less than about a second, also with a fast server or many devices."""
    passes, step = [0], ContinuousCore.step

    def counted(core, decision):
        passes[0] += core.num_envs * core.system.scenario.num_users
        assert passes[0] <= most
        return step(core, decision)

    monkeypatch.setattr(ContinuousCore, "step", counted)
    env = gym.make(f"MultiSpin/{env_id}-v0", num_users=num_users, **server)
    assert np.isfinite(env.reset(seed=0)[0]["compute"]).all()
