"""The checker as a judge of decisions among too many to try each."""

import itertools

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.certificates.check import check
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import make_problem
from tests.hostile import hostile_instance, hostile_law, unchecked
from tests.strategies import KINDS

pytestmark = pytest.mark.slow


def judge(scenario, state, certify, part, **options):
    """Check the optimum, and that within a TPOT: a part of the way from the least one to the time without it."""

    def decided(**limit):
        controller = unchecked(ms.make_controller("optimal", scenario, **options), certify=certify, **limit)
        decision = controller(state)
        check(ms.certificate(scenario, state, decision, **options, **limit))
        return ms.expected_outcome(scenario, state, decision)

    outcome = decided()
    least, wait = float(least_tpot(make_problem(scenario, state)).tpot[0]), outcome.round_latency / outcome.tokens
    decided(tpot=(least + part * (float(wait.max()) - least)) * (1.0 + 1e-6))


PAIRS = [
    *zip(itertools.cycle(SCENARIOS.names()), SERVERS.names(), strict=False),
    *((name, "") for name in SCENARIOS.names()),
]


@pytest.mark.parametrize(("name", "server"), PAIRS)
def test_presets(name, server):
    rng = np.random.default_rng(len(name + server))
    for users in (5, 16):
        budget, payload = float(rng.choice([2e6, 10e6, 50e6])), str(rng.choice(["ids", "ids", "distributions"]))
        fields = {"total_bandwidth": budget, "payload": payload} if server else {"total_bandwidth": budget}
        scenario = ms.Scenario.preset(name, num_users=users, server=server, min_draft_length=0, **fields)
        weights = rng.choice([0.0, 0.5, 1.0, 3.0], users) + 0.1
        judge(scenario, ms.sample_state(scenario, rng), float(rng.choice([1e-6, 1e-9])), rng.random(), weights=weights)


@pytest.mark.parametrize("users", [6, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_systems(kind, users):
    pieces, padded = KINDS[kind]
    for seed in range(6):
        rng = np.random.default_rng([seed, users])
        scenario, state, weights = hostile_instance(rng, users, max_decisions=13**users)
        scenario = hostile_law(rng, scenario, pieces, padded) if pieces else scenario
        judge(scenario, state, 1e-6, rng.random(), weights=np.where(weights.any(), weights, 1.0))
