"""Memory of servers as the limit of capacities, and in schedules."""

import json

import numpy as np
import pytest

import multispin_env as ms
import multispin_lab
from multispin_env.apps.commands.main import main
from multispin_lab.planning.capacity import LoadSearch
from tests.lab.planning.test_capacities import WORKLOAD

L40S = ms.Scenario.preset("qwen3.5", server="l40s-8b", min_draft_length=0, payload="ids")


def test_a_number_of_devices_stops_at_the_memory():
    few = {"tpot": 0.1, "states": 4}
    for system, fitting in (("autoregressive", 179), ("colocated", 96)):
        assert multispin_lab.capacity(L40S, system=system, **few) == fitting
        free = multispin_lab.capacity(L40S.replace(kv_tokens=0), system=system, **few)
        assert free > fitting
        assert multispin_lab.capacity(L40S.replace(kv_tokens=10**9), system=system, **few) == free
        assert multispin_lab.capacity(L40S.replace(context=200_000, context_time=0.0), system=system, **few) == 0
    small = L40S.replace(kv_tokens=3 * 1024)
    assert multispin_lab.capacity(small, system="multi-spin", **few) == 3  # its devices have the draft model


@pytest.mark.parametrize(
    ("controller", "tokens"), [("greedy", 183_741), ("autoregressive", 183_741), ("colocated+deadlines", 98_807)]
)
def test_simulated_requests_share_the_memory_of_the_server(controller, tokens):
    search = LoadSearch(L40S, WORKLOAD, controller)
    factor = 1.8596 if tokens < 100_000 else 1.0
    assert search.cached_tokens == pytest.approx(tokens, abs=1.0)
    assert LoadSearch(L40S, WORKLOAD, controller, kv_tokens=5000.0).cached_tokens == pytest.approx(5000.0 / factor)
    for free in (
        LoadSearch(L40S, WORKLOAD, controller, kv_tokens=np.inf),
        LoadSearch(L40S.replace(kv_tokens=0), WORKLOAD, controller),
    ):
        assert free.cached_tokens == np.inf


SCHEDULE = ["schedule", "--scenario", "qwen3.5", "--server", "h100-32b", "--contexts", "1024", "32768"]


def printed(capsys, *more):
    assert main([*SCHEDULE, *more]) == 0
    return capsys.readouterr()


def test_a_schedule_marks_rows_that_do_not_fit(capsys):
    text = printed(capsys, "--max-batch", "64")
    second = text.out.split("\n\n")[-1].splitlines()
    assert second[0].split()[-1] == "fits"
    assert [row.split()[-1] for row in second[2:]] == ["yes"] * 6 + ["10"]
    last = text.err.splitlines()[-1]
    assert "64 requests of 32,768 tokens" in last
    assert "1,024" not in last
    assert "only 20 do" in printed(capsys, "--max-batch", "64", "--kv-bits", "8").err
    for few in (["10"], ["64", "--set", "kv_tokens=0"]):
        text = printed(capsys, "--max-batch", *few)
        assert "fit" not in text.out + text.err
    heads = ["--method", "eagle3", "--draft-time", "0.0005"]  # without the draft model of the profile
    assert "only 28 do" in printed(capsys, "--max-batch", "64", *heads).err


def test_a_schedule_for_programs_has_the_number_of_requests(capsys):
    rows = json.loads(printed(capsys, "--max-batch", "64", "--format", "json").out)["contexts"]
    assert [row.get("fitting") for row in rows] == [None, 10]
    server = ["--format", "vllm", "--set", "context=32768"]
    assert "only 10 do" in printed(capsys, "--max-batch", "12", "--min-length", "1", *server).err


def test_drafts_say_that_requests_do_not_fit(capsys):
    few = ["drafts", "--profiles", "qwen2.5-0.5b-q4", "--states", "1", "--scenario", "qwen3.5", "--server", "l40s-8b"]
    for context, sentences in ((1024, 0), (100_000, 1)):
        assert main([*few, "--num-users", "4", "--set", f"context={context}"]) == 0
        assert capsys.readouterr().err.count("do not fit") == sentences


def test_the_first_line_of_capacity_has_the_memory(capsys):
    few = ["capacity", "--scenario", "qwen3.5", "--server", "l40s-8b", "--tpot", "1", "--controllers", "autoregressive"]
    few += ["colocated", "--rate-per-user", "0.001", "--most", "1", "--copies", "2", "--set", "max_draft_length=1"]
    few += ["--lengths", "geometric", "mean_output=4"]
    assert main(few) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("KV memory for 183741 or 98807 tokens")
    assert main([*few, "--kv-tokens", "inf"]) == 0
    assert "KV memory" not in capsys.readouterr().out
