"""``multispin capacity``: the table, its files, and wrong use."""

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import multispin_env as ms
from multispin_env.commands.main import main
from multispin_env.controllers.capacity import Capacity, LoadPoint, _by_simulation

SMALL = ["--num-users", "3", "--copies", "2", "--percent", "80", "--channel", "static"]
LIMITS = ["--e2el", "0.5", "--e2el-per-token", "0.08"]
QUICK = [*SMALL, "--controllers", "autoregressive"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Runs that hold next to nothing: here only what is made of them counts."""
    monkeypatch.setattr("multispin_env.controllers.capacity.FINE", 1.5)
    monkeypatch.setattr(_by_simulation, "__kwdefaults__", _by_simulation.__kwdefaults__ | SHORT)


SHORT = {"warm_up": 0.5, "horizon": 2.0, "requests": 8}


def printed(capsys, *arguments):
    assert main(["capacity", *arguments]) == 0
    return capsys.readouterr()


def test_table_and_files_say_the_same(capsys, tmp_path):
    files = ["--json", str(tmp_path / "t.json"), "--csv", str(tmp_path / "t.csv")]
    shown = printed(capsys, *QUICK, "greedy+deadlines", *LIMITS, *files)
    content = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["controller"] for row in rows] == ["autoregressive", "greedy+deadlines"]
    for row, same in zip(rows, content["rows"], strict=True):
        assert {key: str(value) for key, value in same.items()} == row
        assert float(row["low"]) <= float(row["capacity"]) <= float(row["high"])
        assert float(row["percent_in_time"]) >= 80.0
        value, low, high = (f"{float(row[key]):.3f}" for key in ("capacity", "low", "high"))
        assert re.search(rf"^{re.escape(row['controller'])} +{value} +{low} to {high} ", shown.out, re.M)
        assert f"{row['controller']}: {row['verdict']}\n" in shown.out
    about = content["about"]
    assert about["level"] == {"e2el": 0.5, "e2el_per_token": 0.08, "percent": 80.0}
    assert ms.Scenario.from_dict(about["scenario"]).num_users == 3
    assert about["tried"]["autoregressive"] == sorted(about["tried"]["autoregressive"])
    assert "2 of 2, greedy+deadlines" in shown.err


def test_users_of_a_trace_with_a_pace_of_their_own(capsys):
    more = ["--rate-per-user", "0.05", "--arrivals", "trace", "trace=azure-code", "--json", "-"]
    content = json.loads(printed(capsys, *QUICK, "--ttft", "2", *more).out)
    (row,) = content["rows"]
    assert row["unit"] == "devices"
    assert row["capacity"] == int(row["capacity"])
    assert all(load == int(load) for load, _ in content["about"]["tried"]["autoregressive"])


def test_limits_that_no_load_meets_are_a_sentence(capsys):
    shown = printed(capsys, *QUICK, "--ttft", "0.001").out
    assert re.search(
        r"^autoregressive: No load meets the service level: even at \S+ requests/s only 0\.0 %", shown, re.M
    )


def test_what_is_done_is_shown_and_written_after_an_interrupt(capsys, tmp_path, monkeypatch):
    def found(scenario, *, controller, **asked):
        if controller == "greedy":
            assert re.search(
                "^autoregressive: 80 % of requests", capsys.readouterr().out, re.M
            )  # as soon as it is known
            raise KeyboardInterrupt
        return ms.capacity(scenario, controller=controller, **asked)

    monkeypatch.setattr("multispin_env.commands.capacity.capacity", found)
    file = tmp_path / "table.json"
    assert main(["capacity", *QUICK, "greedy", *LIMITS, "--json", str(file)]) == 130
    (row,) = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert row["controller"] == "autoregressive"
    assert re.search(rf"^autoregressive +{row['capacity']:.3f} ", capsys.readouterr().out, re.M)


def test_an_interrupt_ends_it_with_what_is_done():
    code = f"""if True:
        import signal, sys
        from multispin_env.commands.main import main
        from multispin_env.controllers.capacity import _by_simulation
        _by_simulation.__kwdefaults__ |= {SHORT}
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does without
        sys.exit(main({["capacity", *QUICK, "greedy", "groups", "prices", *LIMITS]}))"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        title, _, verdict = (process.stdout.readline() for _ in range(3))
        assert title.startswith("llama2, K = 3")
        assert verdict.startswith("autoregressive: ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("multispin capacity: interrupted\n")
    assert re.search("^autoregressive +[0-9]", out, re.M)
    assert "prices" not in out


def test_the_readme_asks_what_its_table_was_made_of(monkeypatch, capsys):
    """The first row, to the five digits of the rate."""
    asked = []

    def found(scenario, *, workload, controller, report=None, **chosen):
        asked.append((controller, scenario, workload.level, {"seed": 0} | chosen))
        asked[-1] += (f"{workload.rate:.5g}", workload.arrivals, workload.lengths)
        run = ms.serve(ms.make_controller("optimal", scenario), workload, copies=2, warm_up=0.0, horizon=1.0)
        return Capacity(0.0, 0.0, 0.0, 90.0, "users", (LoadPoint(1.0, run),), None)

    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^multispin (capacity (?:.*\\\n)*.*)$", readme, re.M)
    monkeypatch.setattr("multispin_env.commands.capacity.capacity", found)
    assert main(shlex.split(command.replace("\\\n", ""))) == 0
    level, lengths = ms.ServiceLevel(ttft=0.5, tpot=0.06), ms.make_lengths("geometric", mean_output=60.0)
    chosen = {"by": "users", "percent": 90.0, "copies": 8, "seed": 0}
    scenario = ms.Scenario.preset("llama2", num_users=16)
    assert asked == [
        (rule, scenario, level, chosen, f"{16 / 120:.5g}", ms.make_arrivals("poisson"), lengths)
        for rule in ("optimal", "load-aware")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "level: expected a limit of ttft, tpot or e2el at least, got none"),
        (["--ttft", "0"], "ttft: .*0.0"),
        (["--ttft", "500"], "ttft: expected seconds, at most 100, got 500; did you mean 0.5"),
        ([*LIMITS, "--percent", "0.95"], "percent: .* got 0.95; did you mean 95"),
        ([*LIMITS, "--set", "load=1"], "set: .* 'load', which is an argument of MultiSpin/Serving-v0$"),
        (["--tpot", "-1"], "tpot: .*-1.0"),
        ([*LIMITS, "--percent", "101"], "percent: .*101"),
        ([*LIMITS, "--controllers", "gredy"], "did you mean 'greedy'"),
        ([*LIMITS, "--controllers", "greedy+deadline"], "did you mean 'deadlines'"),
        ([*LIMITS, "--arrivals", "poison"], "did you mean 'poisson'"),
        ([*LIMITS, "--arrivals", "gamma", "burst=1"], "got an unexpected keyword argument 'burst'"),
        ([*LIMITS, "--lengths", "geometric", "mean_output"], "lengths: expected NAME=VALUE, got 'mean_output'"),
        ([*LIMITS, "--arrivals", "gamma", "0.25"], "arrivals: expected NAME=VALUE, got '0.25'"),
        ([*LIMITS, "--set", "tasks=3"], "tasks: expected a tuple of at least one Task, got 3"),
        ([*LIMITS, "--rate-per-user", "0"], "rate_per_user: .*0.0"),
        ([*LIMITS, "--channel", "fading"], "channel: expected one of"),
        ([*LIMITS, "--seed", "-1"], "seed: .*-1"),
        ([*LIMITS, "--csv", "nowhere/table.csv"], "file: expected a file in a folder that exists"),
    ],
)
def test_bad_questions_are_one_sentence(arguments, words, capsys):
    assert main(["capacity", *SMALL, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("multispin capacity: ")
    assert re.search(words, line)
