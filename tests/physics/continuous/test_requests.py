"""Invariants of requests under random arrivals and decisions; parallel environments; bad drops."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.physics.arrivals import Arriving
from multispin_env.physics.continuous import queues
from multispin_env.physics.workload import ServiceLevel
from tests.physics.continuous.pairs import DISCIPLINES, LAWS, Fixed, joined, random_order, same
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


RATES = ((0.02, 0.0), (0.02, 0.5), (1.0, 0.0), (1.0, 0.99), (1e4, 0.5), (1e4, 0.995))  # mean gaps, shares of 0
WILD = st.none() | st.builds(
    lambda rate, **fields: Wild(gap=rate[0], together=rate[1], **fields),
    rate=st.sampled_from(RATES),
    closed=st.booleans(),
    level=st.sampled_from(
        [ServiceLevel(), ServiceLevel(ttft=1e-9, e2el=1e-9), LEVEL, ServiceLevel(e2el=9.0, e2el_per_token=1.0)]
    ),
    prompt=st.sampled_from([0, 1, 100_000]),
    output=st.sampled_from([1, 2, 30, 10**6]),
)


def served_core(scenario, workload, num_envs=1, law="independent", **others):
    return core_of(scenario, num_envs, law, drawn=True, workload=workload, **others)


def decisions(core, rng, discipline="serial"):
    """Random decision (n, K) with drops."""
    rows = [random_order(core.system.scenario, discipline, rng) for _ in range(core.num_envs)]
    serving = core.state.demand.output > 0
    drop = serving & (rng.random(serving.shape) < 0.3) & (rng.random() < 0.5)
    return replace(joined(rows), drop=drop)


def check_state(scenario, state):
    demand, idle = state.demand, state.phase == ms.Phase.IDLE
    assert (idle == (demand.output == 0)).all()
    for name in ("wanted", "output", "prompt", "arrived", "queue"):
        assert (getattr(demand, name)[idle] == 0).all(), name
        assert (getattr(demand, name) >= 0).all(), name
    assert np.isinf([demand.first_due[idle], demand.due[idle]]).all()
    for name in ("draft_length", "drafting_left", "air_left", "age"):
        assert (getattr(state, name)[idle] == 0).all(), name
        assert (getattr(state, name) >= 0).all(), name
    assert ((demand.wanted >= 1) & (demand.wanted <= demand.output))[~idle].all()
    assert (demand.arrived <= state.time[:, None]).all()
    assert ((state.drafting_left > 0.0) == (state.phase == ms.Phase.DRAFTING)).all()
    assert (state.air_left[(state.phase == ms.Phase.READY) | (state.phase == ms.Phase.FREE)] == 0.0).all()
    assert (state.air_left[state.phase == ms.Phase.UPLOADING] > 0.0).all()
    longest = np.maximum(scenario.min_draft_length, demand.wanted - 1)
    assert (state.draft_length <= longest)[~idle].all()
    assert (demand.accepted <= demand.drafted).all()


def check_passage(decision, before, outcome, state):
    served, had = outcome.served, before.demand.output > 0
    free = (before.phase == ms.Phase.FREE) & ~decision.drop
    assert (outcome.drafted_at >= outcome.draft_length * before.draft_time)[free & outcome.verified].all()
    assert (outcome.uploaded_at >= outcome.drafted_at).all()
    assert (served.dropped == decision.drop).all()
    np.testing.assert_allclose(outcome.duration, outcome.start_delay + outcome.verification_time)
    np.testing.assert_allclose(state.time, before.time + outcome.duration)
    assert (outcome.air_time >= 0.0).all()
    assert (outcome.air_time.sum(-1) <= outcome.duration * (1.0 + 1e-9)).all()
    assert outcome.verified.any(-1).all()
    assert (decision.join[outcome.verified] >= ms.Join.TAKE).all()
    start = outcome.start_delay[:, None]
    assert ((outcome.uploaded_at <= start) | ~outcome.verified).all()
    assert ((outcome.tokens >= 1.0) == outcome.verified).all()
    assert (outcome.tokens <= outcome.draft_length + 1.0).all()
    awaited = (decision.join == ms.Join.WAIT) & had & ~decision.drop
    if decision.timeout is None:
        assert outcome.verified[awaited].all()
        needed = np.minimum(1 if decision.least_batch is None else decision.least_batch, (decision.join > 0).sum(-1))
        assert (outcome.batch_size >= needed).all()
    assert (outcome.verified | ~served.finished).all()
    assert (served.e2el >= served.ttft).all()
    drafted = np.where(outcome.verified & ~before.demand.never_ends, outcome.draft_length, 0)
    assert (state.demand.drafted == drafted).all()


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(1, 12),
    way=st.sampled_from(DISCIPLINES),
    law=st.sampled_from(LAWS),
    server=st.sampled_from([{}, {"server": "a100-32b"}, {"server": "a100-7b-gemm", "padded_verification": True}]),
    low=st.integers(0, 1),
    workload=WILD,
)
def test_no_request_and_no_token_is_lost(seed, users, way, law, server, low, workload):
    rng = np.random.default_rng(seed)
    named = {"min_draft_length": low, **server}
    scenario = ms.Scenario.preset("qwen3.5", num_users=users, total_bandwidth=5e6, acceptance="by-request", **named)
    core = served_core(scenario, workload, 2, law, discipline=way, seed=seed)
    shape = core.state.phase.shape
    assert (core.state.phase == (ms.Phase.FREE if workload is None else ms.Phase.IDLE)).all()
    came, ended, tokens, closed_books = (np.zeros(shape) for _ in range(4))
    for _ in range(8):
        decision, before, copied = decisions(core, rng, way), core.state, core.state.copy()
        if workload is None:
            decision = replace(decision, drop=np.zeros(shape, dtype=bool))
        had = before.demand
        outcome, state = core.step(decision), core.state
        same(before, copied)  # old states do not change
        check_state(scenario, state)
        check_passage(decision, before, outcome, state)
        if workload is None:
            assert ((state.phase == ms.Phase.FREE) == outcome.verified).all()
            continue
        served, has = outcome.served, state.demand
        came += served.arrivals
        ended += served.finished.astype(int) + served.dropped
        assert (came == ended + (has.output > 0) + has.queue).all()
        if workload.closed:
            assert (has.queue == 0).all()
        tokens += outcome.tokens
        closed_books += served.output + np.where(decision.drop, had.output - had.wanted, 0)
        assert (tokens == closed_books + has.output - has.wanted).all()
        goes_on = (had.output > 0) & ~decision.drop & ~served.finished
        for name in ("arrived", "output"):
            assert (getattr(has, name) == getattr(had, name))[goes_on].all()
        assert (has.due <= had.due * (1.0 + 1e-12))[goes_on].all() or workload.level.tpot < np.inf
        within = workload.level.met(served.ttft, served.tpot, served.e2el, served.output)
        assert (served.in_time == (within & served.finished)).all()


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
