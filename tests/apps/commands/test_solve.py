import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands import devices
from multispin_env.apps.commands.devices import Devices, read_devices
from multispin_env.apps.commands.main import main
from multispin_env.apps.commands.solve import _rival_cells, solve, summary, to_record

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "devices.csv"
HEADER = "draft_time_ms,snr_db,acceptance_rate"
GOOD = f"{HEADER}\n12,15,0.8\n11,20,0.7\n"
LONG = "x" * 100_000


def row(**cells):
    good = {"draft_time_ms": "1", "snr_db": "1", "acceptance_rate": "1"}
    return "[{%s}]" % ", ".join(f'"{name}": {cell}' for name, cell in (good | cells).items())  # noqa: UP031


def solve_json(capsys, *arguments):
    assert main(["solve", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def error(refused):
    return lambda *arguments: refused("solve", list(map(str, arguments)))


@pytest.fixture
def write(tmp_path):
    def write(text, name="state.csv"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def test_json_is_the_decision_of_the_package(capsys):
    content = solve_json(capsys, EXAMPLE, "--scenario", "qwen3.5", "--total-bandwidth", "5e6", "--certify", "1e-6")
    with EXAMPLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    state = ms.SystemState(
        np.array([float(row["draft_time_ms"]) / 1e3 for row in rows]),
        np.array([np.log2(1.0 + 10.0 ** (float(row["snr_db"]) / 10.0)) for row in rows]),
        np.array([float(row["acceptance_rate"]) for row in rows]),
    )
    scenario = ms.Scenario.preset("qwen3.5", num_users=len(rows), total_bandwidth=5e6)
    decision = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    outcome = ms.expected_outcome(scenario, state, decision)
    assert [row["name"] for row in content["rows"]] == [row["name"] for row in rows]
    for name, values in (
        *(("draft_length", decision.draft_length), ("bandwidth", decision.bandwidth)),
        *(
            ("expected_tokens", outcome.tokens),
            ("draft_time", outcome.draft_time),
            ("upload_time", outcome.upload_time),
        ),
        *(("share", decision.bandwidth / 5e6),),
    ):
        assert np.allclose([row[name] for row in content["rows"]], values, rtol=1e-9), name
    for name in ("goodput", "round_latency", "verification_time"):
        assert content[name] == pytest.approx(float(getattr(outcome, name)))
    assert content["certified"] is True
    assert content["gap"] <= 1e-6
    assert content["upper_bound"] >= content["goodput"]
    assert ms.Scenario.from_dict(content["about"]["scenario"]) == scenario
    assert {row["name"] for row in content["comparison"]} == {"optimal", "fixed", "uniform-bandwidth"}
    for row in content["comparison"][1:]:
        rival = float(ms.expected_outcome(scenario, state, ms.make_controller(row["name"], scenario)(state)).goodput)
        assert (row["goodput"], row["share"]) == pytest.approx((rival, rival / content["goodput"]))


def test_units_and_formats_agree(write, capsys):
    seconds = "draft_time_s,snr_db,acceptance_rate\n0.012,15,0.8\n0.011,20,0.7\n"
    r = [float(np.log2(1.0 + 10.0 ** (snr / 10.0))) for snr in (15, 20)]
    objects = [
        {"draft_time_ms": 12, "spectral_efficiency": r[0], "acceptance_rate": 0.8, "name": None},
        {"draft_time_s": 0.011, "snr_db": 20, "acceptance_rate": 0.7},
    ]
    files = [
        write(GOOD),
        write("\ufeff" + GOOD.replace("\n", "\r\n") + "\r\n \r\n", "windows.csv"),
        write(seconds, "seconds.csv"),
        write(json.dumps(objects), "state.JSON"),
        write(json.dumps(objects), "state.txt"),
    ]
    with pytest.raises(ValueError, match="header, column"):
        read_devices(write(json.dumps(objects), "json.csv"))
    first, *others = [solve_json(capsys, file) for file in files]
    assert [row["name"] for row in first["rows"]] == ["1", "2"]
    for other in others:
        assert other["goodput"] == pytest.approx(first["goodput"], rel=1e-12)
        assert [row["draft_length"] for row in other["rows"]] == [row["draft_length"] for row in first["rows"]]


def test_weights_are_for_the_optimum(write, error, capsys):
    file = write(f"name,{HEADER},weight\na,12,15,0.8,\nb,11,20,0.7,9\n")
    assert read_devices(file).weights.tolist() == [1.0, 9.0]
    content = solve_json(capsys, file)
    value = content["rows"][0]["expected_tokens"] + 9.0 * content["rows"][1]["expected_tokens"]
    assert content["weighted_goodput"] == pytest.approx(value / content["round_latency"])
    assert content["goodput"] <= solve_json(capsys, write(GOOD, "plain.csv"))["goodput"]
    assert all(row["goodput"] <= content["weighted_goodput"] for row in content["comparison"])
    assert main(["solve", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "weighted goodput (tokens/s)" in printed
    assert re.search(rf"^weighted goodput +{content['weighted_goodput']:.2f} tokens/s$", printed, re.MULTILINE)
    words = "controller: expected one of ['optimal'], which have the option weights, got 'fixed'"
    assert words in error(file, "--controller", "fixed")


@pytest.mark.parametrize("server", ["h100-32b", "a100-32b"])
def test_the_summary_says_that_no_device_drafts(server, capsys):
    fields = ["--set", "min_draft_length=0", "payload=ids"]
    assert main(["solve", str(EXAMPLE), "--server", server, *fields]) == 0
    text = capsys.readouterr().out
    lengths = re.findall(r"^\w+ +(\d+) +\d+\.\d{4} ", text, re.M)
    assert len(lengths) == 6
    assert bool(re.search(r"^drafts +none$", text, re.M)) == (set(lengths) == {"0"}) == (server == "h100-32b")


def test_a_tpot_is_in_seconds_and_says_whether_it_binds(capsys):
    free = solve_json(capsys, EXAMPLE)
    assert (free["tpot"], free["tpot_binds"]) == (None, None)
    loose, tight = (solve_json(capsys, EXAMPLE, "--tpot", tpot) for tpot in ("0.08", "0.065"))
    assert (loose["tpot"], loose["tpot_binds"], loose["rows"]) == (0.08, False, free["rows"])
    assert (tight["tpot"], tight["tpot_binds"]) == (0.065, True)
    assert tight["token_time"] <= 0.065 < loose["token_time"]
    assert tight["rows"] != free["rows"]
    for tpot, words in (("0.08", "80 ms, which changes nothing"), ("0.065", "65 ms, which binds")):
        assert main(["solve", str(EXAMPLE), "--tpot", tpot]) == 0
        assert words in capsys.readouterr().out


def test_csv_output_is_a_file_or_the_only_output(write, tmp_path, capsys):
    assert main(["solve", str(EXAMPLE), "--csv", str(tmp_path / "out.csv")]) == 0
    assert "goodput" in capsys.readouterr().out
    assert main(["solve", str(EXAMPLE), "--csv", "-"]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert sum(float(row["bandwidth"]) for row in rows) == pytest.approx(10e6)


def test_standard_input(monkeypatch, error, capsys):
    def put(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))

    put(EXAMPLE.read_text(encoding="utf-8"))
    assert solve_json(capsys, "-")["rows"] == solve_json(capsys, EXAMPLE)["rows"]
    put('[{"name": 1')
    assert error("-").startswith("multispin solve: stdin: expected a list of objects, got broken JSON (")
    put(GOOD)
    monkeypatch.setattr(devices, "_MAX_BYTES", len(GOOD) - 1)
    for name, file in (("stdin", "-"), ("/dev/zero", "/dev/zero")):
        assert f"{name}: size: expected at most {len(GOOD) - 1} bytes, got more" in error(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "state.csv: expected at least one device, got no rows"),
        (GOOD + "12,15,80%\n", "row 3, acceptance_rate: .*, got '80%'"),
        (GOOD + "12\n", "row 3, snr_db: .*, got ''"),
        (GOOD + "12,15,0.8,1\n", "row 3: expected 3 values .*, got 4"),
        (GOOD.replace("snr_db", "snr"), "header, column: .* 'snr_db', .*, got 'snr'; did you mean 'snr_db'"),
        (
            GOOD.replace("snr_db", "draft_time_s"),
            r"header, columns: .* one of \['draft_time_s', 'draft_time_ms', 'device'\]",
        ),
        (GOOD.replace("snr_db", "weight"), r"columns: .* one of \['spectral_efficiency', 'snr_db'\], got"),
        (GOOD.replace("snr_db", "draft_time_ms"), "column: expected 'draft_time_ms' once, got it twice"),
        (GOOD.replace(",", ";"), "header, column: .*, got 'draft_time_ms;snr_db;acceptance_rate'"),
        (f"{HEADER},weight\n12,15,0.8,0\n", "weight: expected at least one number > 0, got only zeros"),
        (f'{HEADER}\n"12,15', "state.csv: expected CSV with commas and a header, got broken CSV"),
        (b"\xff\xfe", "expected text in UTF-8, got the byte 0xff"),
        (GOOD + f"{LONG},15,0.8\n", "row 3, draft_time_ms: .*, got 'xxx"),
        (GOOD.replace("snr_db", LONG), "header, column: .*, got 'xxx"),
        (f"{HEADER},name\n12,15,0.8,{LONG}\t\x07x\n", "row 1, name: expected a text of one line, .* got 'xxx"),
        ("{}", "state.json: expected a list of objects, got a JSON dict"),
        ("[]", "state.json: expected at least one device, got no rows"),
        ("[3]", "state.json: row 1: expected an object whose keys are columns, got 3.0"),
        ('[{"draft_time_ms": 1, "snr_db": 2}]', r"row 1, columns: .* one of \['acceptance_rate'\]"),
        (row(draft_time_ms='"1"'), "row 1, draft_time_ms: .*, got '1'"),
        (row(draft_time_ms="null"), "draft_time_s or draft_time_ms or device: expected a number, got nothing"),
        (row(acceptance_rate="true"), "acceptance_rate: .*, got True"),
        (row(snr_db="NaN"), "snr_db: .*, got nan"),
        (row(draft_time_ms="1" + "0" * 5000), "draft_time_ms: .*, got inf"),
        (row(name='"a\\nb"'), r"name: expected a text of one line, .* got 'a\\nb'"),
    ],
    ids=range(25),
)
def test_a_bad_file_is_one_short_sentence_with_its_position(text, words, write, error):
    message = error(write(text, "state.json" if text[:1] in ("{", "[") else "state.csv"))
    assert re.search(words, message)
    assert len(message) < 800


def test_numbers_at_the_ends_of_their_ranges(write, capsys):
    ends = "1,1e-30,0\n1e-9,1e6,1\n1e-300,1e-30,0.5\n1,1e6,1e-300\n"
    file = write(f"draft_time_s,spectral_efficiency,acceptance_rate\n{ends}")
    content = solve_json(capsys, file, "--certify", "1e-6")
    assert 0.0 < content["goodput"] <= content["upper_bound"]


STATE = ms.SystemState(np.array([0.012, 0.01, 0.02]), np.array([4.0, 6.0, 2.0]), np.array([0.9, 0.7, 0.5]))
SCENARIO = ms.Scenario.preset("llama2", num_users=3)
DEVICES = Devices(("a", "b", "c"), STATE, None)


def test_a_delay_for_each_row(capsys, error):
    delays, rows = (0.0, 0.0, 0.0, 0.0, 0.0, 0.1), 6
    content = solve_json(capsys, EXAMPLE, "--set", f"access_delay={delays}")
    scenario = ms.Scenario.preset("llama2", num_users=rows, access_delay=delays)
    decision = ms.make_controller("optimal", scenario)(read_devices(EXAMPLE).state)
    assert [row["draft_length"] for row in content["rows"]] == decision.draft_length.tolist()
    words = "access_delay: expected one number, or one for each of 6 devices, got 20 numbers"
    for program in ((EXAMPLE,), ("--certify", "1e-6", EXAMPLE)):
        assert words in error(*program, "--set", f"access_delay={(0.1,) * 20}")


def test_the_summary_of_a_certificate():
    solution = solve(SCENARIO, DEVICES, "optimal", 1e-3)
    names = [line.split("  ")[0] for line in summary(solution).splitlines()]
    assert names == ["goodput", "round latency", "upper bound", "proven gap"]
    proven = solution.proven
    missed = replace(solution, proven=replace(proven, bound=proven.value * (1.0 + 4e-4), tolerance=1e-6))
    assert summary(missed).splitlines()[-1] == "proven gap     4.0e-04, above the requested 1e-06"
    infinite = to_record(replace(solution, proven=replace(proven, bound=np.inf)), {})
    assert (infinite["upper_bound"], infinite["gap"], infinite["certified"]) == (None, None, False)
    rivals = solve(SCENARIO, DEVICES, "fixed").rivals
    assert [row.name for row in rivals] == ["optimal", "uniform-bandwidth", "fixed"]
    assert rivals[0].goodput == pytest.approx(solution.goodput)


def test_a_tpot_is_kept_and_rules_that_miss_it_come_last():
    tpot = 0.056
    solution = solve(SCENARIO, DEVICES, "optimal", 1e-6, tpot)
    decision = ms.make_controller("optimal", SCENARIO, certify=1e-6, tpot=tpot)(STATE)
    outcome = ms.expected_outcome(SCENARIO, STATE, decision)
    assert [row.draft_length for row in solution.devices] == decision.draft_length.tolist()
    assert solution.token_time == pytest.approx(float((outcome.round_latency / outcome.tokens).max()))
    assert solution.token_time <= tpot < solution.rivals[-1].token_time
    assert [row.name for row in solution.rivals] == ["optimal", "uniform-bandwidth", "fixed"]
    assert solution.rivals[1].goodput > solution.goodput
    assert summary(solution).splitlines()[2] == f"slowest device  a token every {1e3 * solution.token_time:.2f} ms"
    header, lines = _rival_cells(solution, "optimal")
    assert header[-2:] == ("slowest device (ms a token)", "limit")
    assert [line[-2] for line in lines] == [f"{1e3 * row.token_time:.2f}" for row in solution.rivals]
    assert [line[-1] for line in lines] == ["met" if row.token_time <= tpot else "missed" for row in solution.rivals]
    assert lines[1][-2:] == ("67.87", "missed")
    assert float(lines[1][2]) > 1.0  # of a decision that keeps the limit
    with pytest.raises(ValueError, match=r"tpot: expected at least 0\.\d+ s, .*, got 0.05") as refused:
        solve(SCENARIO, DEVICES, "optimal", None, 0.05)
    least = float(str(refused.value).split("at least ")[1].split()[0])
    assert solve(SCENARIO, DEVICES, "optimal", None, least * 1.00001).token_time <= least * 1.00001
    with pytest.raises(ValueError, match=r"controller: expected one of .*, which have the option tpot, got 'fixed'"):
        solve(SCENARIO, DEVICES, "fixed", None, 0.1)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("draft_time_s", [1e-300, 1], [0, 1.1]),
        ("draft_time_ms", [0.1, 1000], [0, 0.09, 1100]),
        ("spectral_efficiency", [1e-30, 1e6], [0.9e-30, 1.1e6]),
        ("snr_db", [-300, 300], [-301, 301]),
        ("acceptance_rate", [0, 1], [-0.1, 1.1]),
        ("weight", [0, 1e9], [-0.1, 1.1e9]),
    ],
)
def test_ends_of_columns(column, good, bad, write):
    other = {"draft_time_ms": "draft_time_s", "snr_db": "spectral_efficiency"}.get(column, column)
    fixed = {name: 1 for name in ("draft_time_s", "spectral_efficiency", "acceptance_rate") if name != other}

    def table(*values):
        return json.dumps([fixed | {column: value} for value in values])

    read_devices(write(table(*good, 1), "state.json"))
    for value in bad:
        got = "|".join(map(re.escape, (f"{float(value)}", f"{float(value):g}")))
        with pytest.raises(ValueError, match=rf"row 2, {column}: expected .*, got ({got})(;.*)?$"):
            read_devices(write(table(1, value), "state.json"))


def test_a_bound_is_printed_on_request(capsys):
    assert main(["solve", str(EXAMPLE)]) == 0
    assert "bound" not in capsys.readouterr().out
    assert main(["solve", str(EXAMPLE), "--certify", "1e-6"]) == 0
    assert "bound" in capsys.readouterr().out
