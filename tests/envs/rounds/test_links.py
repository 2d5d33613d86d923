"""Environments, encodings, slopes and single rounds with links, delays and repeated uploads."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_sb3

import multispin_env as ms
from multispin_env.envs.actions import LIMIT
from multispin_env.registry import ENCODINGS, LINKS
from tests import reference
from tests.alike import equal
from tests.envs.rounds.test_slopes import differences, played
from tests.families import CONFIGS, ROUNDS
from tests.physics.test_links import LOSSY
from tests.refusals import refusals

FULL = "MultiSpin/Heterogeneous-v0"
POWER, LATE = {"link": "power", "efficiency_limit": 7.4}, {"access_delay": (0.0, 0.02, 0.1, 0.0)}
REPEATS = {"upload_loss": 0.3, "repeat_time": 0.02}
UPLINKS = {"power": POWER, "late": LATE, "repeats": REPEATS, "all": {**POWER, **LATE, **REPEATS}}
PLAIN = tuple(env_id for env_id in ROUNDS if env_id not in ("MultiSpin/DraftAhead-v0", "MultiSpin/Energy-v0"))


class Convex(ms.Link):
    concave = False

    def rate(self, share, snr):
        return share**1.5 * np.log1p(snr)


@pytest.fixture(scope="module", autouse=True)
def own_links():
    LINKS.register("lossy", LOSSY)
    LINKS.register("convex", Convex())
    yield
    LINKS.unregister("lossy")
    LINKS.unregister("convex")


def scenario_with(uplink, **fields):
    return ms.Scenario.preset("llama2", num_users=4, min_draft_length=0, **UPLINKS[uplink], **fields)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_round_is_that_written_anew(uplink, rng):
    scenario = scenario_with(uplink)
    state = ms.sample_state(scenario, rng)
    rate = (reference.power_rate if scenario.link == "power" else reference.density_rate)(scenario)
    for lengths in ([0, 3, 1, 2], [5, 0, 0, 0], [0, 0, 0, 0]):
        band = np.where(np.array(lengths) > 0, scenario.total_bandwidth * np.array([0.4, 0.3, 0.2, 0.1]), 0.0)
        outcome = ms.expected_outcome(scenario, state, ms.Decision(np.array(lengths), band))
        delays = np.zeros(4) + (scenario.access_delay or 0.0)
        share = band / scenario.total_bandwidth
        devices = zip(lengths, state.draft_time, state.spectral_efficiency, share, strict=True)
        bits = scenario.bits_per_token / scenario.total_bandwidth
        ready = [n and n * t + n * bits / rate(b, r) + d for (n, t, r, b), d in zip(devices, delays, strict=True)]
        repeats = 0.0
        if scenario.upload_loss and any(lengths):
            repeats = scenario.repeat_time * reference.mean_repetitions(scenario.upload_loss, 4)
        time = max(ready) + repeats + reference.server_time(scenario, lengths)
        assert float(outcome.round_latency) == pytest.approx(time, rel=1e-13)
        assert outcome.ready_time == pytest.approx(np.array(ready, dtype=float), rel=1e-13)
        assert outcome.tokens == pytest.approx(
            [reference.expected_tokens(n, a) for n, a in zip(lengths, state.acceptance_rate, strict=True)]
        )


def test_drawn_rounds_have_the_mean_of_the_expected_one():
    scenario = scenario_with("all")
    state = ms.sample_state(scenario, 0)
    many = state.mapped(lambda array: np.broadcast_to(array, (20_000, 4)).copy())
    decision = ms.make_controller("optimal", scenario.replace(min_draft_length=1))(state)
    decision = ms.Decision(*(np.tile(array, (20_000, 1)) for array in (decision.draft_length, decision.bandwidth)))
    drawn, expected = ms.sampled_outcome(scenario, many, decision, 1), ms.expected_outcome(scenario, many, decision)
    extra = (drawn.round_latency - expected.round_latency + scenario.uplink.repeat_delay) / scenario.repeat_time
    assert extra == pytest.approx(np.rint(extra), abs=1e-9)
    most = np.random.default_rng(2).geometric(0.7, (20_000, 4)).max(-1) - 1
    for count in range(5):
        share = (most == count).mean()
        assert (np.rint(extra) == count).mean() == pytest.approx(share, abs=6.0 * (share / 20_000) ** 0.5 + 1e-3)
    assert drawn.round_latency.mean() == pytest.approx(expected.round_latency[0], abs=4.5 * 0.02 * extra.std() / 141.0)
    assert drawn.total_tokens.mean() == pytest.approx(expected.total_tokens[0], rel=0.02)
    silent = ms.Decision(np.zeros((20_000, 4), dtype=np.int64), np.zeros((20_000, 4)))
    assert np.ptp(ms.sampled_outcome(scenario, many, silent, 1).round_latency) == 0.0


@pytest.mark.parametrize("uplink", UPLINKS)
@pytest.mark.parametrize("env_id", PLAIN)
def test_checkers_of_libraries(env_id, uplink):
    env = gym.make(env_id, num_users=4, reward="sampled", **UPLINKS[uplink]).unwrapped
    check_gymnasium(env, skip_render_check=True)
    with pytest.warns(UserWarning, match="symmetric and normalized Box"):
        check_sb3(env)


@pytest.mark.parametrize(
    ("mode", "reward"), [(AutoresetMode.NEXT_STEP, "sampled"), (AutoresetMode.DISABLED, "expected")]
)
@pytest.mark.parametrize("uplink", [*UPLINKS, "own"])
def test_native_vector_equals_single_environments_bit_for_bit(uplink, reward, mode):
    options = {"num_envs": 3, "num_users": 3, "rounds": 3, "reward": reward, "min_draft_length": 0, "optimum": True}
    options |= UPLINKS.get(uplink, {"link": "lossy", "max_draft_length": 2, "num_users": 2})
    if "access_delay" in options:
        options["access_delay"] = (0.0, 0.02, 0.1)
    vector = {"autoreset_mode": mode}
    native = gym.make_vec(FULL, vectorization_mode="vector_entry_point", **vector, **options)
    sync = gym.make_vec(FULL, vectorization_mode="sync", vector_kwargs=vector, **options)
    assert equal(native.reset(seed=[7, 3, 11]), sync.reset(seed=[7, 3, 11]))
    rng = np.random.default_rng(0)
    for t in range(7):
        if t in (2, 4):
            masked = {"seed": [t, None, None], "options": {"reset_mask": np.arange(3) == 0}}
            assert equal(*(env.reset(**masked) for env in (native, sync)))
        action = rng.uniform(-5.0, 5.0, native.action_space.shape).astype(np.float32)
        step, expected = native.step(action), sync.step(action)
        assert all(map(equal, step, expected))
        ended = step[2] | step[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            assert equal(*(env.reset(options={"reset_mask": ended}) for env in (native, sync)))


def steps_of(count=8, **options):
    env = gym.make_vec(FULL, num_envs=4, num_users=4, vectorization_mode="vector_entry_point", **options)
    env.reset(seed=5)
    rng = np.random.default_rng(1)
    states, infos, rewards = [], [], []
    for _ in range(count):
        states.append(env.unwrapped.state)
        _, reward, _, _, info = env.step(rng.uniform(-2.0, 2.0, env.action_space.shape).astype(np.float32))
        infos.append(info)
        rewards.append(reward)
    return states, infos, rewards


@pytest.mark.parametrize("reward", ["sampled", "expected"])
def test_states_and_tokens_do_not_depend_on_the_uplink(reward):
    base, infos, _ = steps_of(reward=reward)
    for uplink in UPLINKS.values():
        states, other, _ = steps_of(reward=reward, **uplink)
        assert equal(states, base)
        for info, before in zip(other, infos, strict=True):
            assert equal(info["draft_length"], before["draft_length"])
            if "accepted_tokens" in before:
                assert equal(info["accepted_tokens"], before["accepted_tokens"])


@pytest.mark.parametrize("uplink", UPLINKS)
def test_joules_are_those_of_drafting_and_of_the_air_time(uplink):
    _, infos, _ = steps_of(action="shares", draft_energy=0.3, transmit_power=0.5, **UPLINKS[uplink])
    scenario = ms.Scenario.preset("llama2", num_users=4, draft_energy=0.3, transmit_power=0.5, **UPLINKS[uplink])
    states, *_ = steps_of(action="shares", **UPLINKS[uplink])
    for state, info in zip(states, infos, strict=True):
        length = info["draft_length"]
        seconds = length * scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
        if scenario.link == "power":
            rate = reference.power_rate(scenario)
            share = info["bandwidth"] / scenario.total_bandwidth
            need = length * scenario.bits_per_token / scenario.total_bandwidth
            pairs = zip(share.ravel(), state.spectral_efficiency.ravel(), strict=True)
            rates = [rate(b, r) if b > 0.0 else 1.0 for b, r in pairs]
            seconds = need / np.reshape(rates, share.shape)
        joules = 0.3 * length + 0.5 * seconds / (1.0 - scenario.upload_loss)
        assert np.reshape(info["energy"] if "energy" in info else info["joules"], (4, -1)).sum() == pytest.approx(
            joules.sum(), rel=1e-12
        )


def test_sampled_rewards_wait_for_drawn_repetitions_whose_mean_is_priced():
    options = {"action": "lengths", "num_users": 4, "rounds": 2000, **REPEATS}
    latency = {}
    for reward in ("sampled", "expected"):
        env = gym.make_vec(FULL, num_envs=20, vectorization_mode="vector_entry_point", reward=reward, **options)
        env.reset(seed=0)
        times = []
        for _ in range(300):
            _, rewards, _, _, info = env.step(np.zeros(env.action_space.shape, np.float32))
            times.append(info["round_latency"])
            assert np.isfinite(rewards).all()
        latency[reward] = np.array(times)
    extra = latency["sampled"] - latency["expected"]
    scenario = ms.Scenario.preset("llama2", num_users=4, **REPEATS)
    counts = (extra + scenario.uplink.repeat_delay) / scenario.repeat_time
    assert counts == pytest.approx(np.rint(counts), abs=1e-8)
    assert (np.rint(counts) >= 0).all()
    assert abs(extra.mean()) < 4.5 * extra.std() / extra.size**0.5
    assert extra.std() > 0.01


@pytest.mark.parametrize("uplink", [*UPLINKS, "own"])
@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_encode_and_decode_decisions(encoding, uplink, rng):
    fields = UPLINKS.get(uplink, {"link": "lossy"})
    scenario = ms.Scenario.preset("llama2", num_users=4, min_draft_length=0, **fields)
    state = ms.sample_state(scenario, rng, 60)
    codec = ENCODINGS.load(encoding)(scenario, False)
    decision = ms.make_controller("optimal", scenario)(state)
    decoded = codec.decode(codec.encode(decision, state), state)
    assert (decoded.draft_length == decision.draft_length).all()
    exact, busy = encoding == "lengths", decision.draft_length.any(-1)
    assert decoded.bandwidth[busy] == pytest.approx(decision.bandwidth[busy], rel=1e-9 if exact else 2e-3, abs=0.1)
    outcome = [ms.expected_outcome(scenario, state, d).round_latency for d in (decision, decoded)]
    assert outcome[0] == pytest.approx(outcome[1], rel=1e-9 if exact else 1e-4)
    corners = rng.choice([-LIMIT, -1.0, 0.0, 0.3, LIMIT], (60, 4, codec.columns))
    decision = codec.decode(corners, state)
    assert decision.bandwidth.sum(-1)[decision.draft_length.any(-1)] == pytest.approx(scenario.total_bandwidth)
    again = codec.decode(codec.encode(decision, state), state)
    assert (again.draft_length == decision.draft_length).all()
    played = [ms.expected_outcome(scenario, state, d).round_latency for d in (decision, again)]
    assert played[0] == pytest.approx(played[1], rel=2e-3)


def test_the_residual_multiplies_the_bits(rng):
    scenario = scenario_with("all")
    state, factor = ms.sample_state(scenario, rng), np.array([0.6, 1.0, 1.5, 1.1])
    codec = ENCODINGS.load("residual")(scenario, False)
    length = np.array([2, 4, 1, 3])
    band = codec.equalized(length, state, factor) / scenario.total_bandwidth
    rate, bits = reference.power_rate(scenario), scenario.bits_per_token / scenario.total_bandwidth
    rates = np.array([rate(b, r) for b, r in zip(band, state.spectral_efficiency, strict=True)])
    ready = length * (state.draft_time + bits * factor / rates) + scenario.access_delay
    assert ready == pytest.approx(np.full(4, ready.max()), rel=1e-9)
    assert band.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("uplink", [*UPLINKS, "own", "no limit", "weak"])
def test_slopes_are_differences_of_the_reward(action, uplink):
    others = {"own": {"link": "lossy", **LATE}, "no limit": {"link": "power"}}
    others["weak"] = {"link": "power", "transmit_snr_db": 0.0, "min_draft_length": 0}
    env, actions = played(FULL, action, num_users=4, **(UPLINKS | others)[uplink])
    expected = differences(env, actions)
    assert env.reward_slopes(actions) == pytest.approx(expected, rel=2e-4, abs=2e-5 * np.abs(expected).max())


def test_the_environment_of_a_link_that_is_not_concave_has_no_optimum():
    env = gym.make(FULL, num_users=3, link="convex", action="shares", reward="sampled").unwrapped
    env.reset(seed=0)
    for _ in range(4):
        _, reward, *_ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
    check_gymnasium(env, skip_render_check=True)


def preset(**fields):
    return ms.Scenario.preset("llama2", **{"num_users": 3, **fields})


def convex():
    return preset(link="convex"), ms.sample_state(preset(), 0)


def sensitivities(scenario):
    return ms.sensitivities(scenario, ms.sample_state(preset(), 0))


def certificate(scenario):
    state = ms.sample_state(preset(), 0)
    return ms.certificate(scenario, state, ms.make_controller("optimal", preset(), certify=1e-6)(state))


OTHERS = {"link": POWER, "access_delay": {"access_delay": 0.1}, "upload_loss": REPEATS}
CONCAVE = "link: expected a rate that is concave in the share for optimum, regret.*, got 'convex'"
test_refusals = refusals(
    (lambda: gym.make(FULL, num_users=3, link="convex", action="shares", optimum=True), CONCAVE),
    (lambda: gym.make(FULL, num_users=3, link="convex", action="shares", reward="share"), CONCAVE),
    (lambda: ms.make_controller("optimal", convex()[0])(convex()[1]), CONCAVE),
    (lambda: ms.make_controller("optimal", convex()[0], certify=1e-6)(convex()[1]), CONCAVE),
    (lambda: ms.make_controller("homogeneous", convex()[0])(convex()[1]), CONCAVE),
    (lambda: ms.upper_bound(*convex()), CONCAVE),
    (lambda: preset(link="mine"), "link: expected one of .*'density', 'power'.*, got 'mine'"),
    (
        lambda: preset(link="own_link:LINK"),
        r"link: expected a registered name.*--set link=own_link:LINK ",
    ),
    (
        lambda: preset(link=LINKS.load("power")),
        r"link: expected a registered name, got Power\(.*; register a part with registry.LINKS.register\(NAME, ...\)$",
    ),
    (lambda: preset(efficiency_limit=7.4), "efficiency_limit: expected 0 with link 'density', got 7.4"),
    (lambda: preset(efficiency_limit=-1.0, link="power"), "efficiency_limit: expected a finite number"),
    (
        lambda: preset(efficiency_limit=1e9, link="power"),
        r"efficiency_limit: .* at most 100, got 1e\+09",
    ),
    (lambda: preset(power_bandwidth=0.0), "power_bandwidth: expected a finite number"),
    (lambda: preset(power_bandwidth=0.5), r"power_bandwidth: .*Hz"),
    (lambda: preset(access_delay=(0.1, 0.2)), "access_delay: expected one number, or one for each of 3 devices, got 2"),
    (lambda: preset(access_delay=40.0), "access_delay: .*seconds"),
    (lambda: preset(access_delay=(0.0, 1.0, 40.0)), "access_delay.*: .*seconds"),
    (lambda: preset(access_delay=-0.01), "access_delay: expected a finite number"),
    (lambda: preset(access_delay=(0.0, np.nan, 0.0)), "access_delay: expected a finite number"),
    (lambda: preset(repeat_time=8.0), "repeat_time: .*seconds"),
    (lambda: preset(upload_loss=0.95), r"upload_loss: expected a finite number in \[0, 0.9\], got 0.95"),
    (lambda: preset(upload_loss=1), r"upload_loss: expected a finite number in \[0, 0.9\], got 1"),
    (lambda: preset(link="power", draft_ahead=True), "link: expected 'density' with draft_ahead, got 'power'"),
    (lambda: preset(access_delay=0.1, draft_ahead=True), "access_delay: expected none with draft_ahead"),
    *(
        (
            lambda fields=fields: preset(battery_rounds=20.0, min_draft_length=0, **fields),
            f"{name}: expected .* batteries",
        )
        for name, fields in {"link": POWER, "access_delay": {"access_delay": 0.1}, "upload_loss": REPEATS}.items()
    ),
    (
        lambda: gym.make("MultiSpin/DraftAhead-v0", num_users=3, **REPEATS),
        "upload_loss: expected 0 in rounds with draft_ahead, got 0.3",
    ),
    (lambda: gym.make("MultiSpin/Energy-v0", num_users=3, **POWER), "link: expected 'density' with batteries"),
    *(
        (lambda fields=fields: ms.make_controller("optimal", preset(**fields), energy_price=0.1), "energy_price: .* 0")
        for fields in (POWER, {"access_delay": 0.1})
    ),
    *(
        (lambda call=call, fields=fields: call(preset(**fields)), f"{name}: expected .* for {part}, got ")
        for part, call in {"sensitivities": sensitivities, "certificates": certificate}.items()
        for name, fields in OTHERS.items()
    ),
)


def test_scenarios_keep_their_uplink_in_files(tmp_path):
    scenario = ms.Scenario.preset("qwen3.5", num_users=4, power_bandwidth=1e6, **UPLINKS["all"])
    scenario.save(tmp_path / "mine.toml")
    assert ms.Scenario.load(tmp_path / "mine.toml") == scenario
    assert ms.Scenario.from_dict(scenario.to_dict()) == scenario
    assert hash(ms.Scenario.from_dict(scenario.to_dict())) == hash(scenario)
    old = {k: v for k, v in ms.Scenario.preset("qwen3.5").to_dict().items() if k not in CHANGED}
    assert len(old) == len(scenario.to_dict()) - len(CHANGED)
    assert ms.Scenario.from_dict(old) == ms.Scenario.preset("qwen3.5")
    config = ms.EnvConfig.of(FULL, **UPLINKS["all"], num_users=4)
    assert CONFIGS[FULL].from_dict(config.to_dict()) == config
    assert scenario.replace(num_users=4) == scenario
    one = ms.Scenario.preset("qwen3.5", access_delay=0.02)
    assert one.replace(num_users=7).uplink.access_delays.tolist() == [0.02] * 7
    assert one == ms.Scenario.preset("qwen3.5", access_delay=(0.02,))
    assert ms.Scenario.preset("qwen3.5", access_delay=0.0) == ms.Scenario.preset("qwen3.5")
    assert (
        ms.Scenario.preset("llama2", num_users=2, access_delay=[0, 0.0], draft_ahead=True).uplink.access_delays is None
    )


CHANGED = ("link", "power_bandwidth", "efficiency_limit", "access_delay", "upload_loss", "repeat_time")


@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_device_alone_is_one_device_of_its_kind(uplink, rng):
    scenario = scenario_with(uplink, max_draft_length=6)
    state = ms.sample_state(scenario, rng)
    rate = (reference.power_rate if scenario.link == "power" else reference.density_rate)(scenario)
    alone = []
    for k, delay in enumerate(np.zeros(4) + (scenario.access_delay or 0.0)):
        one = scenario.replace(num_users=1, access_delay=float(delay))
        part = state.mapped(lambda array, k=k: array[k : k + 1])
        alone.append(max(tokens.sum() / time for _, tokens, time in reference.linked_rounds(one, part, rate)))
    assert float(ms.baselines.p2p_goodput(scenario, state)) == pytest.approx(np.mean(alone), rel=1e-9)
