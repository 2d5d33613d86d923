from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.types import Observed
from multispin_env.registry import ESTIMATORS
from tests.alike import equal
from tests.controllers.histories import along, history, system
from tests.families import RULES
from tests.refusals import refusals


def known_state(rng, scenario, num_envs=4):
    state = ms.sample_state(scenario, rng, num_envs)
    return state, Observed(state.draft_time, state.spectral_efficiency, state.acceptance_rate)


@pytest.mark.parametrize("base", [name for name in RULES if name != "random"])
def test_with_everything_known_it_is_the_controller(base, rng):
    scenario = system()
    state, observed = known_state(rng, scenario)
    plain = ms.make_controller(base, scenario)(state)
    assert equal(PlugIn(ms.make_controller(base, scenario))(observed), plain)
    assert equal(ms.make_controller(f"{base}+clairvoyant", scenario)(state), plain)


def test_estimates_reach_the_controller(rng):
    scenario = system()
    plug_in = ms.make_controller("optimal+filter+mmse", scenario, assumptions=Assumptions.of(scenario), moment=3.0)
    parts = [ESTIMATORS.load(name)(scenario, Assumptions.of(scenario)) for name in ("filter", "mmse")]
    seen = history(rng, 4, 3)
    estimates = along(replace(parts[0], moment=3.0), seen), along(parts[1], seen)
    for observed, alpha, efficiency in zip(seen, *estimates, strict=True):
        expected = ms.make_controller("optimal", scenario)(ms.SystemState(observed.draft_time, efficiency, alpha))
        assert equal(plug_in(observed), expected)


def test_gradient_weighs_by_throughput(rng):
    scenario = system()
    state, observed = known_state(rng, scenario)
    throughput = rng.uniform(0.1, 20.0, (4, 5))
    throughput[1, 2] = 0.0
    observed = replace(observed, throughput=throughput)
    plug_in = ms.make_controller("optimal+gradient", scenario, floor=0.01)
    weights = 1.0 / np.maximum(throughput, 0.01)
    assert equal(plug_in(observed), ms.make_controller("optimal", scenario, weights=weights)(state))
    priorities = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    with_priorities = ms.make_controller("optimal+gradient", scenario, floor=0.01, weights=priorities)
    expected = ms.make_controller("optimal", scenario, weights=weights * priorities)(state)
    assert equal(with_priorities(observed), expected)
    assert not equal(expected, ms.make_controller("optimal", scenario)(state))


def test_round_robin_visits_all_and_resets(rng):
    scenario = system()
    _, observed = known_state(rng, scenario, 2)
    plug_in = ms.make_controller("optimal+round-robin", scenario)
    turns = []
    for turn in range(13):
        if turn == 7:
            plug_in.reset(np.array([False, True]))
        length = plug_in(observed).draft_length
        assert ((length > 1).sum(-1) == 1).all()
        turns.append(length.argmax(-1))
    assert np.transpose(turns).tolist() == [[*range(5), *range(5), 0, 1, 2], [*range(5), 0, 1, *range(5), 0]]


@pytest.mark.parametrize("name", ["homogeneous+beta+mmse", "uniform-bandwidth+filter+quantile"])
def test_environments_are_independent(name, rng):
    scenario = system()
    first, second = history(rng, 4, 3), history(rng, 4, 3)
    mask = np.array([False, True, False])
    plug_in, fresh, continued = (ms.make_controller(name, scenario) for _ in range(3))
    fresh.reset(mask)  # before the first call
    for observed in first:
        plug_in(observed)
        continued(observed)
    plug_in.reset(mask)
    for observed in second:
        decision, new, old = plug_in(observed), fresh(observed), continued(observed)
        for row in range(3):
            assert equal(decision[row], new[row] if mask[row] else old[row])
    single = ms.make_controller(name, scenario)
    assert equal([single(o[:1])[0] for o in first + second][-1], decision[0])


def test_reset_of_all_lets_the_number_change(rng):
    plug_in = ms.make_controller("fixed+beta", system())
    plug_in(history(rng, 1, 3)[0])
    with pytest.raises(ValueError, match=r"observed: expected 3 environments until reset\(\), got 2"):
        plug_in(history(rng, 1, 2)[0])
    plug_in.reset()
    plug_in(history(rng, 1, 2)[0])
    with pytest.raises(ValueError, match=r"mask: expected a bool array of shape \(2,\), got bool of shape \(3,\)"):
        plug_in.reset(np.zeros(3, dtype=bool))


def vector_of(num_envs=8, **options):
    env = gym.make_vec("MultiSpin/Continuous-v0", num_envs=num_envs, num_users=4, rho=90.0, action="full", **options)
    env.reset(seed=0)
    return env.unwrapped


def test_the_channel_is_estimated_only_for_drafts_that_start():
    """With independent cycles the expected gain is the mean; the channel of a cycle under way is observed."""
    env = vector_of(4, channel_report="old")
    plug_in = ms.make_controller("groups+mmse", env.scenario, env.assumptions)
    base, states = plug_in.base, []

    def spy(state):
        states.append(state)
        return base(state)

    plug_in.base = spy
    spy.scenario = env.scenario
    under_way = 0
    for _ in range(20):
        observed = env.observed
        env.step(env.encode_action(plug_in(observed)))
        mean = spectral_efficiency(env.scenario, observed.system.mean_gain)
        expected = np.where(observed.state.starting, mean, observed.state.spectral_efficiency)
        assert states[-1].spectral_efficiency == pytest.approx(expected, rel=1e-12)
        assert (states[-1].acceptance_rate == observed.system.acceptance_rate).all()
        under_way += (~observed.state.starting).sum()
    assert under_way > 0


@pytest.mark.parametrize("name", ["greedy+deadlines+filter", "greedy+filter+deadlines"])
def test_order_of_modifiers_and_estimators(name):
    plug_in = ms.make_controller(name, system(), need=0.04, moment=3.0)
    assert plug_in.base.need == 0.04
    assert type(plug_in.base.base).__name__ == "Greedy"
    assert plug_in.estimators[0].moment == 3.0


def test_a_single_environment_equals_a_vector():
    many = vector_of(1, acceptance_visible=False)
    solo = gym.make("MultiSpin/Continuous-v0", num_users=4, rho=90.0, action="full", acceptance_visible=False).unwrapped
    solo.reset(seed=0)
    plug_ins = [ms.make_controller("groups+beta", many.scenario, many.assumptions) for _ in "ab"]
    for _ in range(15):
        decisions = [plug_in(env.observed) for plug_in, env in zip(plug_ins, (many, solo), strict=True)]
        assert decisions[1].draft_length.shape == (4,)
        assert (decisions[0][0].draft_length == decisions[1].draft_length).all()
        for env, decision in zip((many, solo), decisions, strict=True):
            env.step(env.encode_action(decision))


BAD = [
    ({"acceptance_rate": None}, "acceptance_rate"),
    ({"task": np.full((4, 5), 4)}, r"task\[0, 0\]"),
    ({"age": np.zeros((4, 3))}, "age"),
    ({"drafted": np.full((4, 5), 2), "accepted": np.full((4, 5), 3)}, r"accepted\[0, 0\]"),
    ({"throughput": np.full((4, 5), np.nan)}, r"throughput\[0, 0\]"),
    ({"mean_gain": np.full((4, 5), -1.0)}, r"mean_gain\[0, 0\]"),
]
SEEN = known_state(np.random.default_rng(7), system())[1]
test_refusals = refusals(
    *(
        (
            lambda bad=bad: PlugIn(ms.make_controller("fixed", system()))(replace(SEEN, **bad)),
            f"^{x}: expected .*, got ",
        )
        for bad, x in BAD
    )
)
