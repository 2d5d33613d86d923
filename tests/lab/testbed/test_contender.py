"""Contenders of the testbed: decisions and texts of ``multispin live``, and plug-ins that are made again."""

import numpy as np
import pytest

pytest.importorskip("zmq")

import multispin_env as ms
from multispin_lab.models.contender import LiveContender, draw_conditions
from multispin_lab.models.halves import Drafter, Verifier, draft_seed
from multispin_lab.models.prompts import Prompts
from multispin_lab.models.rounds import begin_requests, play_round
from multispin_lab.testbed import server
from multispin_lab.testbed.contender import TestbedContender as Contender
from tests.lab.models.tiny import WORDS, tiny_model
from tests.lab.testbed.devices import ACCESS, joined
from tests.lab.testbed.test_server import REQUESTS, TEXTS, USERS

TASKS = tuple(ms.Task(name=name, acceptance_rate=0.4, acceptance_std=0.1) for name in ("code", "chat"))
LAW = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "padded_verification": True}
SCENARIO = ms.Scenario.preset(
    "llama2",
    num_users=USERS,
    tasks=TASKS,
    mean_draft_time=0.002,
    total_bandwidth=1e8,
    max_draft_length=4,
    kept_probabilities=5,
    verification_pieces=((0.001, 1e-4),),
    **LAW,
)
NAMES = ("optimal+filter", "fixed")
CONDITIONS = draw_conditions(SCENARIO, 20, np.random.default_rng([3, 0]))
TASK = np.arange(len(REQUESTS.prompts)) % 2
REQUESTS = REQUESTS._replace(task=TASK, most_tokens=12)
PROMPTS = Prompts(TEXTS, ("code", "chat"), tuple(TASK.tolist()), "prompts.txt", "")


def opened(**settings):
    options = {"seed": 3, "tokens": 12, "port": 0, "seats": 2, "emulate": True, "emulate_pass": True} | settings
    testbed = server.Testbed(SCENARIO, tiny_model(0), PROMPTS, ACCESS, server.Settings(**options))
    return testbed, [Contender(name, CONDITIONS, testbed, seat) for seat, name in enumerate(NAMES)]


def live(name):
    drafter = Drafter(tiny_model(1).sequences(USERS, WORDS), 1.0, 5, 16)
    verifier = Verifier(tiny_model(0).sequences(USERS, WORDS), 1.0, 3, REQUESTS)
    begin_requests(drafter, verifier, np.arange(USERS))
    seeds = [draft_seed(3, device) for device in range(USERS)]
    return LiveContender(
        name, SCENARIO, CONDITIONS, verifier, lambda length: play_round(drafter, verifier, seeds, length)
    )


def test_decisions_and_texts_are_those_of_live():
    testbed, contenders = opened()
    with testbed, joined(testbed, USERS):
        alone = [live(name) for name in NAMES]
        for _ in range(10):
            for contender, other in zip(contenders, alone, strict=True):
                entry, expected = contender.step(), other.step()
                for name in ("draft_length", "bandwidth", "request", "age", "predicted", "drafting", "uploading"):
                    np.testing.assert_array_equal(getattr(entry, name), getattr(expected, name))
                assert entry.predicted_time == expected.predicted_time
                for name in ("accepted", "gained"):
                    np.testing.assert_array_equal(getattr(entry.played, name), getattr(expected.played, name))
                assert entry.predicted_time <= entry.measured_time < entry.predicted_time + 1.0
                assert (entry.measured.drafting >= entry.drafting).all()
                assert entry.as_measured().access >= entry.access
        assert max(alone[0].verifier.number) >= 1


def histories(seed, users, rounds):
    rng = np.random.default_rng(seed)
    drafted = rng.integers(0, 5, (rounds, users))
    return drafted, rng.integers(0, drafted + 1)


@pytest.mark.parametrize("name", ["optimal+filter", "optimal+beta", "homogeneous"])
def test_a_plug_in_that_is_made_again_decides_like_one_that_never_saw_the_others(name):
    testbed, _ = opened()
    with testbed:
        contender = Contender(name, CONDITIONS, testbed, 0)
        rows = np.array([0, 2, 3])
        drafted, accepted = histories(0, USERS, 6)
        begun = np.array([0, 0, 6, 3])  # round in which the request began; that of device 2 is new
        undisturbed = Contender(name, CONDITIONS, testbed, 0).plug_in_for(rows)  # without a history
        observed = {}
        for number in range(7):
            age = np.maximum(number - begun, 0)
            last = np.where(age > 0, (drafted[number - 1], accepted[number - 1]), 0)
            counts = {"task": testbed.verifiers[0].task, "drafted": last[0], "accepted": last[1], "age": age}
            observed = ms.Observed(CONDITIONS.draft_time, CONDITIONS.efficiency[number], **counts)[rows]
            expected = undisturbed(observed)
        for device in range(USERS):
            past = slice(begun[device], 6)
            contender.history[device] = list(
                zip(drafted[past, device].tolist(), accepted[past, device].tolist(), strict=True)
            )
        decision = contender.plug_in_for(rows)(observed)
        np.testing.assert_array_equal(decision.draft_length, expected.draft_length)
        np.testing.assert_allclose(decision.bandwidth, expected.bandwidth)
