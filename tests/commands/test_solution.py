"""The decision for some devices as numbers, tables, text and JSON."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.commands.devices import Devices, read_devices
from multispin_env.commands.solve import (
    DeviceRow,
    PricedDecision,
    RivalRow,
    rival_cells,
    solve,
    summary,
    to_record,
)

SOLUTION = PricedDecision(
    goodput=171.234,
    weighted_goodput=None,
    round_latency=0.45678,
    verification_time=0.2771,
    devices=[
        DeviceRow("a", 3, 6.25e6, 0.625, 0.036, 0.0123456, 2.71828),
        DeviceRow("b", 12, 3.75e6, 0.375, 0.1, 0.2, 5.0),
    ],
    rivals=[RivalRow("optimal", 171.234, 1.0), RivalRow("fixed", 85.617, 0.5)],
)


def other(**fields):
    return PricedDecision(**{**vars(SOLUTION), **fields})


def test_summary_says_what_was_proven():
    proven = other(weighted_goodput=200.0, upper_bound=171.3, gap=4e-7, wanted=1e-6)
    assert [line.split("  ")[0] for line in summary(proven).splitlines()] == [
        *("goodput", "weighted goodput", "round latency", "upper bound", "proven gap")
    ]
    missed = other(upper_bound=171.3, gap=4e-4, wanted=1e-6)
    assert summary(missed).splitlines()[-1] == "proven gap     4.0e-04, not the 1e-06 that was asked for"


def test_record():
    asked = dict.fromkeys(("weighted_goodput", "token_time", "tpot", "tpot_binds", "upper_bound", "gap", "certified"))
    assert to_record(SOLUTION, {"file": "x"}) == asked | {
        "about": {"file": "x"},
        "goodput": 171.234,
        "round_latency": 0.45678,
        "verification_time": 0.2771,
        "rows": [vars(row) for row in SOLUTION.devices],
        "comparison": [vars(row) for row in SOLUTION.rivals],
    }
    proven = to_record(other(upper_bound=171.3, gap=1e-6, wanted=1e-6), {})
    assert (proven["upper_bound"], proven["gap"], proven["certified"]) == (171.3, 1e-6, True)
    endless = to_record(other(upper_bound=np.inf, gap=np.inf, wanted=1e-6), {})
    assert (endless["upper_bound"], endless["gap"], endless["certified"]) == (None, None, False)


STATE = ms.SystemState(np.array([0.012, 0.01, 0.02]), np.array([4.0, 6.0, 2.0]), np.array([0.9, 0.7, 0.5]))
SCENARIO = ms.Scenario.preset("llama2", num_users=3)


def test_prices_of_a_decision():
    found = solve(SCENARIO, Devices(("a", "b", "c"), STATE, None), "uniform-bandwidth")
    decision = ms.make_controller("uniform-bandwidth", SCENARIO)(STATE)
    outcome = ms.expected_outcome(SCENARIO, STATE, decision)
    assert (found.goodput, found.weighted_goodput, found.gap) == (float(outcome.goodput), None, None)
    assert (found.round_latency, found.verification_time) == (float(outcome.round_latency), SCENARIO.verification_time)
    columns = (outcome.draft_time, outcome.upload_time, outcome.tokens)
    numbers = zip(decision.draft_length, [10e6 / 3] * 3, [1 / 3] * 3, *columns, strict=True)
    for row, name, expected in zip(found.devices, "abc", numbers, strict=True):
        assert row.name == name
        assert list(vars(row).values())[1:] == pytest.approx(list(expected))
    assert [row.name for row in found.rivals] == ["uniform-bandwidth", "fixed"]  # it is its own rival once
    fixed = ms.expected_outcome(SCENARIO, STATE, ms.make_controller("fixed", SCENARIO)(STATE)).goodput
    assert [row.goodput for row in found.rivals] == pytest.approx([found.goodput, fixed])
    assert [row.share for row in found.rivals] == pytest.approx([1.0, fixed / found.goodput])


def test_the_best_rival_is_first():
    found = solve(SCENARIO, Devices(("a", "b", "c"), STATE, None), "fixed")
    assert [row.name for row in found.rivals] == ["uniform-bandwidth", "fixed"]
    assert found.rivals[0].share > 1.0


def test_weights_count_in_every_goodput():
    weights = np.array([1.0, 2.0, 5.0])
    found = solve(SCENARIO, Devices(("a", "b", "c"), STATE, weights), "optimal", 1e-3)
    decision = ms.make_controller("optimal", SCENARIO, weights=weights, certify=1e-3)(STATE)
    outcome = ms.expected_outcome(SCENARIO, STATE, decision)
    assert found.goodput == pytest.approx(float(outcome.goodput))
    assert found.weighted_goodput == pytest.approx(float((weights * outcome.tokens).sum() / outcome.round_latency))
    assert found.wanted == 1e-3
    assert found.upper_bound == pytest.approx(found.weighted_goodput * (1.0 + found.gap))
    fixed = ms.expected_outcome(SCENARIO, STATE, ms.make_controller("fixed", SCENARIO)(STATE))
    worth = float((weights * fixed.tokens).sum() / fixed.round_latency)
    assert {row.name: row.goodput for row in found.rivals}["fixed"] == pytest.approx(worth)


def test_a_tpot_is_kept_and_those_that_miss_it_come_last():
    devices = Devices(("a", "b", "c"), STATE, None)
    tpot = 0.056
    found = solve(SCENARIO, devices, "optimal", 1e-6, tpot)
    decision = ms.make_controller("optimal", SCENARIO, certify=1e-6, tpot=tpot)(STATE)
    outcome = ms.expected_outcome(SCENARIO, STATE, decision)
    assert [row.draft_length for row in found.devices] == decision.draft_length.tolist()
    assert found.token_time == pytest.approx(float((outcome.round_latency / outcome.tokens).max()))
    assert found.token_time <= tpot < found.rivals[-1].token_time
    assert [row.name for row in found.rivals] == ["optimal", "uniform-bandwidth", "fixed"]
    assert found.rivals[1].goodput > found.goodput
    assert summary(found).splitlines()[2] == f"slowest device  a token every {1e3 * found.token_time:.2f} ms"
    header, lines = rival_cells(found.rivals, "optimal", weighted=False)
    assert header[-1] == "slowest device (ms a token)"
    assert [line[-1] for line in lines] == [f"{1e3 * row.token_time:.2f}" for row in found.rivals]


def test_a_tpot_out_of_reach_names_the_least():
    devices = Devices(("a", "b", "c"), STATE, None)
    with pytest.raises(
        ValueError, match=r"tpot: expected at least 0\.\d+ s, the least for these .*, got 0.05"
    ) as refused:
        solve(SCENARIO, devices, "optimal", None, 0.05)
    least = float(str(refused.value).split("at least ")[1].split()[0])
    assert solve(SCENARIO, devices, "optimal", None, least * 1.00001).token_time <= least * 1.00001
    with pytest.raises(ValueError, match=r"controller: expected one of .*, which have tpot, got 'fixed'"):
        solve(SCENARIO, devices, "fixed", None, 0.1)


def read(tmp_path, text, name="state.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return read_devices(file)


GOOD = {"draft_time_s": "1", "spectral_efficiency": "1", "acceptance_rate": "1"}


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("draft_time_s", ["1e-300", "1e6"], ["0", "1.1e6"]),
        ("draft_time_ms", ["1e-300", "1e9"], ["0", "1.1e9"]),
        ("spectral_efficiency", ["1e-30", "1e6"], ["0.9e-30", "1.1e6"]),
        ("snr_db", ["-300", "300"], ["-301", "301"]),
        ("acceptance_rate", ["0", "1"], ["-0.1", "1.1"]),
        ("weight", ["0", "1e9"], ["-0.1", "1.1e9"]),
    ],
)
def test_ends_of_columns(column, good, bad, tmp_path):
    instead = {"draft_time_ms": "draft_time_s", "snr_db": "spectral_efficiency"}.get(column)
    names = [*(name for name in GOOD if name not in (column, instead)), column]
    plain = ",".join("1" for _ in names[:-1])

    def table(cells):
        return "\n".join([",".join(names), *(f"{plain},{cell}" for cell in cells)])

    read(tmp_path, table([*good, "1"]))
    for cell in bad:
        with pytest.raises(ValueError, match=rf"row 2, {column}: expected a finite number in .*, got {float(cell)}$"):
            read(tmp_path, table(["1", cell]))


def test_a_name_tells_the_format(tmp_path):
    text = ' [{"draft_time_s": 1, "spectral_efficiency": 2, "acceptance_rate": 0.5, "weight": 3}]'
    assert read(tmp_path, text, "a.JSON").weights.tolist() == [3.0]
    with pytest.raises(ValueError, match="header, column"):
        read(tmp_path, text, "a.csv")
