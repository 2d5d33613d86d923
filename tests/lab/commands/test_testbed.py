"""Commands of the testbed: what they print and write, and wrong input."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

pytest.importorskip("zmq")

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_lab.commands import live
from multispin_lab.models import draft_times
from multispin_lab.testbed import device, server
from tests.lab.models.tiny import save_tiny, tiny_model
from tests.lab.testbed.devices import ACCESS, Thread, about, drafter

NAMES = ("optimal+filter", "homogeneous", "fixed")
ROUNDS = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("testbed")
    for seed, name in enumerate(("large", "small")):
        save_tiny(folder / name, seed)
    rows = [{"prompt": f"w{k} w{k + 1} w5"} for k in range(2, 12)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = ms.Task(name="all", acceptance_rate=0.4, acceptance_std=0.1)
    law = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "padded_verification": True}
    law |= {"verification_pieces": ((0.001, 1e-4),), "max_draft_length": 4, "mean_draft_time": 0.002}
    ms.Scenario.preset("llama2", tasks=(task,), total_bandwidth=1e8, **law).save(folder / "mine.toml")
    return folder


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setattr(live, "save_timeline", lambda *_: None)
    monkeypatch.setenv("MULTISPIN_ACCESS", ACCESS)


def command(folder, *more, out="run", **changed):
    files = {"scenario": "mine.toml", "target": "large", "prompts": "prompts.jsonl", "out": out}
    options = {name: folder / file for name, file in files.items()}
    options |= {"num-users": 2, "rounds": ROUNDS, "tokens": 8, "port": 0} | changed
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    return ["testbed", *words, "--versus", *NAMES[1:], *more]


class Joined(server.Connections):
    """Connections that two devices join at once, of which the second leaves during the run."""

    threads = ()

    def __init__(self, *arguments):
        super().__init__(*arguments)
        model = tiny_model(1)
        Joined.threads = [Thread(self.address, about(model, name), drafter(model)) for name in ("a", "b")]

    def collect(self, seat, number, *arguments):
        if number == 50:
            next(thread for thread in self.threads if thread.made[0].name == self.slots[1].name).stop()
        return super().collect(seat, number, *arguments)

    def close(self):
        for thread in self.threads:
            thread.stop()
        super().close()


@pytest.mark.parametrize("more", [["--emulate", "--emulate-pass"], ["--no-pacing"]])
def test_a_run_prints_and_writes_what_was_played(folder, capsys, monkeypatch, more):
    monkeypatch.setattr(server, "Connections", Joined)
    assert main(command(folder, *more)) == 0
    printed = capsys.readouterr()
    assert f"MULTISPIN_ACCESS={ACCESS}\nmultispin join --connect tcp://" in printed.out
    assert re.search(r"^optimal\+filter / fixed +goodput ", printed.out, re.MULTILINE)
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))["about"]
    with (folder / "run.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["contender"] for row in rows] == [name for name in NAMES for _ in range(ROUNDS)]
    gained = np.array([row["tokens"].split() for row in rows], dtype=int)
    present = np.array([row["present"].split() for row in rows], dtype=int)
    drafting = np.array([row["server_draft"].split() for row in rows], dtype=float)
    assert ((gained > 0) == (present > 0)).all()
    assert (np.isfinite(drafting) == (present > 0)).all()
    assert present[:, 0].all()
    assert [line["tokens"] for line in content["devices"]] == gained.sum(0).tolist()
    assert [line["missed"] for line in content["devices"]] == [0, 1]
    assert any(event.endswith(": has left") for event in content["events"])
    measured = np.array([row["measured_round"] for row in rows], dtype=float)
    predicted = np.array([row["predicted_round"] for row in rows], dtype=float)
    length = np.array([row["draft_length"].split() for row in rows], dtype=int)
    cut = ((length > 0) & (present == 0)).any(-1).reshape(3, ROUNDS)
    assert cut.sum() == 1  # the round in which the device has left: it is left out
    whole = [np.flatnonzero(~cut[seat]) + ROUNDS * seat for seat in range(3)]
    first = np.concatenate([(measured - predicted)[rows[:20]] for rows in whole])
    assert content["seed"] > 2**32  # drawn: devices could compute the numbers of the acceptance from a known one
    assert content["round_trip_time"] == pytest.approx(max(0.0, np.median(first)))
    assert f"round_trip_time = {content['round_trip_time']:.4f} in the scenario would explain it" in printed.out
    for seat, line in enumerate(content["added_ms"]):
        last = whole[seat][20:]
        error = (predicted[last] + content["round_trip_time"]).sum() / measured[last].sum() - 1.0
        assert (line["contender"], line["error"]) == (NAMES[seat], pytest.approx(error))
        assert line["round"] == pytest.approx(1e3 * np.median((measured - predicted)[whole[seat]]))
        assert line["cut"] == cut[seat].sum()


@pytest.mark.parametrize(
    ("options", "more", "sentence"),
    [
        ({}, ["--draft", "small"], "option: expected one of .*, got .draft."),
        ({}, ["--set", "draft_ahead=True", "guess=shared-seed"], "draft_ahead: expected False on a testbed, got True"),
        ({}, ["--set", "bits_per_probability=17"], "bits_per_probability: expected an integer in 1..16, got 17"),
        ({"wait": 3}, [], r"wait: expected an integer in 1..2, got 3"),
        ({"patience": 0}, [], "patience: expected a finite number"),
        ({"grace": -1}, [], "grace: expected a finite number"),
        ({"max-timeout": -1}, [], "max_timeout: expected a finite number"),
        ({"port": 70000}, [], r"port: expected an integer in 0..65535, got 70000"),
        ({"host": "nowhere.invalid"}, [], "host and port: expected a free address of this machine"),
    ],
)
def test_wrong_input_is_one_sentence(folder, capsys, options, more, sentence):
    try:
        status = main(command(folder, *more, out="wrong", **options))
    except SystemExit as error:  # of the parser
        status = error.code
    assert status == 2
    assert re.search(f"^multispin testbed: .*{sentence}", capsys.readouterr().err, re.MULTILINE)
    assert not list(folder.glob("wrong*"))


ADDRESS = f"tcp://{'0' * 64}@127.0.0.1:1"


def test_a_device_tells_what_it_has(folder, monkeypatch, capsys):
    def join(address, access, about, make, stop, say):
        assert (address, access) == (ADDRESS, ACCESS)
        drafter = make({"seats": 2, "size": 24, "context": 99, "temperature": 1.0, "kept": 3, "bits": 4})
        assert (len(drafter.texts), drafter.kept, drafter.bits) == (2, 3, 4)
        told.append(about)
        say("joined")

    told = []
    monkeypatch.setattr(device, "join", join)
    assert main(["join", "--connect", ADDRESS, "--draft", str(folder / "small"), "--name", "pi"]) == 0
    (fields,) = told
    assert fields | {"token_time": 0.0} == about(tiny_model(1), "pi", 0.0) | {"draft": "small"}
    assert 0.0 < fields["token_time"] < 1.0
    assert (
        capsys.readouterr().out
        == f"pi: float32 on {tiny_model(1).device}, ready to join (Ctrl-C ends it)\npi: joined\n"
    )


def test_a_device_measures_itself(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(draft_times, "perf_counter", itertools.count(0.0, 0.5).__next__)
    file = tmp_path / "pi.toml"
    assert main(["join", "--draft", str(folder / "small"), "--name", "pi", "--measure", str(file)]) == 0
    measured = ms.device.DeviceProfile.load(file)
    assert (measured.name, measured.draft_time, measured.draft_context) == ("pi", 0.5 / 8, 128)
    assert (measured.draft_context_time, measured.prompt_rate) == (0.0, 504 / 0.5)  # the context is 512
    assert measured.model.startswith("small, float32, transformers ")
    assert "pi: a drafted token takes 62.5 ms after 128 tokens" in capsys.readouterr().out
    scenario = ms.Scenario.preset("llama2", fleet=((measured.name, 1.0, *measured.numbers),))
    assert scenario.mean_draft_time == 0.5 / 8


@pytest.mark.parametrize(
    ("words", "access", "sentence"),
    [
        ([], ACCESS, "connect: expected either --connect or --measure"),
        (["--measure", "pi.txt"], ACCESS, "measure: expected a .toml or .json file, got 'pi.txt'"),
        (["--connect", "gpu.local:8051"], ACCESS, "connect: expected tcp://HEX@HOST:PORT as the server printed it"),
        (["--connect", ADDRESS], "abc", "MULTISPIN_ACCESS: expected 64 hexadecimal digits, got 3 characters"),
        (["--connect", ADDRESS, "--name", "a\nb"], ACCESS, "name: expected a text of one line"),
    ],
)
def test_wrong_input_of_a_device_is_one_sentence(folder, capsys, monkeypatch, words, access, sentence):
    monkeypatch.setenv("MULTISPIN_ACCESS", access)
    assert main(["join", *words, "--draft", str(folder / "small")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_slow_first_draft_counts_as_the_largest_draft_time(folder, monkeypatch):
    clock = itertools.count(0.0, 1e3)
    monkeypatch.setattr(device, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(device, "join", lambda address, access, about, *_: told.append(about))
    told = []
    assert main(["join", "--connect", ADDRESS, "--draft", str(folder / "small"), "--name", "pi"]) == 0
    assert told[0]["token_time"] == 1.0


@pytest.mark.parametrize(("address", "sentence"), [(ADDRESS, "MULTISPIN_ACCESS: expected"), ("x", "connect: expected")])
def test_a_device_without_key_or_address_loads_no_torch(address, sentence):
    words = ["join", "--connect", address, "--draft", "small"]
    code = (
        f"import sys, multispin_env.apps.commands.main as m; sys.exit(m.main({words}) + 10 * ('torch' in sys.modules))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MULTISPIN_ACCESS"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"multispin join: {sentence}")


@contextmanager
def process(*words):
    started = subprocess.Popen(
        [sys.executable, "-m", "multispin_env", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGCONT)
        started.kill()
        started.communicate()


@pytest.mark.slow
def test_processes_of_which_one_is_stopped_and_one_is_killed(folder):
    settings = ["--emulate", "--grace", "0.5", "--set", "mean_draft_time=0.05"]
    words = command(folder, *settings, out="processes", rounds=60)
    with process(*words) as testbed, ExitStack() as stack:
        address = [testbed.stdout.readline() for _ in range(2)][1].split()[3]

        def join(name):
            words = ["join", "--connect", address, "--draft", str(folder / "small"), "--name", name]
            return stack.enter_context(process(*words))

        def wait_for(*events):
            for line in iter(testbed.stderr.readline, ""):
                if line.strip() in events:
                    return
            raise AssertionError(f"no {events}")

        first = join("a")
        wait_for("a: is device 1")
        second = join("b")
        wait_for("b: is device 2")
        while "%" not in testbed.stderr.readline():  # of the first round
            pass
        second.send_signal(signal.SIGSTOP)
        while "has sent no draft" not in testbed.stderr.readline():
            pass
        second.send_signal(signal.SIGCONT)
        wait_for("b: is device 2")
        first.kill()
        wait_for("a: has left")
        join("a")
        wait_for("a: is device 1")
        *_, errors = testbed.communicate(timeout=300)
        assert testbed.returncode == 0, errors
    devices = json.loads((folder / "processes.json").read_text(encoding="utf-8"))["about"]["devices"]
    assert [(line["device"], line["draft"]) for line in devices] == [("a", "small"), ("b", "small")]
    assert all(line["tokens"] > 0 for line in devices)
    assert devices[1]["missed"] == 1
