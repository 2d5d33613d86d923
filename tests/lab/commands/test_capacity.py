import csv
import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.apps.executors import Stopped
from multispin_lab.commands.capacity import CapacityRow, _capacity_cells
from multispin_lab.planning.capacity import Capacity, LoadPoint, LoadSearch

SMALL = ["--num-users", "3", "--copies", "2", "--percent", "80", "--channel", "static"]
LIMITS = ["--e2el", "0.5", "--e2el-per-token", "0.08", "--lengths", "geometric"]
QUICK = [*SMALL, "--controllers", "autoregressive"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Simulations too short for a useful number, since only the output is tested."""
    monkeypatch.setattr("multispin_lab.planning.capacity.CLOSE_RATIO", 1.5)
    few = partial(LoadSearch, warm_up=0.5, horizon=1.0, requests=4)
    monkeypatch.setattr("multispin_lab.commands.capacity.LoadSearch", few)


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


@pytest.mark.parametrize("least", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_controllers_under_which_no_device_drafts_are_named(least, capsys):
    fast = ["--server", "h100-32b", "--set", f"min_draft_length={least}"]
    text = printed(capsys, *SMALL, "--controllers", "greedy+deadlines", *LIMITS, *fast).out
    assert text.endswith("\n\nno device drafts: greedy+deadlines\n") == (least == 0)


def test_users_of_a_trace_with_a_pace_of_their_own(capsys):
    more = ["--rate-per-user", "0.05", "--arrivals", "trace", "trace=azure-code", "--json", "-"]
    content = json.loads(printed(capsys, *QUICK, "--ttft", "2", *more).out)
    (row,) = content["rows"]
    assert row["unit"] == "devices"
    assert row["capacity"] == int(row["capacity"])
    assert all(load == int(load) for load, _ in content["about"]["tried"]["autoregressive"])


def test_requests_and_limits_of_the_search_are_the_first_line(capsys):
    more = ["--rate-per-user", "0.05", "--most", "2", "--kv-tokens", "1e6"]
    first, _, second, *_ = printed(capsys, *QUICK, "--tpot", "1", *more).out.splitlines()
    assert "poisson arrivals, prompts of 1150 and answers of 211 tokens on average, at most 2 devices" in first
    assert first.endswith("KV memory for 1000000 tokens")
    assert re.fullmatch(
        r"by formulas without queues, often too high, to be refined by simulation: autoregressive \d+ devices", second
    )
    given = printed(capsys, *QUICK, "--tpot", "1", "--lengths", "geometric").out.splitlines()[0]
    assert "prompts of 0 and answers of 60 tokens" in given


def test_users_who_think_need_a_rate(capsys):
    assert main(["capacity", *QUICK, "--tpot", "1", "--arrivals", "think"]) == 2
    assert "rate_per_user: expected 1 / think time in requests/s" in capsys.readouterr().err


def test_help_lists_fields_with_their_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["capacity", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "geometric mean_output=60.0 mean_prompt=0.0" in words
    assert "gamma burstiness=0.25" in words


def test_limits_that_no_load_meets_are_a_line_of_zero():
    missed = LoadPoint(1.0, SimpleNamespace(in_time=np.zeros(1), missed=np.ones(1)))
    row = CapacityRow.of("greedy", Capacity(0.0, 0.0, 0.0, 90.0, "users", (missed,), None))
    (line,) = _capacity_cells([row])[1]
    assert (row.capacity, row.tokens_in_time, line) == (0.0, 0.0, ("greedy", "0", *[""] * 5))


def test_finished_controllers_are_shown_and_written_after_an_interrupt(capsys, tmp_path, monkeypatch):
    def interrupted(search, report, progress):
        if search.controller == "greedy":
            report(first)
            assert re.search("^autoregressive: 80 % of requests", capsys.readouterr().out, re.M)  # already printed
            raise Stopped(2)
        return run(search, report, progress)

    greedy = ms.make_controller("greedy", ms.Scenario.preset("llama2", num_users=3))
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals("poisson"), lengths=ms.requests.make_lengths("geometric"), rate=0.5
    )
    first = LoadPoint(0.5, ms.serve(greedy, workload, copies=2, horizon=20.0))
    run = LoadSearch.run
    monkeypatch.setattr(LoadSearch, "run", interrupted)
    file = tmp_path / "table.json"
    assert main(["capacity", *QUICK, "greedy", *LIMITS, "--json", str(file)]) == 130
    row, so_far = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [row["controller"], so_far["controller"], so_far["capacity"]] == ["autoregressive", "greedy", 0.5]
    assert so_far["verdict"].startswith("All loads up to 0.5 requests/s meet")
    assert re.search(rf"^autoregressive +{row['capacity']:.3f} ", capsys.readouterr().out, re.M)
