import re
from functools import partial

import pytest

import multispin_env as ms
from benchmarks.tools import run_tool

pytestmark = pytest.mark.slow


@pytest.fixture
def printed(capsys):
    """Rows of the tables of a call, by the first column, cells split at two spaces."""

    def call(*arguments):
        assert run_tool("continuous", arguments) == 0
        lines = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
        return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}

    return call


def numbers(cell):
    return [float(text) for text in re.findall(r"[+-]?\d+\.?\d*", cell)]


def test_rules_with_deadlines_miss_less(printed):
    options = ("--systems", "llama2", "--loads", ".85", "--copies", "2", "--rules", "wait-for-all", "greedy")
    barrier, greedy = map(numbers, printed("serving", *options)["llama2 K8 B10, load 0.85"])
    assert barrier[0] < greedy[0]  # tokens in time
    assert barrier[2] > greedy[2]  # missed


def test_one_device_waits_as_pollaczek_and_khinchine_say(printed):
    rows = printed("queueing", "--copies", "24", "--lengths", "4", "--loads", ".5", "--services", "150")
    ttft, measured_ttft, e2el, measured_e2el = map(numbers, rows["4, 0.5"])
    assert measured_ttft[1] < 0.12 * ttft[0]
    assert measured_ttft[0] == pytest.approx(ttft[0], abs=3.0 * measured_ttft[1])
    assert measured_e2el[0] == pytest.approx(e2el[0], abs=3.0 * measured_e2el[1])
    laws = {rate: numbers(" ".join(rows[rate])) for rate in ("2", "4", "6")}  # of the last table, L = 4
    assert laws["6"][0] > 1.3 * laws["2"][0]
    assert all(latency == pytest.approx(law, rel=0.08) for latency, law in laws.values())


def test_habits_of_an_agent_and_its_rule(printed, monkeypatch, quick_prices):
    env_id = "MultiSpin/Continuous-v0"
    monkeypatch.setattr("benchmarks.continuous.learned.RULES", {env_id: ("optimal",)})
    options = ("--only", "habits", "--envs", env_id, "--presets", "llama2", "--users", "2", "--size", "2")
    rows = printed("learned", *options)
    assert numbers(rows["agent"][0])[0] > 0.0
    agent, rule = (numbers(" ".join(rows[name])) for name in ("agent", "prices"))
    assert rule[-3] == pytest.approx(agent[0] - rule[0], abs=0.11)  # of rounded numbers
    batch, per_second, idle = agent[1:4]
    assert 1.0 <= batch <= 2.0
    assert 0.0 <= idle < 1.0 < per_second


@pytest.mark.filterwarnings("error")
def test_absurd_numbers_are_decided(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.continuous.robustness.LONGEST", (1, 25))
    assert run_tool("continuous", ["robustness", "--batches", "3", "--size", "20", "--long", "50"]) == 0
    assert "two to four users, random: 60 instances, no warning, no NaN" in capsys.readouterr().out


def test_what_drafting_ahead_adds(printed, monkeypatch):
    for name, value in (("WARM_UP", 0.5), ("HORIZON", 1.0), ("LOADS", (0.85,))):
        monkeypatch.setattr(f"benchmarks.continuous.ahead.{name}", value)
    monkeypatch.setattr(ms, "serve", partial(ms.serve, horizon=20.0))
    options = ("--servers", "a100-32b", "--presets", "llama2", "--users", "4", "--instances", "2")
    (cells,) = (row for name, row in printed("ahead", *options).items() if name.endswith("K4"))
    greedy, own_pace, waiting, *_ = map(numbers, cells[:-1])
    assert min(greedy[1], own_pace[1]) > 0.0
    assert waiting[1] > 10.0
    best, plain, ratio = numbers(cells[-1])
    assert ratio == pytest.approx(best / plain, abs=0.02)
    rows = printed("ahead", *options[:4], "--load", "--copies", "2", "--rules", "greedy+deadlines")
    without, more, _, missed, fewer = numbers(rows["llama2 a100-32b K8, load 0.85"][0])
    assert min(more, without) > 0.0
    assert fewer < missed
