"""A network as an agent and as a controller."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.policy import Policy
from multispin_env.registry import ENVIRONMENTS

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"


def policy_of(env_id, users=3, action="shares"):
    """Answers each user's two numbers from its acceptance rate, flat."""
    settings = Settings(ms.Scenario.preset("llama2", num_users=users), ENVIRONMENTS.load(env_id)(), action)

    def network(entries):
        assert all(array.ndim == 2 for array in entries.values())
        assert all(array.dtype == np.float32 for array in entries.values())
        rate = entries["acceptance"] if "acceptance" in entries else entries["compute"]
        return np.stack([rate, 0.5 * rate], -1).reshape(len(rate), -1)

    return Policy(settings, network)


def test_it_decides_as_its_codecs_say():
    policy = policy_of(FULL)
    state = ms.sample_state(policy.settings.scenario, np.random.default_rng(0), 5)
    observation = policy.settings.observations.encode(state)
    action = policy.act(observation)
    assert action.shape == (5, 3, 2)
    assert (action[..., 0] == observation["acceptance"]).all()
    expected, decision = policy.settings.actions.decode(action, state), policy(state)
    assert (decision.draft_length == expected.draft_length).all()
    assert (decision.bandwidth == expected.bandwidth).all()


def test_any_leading_shape_and_number_of_users():
    policy = policy_of(FULL)
    scenario = ms.Scenario.preset("qwen3.5", num_users=5)
    state = ms.sample_state(scenario, np.random.default_rng(0), 6)
    batch = policy.on(scenario)(state)
    assert batch.draft_length.shape == (6, 5)
    assert (policy.on(scenario)(state[2]).draft_length == batch.draft_length[2]).all()
    fields = ("draft_time", "spectral_efficiency", "acceptance_rate")
    nested = ms.SystemState(*(getattr(state, name).reshape(2, 3, 5) for name in fields))
    assert (policy.on(scenario)(nested).bandwidth.reshape(6, 5) == batch.bandwidth).all()
    llama = ms.sample_state(policy.settings.scenario.replace(num_users=5), np.random.default_rng(0), 6)
    more = policy.on(policy.settings.scenario.replace(num_users=5))(llama)
    assert (policy(llama).bandwidth == more.bandwidth).all()  # its own scenario, with as many users as the state


def test_arguments_make_its_environment():
    policy = policy_of(HIDDEN, action="lengths")
    assert policy.arguments == {"action": "lengths", **policy.settings.arguments}
    other = policy.on(policy.settings.scenario.replace(total_bandwidth=5e6))
    assert other.settings == replace(policy.settings, scenario=other.settings.scenario)
    assert other.network is policy.network


def test_what_it_can_not_read_is_refused():
    with pytest.raises(
        ValueError,
        match=r"observation: expected the entries \['acceptance', 'channel', 'compute', 'shared'\], got \['shared'\]",
    ):
        policy_of(FULL).act({"shared": np.zeros((1, 3), np.float32)})
    hidden = policy_of(HIDDEN)
    state = ms.sample_state(hidden.settings.scenario, np.random.default_rng(0))
    with pytest.raises(
        ValueError,
        match=r"state: expected observations, by act\(\), for a policy of HiddenAcceptance, got a SystemState",
    ):
        hidden(state)
    with pytest.raises(ValueError, match="draft_time"):
        policy_of(FULL)(ms.SystemState(-np.ones(3), np.ones(3), np.ones(3)))


def test_scenarios_with_other_observations_are_refused():
    full, hidden = policy_of(FULL), policy_of(HIDDEN)
    with pytest.raises(ValueError, match=r"server: expected one whose time does not depend on tokens, .* 'a100-32b'"):
        full.on(full.settings.scenario.replace(server="a100-32b"))
    three = full.settings.scenario.replace(tasks=full.settings.scenario.tasks[:3])
    assert full.on(three).settings.scenario == three  # it sees no tasks
    with pytest.raises(ValueError, match="tasks: expected 4, as in the agent's own scenario, got 3"):
        hidden.on(three)
