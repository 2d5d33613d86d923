"""Requests: independence of decisions, parallel environments, bad drops and refused steps."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.arrivals import Arriving
from multispin_env.physics.continuous import queues
from multispin_env.physics.workload import ServiceLevel
from tests.physics.continuous.pairs import LAWS, Fixed, joined, random_order, same
from tests.physics.continuous.test_core import GOOD, core_of

LEVEL = ServiceLevel(ttft=0.5, tpot=0.1)


@dataclass(frozen=True)
class Wild:
    """Gaps of mean `gap` s, a share `together` of them 0; prompts up to `prompt`, answers up to `output` tokens."""

    closed: bool = False
    level: ServiceLevel = LEVEL
    gap: float = 0.1
    together: float = 0.5
    prompt: int = 100
    output: int = 20

    def open(self, rng, num_users):
        def source(rows):
            gap, together, prompt, output = np.moveaxis(rng.random((rows, num_users, 4)), -1, 0)
            return Arriving(
                -np.log1p(-gap) * self.gap * (together >= self.together),
                np.floor(prompt * (self.prompt + 1)).astype(np.int64),
                np.floor((self.output + 0.5) ** output).astype(np.int64),
            )

        return source


def served_core(scenario, workload, num_envs=1, law="independent", **others):
    return core_of(scenario, num_envs, law, drawn=True, workload=workload, **others)


def decisions(core, rng, discipline="serial"):
    """Random decision (n, K) with drops."""
    rows = [random_order(core.system.scenario, discipline, rng) for _ in range(core.num_envs)]
    serving = core.state.demand.output > 0
    drop = serving & (rng.random(serving.shape) < 0.3) & (rng.random() < 0.5)
    return replace(joined(rows), drop=drop)


def requests_seen(core, rng, steps):
    """Tokens of the requests of each device by their arrival time."""
    seen = [{} for _ in range(core.system.scenario.num_users)]
    for _ in range(steps):
        core.step(decisions(core, rng))
        demand = core.state.demand[0]
        for k in np.flatnonzero(demand.output):
            seen[k][float(demand.arrived[k])] = int(demand.output[k])
    return seen


def test_arrivals_do_not_depend_on_decisions():
    scenario, workload = ms.Scenario.preset("llama2", num_users=4), Wild(gap=0.5, together=0.0)
    seen = (requests_seen(served_core(scenario, workload), np.random.default_rng(s), 80) for s in (1, 2))
    for first, second in zip(*seen, strict=True):
        common = first.keys() & second.keys()
        assert len(common) >= 3
        assert all(first[time] == second[time] for time in common)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("workload", [None, Wild(), Wild(closed=True)], ids=["endless", "open", "closed"])
def test_parallel_environments_equal_single_ones(workload, law):
    """Also with resets in the middle."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=5, acceptance="by-request")
    rng = np.random.default_rng(3)
    parallel = served_core(scenario, workload, 3, law, seed=10)
    singles = [served_core(scenario, workload, 1, law, seed=10 + env) for env in range(3)]
    for step in range(40):
        decision = replace(decisions(parallel, rng), **({"drop": None} if workload is None else {}))
        over = np.array([step == 11, False, step % 10 == 9])
        outcome = parallel.step(decision, over)
        for env, core in enumerate(singles):
            if over[env]:
                core.reset()
            else:
                same(core.step(decision[env : env + 1])[0], outcome[env])
            same(core.state[0], parallel.state[env])


def test_an_idle_device_has_nothing_to_drop():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    rows = [[(0.1, 0, 500)], [], [(0.0, 0, 500)]]
    core = served_core(scenario, Fixed([row + [(1e9, 0, 1)] * 300 for row in rows], False, ServiceLevel()), 2)
    core.step(GOOD)
    drop = np.arange(6).reshape(2, 3) == 4
    with pytest.raises(ValueError, match=r"^drop\[1, 1\]: expected .*, got "):
        core.step(replace(GOOD, drop=drop))
    core.step(replace(GOOD, drop=np.roll(drop, 1, -1)))


@pytest.mark.parametrize("closed", [False, True])
def test_a_refusal_changes_nothing(closed, monkeypatch):
    scenario, workload = ms.Scenario.preset("llama2", num_users=3), Wild(closed, gap=0.01)
    tried, other = (served_core(scenario, workload, discipline="reserved") for _ in range(2))
    good = replace(GOOD, draft_length=GOOD.draft_length[:1], join=GOOD.join[:1])
    refused, most = 0, queues.MOST_REQUESTS
    for step in range(60):
        before, copied, serving = tried.state, tried.state.copy(), tried.state.demand.output > 0
        decision = replace(good, drop=serving & [True, False, False] & (step % 3 > 0))
        with pytest.raises(ValueError, match="waits without limit"):  # without a share no upload ends
            tried.step(replace(good, share=np.zeros((1, 3)), drop=serving))
        monkeypatch.setattr(queues, "MOST_REQUESTS", 0)  # no more than the requests drawn so far
        try:
            outcome = tried.step(decision)
        except ValueError as error:
            assert "requests: expected at most" in str(error)  # noqa: PT017  (most steps need no more)
            refused += 1
            same(tried.state, copied)
        monkeypatch.setattr(queues, "MOST_REQUESTS", most)
        if tried.state is before:
            outcome = tried.step(decision)
        same(outcome, other.step(decision))
        same(tried.state, other.state)
    assert refused
