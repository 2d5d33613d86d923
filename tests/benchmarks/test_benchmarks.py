import json
import re
import shlex
from functools import partial

import numpy as np
import pytest
from stable_baselines3 import PPO

import multispin_env as ms
from benchmarks.continuous import levels
from benchmarks.evidence import ahead, optimum, stake
from benchmarks.plan.__main__ import main as plan
from benchmarks.suite import candidates, potential
from benchmarks.tools import run_tool
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.evaluation.statistics import Interval
from multispin_env.physics.records import load_records
from multispin_env.registry import ENVIRONMENTS
from multispin_env.solver.energy import energy_law
from multispin_env.solver.problem import make_problem
from tests.repository import ROOT

pytestmark = pytest.mark.slow
evidence, speed, suite, tune = (partial(run_tool, tool) for tool in ("evidence", "speed", "suite", "tune"))


@pytest.fixture
def printed(capsys):
    def run(main, line):
        assert main(shlex.split(line)) == 0
        return capsys.readouterr().out

    return run


def cells(text, label):
    (line,) = (line for line in text.splitlines() if line.startswith(label))
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", line[len(label) :])
    return [float(number.replace(",", "")) for number in numbers]


@pytest.mark.usefixtures("quick_prices")
def test_every_environment_is_measured(printed, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "speed.png"
    out = printed(speed, f"environments --copies 1 2 --users 3 --turns 1 --seconds 0 --picture {picture}")
    assert all(env_id in out for env_id in (*ENVIRONMENTS.names(), "CartPole-v1"))
    assert len(re.findall(r" (met|MISSED)$", out, re.MULTILINE)) == 3
    assert picture.stat().st_size > 10_000


def test_controllers_are_timed(printed):
    out = printed(speed, "controllers --users 4 --instances 80 --singles 2 --servers a100-32b --payloads ids")
    assert len(cells(out, "llama2 on a100-32b, ids")) == 6


def test_core_and_simpy_agree(printed):
    pytest.importorskip("simpy")
    out = printed(speed, "without-barrier --batches 5 --turns 1 --steps 2").split("decisions")[0]
    assert all(cells(out, row)[1] < 1e-12 for row in ("8", "20"))


def test_training_learns_the_same_bit_for_bit(printed):
    out = printed(speed, "training --users 3 --rollouts 2 --turns 1")
    assert re.search(r"^bit for bit the same +yes$", out, re.MULTILINE)


def test_optimum(printed):
    out = printed(
        evidence,
        "optimum --ids 0 --mixed 2 --settings 2 --hostile 5 --preset 1 --leads 1 --wide 1 --extreme 3 --renewal 2",
    )
    assert cells(out, "all ")[:3] == [2.0, 4.0, 0.0]
    instances, error, not_certified, below, *_ = cells(out, "paper ")
    assert instances == 5.0
    assert error < 1e-9
    assert not_certified == below == 0.0
    for table in ("presets", "very wide parameters", "legal instances far from any network", "against the best of all"):
        assert f"\n{table}" in out


@pytest.mark.parametrize("longest", [1, 4])
def test_tokens_over_time_equal_all_decisions(longest):
    scenario = ms.Scenario.preset("llama2", num_users=3, max_draft_length=longest, min_draft_length=longest // 4)
    problem = make_problem(scenario, ms.sample_state(scenario, 1, 40))
    lengths = np.stack(np.meshgrid(*[np.arange(longest // 4, longest + 1)] * 3), -1).reshape(-1, 3).astype(float)
    every = np.broadcast_to(lengths, (40, *lengths.shape))
    tokens, time = problem.tokens(every), problem.latency(every) + problem.verification_time(every)
    row = optimum.over_time(scenario, 40)
    surplus = tokens - row["most"] * time
    assert abs(surplus.max(-1).mean()) < 1e-8
    best = every[np.arange(40), surplus.argmax(-1)]
    start = problem.low.astype(float)
    assert (best == optimum.most_surplus(problem, row["most"], start)).all()
    assert surplus.max(-1).min() < 0.0 < surplus.max(-1).max()
    assert row["of rounds"] <= row["most"]


def test_servers(printed):
    out = printed(evidence, "servers --hostile 2 --preset 1 --tpot 2 --numbers 5 --pairs llama2 --servers a100-32b")
    assert cells(out, "padded, two pieces")[1] < 1e-6
    counts = [line.split()[2:5] for line in re.findall(r"servers, all\n\n.*\n.*\n(.*)", out)]
    assert counts == [["0", "0", "0"]]  # continued, unproven, below
    assert cells(out, "5 ")[-1] == 0.0


def test_fitted_laws_are_those_of_the_package_and_wrong_use_is_one_sentence(printed, capsys):
    assert evidence(["bound", "--systems", "nowhere"]) == 2
    assert "systems: expected" in capsys.readouterr().err
    out = printed(evidence, "fit")
    for name in ("a100-7b-gemm", "a100-32b", "a100-70b"):
        *_, fit, profile = cells(out, name)
        assert fit <= profile <= fit + 0.1


def test_rules_without_the_barrier_are_between_the_rounds_and_the_bound(printed):
    system = "llama2 K8 B10 wide"
    out = printed(evidence, f'bound --fading 1 --tight 1 --systems "{system}"').split("tight")[0]
    bound, _, over_barrier, *_ = cells(out, system)
    rounds, *rules = cells(printed(evidence, f'rules --instances 2 --seconds 1 --systems "{system}"'), system)[:6]
    assert over_barrier > 1.0
    assert bound > 0.0
    assert max(rules) > rounds


def test_certificates(printed):
    out = printed(evidence, "certificates --instances 1 --sweep 1 --rates 0")
    assert len(re.findall(r"^(?:very wide|cpu-1.5b \(padded\))", out, re.MULTILINE)) == 4
    states, proven = cells(out, "paper")[:2]
    assert states == proven == 4.0


def test_contexts(printed):
    out = printed(evidence, "context --servers l40s-8b --contexts 1024 32768 --users 4 --states 2")
    assert re.search(r"^Llama-3.2-1B +32,768 +0.695 +21,217$", out, re.MULTILINE)  # 16 layers, 8 heads of 64; 4.5 bits
    short, long = (
        [float(gain) for gain in re.findall(r"([\d.]+) \(L", line)] for line in out.splitlines() if " (L " in line
    )
    assert short[0] >= short[1] >= short[2]
    assert long[0] > 1.2 * long[1] > 1.2 * long[2] >= 1.2


def test_what_is_at_stake_in_a_round(printed):
    out = printed(evidence, "stake --systems 8 --states 4 --servers paper a100-32b")
    for label in ("paper +distributions ", "a100-32b +ids ", "all but paper +ids "):
        systems, *shares = cells(out, re.search(f"^{label}", out, re.MULTILINE)[0])
        assert systems == 2.0
        assert all(0.0 < low <= mean <= 1.0 + 1e-9 for mean, low in zip(shares[::2], shares[1::2], strict=True))
        assert len(shares) == 2 * (2 * 3 + 1)
    assert max(stake.shares(ms.Scenario.preset("llama2", num_users=4), 4, np.random.default_rng(0))) < 1.0


def test_ratios_of_users_have_a_range():
    served, rounds = Interval(439.0, 384.0, 481.0), Interval(87.0, 76.0, 91.0)
    assert levels.text(levels.ratio(served, rounds), 1) == "5.0 (4.2 to 6.3)"
    assert levels.text(levels.ratio(Interval(512.0, 500.0, np.inf), rounds), 1) == "5.9 (5.5 or more)"


def test_fleets(printed):
    out = printed(evidence, "fleets --fleets paper boards --users 3 --states 2 --map boards --sizes 2 --counts boards")
    first, second, third = (table.splitlines() for table in re.split(r"\n\n(?:least K|devices in) .*\n\n", out))
    assert len(first) == 3 + 2 + 4 * 2 * 2
    assert {line.split()[-1] for line in second[2:]} <= {"2", "-"}
    for line in third[2:]:
        *counts, over, formula = line.split()[-6:]
        alone, drafting, rounds, lost = map(int, counts)
        assert rounds == lost == alone  # boards are too slow to draft
        assert float(over) == pytest.approx(rounds / drafting, abs=0.005)
        assert float(formula) >= 1.0
    server = ms.Scenario.preset("llama2", server="l40s-8b")
    users = int(third[3].split()[4])  # those that fit into the server's memory
    ratio = server.draft_step_time(users) / float(server.law.time(users, 2 * users))
    assert float(third[3].split()[-1]) == pytest.approx(1.0 + ratio, abs=0.005)  # the best length is 1


def test_links(printed):
    out = printed(evidence, "links --states 4")
    per_hertz, paper, shares, best, gain, _, over_shares, _, gap, *_ = cells(out, "llama2           20  none")
    assert paper < shares < best < per_hertz
    assert [gain, over_shares] == pytest.approx([100.0 * (best / value - 1.0) for value in (paper, shares)], abs=0.2)
    assert gap <= 1e-6
    labels = ("losses  llama2 a100-32b      1", "losses  llama2 a100-32b      0", "late    llama2 a100-32b      0")
    drafting, free, late = (cells(out, label) for label in labels)
    assert drafting[1] < free[1] < free[0]
    assert drafting[-1] == 0.0 < free[-1]  # % of the states
    assert late[-2] == 0.0 < late[-3]  # late phones draft nothing


def test_optimum_and_bound_with_drafting_ahead(printed):
    out = printed(evidence, "ahead-optimum --devices 1")
    assert re.search(r"qwen3.5 a100-32b +0.965 +1 +0 +72.1 +91.2\b", out)
    out = printed(evidence, "bound-ahead --drawn 2 --instances 0 --seconds 1")
    assert re.search(r"qwen3.5, a100-32b +0.965 +91.17 +91.41 +0.9973", out)
    assert re.search(r"systems +above.*\n.*\n2 +0 ", out)


def test_agents_that_draft_ahead_are_below_the_optimum(printed, monkeypatch):
    from benchmarks.evidence import ahead_agents
    from multispin_agents import training

    for name, value in (("PLACES", [("llama2", "paper")]), ("DISCOUNTS", [0.9]), ("TRIED", ahead_agents.TRIED[:1])):
        monkeypatch.setattr(ahead_agents, name, value)
    monkeypatch.setattr(training, "VALIDATIONS", 2)
    out = printed(evidence, "ahead-agents --devices 1 --instances 2 --timesteps 1000")
    parts = cells(out, "llama2 paper")
    assert len(parts) == 2 * 5
    assert all(0.3 < part <= 1.0 for part in parts)


def test_hits_of_the_record(printed):
    records = load_records()
    texts = np.split(records.accepted, records.start[1:])
    chat = [text for text, task in zip(texts, records.task, strict=True) if task == 2]
    row = np.concatenate([text & np.roll(text, -1) & np.roll(text, -2) for text in chat])
    alpha = np.concatenate(chat).mean()
    numbers = [float(number) for number in re.search(r"^chat +2 +(.*) to ", printed(evidence, "hits"), re.M)[1].split()]
    assert numbers[:3] == pytest.approx([alpha, row.mean(), row.mean() / alpha**3], abs=0.005)
    assert numbers[3] < numbers[2]


def test_drafting_ahead_gains_in_rounds():
    row = ahead.row(next(ahead.systems()), instances=2, rounds=20, weights=[0.0])
    assert all(float(row[head].split(" ±")[0]) > 0.0 for head in ("ratio", "price", "β 0, c tuned"))


def test_searches_try_the_defaults(printed, tmp_path):
    file = tmp_path / "tuned.json"
    printed(tune, f"estimators --estimator mmse --episodes 3 --scenarios llama2 --users 3 --out {file}")
    (search,) = json.loads(file.read_text(encoding="utf-8"))["searches"]
    means = [row["mean"] for row in search["tried"]]
    assert means == sorted(means, reverse=True)
    assert sum(row["is_default"] for row in search["tried"]) == 1
    out = printed(tune, 'controllers prices --tries 2 --seconds 1 --systems "llama2 K8 B10 wide"')
    assert 0.5 < cells(out, "defaults")[-1] < 1.5


def test_agents_that_ship_play_with_other_numbers_of_devices(printed):
    out = printed(evidence, "generalisation --envs MultiSpin/Heterogeneous-v0 --users 3 --size 4")
    share, best = re.search(r"^MultiSpin/Heterogeneous-v0 +llama2 +(\S+) \((\S+)\)$", out, re.MULTILINE).groups()
    assert 0.9 < float(share) < float(best) == 1.0


def test_decisions_are_timed_with_their_loss(printed):
    out = printed(speed, "decisions --users 3 --states 4")
    assert cells(out, "optimal, certified")[-1] == 0.0 <= cells(out, "pretrained agent")[-1] < cells(out, "fixed")[-1]


def test_stored_tables_earn_what_the_docs_say(capsys):
    plan(["--systems", "llama2 K8 B10 narrow"])
    rates = {
        name: float(rate) for name, rate in re.findall(r"^  (\w+) +([\d.]+) ", capsys.readouterr().out, re.MULTILINE)
    }
    page = (ROOT / "docs" / "evidence" / "continuous.md").read_text(encoding="utf-8")
    ((least, most),) = re.findall(r"([\d.]+) to ([\d.]+)\s+times\s+the\s+rate\s+of\s+`groups`", page)
    assert float(least) - 0.001 < rates["plan"] / rates["groups"] < float(most)
    assert rates["plan"] < rates["bound"]


def test_candidates_that_are_easy_are_dropped(printed, monkeypatch):
    monkeypatch.setattr(candidates, "SETTINGS", (("phones", 3, 5.0), ("power", 3, 10.0)))
    out = printed(suite, "candidates --episodes 2 --bounds 2 --states 50")
    rows = {kind: (cells(out, kind), re.search(rf"{kind} .*", out)[0]) for kind in ("phones-3", "power-3")}
    for numbers, row in rows.values():
        *_, bound, part = numbers
        _, floor, top, zero, untrained, lengths = numbers[:6]
        assert floor < top < 1.1 * bound
        limited = {"action 0": zero, "untrained": untrained, "lengths alone": lengths}
        failed = [name for name, score in limited.items() if score > 0.8] + ["of bound"] * (part < 0.9)
        assert row.endswith(f"dropped: {', '.join(failed)}" if failed else "conditions hold")
    assert rows["power-3"][0][-1] == 1.0
    assert "uniform-bandwidth" in rows["power-3"][1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("task", "kind", "least"),
    [("battery", NativeVecEnv, 0.88), ("battery", potential.PotentialEnv, 0.95), ("ahead-8", NativeVecEnv, 0.95)],
)
def test_dynamics_are_learnt_within_the_budget(task, kind, least, seed):
    assert potential.score(task, seed, 50_000, kind) >= least


def test_a_potential_is_the_difference_of_its_ends():
    """Also at the end of an episode; without the price ν of a joule in the reward."""
    config = ms.EnvConfig.of("MultiSpin/Energy-v0", "qwen3.5", rounds=9)
    plain, other = (kind.of(config, 3, 0) for kind in (NativeVecEnv, potential.PotentialEnv))
    action = np.full((3, *plain.action_space.shape), -0.2, np.float32)
    price, added = energy_law(config.scenario).price, np.zeros(3)
    for env in (plain, other):
        env.reset()
    battery = plain.env.state.batteries
    capacity = battery.capacity
    for _ in range(9):
        rewards = []
        for env in (plain, other):
            env.step_async(action)
            _, reward, dones, infos = env.step_wait()
            rewards.append(reward)
        added += rewards[1] - rewards[0]
    assert dones.all()
    level = np.array([battery.level, [info["terminal_observation"]["level"] for info in infos]])
    worth = 0.58 * (1.75 * level - 0.75 * level**2) - level
    assert added == pytest.approx((price * capacity * (worth[1] - worth[0])).mean(-1), abs=1e-4)
    assert abs(added).min() > 0.1


def test_factors_start_at_action_0(printed, monkeypatch):
    monkeypatch.setattr("benchmarks.suite.methods.PPO", partial(PPO, n_epochs=1))  # action 0 needs no training
    out = printed(suite, "factors late --seeds 1 --steps 64")
    numbers = cells(out, "late")  # mean, smallest and largest of each network
    assert (numbers[0], numbers[7]) == pytest.approx((0.662, 0.706), abs=1e-3)
