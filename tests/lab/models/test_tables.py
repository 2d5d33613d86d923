"""Servers from tables of kernels: by a stand-in of the package, and by the package where it is installed."""

import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.evidence.tables import COMMENT, MACHINES, profile_of, write
from multispin_env.apps.commands.main import main
from multispin_env.registry import SERVERS
from multispin_lab.models import tables
from multispin_lab.models.passes import DRAFT, VERIFY, PassCell
from multispin_lab.models.tables import Machine, StepTimes, model_size

LAYERS = 40


class Engine:
    """Layers of 8 ms and 0.02 ms per sequence with 0.02 µs per token of context; ``nextn`` as in the package."""

    def __init__(self, fixed, nextn):
        self.fixed, self.nextn = fixed, nextn

    @classmethod
    def compile(cls, model, system, backend, *, tp_size, nextn=0):
        assert backend == "vllm"
        if tp_size == 3:
            raise AssertionError("num_heads 32 should be divisible by tp_size 3")
        return cls({"org/Large-32B": 8.0, "org/Small-1B": 1.0}[model], nextn)

    def decode_step_latency(self, sequences, context, osl):
        if self.fixed == 1.0 and sequences > 4096:
            raise RuntimeError("no such batch")
        rows = sequences * (self.nextn + 1)
        return (1.0 + self.nextn / LAYERS) * (self.fixed + 0.02 * rows + 2e-5 * context * rows)

    def last_provenance(self):
        return None


@pytest.fixture
def package(monkeypatch):
    sdk = {
        "common": {"DefaultHFModels": {"org/Large-32B", "org/Small-1B", "org/Lacks-1B"}},
        "perf_database": {
            "get_supported_databases": lambda: {"moon_sxm": {"vllm": ["1.0"]}, "sun": {"trtllm": ["1.0"]}},
            "get_latest_database_version": lambda system, backend: "1.0",
            "load_system_spec": lambda system: {"gpu": {"mem_capacity": 80 * 2**30}},
        },
        "engine": {"EngineHandle": Engine},
    }
    for name in ("torch", "transformers"):  # none is needed
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("aiconfigurator_core", "aiconfigurator_core.sdk"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, content in sdk.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"aiconfigurator_core.sdk.{name}", module)
    license_ = {"License-Expression": "Free-1.0"}
    about = SimpleNamespace(version=lambda name: "9.9", metadata=lambda name: license_)
    monkeypatch.setattr(tables, "metadata", about)


def by_hand(batch, length, context):
    """Milliseconds with the context of each sequence read once."""
    tokens = batch * (length + 1)
    return 8.0 + 0.02 * tokens + 2e-5 * (tokens + batch * (context - 1))


@pytest.mark.parametrize("context", [1, 1024, 32_768])
def test_a_pass_reads_the_context_of_each_sequence_once(context, package):
    steps = StepTimes(Machine("moon_sxm", 4), "org/Large-32B")
    for batch in (1, 8, 64):
        for length in (0, 4, 16):
            result = steps.seconds(PassCell(VERIFY, batch, length), context)
            assert 1e3 * result == pytest.approx(by_hand(batch, length, context), rel=1e-9)
            assert steps.seconds(PassCell(DRAFT, batch, length), context) == steps.step(batch, context)
    trap = Engine.compile("org/Large-32B", "moon_sxm", "vllm", tp_size=4, nextn=16).decode_step_latency(64, context, 2)
    assert trap > (1.3 if context == 1 else 1.8) * by_hand(64, 16, context)


SMALL = ["--model", "org/Large-32B", "--tensor-parallel", "4", "--draft", "org/Small-1B"]


def test_a_server_from_a_table(package, tmp_path, capsys):
    stem = tmp_path / "mine"
    command = ["profile", "--table", "moon_sxm", *SMALL, "--out", str(stem)]
    assert main(command) == 0
    server, printed = ms.Server.load(f"{stem}.toml"), capsys.readouterr().out
    assert (server.time_per_draft, server.context_time) == (0.0, pytest.approx(2e-8, rel=1e-3))
    np.testing.assert_allclose(server.pieces, [[0.008, 2.002e-5]], rtol=1e-3)
    np.testing.assert_allclose(server.draft_pieces, [[0.001, 2e-5 + 2e-8 * 1024]], rtol=1e-3)
    assert (server.padded, server.draft_time) == (False, None)
    assert (server.gpus, server.gpu_memory, server.memory.kv_tokens) == (4, 80 * 2**30, 0)
    assert "How many tokens of cache fit is unknown." in printed
    for part in ("aiconfigurator-core 9.9", "Free-1.0", "vllm 1.0", "measured", "1024 tokens", "within 0.0%"):
        assert part in server.source
        assert part in printed
    assert server.model == "org/Large-32B on 4 x moon_sxm, drafts by org/Small-1B on one of them"
    assert "1000 tokens of context add 0.02 ms" in printed
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    lines = (tmp_path / "mine.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 9 * 6 + 9
    assert main(command) == 0  # the same files once more
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8").splitlines() == lines
    scenario = ms.Scenario.preset("qwen3.5", server=f"{stem}.toml")
    assert scenario.draft_step_time(100) == pytest.approx(0.001 + 100 * 4.048e-5, rel=1e-3)
    assert (server.draft_context, server.draft_context_time) == (1024, pytest.approx(2e-8, rel=2e-3))
    longer = 0.001 + 100 * (2e-5 + 2e-8 * 20_000)
    assert scenario.replace(context=20_000).draft_step_time(100) == pytest.approx(longer, rel=2e-3)
    for context in (128, 1024, 32_768):
        time = scenario.replace(context=context).law.time(20, 100)
        assert time == pytest.approx(1e-3 * by_hand(20, 4, context), rel=1e-3)


def test_without_a_draft_model_and_to_another_context(package, tmp_path, capsys):
    stem = tmp_path / "mine"
    assert main(["profile", "--table", "moon_sxm", *SMALL[:2], "--context", "8192", "--out", str(stem)]) == 0
    server = ms.Server.load(f"{stem}.toml")
    assert (server.draft_pieces, server.context_time) == ((), pytest.approx(2e-8, rel=1e-3))
    assert (server.draft_context, server.draft_context_time) == (0, 0.0)
    assert ms.Scenario.preset("qwen3.5", server=f"{stem}.toml").draft_step_time(100) == 0.004
    assert "drafted token" not in capsys.readouterr().out
    assert main(["profile", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["GPUs: moon_sxm", "models: org/Lacks-1B, org/Large-32B, org/Small-1B"]


WRONG = [
    (["--table", "moon"], r"table: expected one of \['moon_sxm'\], got 'moon'; did you mean 'moon_sxm'\?"),
    (["--table", "sun"], "table: expected one of"),
    (["--model", "large-32b"], r"model: expected a name .*, got 'large-32b'; did you mean 'org/Large-32B'\?"),
    (["--draft", "org/Smal-1B"], r"model: .*; did you mean 'org/Small-1B'\?"),
    (["--tensor-parallel", "3"], r"table: .*, got org/Large-32B on 3 x moon_sxm \(num_heads 32 should be"),
    (["--tensor-parallel", "0"], "tensor_parallel: expected an integer ≥ 1, got 0"),
    (["--draft", "org/Lacks-1B"], "table: expected a model with tables, got org/Lacks-1B on 1 x moon_sxm"),
    (["--batches", "1", "8192"], r"table: .*got org/Small-1B on 1 x moon_sxm \(no such batch\)"),
    (["--dtype", "bfloat16"], "dtype: expected no value with --table, got 'bfloat16'"),
    (["--repeats", "3"], "repeats: expected no value with --table, got 3"),
    (["--context", "100"], "context: expected an integer ≥ 128, got 100"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=range(len(WRONG)))
def test_what_a_table_lacks_is_one_sentence(words, sentence, package, tmp_path, refused):
    error = refused("profile", ["--table", "moon_sxm", *SMALL, "--out", str(tmp_path / "mine"), *words])
    assert re.fullmatch(f"multispin profile: {sentence}.*", error)
    assert not list(tmp_path.iterdir())


def test_options_of_the_other_kind_and_missing_ones(package, refused):
    table = ["--table", "moon_sxm"]
    for words, sentence in (
        ([*SMALL[:4], "--out", "x"], "tensor_parallel: expected no value without --table"),
        ([*table, "--out", "x"], "target: expected a model, got none"),
        (["--table", "moon"], "table: expected one of ['moon_sxm'], got 'moon'; did you mean 'moon_sxm'?"),
        ([*table, "--model", "x"], "out: expected a name for the files to write, got none"),
    ):
        assert sentence in refused("profile", words)


def test_a_missing_package_is_named_first(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    for words in (["--table"], ["--table", "h100"]):
        assert 'pip install "multispin_env[tables]"' in refused("profile", words)


def test_profiles_that_ship_say_where_they_are_from():
    servers = {name: SERVERS.load(name) for name in SERVERS.names()}
    from_tables = {name for name, server in servers.items() if "aiconfigurator-core 0.12" in server.source}
    assert set(MACHINES) == {name for name in from_tables if servers[name].draft_pieces}
    for name in MACHINES:
        errors = [float(entry) for entry in re.findall(r"within ([\d.]+)%", servers[name].source)]
        assert len(errors) == 3
        assert max(errors[:2]) < 15.0
        assert errors[2] < 25.0  # of drafts after up to 32 times as many tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_profiles_that_ship_are_those_of_the_tables(name, tmp_path):
    pytest.importorskip("aiconfigurator_core")
    shipped = SERVERS.load(name)
    file = write(profile_of(name, tmp_path), tmp_path)
    again = ms.Server.load(file)
    assert file.read_text(encoding="utf-8").startswith(COMMENT)
    assert (again.name, again.model, again.source) == (shipped.name, shipped.model, shipped.source)
    for field in ("pieces", "draft_pieces", "time_per_draft", "context_time", "draft_context", "draft_context_time"):
        np.testing.assert_allclose(getattr(again, field), getattr(shipped, field), rtol=1e-3, atol=1e-9)
    assert (again.memory, again.memory_source) == (shipped.memory, shipped.memory_source)


@pytest.mark.slow
def test_the_package_reads_the_context_once_for_each_token_of_a_draft():
    engine = pytest.importorskip("aiconfigurator_core.sdk.engine").EngineHandle
    steps = StepTimes(Machine("h100_sxm", 4), "Qwen/Qwen3-32B")
    trap = engine.compile("Qwen/Qwen3-32B", "h100_sxm", "vllm", tp_size=4, nextn=8)
    ours = [steps.seconds(PassCell(VERIFY, 32, 8), context) for context in (1, 4096)]
    theirs = [1e-3 * trap.decode_step_latency(32, context, 2) for context in (1, 4096)]
    assert ours[0] < theirs[0] < 1.2 * ours[0]  # a little more, for layers that it adds
    assert theirs[1] - theirs[0] > 5.0 * (ours[1] - ours[0]) > 0.0


def test_an_anchored_table(package, tmp_path, capsys):
    stem = tmp_path / "mine"
    assert main(["profile", "--table", "moon_sxm", *SMALL, "--measured-tpot", "0.016098", "--out", str(stem)]) == 0
    server, printed = ms.Server.load(f"{stem}.toml"), capsys.readouterr().out
    np.testing.assert_allclose(server.pieces, [[0.016, 4.004e-5]], rtol=3e-3)
    assert "aiconfigurator-core 9.9" in server.source
    assert "; anchored at TPOT 16.1 ms with 1 request after 1024 tokens: times x " in server.source
    assert "The fit has relative errors" in printed
    assert "Anchored, a pass takes" in printed


def test_bytes_of_models_in_the_package():
    pytest.importorskip("aiconfigurator_core")
    server = SERVERS.load("h100-27b")
    for name, prefix in (("Qwen/Qwen3.5-27B", ""), ("Qwen/Qwen3-0.6B", "draft_")):
        size = model_size(name, prefix)
        assert len(size) == 2
        assert size.items() <= vars(server).items()
    for name in ("nobody/Knows-1B", "nvidia/Llama-3.1-70B-Instruct-FP8", "moonshotai/Kimi-K3"):  # FP8, own code
        assert model_size(name) == {}
