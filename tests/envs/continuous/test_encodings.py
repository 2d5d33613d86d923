from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.passes import DISCIPLINES, serial
from multispin_env.registry import CONTINUOUS_ENCODINGS
from tests.envs.continuous.played import AHEAD, BUSY, states_of

ID = "MultiSpin/Continuous-v0"
DEADLINES = {"drops": True, "reference": "greedy+deadlines"}
WITH_REQUESTS = ("greedy+deadlines", "load-aware", "groups+deadlines", "prices+deadlines")


def codec_of(name, scenario, uplink=serial, timeout=None, **options):
    return CONTINUOUS_ENCODINGS.load(name)(scenario, uplink, timeout, **options)


def random_decision(scenario, rng, num_envs, serial=True):
    shape = (num_envs, scenario.num_users)
    join = rng.integers(0, 3, shape)
    join[:, 0] = 1
    key = rng.integers(-3, 4, shape).astype(float) if serial else rng.dirichlet(np.ones(shape[1]), num_envs)
    length = rng.integers(scenario.min_draft_length, scenario.max_draft_length, shape, endpoint=True)
    return ms.ContinuousDecision(length, join, *((key, None) if serial else (None, key)))


def agree(a, b, *names):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def same_ranking(a, b):
    return (np.sign(a[..., None] - a[..., None, :]) == np.sign(b[..., None] - b[..., None, :])).all()


@pytest.mark.parametrize("name", ["plain", "full"])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_inverse(name, discipline, rng):
    for users in (1, 2, 7, 30):
        scenario = ms.Scenario.preset("llama2", num_users=users, min_draft_length=users % 2)
        codec = codec_of(name, scenario, DISCIPLINES[discipline])
        decision = random_decision(scenario, rng, 40, discipline == "serial")
        state = next(states_of(scenario, 40, 1))
        action = codec.encode(decision, state)
        assert action.shape == (40, users, codec.columns)
        assert action.dtype == np.float32
        again = codec.decode(action, state)
        assert agree(again, decision, "draft_length", "join")
        if discipline == "serial":
            assert again.share is None
            assert same_ranking(again.priority, decision.priority)
        else:
            assert again.priority is None
            large = decision.share > 1e-3 * decision.share.max(-1, keepdims=True)
            assert again.share[large] == pytest.approx(decision.share[large], rel=1e-5, abs=1e-5)
        assert (codec.encode(again, state)[..., :2] == action[..., :2]).all()


def test_full_expresses_all_parts(rng):
    scenario = ms.Scenario.preset("llama2", num_users=5)
    codec = codec_of("full", scenario)
    (*_, state) = states_of(scenario, 6, 4)
    decision = replace(
        random_decision(scenario, rng, 6),
        timeout=np.array([0.0, 1e-4, 0.02, 3.0, 1e4, np.inf]),
        least_batch=np.array([1, 2, 3, 4, 5, 1]),
        aim=state.batch[:, None] + rng.integers(0, 64, (6, 5)),
    )
    again = codec.decode(codec.encode(decision, state), state)
    assert again.timeout == pytest.approx(decision.timeout, rel=1e-5)
    assert again.timeout[[0, 5]].tolist() == [0.0, np.inf]
    assert agree(again, decision, "least_batch", "aim")


@pytest.mark.parametrize(
    ("reference", "rules", "workload"),
    [("groups", {}, None), ("own-pace", {}, None), ("greedy+deadlines", DEADLINES, BUSY)],
)
@pytest.mark.parametrize("ahead", [{}, AHEAD], ids=["none", "ahead"])
def test_zero_of_residual_is_its_rule(reference, rules, workload, ahead):
    """In the middle of the last column drops are those of the rule."""
    scenario = ms.Scenario.preset("llama2", num_users=5, **ahead)
    codec = codec_of("residual", scenario, **{**rules, "reference": reference})
    rule, dropped = ms.make_controller(reference, scenario), 0
    for state in states_of(scenario, 6, 60 if workload else 7, "greedy", workload):
        decision = rule(state)
        for column in (0.0, 4.7, -4.7) if workload else (0.0,):
            action = np.zeros((6, 5, codec.columns), np.float32)
            action[..., -1] = column
            decoded = codec.decode(action, state)
            assert agree(decoded, decision, "draft_length", "join", "timeout", "drop")
            assert same_ranking(decoded.priority, decision.priority)
            if decision.aim is not None:
                assert (decoded.aim[state.starting] == decision.aim[state.starting]).all()
        assert (codec.encode(decision, state) == 0.0).all()
        dropped += 0 if decision.drop is None else decision.drop.sum()
    assert (dropped > 0) == bool(workload)


def test_columns_of_residual():
    scenario = ms.Scenario.preset("llama2", num_users=6)
    codec, rule = codec_of("residual", scenario, timeout=0.7), ms.make_controller("groups", scenario)
    (*_, state) = (
        state for state in states_of(scenario, steps=6) if (state.phase[:, 0] == ms.physics.Phase.FREE).any()
    )
    decision = rule(state)

    def moved(column, value):
        action = np.zeros((6, 6, 3), np.float32)
        action[:, 0, column] = value
        return codec.decode(action, state)

    assert (moved(0, 0.0).timeout == 0.7).all()
    assert (moved(0, 5.0).draft_length[:, 0] > 1.5 * decision.draft_length[:, 0]).all()
    assert (1.5 * moved(0, -5.0).draft_length[:, 0] < decision.draft_length[:, 0]).all()
    assert (moved(0, 1.0).draft_length[:, 1:] == decision.draft_length[:, 1:]).all()
    aside = moved(1, -4.8)
    assert (aside.join[:, 0] == ms.physics.Join.TAKE).all()
    assert (aside.priority[:, 0] > aside.priority[:, 1:].max(-1)).all()
    later = moved(1, 4.0)
    free = state.phase[:, 0] == ms.physics.Phase.FREE
    assert (later.aim[free, 0] == decision.aim[free, 0] + 1).all()
    assert (codec.encode(later, state)[free, 0, 1] > 3.5).all()
    waited = decision.join[:, 0] == ms.physics.Join.WAIT
    others = (decision.join[:, 1:] == ms.physics.Join.WAIT).any(-1)
    assert (later.join[waited & others, 0] == ms.physics.Join.LEAVE).all()
    assert (moved(1, -4.0).join[decision.join[:, 0] == ms.physics.Join.LEAVE, 0] == ms.physics.Join.WAIT).all()
    for end in (5.0, -5.0):
        change = moved(2, end).priority - moved(2, 0.0).priority
        assert (change[:, 0] == np.sign(end)).all()
        assert not change[:, 1:].any()


@pytest.mark.parametrize("name", [name for name in CONTINUOUS_ENCODINGS.names() if name != "tuned"])
def test_drops(name, rng):
    scenario = ms.Scenario.preset("llama2", num_users=5)
    plain, codec = codec_of(name, scenario), codec_of(name, scenario, **DEADLINES)
    assert codec.columns == plain.columns + 1
    idle = 0
    for state in states_of(scenario, 20, 30, "greedy", BUSY):
        busy = state.phase != ms.physics.Phase.IDLE
        decision = replace(random_decision(scenario, rng, 20), drop=busy & (rng.random((20, 5)) < 0.4))
        action = codec.encode(decision, state)
        again = codec.decode(action, state)
        assert (again.drop == decision.drop).all()
        assert (codec.encode(again, state)[..., -1] == action[..., -1]).all()
        if name != "residual":  # it has another rule with drops
            assert (plain.encode(decision, state) == action[..., :-1]).all()
            other = plain.decode(action[..., :-1], state)
            assert other.drop is None
            assert agree(other, again, "draft_length", "join", "priority")
        action[..., -1] = rng.choice([4.8, 5.0], (20, 5))
        assert (codec.decode(action, state).drop == busy).all()
        action[..., -1] = rng.choice([-5.0, -4.8], (20, 5))
        assert not codec.decode(action, state).drop.any()
        assert codec.decode(codec.encode(replace(decision, drop=None), state), state).drop.sum() == 0
        idle += (~busy).sum()
    assert idle > 0


@pytest.mark.parametrize("name", ["optimal", "synchronous", "groups", *WITH_REQUESTS])
def test_controllers_play_the_same_through_full(name):
    workload = BUSY if "deadlines" in name or name == "load-aware" else None
    scenario = ms.Scenario.preset("qwen3.5", num_users=4, total_bandwidth=1e7)
    rule = ms.make_controller(name, scenario)
    codec = codec_of("full", scenario, DISCIPLINES[rule.discipline], **(DEADLINES if workload else {}))
    system = ContinuousSystem.of(scenario, discipline=rule.discipline, workload=workload)
    cores = [seeded_core(system, 3, 0, drawn=workload is not None) for _ in range(2)]
    for core in cores:
        core.reset()
    for _ in range(40):
        decision = rule(cores[0].state)
        decisions = [decision, codec.decode(codec.encode(decision, cores[1].state), cores[1].state)]
        outcomes = [core.step(choice) for core, choice in zip(cores, decisions, strict=True)]
        exact = rule.discipline == "serial"
        assert outcomes[1].duration == pytest.approx(outcomes[0].duration, rel=1e-12 if exact else 1e-3)
        assert outcomes[0].tokens == pytest.approx(outcomes[1].tokens)
        assert agree(*outcomes, "verified")
        assert agree(*(outcome.served for outcome in outcomes), "dropped")
        assert agree(*(core.state for core in cores), "aim")


@pytest.mark.parametrize("name", CONTINUOUS_ENCODINGS.names())
@pytest.mark.parametrize("discipline", DISCIPLINES)
@pytest.mark.parametrize("env_id", [ID, "MultiSpin/Serving-v0"])
def test_a_batch_starts_under_all_actions(env_id, name, discipline):
    options = {"action": name, "discipline": discipline, "rho": 100.0, "horizon": 1e3}
    env = gym.make_vec(env_id, num_envs=20, num_users=4, **options)
    env.reset(seed=0)
    rng, counts = np.random.default_rng(0), []
    for step in range(30):
        action = rng.uniform(-5.0, 5.0, env.action_space.shape)
        action = 5.0 * np.sign(action) if step % 3 == 0 else action
        *_, info = env.step(action.astype(np.float32))
        playing = info["duration"] > 0.0  # others restart
        assert np.isfinite(info["duration"]).all()
        assert (info["batch_size"][playing] >= 1).all()
        counts.append(playing.sum())
    assert np.mean(counts) > 10


@pytest.mark.parametrize("name", CONTINUOUS_ENCODINGS.names())
def test_decisions_in_which_all_are_left(name):
    env = gym.make(ID, num_users=3, action=name, rho=100.0).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^join\[0, 0\]: expected 1 or 2 for at least one device, got 0$"):
        env.encode_action(ms.ContinuousDecision(np.full(3, 4), np.zeros(3, int)))
    with pytest.raises(ValueError, match=r"^draft_length: expected shape \(1, 3\), got \(1, 2\)$"):
        env.encode_action(ms.ContinuousDecision(np.full(2, 4), np.ones(3, int)))
    if name == "plain":
        action = np.zeros((3, 3), np.float32)
        action[:, 1] = -5.0
        assert (env.decode_action(action).join == ms.physics.Join.TAKE).all()
        action[1, 1] = 5.0
        assert env.decode_action(action).join.tolist() == [0, 2, 0]


@pytest.mark.parametrize(("reference", "rules"), [("prices", {}), ("own-pace", {}), ("groups+deadlines", DEADLINES)])
def test_tuned_options_are_those_of_the_rule(reference, rules):
    scenario = ms.Scenario.preset("llama2", num_users=5)
    codec = codec_of("tuned", scenario, **{**rules, "reference": reference})
    rule = ms.make_controller(reference, scenario)
    assert codec.columns == len(rule.tunable) == len(codec.rule.tunable)
    for state in states_of(scenario, 6, 12, reference, BUSY if rules else None):
        decision, decoded = rule(state), codec.decode(np.zeros((6, 5, codec.columns), np.float32), state)
        assert agree(decoded, decision, "draft_length", "join", "drop")
        assert not codec.encode(decision, state).any()
        for column, (name, tunable) in enumerate(rule.tunable.items()):
            action = np.zeros((6, 5, codec.columns), np.float32)
            action[:3, :, column], action[3:, :, column] = -5.0, 5.0
            ends = np.repeat([tunable.low, tunable.high], 3)
            ends = np.repeat(ends[:, None], 5, -1) if tunable.by_device else ends
            assert agree(
                codec.decode(action, state), rule.with_options({name: ends})(state), "draft_length", "priority"
            )
    with pytest.raises(ValueError, match=r"^reference: expected a controller with tunable options, got 'turbospec'$"):
        _ = codec_of("tuned", scenario, reference="turbospec").columns
