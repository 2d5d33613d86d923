"""``multispin solve --certificate`` and ``multispin check``."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.certificates import write
from multispin_env.certificates.check import check

DEVICES = Path(__file__).parents[3] / "examples" / "devices.csv"
SYSTEM = ["--scenario", "qwen3.5", "--server", "cpu-1.5b", "--set", "payload=ids", "min_draft_length=0"]


def run(capsys, *words):
    status = main(list(map(str, words)))
    return status, *capsys.readouterr()


@pytest.fixture
def proof(tmp_path, capsys):
    def proof(*options, devices=DEVICES):
        file = tmp_path / "proof.json"
        run(capsys, "solve", devices, "--certify", "1e-6", "--certificate", file, *options)
        return file

    return proof


@pytest.fixture
def rates(tmp_path):
    def rates(**options):
        file = tmp_path / "rates.json"
        scenario = ms.Scenario.preset("llama2", num_users=2, round_trip_time=0.02)
        state = ms.SystemState(*np.array([[0.013, 0.011], [6.0, 7.0], [0.8, 0.7]]))
        file.write_text(json.dumps(ms.rate_certificate(scenario, state, **options)), "utf-8")
        return file, ms.rate_bound(scenario, state, **options).value

    return rates


@pytest.mark.parametrize("options", [[], ["--tpot", "0.065"], SYSTEM], ids=["paper", "tpot", "padded"])
def test_the_proof_of_a_decision_is_checked(options, proof, capsys):
    file = proof(*options)
    record = json.loads(file.read_text("utf-8"))
    status, out, err = run(capsys, "check", file)
    assert (status, err) == (0, "")
    assert f"proven: {record['draft_length']} reach {float(check(record)['value'])!r} tokens/s" in out
    assert ("65 ms" in out, "as long as the longest" in out) == ("--tpot" in options, options == SYSTEM)
    status, out, err = run(capsys, "check", file, "--devices", DEVICES, *options)
    assert (status, err) == (0, "")
    assert out.startswith(f"the system is that of {DEVICES}\n\nproven: ")


def test_the_table_has_the_numbers_of_the_devices(proof, capsys, tmp_path):
    devices = tmp_path / "two.csv"
    devices.write_text("draft_time_ms,spectral_efficiency,acceptance_rate,weight\n12,4,0.8,1\n11,6.5,0.7,9\n", "utf-8")
    status, out, _ = run(capsys, "check", proof("--set", "max_draft_length=9", devices=devices))
    assert status == 0
    assert re.search(r"^1 +12 +4 +0.8 +1 +1 +9\n2 +11 +6.5 +0.7 +9 +1 +9$", out, re.M)
    assert re.search(
        r"^server +22.68 ms \+ 12.72 ms K\nround trip +0 ms\nband +10 MHz, 31744 bits a token\nTPOT +none$", out, re.M
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--total-bandwidth", "5e6"], "bandwidth: expected 5000000.0, got 10000000.0"),
        (["--set", "max_draft_length=12"], "high[0]: expected 12, got 25"),
        (["--server", "cpu-1.5b"], "fixed_time: expected "),
        (["--tpot", "0.08"], "tpot: expected 0.08"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_first_field_that_differs_is_named(options, words, proof, capsys):
    status, out, err = run(capsys, "check", proof(), "--devices", DEVICES, *options)
    assert (status, out) == (1, "")
    assert err.startswith(f"multispin check: not the system of {DEVICES}: {words}")


def test_a_delay_for_each_row_is_counted_with_the_rows(proof, capsys):
    for count, words in ((6, "expected none for certificates, got (0.1, "), (5, "one for each of 6 devices, got 5")):
        delays = f"access_delay={(0.1,) * count}"
        status, _, err = run(capsys, "check", proof(), "--devices", DEVICES, "--set", delays)
        assert status == 2
        assert words in err


def test_other_devices_and_rounding(proof, capsys, tmp_path):
    text, file, other = DEVICES.read_text("utf-8"), proof(), tmp_path / "other.csv"
    for old, new, words in (("13.1", "13.2", "draft_time[0]: "), ("13.1", "13.1000000000000001", "")):
        other.write_text(text.replace(old, new, 1), "utf-8")
        status, _, err = run(capsys, "check", file, "--devices", other)
        assert status == bool(words)
        assert words in err
    other.write_text("".join(text.splitlines(keepends=True)[:-1]), "utf-8")
    assert "num_users: expected 5, got 6" in run(capsys, "check", file, "--devices", other)[2]


def test_a_false_claim_is_refused(proof, rates, capsys):
    file = proof()
    record = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**record, "bound": record["value"]}), "utf-8")
    assert run(capsys, "check", file)[:2] == (1, "")
    file, _ = rates()
    record = json.loads(file.read_text("utf-8"))
    for broken in ({"prices": {}}, {"prices": []}, {"system": {**record["system"], "draft_ahead": 1}}):
        file.write_text(json.dumps({**record, **broken}), "utf-8")
        status, out, err = run(capsys, "check", file)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("multispin check: refused: ")


@pytest.mark.parametrize(
    "options", [{}, {"barrier": True}, {"channel": "independent", "mean_gain": [5.0, 9.0]}], ids=str
)
def test_prices_of_rates_are_checked(options, rates, capsys, tmp_path):
    file, bound = rates(**options)
    status, out, err = run(capsys, "check", file)
    assert (status, err) == (0, "")
    proven = re.search(r"^proven: no policy( whose batches hold at least 2 drafts)? exceeds (\S+) tokens/s", out, re.M)
    assert bool(proven[1]) == ("barrier" in options)
    assert float(proven[2]) == pytest.approx(bound, rel=1e-4 if "channel" in options else 1e-8)
    devices = tmp_path / "devices.csv"
    devices.write_text("draft_time_ms,spectral_efficiency,acceptance_rate\n13,6,0.8\n11,7,0.7\n", "utf-8")
    status, _, err = run(capsys, "check", file, "--devices", devices, "--set", "round_trip_time=0.02")
    assert status == ("channel" in options)
    assert ("token_time[0]: expected" in err) == ("channel" in options)


def test_options_of_a_system_need_devices_to_compare(proof, capsys):
    file = proof()
    for words in (["--scenario", "qwen3.5"], ["--tpot", "0.065"], ["--set", "context=9"], ["--draft", "x"]):
        status, out, err = run(capsys, "check", file, *words)
        assert (status, out) == (2, "")
        assert "devices: expected a file with " in err


def test_huge_integers_and_fields_in_the_wrong_place_are_one_sentence(proof, rates, capsys):
    for file, field in ((proof(), "bandwidth"), (rates()[0], "round_trip")):
        record = json.loads(file.read_text("utf-8"))
        huge = {**record, "system": {**record["system"], "round_trip": 10**4000}}
        moved = {**record, field: record["system"].pop(field)}
        for claim in (huge, moved):
            file.write_text(json.dumps(claim), "utf-8")
            status, out, err = run(capsys, "check", file)
            assert (status, out, err.count("\n")) == (1, "", 1)


def test_a_proof_that_is_too_long_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(write, "MAX_ENTRIES", 3)
    file = tmp_path / "proof.json"
    status, _, err = run(capsys, "solve", DEVICES, "--certify", "1e-6", "--certificate", file)
    assert (status, err.count("\n")) == (2, 1)
    assert "certificate: expected a proof of at most 3 entries, got a longer one" in err
    assert not file.exists()


def test_a_proof_on_standard_output_is_alone(capsys):
    status, out, _ = run(capsys, "solve", DEVICES, "--certify", "1e-6", "--certificate", "-")
    assert status == 0
    assert check(json.loads(out))["num_users"] == 6
