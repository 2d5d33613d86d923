"""Two uplinks that are the same in other words: every rule, bound and environment treats them alike."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.certificates.check import check
from multispin_env.controllers.names import controller_names
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.physics.continuous.core import free_state
from multispin_env.physics.energy import token_energy
from multispin_env.registry import ENVIRONMENTS
from multispin_env.solver.problem import make_problem
from multispin_env.solver.samples import sample_decisions
from multispin_env.uplink import Uplink
from tests.alike import equal

PAPER = ms.Scenario.preset("llama2", num_users=4, max_draft_length=12)
SERVER = ms.Scenario.preset("qwen3.5", num_users=3, server="a100-7b-gemm", payload="ids", max_draft_length=9)
TRIP, LOSS = 0.0625, {"upload_loss": 0.2, "repeat_time": 0.0625}  # s


def trip(scenario):
    """A delay of every device is a round trip, as each device drafts."""
    return scenario.replace(access_delay=TRIP / 2, round_trip_time=TRIP / 2), scenario.replace(round_trip_time=TRIP)


def repeats(scenario):
    """Repeated uploads lengthen every round by their mean."""
    losing = scenario.replace(**LOSS)
    return losing, scenario.replace(round_trip_time=losing.uplink.repeat_delay)


def limit(scenario):
    """With infinite power, all shares have the largest efficiency."""
    return scenario.replace(link="power", efficiency_limit=4.0), scenario


class LaterUplink(Uplink):
    @cached_property
    def fixed_wait(self):
        return self.round_trip_time + TRIP


@dataclass(frozen=True, kw_only=True)
class Later(ms.Scenario):
    @cached_property
    def uplink(self):
        return LaterUplink(self, *(getattr(self, field.name) for field in fields(Uplink)[1:]))


def wait(scenario):
    """A new constant of a round, which only `Uplink.fixed_wait` has, is a round trip."""
    return Later.from_dict(scenario.to_dict()), scenario.replace(round_trip_time=TRIP)


UPLINKS = {each.__name__: each for each in (trip, repeats, limit, wait)}
CONSTANTS = ("wait",)  # the same bit for bit, in all environments and certificates
OTHER_PLANS = {"algorithm1": "it plays the paper's decision, for its link and without delays"}
"""Rules that may decide otherwise in an equivalent system, with the reason."""
ROUNDS = [name for name in controller_names("rounds", PAPER) if name not in OTHER_PLANS]


def states(scenario, uplink, size=3):
    """Return states for both scenarios of an uplink."""
    state = ms.sample_state(scenario, 3, size)
    if uplink != "limit":
        return state, state
    return tuple(state.changed(spectral_efficiency=np.full_like(state.draft_time, r)) for r in (400.0, 4.0))


@pytest.mark.parametrize("scenario", [PAPER, SERVER], ids=["paper", "server"])
@pytest.mark.parametrize("uplink", UPLINKS)
def test_rounds(uplink, scenario):
    pairs = list(zip(UPLINKS[uplink](scenario), states(scenario, uplink), strict=True))
    for name in ROUNDS:
        first, second = (ms.make_controller(name, system)(state) for system, state in pairs)
        np.testing.assert_array_equal(first.draft_length, second.draft_length, name)
        np.testing.assert_allclose(first.bandwidth, second.bandwidth, 1e-9, err_msg=name)
        outcomes = [ms.expected_outcome(system, state, first) for system, state in pairs]
        np.testing.assert_allclose(*(outcome.goodput for outcome in outcomes), 1e-12, err_msg=name)
    np.testing.assert_allclose(*(ms.upper_bound(*pair) for pair in pairs), 1e-9)
    certified = [ms.make_controller("optimal", system, certify=1e-9)(state) for system, state in pairs]
    assert all(decision.certified.all() for decision in certified)
    np.testing.assert_allclose(*(decision.bound for decision in certified), 1e-8)


@pytest.mark.parametrize("uplink", ["trip", "repeats"])
def test_expected_channels(uplink):
    state, systems = ms.sample_state(PAPER, 0, 1), UPLINKS[uplink](PAPER)
    efficiency = ms.sample_state(PAPER, 1, 6).spectral_efficiency[None]
    found = [
        sample_decisions(make_problem(system, state), system.uplink.token_time(efficiency)).value for system in systems
    ]
    np.testing.assert_allclose(*found, 1e-9)


@pytest.mark.parametrize("action", ["residual", "shares"])
@pytest.mark.parametrize("uplink", ["trip", "repeats"])
def test_environments_and_slopes(uplink, action):
    envs = [
        MultiSpinVectorEnv(2, system, env_id="MultiSpin/Heterogeneous-v0", action=action)
        for system in UPLINKS[uplink](PAPER)
    ]
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, envs[0].action_space.shape).astype(np.float32)
    for env in envs:
        env.reset(seed=0)
    np.testing.assert_allclose(*(env.reward_slopes(actions) for env in envs), 1e-9, 1e-12)
    np.testing.assert_allclose(*(env.step(actions)[1] for env in envs), 1e-12)


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
@pytest.mark.parametrize("uplink", CONSTANTS)
def test_every_environment(uplink, env_id, quick_prices):
    systems = UPLINKS[uplink](PAPER.replace(**ENVIRONMENTS.load(env_id).scenario_defaults))
    pair = [MultiSpinVectorEnv(2, system, env_id=env_id, max_episode_steps=4) for system in systems]
    rng, space = np.random.default_rng(0), pair[0].action_space
    assert equal(*(env.reset(seed=0) for env in pair))
    for _ in range(6):
        actions = rng.uniform(-1.0, 1.0, space.shape).astype(np.float32)
        assert equal(*(env.step(actions) for env in pair))


@pytest.mark.parametrize("uplink", CONSTANTS)
def test_every_certificate(uplink):
    systems, state = UPLINKS[uplink](PAPER), ms.sample_state(PAPER, 3)
    decisions = [ms.make_controller("optimal", system, certify=1e-6)(state) for system in systems]
    proofs = [ms.certificate(system, state, decision) for system, decision in zip(systems, decisions, strict=True)]
    check(proofs[0])
    assert equal(*proofs)
    assert equal(*(ms.rate_certificate(system, state) for system in systems))


@pytest.mark.parametrize("scenario", [PAPER, SERVER], ids=["paper", "server"])
@pytest.mark.parametrize("uplink", ["trip", *CONSTANTS])
def test_without_the_barrier(uplink, scenario):
    state = ms.sample_state(scenario, 3, 2)
    for name in (*controller_names("continuous", scenario), "greedy+deadlines", "optimal"):
        rates = [
            ms.long_run(ms.make_controller(name, system), state, warm_up=0.5, horizon=1.5).rate
            for system in UPLINKS[uplink](scenario)
        ]
        np.testing.assert_allclose(*rates, 1e-9, err_msg=name)
    small = scenario.replace(max_draft_length=5)
    np.testing.assert_allclose(*(ms.rate_bound(system, state[:1]).value for system in UPLINKS[uplink](small)), 1e-9)


@pytest.mark.parametrize("scenario", [PAPER, SERVER], ids=["paper", "server"])
def test_repeated_uploads_are_planned_as_a_delay(scenario, quick_prices):
    losing = scenario.replace(**LOSS)
    late = scenario.replace(access_delay=losing.uplink.mean_repeats)
    state = free_state(ms.sample_state(scenario, 3, 3))
    for name in controller_names("continuous", scenario):
        first, second = (ms.make_controller(name, system)(state) for system in (losing, late))
        np.testing.assert_array_equal(first.draft_length, second.draft_length, name)


def test_joules_of_repeated_uploads_are_those_of_more_power():
    losing, strong = PAPER.replace(**LOSS), PAPER.replace(transmit_power=PAPER.transmit_power / 0.8)
    state = ms.sample_state(PAPER, 0, 3)
    np.testing.assert_allclose(token_energy(losing, state), token_energy(strong, state), 1e-12)
