"""Public functions refuse arguments of another kind, or of another unit, in one sentence that names the argument."""

import re

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
STATE = ms.sample_state(SCENARIO, 0)
OPTIMAL, GREEDY = (ms.make_controller(name, SCENARIO) for name in ("optimal", "greedy"))
DECISION = OPTIMAL(STATE)
WORKLOAD = ms.Workload(
    arrivals=ms.make_arrivals("poisson"), rate=1.0, lengths=ms.make_lengths("geometric"), level=ms.ServiceLevel(ttft=1)
)


def encode(env_id, decision):
    env = gym.make(env_id, num_users=3)
    env.reset(seed=0)
    return env.unwrapped.encode_action(decision)


OF_A_STATE = (
    ms.upper_bound, ms.sensitivities, ms.rate_bound, ms.rate_prices, ms.rate_optimum, ms.p2p_goodput,
    ms.autoregressive_goodput, ms.centralized_goodput, ms.colocated_goodput, ms.overlapping_goodput,
)  # fmt: skip

KINDS = [
    ("path", lambda: ms.Scenario.load(3)),
    ("server", lambda: ms.Scenario.preset("llama2", server=None)),
    ("name", lambda: ms.make_controller(3, SCENARIO)),
    ("scenario", lambda: ms.make_controller("optimal", "llama2")),
    ("assumptions", lambda: ms.make_controller("optimal+filter", SCENARIO, 3)),
    ("scenario", lambda: ms.controller_names("rounds", "llama2")),
    ("scenario", lambda: ms.Assumptions.of("llama2")),
    ("scenario", lambda: ms.sample_state("llama2", 0)),
    ("rng", lambda: ms.sample_state(SCENARIO, "x")),
    ("rng", lambda: ms.sampled_outcome(SCENARIO, STATE, DECISION, -1)),
    ("size", lambda: ms.sample_state(SCENARIO, 0, "x")),
    ("rng", lambda: WORKLOAD.open("x", 3)),
    ("state", lambda: OPTIMAL({})),
    ("observed", lambda: ms.make_controller("optimal+filter", SCENARIO)(STATE)),
    ("scenario", lambda: ms.expected_outcome(STATE, SCENARIO, DECISION)),
    ("state", lambda: ms.expected_outcome(SCENARIO, DECISION, STATE)),
    ("decision", lambda: ms.expected_outcome(SCENARIO, STATE, 3)),
    ("decision", lambda: encode("MultiSpin/Heterogeneous-v0", 3)),
    ("decision", lambda: encode("MultiSpin/Continuous-v0", DECISION)),
    ("controller", lambda: ms.serve("optimal", WORKLOAD)),
    ("workload", lambda: ms.serve(GREEDY, 3)),
    ("controller", lambda: ms.long_run("optimal", STATE)),
    ("state", lambda: ms.long_run_rate(GREEDY, 3)),
    ("scenario", lambda: ms.capacity("llama2", tpot=0.1)),
    ("workload", lambda: ms.capacity(SCENARIO, workload=3)),
    ("controller", lambda: ms.capacity(SCENARIO, workload=WORKLOAD, controller=GREEDY)),
    *(("scenario", lambda function=function: function("llama2", STATE)) for function in OF_A_STATE),
    *(("state", lambda function=function: function(SCENARIO, 3)) for function in OF_A_STATE),
]


@pytest.mark.parametrize(("field", "call"), KINDS)
def test_another_kind_is_refused(field, call):
    with pytest.raises(ValueError, match=rf"^{field}: expected [^\n]*, got [^\n]*$"):
        call()


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: ms.capacity(SCENARIO, tpot=50), "tpot: expected seconds, at most 5, got 50; did you mean 0.05?"),
        (lambda: ms.capacity(SCENARIO, workload=WORKLOAD, percent=0.95), "got 0.95; did you mean 95?"),
        (lambda: ms.ServiceLevel(ttft=500), "ttft: expected seconds, at most 100, got 500; did you mean 0.5?"),
        (lambda: ms.ServiceLevel(tpot=np.float32(65.0)), "got 65; did you mean 0.065?"),
        (lambda: SCENARIO.replace(total_bandwidth=10), "total_bandwidth: expected Hz, at least 1000, got 10; "),
    ],
)
def test_another_unit_is_refused(call, meant):
    with pytest.raises(ValueError, match=re.escape(meant)):
        call()


def test_a_seed_stands_for_its_generator():
    for draw in (
        lambda rng: ms.sample_state(SCENARIO, rng, 4).draft_time,
        lambda rng: ms.sampled_outcome(SCENARIO, STATE, DECISION, rng).tokens,
    ):
        assert (draw(3) == draw(np.random.default_rng(3))).all()
