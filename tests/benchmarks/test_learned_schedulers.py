"""What a learned controller does: an agent that always answers zero is its rule, in every number."""

import json
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th

import multispin_env as ms
from agents.base import tuning_for
from agents.evolution import EvolutionSettings
from agents.policies import policy_of
from agents.vec_env import make_vec_env
from benchmarks.learned_schedulers import ablation, generalisation, habits, picture, price, timing
from benchmarks.learned_schedulers.__main__ import main
from benchmarks.learned_schedulers.recording import record
from benchmarks.learned_schedulers.subjects import AGENT, CLOSED, OPEN, Learned, System
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.policy import Policy
from multispin_env.registry import ENVIRONMENTS

SHORT = {CLOSED: {"horizon": 1.0}, OPEN: {"horizon": 3.0, "warm_up": 0.5, "load": 0.85}}

pytestmark = pytest.mark.usefixtures("quick_prices")


@dataclass(frozen=True)
class Always:
    """A network with one answer."""

    columns: int
    value: float = 0.0

    def __call__(self, entries):
        batch, users = entries["compute"].shape
        return np.full((batch, users, self.columns), self.value, dtype=np.float32)


def learned(env_id, value=0.0):
    settings = Settings(ms.Scenario.preset("llama2", num_users=4), ENVIRONMENTS.load(env_id)(**SHORT[env_id]), "tuned")
    return Learned(env_id, Policy(settings, Always(settings.actions.columns, value)))


def trained():
    """A real network with weights that are not zero."""
    settings = learned(CLOSED).policy.settings
    env = make_vec_env(CLOSED, settings, 1, None, seed=0)
    agent = EvolutionSettings(pairs=1, cases=1, width=8)
    model = agent.build(env, lambda progress: progress, seed=0, device="cpu", tuning=tuning_for(settings))
    with th.no_grad():
        for parameter in model.policy.action_net.parameters():
            parameter.normal_()
    return Learned(CLOSED, policy_of(model, settings))


@pytest.fixture(scope="module", params=[CLOSED, OPEN])
def subject(request, quick_prices):
    return learned(request.param)


def system_of(subject, **changes):
    return System.of("llama2", subject.env_id, num_users=4, **changes)


def test_the_habits_of_zero_are_those_of_its_rule(subject):
    rows = {row.name: row for row in habits.measured(subject, system_of(subject), 3)}
    assert rows[AGENT].habits == rows[subject.reference].habits
    assert rows[subject.reference].agent_minus["rate"] == (0.0, 0.0, 0.0)
    assert rows["optimal"].agent_minus["rate"].mean > 0.0
    assert ("missed" in rows[AGENT].habits) == (subject.env_id == OPEN)
    assert rows["optimal"].name in habits.table(list(rows.values()))


def test_other_options_are_other_habits():
    other = learned(CLOSED, 0.9)
    rows = {row.name: row for row in habits.measured(other, system_of(other), 3)}
    assert rows[AGENT].habits != rows[other.reference].habits


def test_what_is_recorded_is_what_the_environment_does(subject):
    """Against a loop over one copy, step by step."""
    episodes = subject.episodes(system_of(subject), 2)
    found = record(episodes, subject.policy)
    env = gym.make(subject.env_id, scenario=episodes.scenario, action="tuned", **episodes.arguments)
    env.reset(seed=episodes.seed)
    sums = dict.fromkeys(("batch_size", "start_delay", "duration", "steps", "drafted"), 0.0)
    tokens, truncated = np.zeros(4), False
    while not truncated:
        _, _, _, truncated, info = env.step(np.zeros(env.action_space.shape, np.float32))
        for name in ("batch_size", "start_delay", "duration"):
            sums[name] += float(info[name])
        sums["steps"] += 1
        sums["drafted"] += info["draft_length"].sum()
        tokens += info["tokens"]
    wanted = {
        "batch": sums["batch_size"] / sums["steps"],
        "per_second": sums["steps"] / sums["duration"],
        "idle": sums["start_delay"] / sums["duration"],
        "draft": sums["drafted"] / sums["batch_size"],
        "least": tokens.min() / sums["duration"],
        "least_of_mean": tokens.min() / tokens.mean(),
        "starved": (tokens == 0.0).sum(),
    }
    assert {name: found.habits[name][0] for name in wanted} == pytest.approx(wanted, rel=1e-9)


def test_prices_change_no_order(subject):
    rows = price.measured(subject, 2)
    assert {row.factor for row in rows} == set(price.FACTORS)
    assert max(row.largest_error for row in rows) < 1e-9
    for name in {row.name for row in rows}:  # nobody looks at the price
        assert len({row.rate for row in rows if row.name == name}) == 1
    assert "the order by reward over time is that by tokens" in price.table(rows)
    wrong = [replace(row, fitness=-row.fitness) for row in rows]
    assert "is not that by tokens" in price.verdict(wrong)


def test_generalisation_names_the_best_rule(subject):
    row = generalisation.measured(subject, system_of(subject), 2)
    assert row.over_reference == (0.0, 0.0, 0.0)
    assert row.best in subject.rivals
    assert row.over_best.mean == pytest.approx(row.agent - row.best_rate)
    left_out = generalisation.measured(subject, system_of(subject, server="a100-32b"), 2)
    assert left_out.agent is None
    assert "shared has" in left_out.why_not
    assert left_out.why_not in generalisation.table([row, left_out])


def test_every_change_is_a_system_of_its_own():
    for env_id, count in ((CLOSED, 14), (OPEN, 22)):
        systems = list(generalisation.systems(env_id))
        assert len({system.title for system in systems}) == len(systems) == count


def test_times_of_decisions(monkeypatch):
    """With a real network, so that it can be exported."""
    monkeypatch.setattr(timing, "USERS", 4)
    subject = trained()
    rows = timing.measured(subject, 3)
    names = [row.name for row in rows]
    assert {"its network, torch", "groups", "prices", "own-pace", "load-aware"} <= set(names)
    assert all(0.0 < row.median <= row.slowest for row in rows)
    assert "median (ms)" in timing.table(rows)


def test_an_export_answers_as_its_original():
    pytest.importorskip("onnxscript")
    subject = trained()
    observation, _ = timing.seen_by(subject, system_of(subject), 1)[-1]
    assert subject.policy.act(observation).any()
    assert np.allclose(timing.exported(subject).act(observation), subject.policy.act(observation), atol=1e-4)


def test_the_picture_shows_every_cell(tmp_path):
    rows = [
        picture.Row("llama2", load, spread, "x", load - spread, -1.0, 1.0)
        for load in (0.4, 0.6)
        for spread in (0.1, 0.5)
    ]
    picture.draw_gains(rows, tmp_path / "learned.png")
    assert (tmp_path / "learned.png").read_bytes()[:4] == b"\x89PNG"
    row = picture.cell(learned(OPEN), "llama2", 0.6, 0.5, 2)
    assert row.low <= row.gain <= row.high


def test_the_command_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(habits, "USERS", 3)
    main(["--only", "habits", "--size", "2", "--out", str(tmp_path)], [learned(CLOSED)])
    content = json.loads((tmp_path / "habits.json").read_text(encoding="utf-8"))
    assert content["about"]["size"] == 2
    assert [row["name"] for row in content["rows"][:2]] == [AGENT, "prices"]
    assert "mean batch" in capsys.readouterr().out
    main(["--only", "picture", "--size", "2", "--out", str(tmp_path)], [learned(CLOSED)])
    assert capsys.readouterr().out == ""


def test_without_agents_it_says_so(tmp_path):
    with pytest.raises(SystemExit, match="expected a pretrained agent"):
        main(["--out", str(tmp_path)], [])


def test_what_is_left_out_has_no_influence():
    """On the actions of a network whose last layer says something."""
    settings = learned(CLOSED).policy.settings
    vector = make_vec_env(CLOSED, settings, 4, None, seed=3)
    vector.reset()
    for _ in range(3):
        seen, *_ = vector.step(np.zeros(vector.action_space.shape, np.float32)[None].repeat(4, 0))
    entries = {key: th.as_tensor(value) for key, value in seen.items()}
    other = {**entries, "phase": 1.0 - entries["phase"], "aim": entries["aim"] + 0.3}
    swapped = {**entries, "compute": entries["compute"].clone()}
    swapped["compute"][:, 1:] += 0.5  # of all devices but the first
    answers = {}
    for name, change in ablation.CHANGES.items():
        th.manual_seed(0)
        agent = EvolutionSettings(pairs=1, cases=1, width=8)
        env = make_vec_env(CLOSED, settings, 1, None, seed=0)
        model = agent.build(env, lambda progress: progress, seed=0, device="cpu", tuning=tuning_for(settings))
        with th.no_grad():
            model.policy.action_net.net[-1].weight.normal_()
        change(model)
        with th.no_grad():
            answers[name] = [model.policy.deterministic(one) for one in (entries, other, swapped)]
    columns = settings.actions.columns
    for name, (plain, phases, devices) in answers.items():
        assert th.equal(plain, phases) == (name in ("without phases", "one vector for all states"))
        alike = th.equal(plain[:, :columns], devices[:, :columns])
        assert alike == (name in ("without context", "one vector for all states"))
