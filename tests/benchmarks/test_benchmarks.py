"""Every subcommand of the tools runs at a tiny size, and says what it is for."""

import json
import re
import shlex

import pytest

from benchmarks.evidence.__main__ import main as evidence
from benchmarks.speed.__main__ import main as speed
from benchmarks.tune.__main__ import main as tune
from multispin_env.physics.tokens import expected_tokens
from multispin_env.registry import ENVIRONMENTS


@pytest.fixture
def printed(capsys):
    def run(main, line):
        assert main(shlex.split(line)) == 0
        return capsys.readouterr().out

    return run


def cells(text, label):
    """Numbers of the row that begins with a label."""
    (line,) = (line for line in text.splitlines() if line.startswith(label))
    return [
        float(number.replace(",", "")) for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", line[len(label) :])
    ]


@pytest.mark.usefixtures("quick_prices")
def test_every_environment_is_measured(printed, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "speed.png"
    out = printed(speed, f"environments --copies 1 2 --users 3 --turns 1 --seconds 0 --picture {picture}")
    assert all(env_id in out for env_id in (*ENVIRONMENTS.names(), "CartPole-v1"))
    assert len(re.findall(r" (met|MISSED)$", out, re.MULTILINE)) == 2
    assert picture.stat().st_size > 10_000


def test_parts_of_a_step_are_found_and_left_as_they_were(printed):
    before = expected_tokens
    out = printed(speed, "profile --turns 1")
    assert cells(out, "equal-latency root")[0] > 0.0
    assert expected_tokens is before


@pytest.mark.parametrize(
    ("line", "label", "numbers"),
    [
        ("streams --turns 1", "a generator a copy, blocks of 64", 2),
        ("controllers --users 4 --instances 80 --singles 2", "llama2, K = 4", 10),
        (
            "controllers --users 4 --instances 80 --singles 2 --servers a100-32b --payloads ids",
            "llama2 on a100-32b, ids",
            11,
        ),
        ("rendering --rounds 2", "20", 1),
    ],
)
def test_speed(printed, line, label, numbers):
    found = cells(printed(speed, line), label)
    assert len(found) == numbers
    assert min(found) >= 0.0


def test_core_and_simpy_agree(printed):
    pytest.importorskip("simpy")
    for row in ("8", "20"):
        assert (
            cells(printed(speed, "without-barrier --batches 5 --turns 1 --steps 2").split("decisions")[0], row)[1]
            < 1e-12
        )


@pytest.mark.parametrize("subcommand", ["startup", "page"])  # which take long
def test_help(subcommand, capsys):
    with pytest.raises(SystemExit, match="0"):
        speed([subcommand, "--help"])
    assert f"benchmarks.speed {subcommand}" in capsys.readouterr().out


def test_training_learns_the_same_bit_for_bit(printed):
    assert re.search(
        r"^bit for bit the same +yes$", printed(speed, "training --users 3 --rollouts 2 --turns 1"), re.MULTILINE
    )


def test_optimum(printed):
    out = printed(evidence, "optimum --hostile 5 --preset 1 --leads 1 --wide 1 --extreme 3")
    instances, error, not_certified, below, *_ = cells(out, "paper")
    assert instances == 5.0
    assert error < 1e-9
    assert not_certified == below == 0.0
    for table in ("presets", "very wide parameters", "legal instances far from any network", "against the best of all"):
        assert f"\n{table}" in out


def test_servers(printed):
    out = printed(evidence, "servers --hostile 2 --preset 1 --tpot 2 --numbers 5 --pairs llama2 --servers a100-32b")
    assert cells(out, "padded, two pieces")[1] < 1e-6
    certified = [line.split()[2] for line in re.findall(r"servers, all\n\n.*\n.*\n(.*)", out)]
    assert certified == ["1"]
    assert cells(out, "5 ")[-1] == 0.0


def test_fitted_laws_are_those_of_the_package(printed):
    out = printed(evidence, "fit")
    for name in ("a100-7b-gemm", "a100-32b", "a100-70b"):
        *_, fit, profile = cells(out, name)
        assert fit <= profile <= fit + 0.1


def test_rules_without_the_barrier_are_between_the_rounds_and_the_bound(printed):
    system = "llama2 K8 B10 wide"
    bound, _, over_barrier, *_ = cells(
        printed(evidence, f'bound --fading 1 --tight 1 --systems "{system}"').split("tight")[0], system
    )
    rounds, *rules = cells(printed(evidence, f'rules --instances 2 --seconds 1 --systems "{system}"'), system)[:6]
    assert over_barrier > 1.0
    assert bound > 0.0
    assert max(rules) > rounds


def test_orders_of_partial_knowledge(printed):
    out = printed(evidence, "partial-knowledge --episodes 4 --scenarios llama2 --users 3 --env MultiSpin/Fair-v0")
    assert re.search(r"^- yes +optimal\+clairvoyant ahead of optimal\+round-robin by return", out, re.MULTILINE)


def test_searches_try_the_defaults(printed, tmp_path):
    file = tmp_path / "tuned.json"
    printed(tune, f"estimators --estimator mmse --episodes 3 --scenarios llama2 --users 3 --out {file}")
    (search,) = json.loads(file.read_text(encoding="utf-8"))["searches"]
    means = [one["mean"] for one in search["tried"]]
    assert means == sorted(means, reverse=True)
    assert sum(one["is_default"] for one in search["tried"]) == 1
    out = printed(tune, 'controllers prices --tries 2 --seconds 1 --systems "llama2 K8 B10 wide"')
    assert 0.5 < cells(out, "defaults")[-1] < 1.5


def test_wrong_use_is_one_sentence(capsys):
    assert evidence(["bound", "--systems", "nowhere"]) == 2
    assert "systems: expected" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        speed(["nothing"])
