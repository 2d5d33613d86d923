"""The environment with requests: rewards, counts, episodes, arguments."""

import inspect
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous.serving import ServingEnv
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.service_log import QUANTILES, ServiceLog
from multispin_env.registry import ENVIRONMENTS
from multispin_env.simulation.reference import reference_rate

ID = "MultiSpin/Serving-v0"
SMALL = {"num_users": 3, "horizon": 12.0, "warm_up": 2.0, "rho": 40.0}
QUANTILE_NAMES = [f"{name}_p{percent}" for name in ("ttft", "tpot", "e2el") for percent in (50, 95, 99)] + ["gap_p99"]


def episode(env, seed, action=None):
    """Steps' begins, rewards and infos of an episode of random actions that seldom drop, or of one action."""
    env.reset(seed=seed)
    rng = np.random.default_rng(0)
    begun = 0.0
    for _ in range(5000):
        chosen = rng.uniform(-1, 1, env.action_space.shape) if action is None else action
        if action is None:
            chosen[:, -1] = np.where(rng.random(len(chosen)) < 0.02, 1.0, -1.0)
        _, reward, terminated, truncated, info = env.step(chosen.astype(np.float32))
        assert not terminated
        yield begun, reward, truncated, info
        begun = info["time"]
        if truncated:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("rewarded", ["tokens", "requests"])
def test_rewards_are_of_requests_in_time(rewarded):
    env = gym.make(ID, action="plain", rewarded=rewarded, e2el=3.0, mean_output=10.0, **SMALL)
    served = 0
    for _, reward, _, info in episode(env, 3):
        timely = info["timely_tokens"]
        assert (timely[~info["finished"]] == 0.0).all()
        served += (timely > 0.0).sum()
        expected = (timely.sum() - 40.0 * info["duration"]) / 10.0 if rewarded == "tokens" else (timely > 0.0).sum()
        assert reward == pytest.approx(expected, rel=1e-12)
    assert served > 3


def test_what_is_told_is_what_a_log_of_the_same_passages_says():
    """The core played beside it, with the decisions that the actions mean."""
    env = gym.make(ID, action="plain", **SMALL).unwrapped
    steps = []
    play = env._engine._play
    env._engine._play = lambda decision, over: steps.append(play(decision, over)) or steps[-1]
    *_, (_, _, _, last) = told = list(episode(env, 1))
    assert sum(info["dropped"].sum() for *_, info in told) > 0
    log = ServiceLog(1, 3, 2.0)
    for (begun, _, _, info), step in zip(told, steps, strict=True):
        log.add(step.outcome, np.array([begun]))
        run = log.result()
        for name in ("tokens_in_time", "request_goodput", "least_served"):
            assert info[name] == pytest.approx(float(getattr(run, name)[0]), rel=1e-12)
        ended = info is last
        assert ended or info["share_missed"] == pytest.approx(float(run.share_missed[0]), rel=1e-12)
        assert ended or not any(info[name] for name in QUANTILE_NAMES)
    late = env._engine._core.overdue(env._engine.state.time)
    assert last["share_missed"] * (run.missed.sum() + late.sum() + run.in_time.sum()) == pytest.approx(
        run.missed.sum() + late.sum()
    )
    for name in ("ttft", "tpot", "e2el"):
        for position, percent in enumerate((50, 95, 99)):
            assert QUANTILES[position] == pytest.approx(percent / 100.0)
            assert last[f"{name}_p{percent}"] == pytest.approx(getattr(run.latency, name)[0, position], rel=1e-12)
    assert last["gap_p99"] == pytest.approx(run.latency.gap[0, 2], rel=1e-12)
    assert last["e2el_p95"] > last["ttft_p95"] > 0.0


def test_playing_on_after_the_end_counts_what_is_overdue_once():
    env = gym.make(ID, action="plain", load=3.0, e2el_per_token=0.0, **SMALL).unwrapped
    *_, (_, _, _, last) = episode(env, 1, np.full((3, 4), -0.2))
    shares = [env.step(np.full((3, 4), -0.2, np.float32))[-1]["share_missed"] for _ in range(5)]
    assert 0.5 < last["share_missed"] < 1.0 or shares == pytest.approx([1.0] * 5)
    assert shares == pytest.approx([last["share_missed"]] * 5, abs=0.05)


def test_at_the_start_all_are_idle_and_a_drop_needs_a_request():
    for action in ("residual", "plain", "full"):
        env = gym.make(ID, action=action, **SMALL).unwrapped
        observation, _ = env.reset(seed=0)
        assert (env.state.phase == ms.Phase.IDLE).all()
        assert observation["phase"].reshape(3, 5)[:, 4].tolist() == [1.0] * 3
        chosen = np.zeros(env.action_space.shape, np.float32)
        chosen[:, -1] = 1.0
        assert not env.decode_action(chosen).drop.any()
        for _ in range(30):
            busy = env.state.phase != ms.Phase.IDLE
            assert (env.decode_action(chosen).drop == busy).all()
            info = env.step(chosen)[-1]
            assert (info["dropped"] == busy).all()


def test_the_workload_is_what_the_arguments_say():
    scenario = ms.Scenario.preset("llama2", num_users=8)
    env = gym.make(ID, num_users=8, load=0.5, rho=90.0).unwrapped
    full = reference_rate(ContinuousSystem.of(scenario))
    workload = env.variant.workload(scenario)
    assert workload.tokens_per_second == pytest.approx(0.5 * full)
    assert workload.level.e2el == 0.5
    assert workload.level.e2el_per_token == pytest.approx(2.0 * 8 / full)
    assert workload.mean_output == 60.0
    assert ENVIRONMENTS.load(ID)(load=0.5, full_rate=full).workload(scenario) == env.variant.workload(scenario)
    limits = {"ttft": 1.0, "tpot": 0.2, "e2el": None, "e2el_per_token": 0.1}
    variant = ENVIRONMENTS.load(ID)(load=[0.2, 0.9], arrivals="gamma", burstiness=0.5, mean_output=20, **limits)
    workload = variant.workload(scenario)
    assert workload.rate == pytest.approx((0.2 * full / 20.0, 0.9 * full / 20.0))
    assert workload.arrivals == ms.make_arrivals("gamma", burstiness=0.5)
    assert (workload.level.ttft, workload.level.tpot, workload.level.e2el) == (1.0, 0.2, np.inf)


def test_the_limit_of_both_presets_is_that_of_the_page():
    """About 80 and 110 ms."""
    page = inspect.getdoc(ServingEnv)
    for preset, users, bandwidth, limit in (("llama2", 8, 10e6, 0.083), ("qwen3.5", 20, 5e6, 0.108)):
        scenario = ms.Scenario.preset(preset, num_users=users, total_bandwidth=bandwidth)
        variant = ENVIRONMENTS.load(ID)()
        assert variant.workload(scenario).level.e2el_per_token == pytest.approx(limit, abs=5e-4)
        assert f"{1000 * limit:.0f} ms" in page


@pytest.mark.parametrize("context", [0, 9000])
def test_a_pass_takes_longer_as_the_answer_grows(context):
    """One device: by what came since the pass before, and not by the context that plans are made with."""
    given = SMALL | {"num_users": 1, "mean_output": 30.0, "mean_prompt": 200.0}
    env = gym.make(ID, action="plain", context_time=1e-4, context=context, **given).unwrapped
    steps, play = [], env._engine._play
    env._engine._play = lambda decision, over: steps.append(play(decision, over)) or steps[-1]
    told = [info for *_, info in episode(env, 1, np.full((1, 4), -0.2))]
    times = np.array([float(step.outcome.verification_time[0]) for step in steps])
    gained = np.array([info["tokens"][0] for info in told])
    going = ~np.array([info["finished"][0] for info in told])[:-1]
    assert np.diff(times)[going] == pytest.approx(1e-4 * gained[:-1][going], rel=1e-9)
    assert going.sum() > 10
    assert 0.0 < times.min() - env.scenario.replace(context=0).pass_time(1, 1) < 0.2


def test_parts_may_be_handed_in():
    arrivals = ms.make_arrivals("ramp", low=0.0, high=2.0, period=5.0)
    env = gym.make(ID, arrivals=arrivals, lengths=ms.make_lengths("geometric", mean_output=9.0), **SMALL).unwrapped
    workload = env.variant.workload(env.scenario)
    assert workload.arrivals is arrivals
    assert workload.mean_output == 9.0


def test_the_reference_earns_about_nothing_at_its_own_price():
    env = gym.make_vec(ID, num_envs=40, num_users=4)
    observation, _ = env.reset(seed=0)
    rho = env.unwrapped.objective.rho
    rates, rewards = np.zeros(40), np.zeros(40)
    going = np.ones(40, dtype=bool)
    while going.any():
        _, reward, _, ended, info = env.step(np.zeros(env.action_space.shape, np.float32))
        rewards += going * reward
        rates[ended & going] = info["tokens_in_time"][ended & going]
        going &= ~ended
    assert rates.mean() == pytest.approx(rho, rel=0.25)  # standard errors of 3 in both, of 54
    assert rewards.mean() == pytest.approx((rates.mean() - rho) * 30.0 / 60.0, abs=4.0)  # but for the warm-up
    assert 10.0 ** observation["shared"][0, 4] == pytest.approx(
        rho * env.unwrapped.scenario.verification_time / 4, rel=1e-5
    )


def test_a_trace_begins_where_it_is_told():
    """With a rate of its own the first request comes at once, whatever the seed, and has the recorded answer."""
    trace = ms.load_trace("azure-chat")
    start = int(np.argmax(trace.output))
    env = gym.make(ID, num_users=2, arrivals="trace", start=start, action="full")
    for seed in (0, 1):
        env.reset(seed=seed)
        env.step(np.zeros(env.action_space.shape))
        demand = env.unwrapped.state.demand
        assert trace.output[start] in demand.output[demand.arrived == 0.0].tolist()


def test_few_requests_come_long_after_the_episode():
    """And those before are the workload's own, however many rows are asked for at once."""
    workload = ms.Workload(arrivals=ms.make_arrivals("poisson"), rate=6.0, lengths=ms.make_lengths("geometric"))
    thinning = replace(workload, thins_after=20.0)
    source, twin, plain = (kind.open(np.random.default_rng(3), 2) for kind in (thinning, thinning, workload))
    rows = source(300)
    parts = [twin(count) for count in (7, 100, 193)]
    assert all((rows[i] == np.concatenate([part[i] for part in parts])).all() for i in range(3))
    times, own = np.cumsum(rows.gap, 0), np.cumsum(plain(300).gap, 0)
    before = own <= 20.0
    assert before.sum(0).min() > 30
    assert (times[before] == own[before]).all()
    assert ((times > 20.0) & (times < 1e6)).sum(0).max() < 40
    assert np.isfinite(times).all()


def test_an_order_without_end_ends_and_takes_no_memory():
    """One device sends with next to no share: as long as 1e5 s, in which others have requests."""
    env = gym.make(ID, action="plain", discipline="reserved", total_bandwidth=1e5, **SMALL | {"num_users": 2}).unwrapped
    env.reset(seed=0)
    action = np.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]], np.float32)
    time, over = 0.0, False
    while not over:
        *_, over, info = env.step(action)
        time = info["time"]
    assert time > 1e4
    assert env._engine._core.queues._gap.shape[1] <= 128


FAST = {"verification_fixed_time": 1e-6, "verification_time_per_draft": 1e-9}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "num_users", "server", "most"),
    [
        ("Serving", 4, FAST, 200_000),
        ("Serving", 512, {"server": "cpu-1.5b"}, 200_000),
        ("Continuous", 300, {}, 6000),
        ("DraftAhead", 300, {}, 60_000),
        ("DraftAhead", 20, {"server": "h100-8b"}, 45_000),
    ],
)
def test_making_an_environment_plays_few_passes(env_id, num_users, server, most, monkeypatch):
    """Neither a fast server nor many devices take more than about a second."""
    passes, step = [0], ContinuousCore.step

    def counted(core, decision):
        passes[0] += core.num_envs * core.system.scenario.num_users
        assert passes[0] <= most
        return step(core, decision)

    monkeypatch.setattr(ContinuousCore, "step", counted)
    env = gym.make(f"MultiSpin/{env_id}-v0", num_users=num_users, **server)
    assert np.isfinite(env.reset(seed=0)[0]["compute"]).all()
