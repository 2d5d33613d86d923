"""llama.cpp beside transformers: the same tokens, logits that depend on the text alone, and the same texts anywhere."""

import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import chisquare

pytest.importorskip("llama_cpp")

from benchmarks.tools import run_tool
from multispin_env.apps.commands.main import main
from multispin_env.device import DeviceProfile
from multispin_lab.models import llama_engine, sampling
from multispin_lab.models.engine import Pair
from multispin_lab.models.halves import Drafter, Verifier, draft_numbers, draft_seed
from multispin_lab.models.loading import load_model
from multispin_lab.models.rounds import record_texts
from multispin_lab.testbed.messages import vocabulary_digest
from tests.lab.models.test_halves import play, schedule
from tests.lab.models.test_rounds import made, merge_rare, requests_of
from tests.lab.models.tiny import WORDS, save_tiny
from tests.lab.models.tiny_gguf import CONTEXT, TEMPLATE, save_gguf
from tests.lab.testbed.test_server import alone, joined, opened
from tests.lab.testbed.test_server import play as play_testbed

pytestmark = pytest.mark.slow  # a package that few have


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    return {
        "small": save_gguf(folder / "small.gguf", 1),
        "large": save_gguf(folder / "large.gguf", 0),
        "chat": save_gguf(folder / "chat.gguf", 0, template=TEMPLATE),
        "windowed": save_gguf(folder / "windowed.gguf", 2, windowed=True),
    }


@pytest.fixture(scope="module")
def pair(files):
    return Pair(load_model(files["small"], threads=1), load_model(files["large"], threads=1))


@pytest.mark.parametrize("name", ["large", "chat"])
def test_tokens_and_ends_are_those_of_transformers(name, files):
    one, other = (load_model(files[name], engine=engine) for engine in ("llama.cpp", "transformers"))
    assert type(one) is llama_engine.LlamaModel is type(load_model(files[name]))
    assert (one.vocabulary_size, one.context, one.ends) == (WORDS, CONTEXT, {0}) == (WORDS, other.context, other.ends)
    assert vocabulary_digest(one.vocabulary) == vocabulary_digest(other.vocabulary)
    for text in ("abc de", "a", "u" * 70, "ab<|endoftext|>c"):
        assert one.encode(text) == other.encode(text)
        assert one.encode(text, raw=True) == other.encode(text, raw=True)
    assert one.encode("e") == ([3, 5, 4] if name == "chat" else [5])
    Pair(one, other)


def test_distributions_are_near_those_of_transformers(files, pair):
    """llama.cpp rounds activations to 8 bits."""
    text, row = np.random.default_rng(0).integers(0, WORDS, 60).tolist(), np.zeros(1, dtype=np.int64)
    other = load_model(files["large"], engine="transformers")
    laws = [
        sampling.probabilities(model.sequences(1, WORDS).read(row, [text]), 1.0, "") for model in (pair.target, other)
    ]
    assert sampling.overlap(*laws).min() > 0.9
    assert sampling.overlap(*laws).mean() > 0.98


@pytest.mark.parametrize("name", ["large", "windowed"])
def test_logits_of_a_text_are_equal_in_every_bit_in_any_batch_and_after_trimming(name, files):
    """Texts are longer than a pass, and than a window."""
    model, rng = load_model(files[name], threads=2), np.random.default_rng(3)
    stored, texts = model.sequences(4, WORDS, 200), [[] for _ in range(4)]
    whole = {}
    for _ in range(25):
        rows = rng.permutation(4)[: rng.integers(1, 5)]
        last = rng.choice([None, 1, 2])
        more = [rng.integers(0, WORDS, rng.integers(last or 1, rng.choice([9, 60]))).tolist() for _ in rows]
        if max(len(texts[row]) + len(text) for row, text in zip(rows, more, strict=True)) > 200:
            rows, more = rows[:1], [[1] * (last or 1)]
            stored.trim(rows, np.zeros(1, dtype=np.int64))
            texts[rows[0]] = []
        before = stored.length[rows]
        for row, text, logits in zip(rows, more, stored.read(rows, more, last), strict=True):
            texts[row] += text
            count = last or len(text)
            other = model.sequences(1, WORDS, 200).read(np.zeros(1, dtype=np.int64), [texts[row]])[0]
            whole[row] = other
            np.testing.assert_array_equal(logits[:count], other[-count:])
        length = rng.integers(before, stored.length[rows] + 1)
        stored.trim(rows, length)
        for row, size in zip(rows, length, strict=True):
            del texts[row][size:]
    assert len(whole) == 4


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, WORDS), (1.0, 4), (0.0, 4)])
def test_texts_do_not_depend_on_batches_orders_and_lost_drafts(temperature, kept, pair):
    options = {"temperature": temperature, "seed": 5, "kept": kept, "tokens": 12}
    (one, server, whole), (two, apart, _) = (made(4, pair, **options) for _ in range(2))
    for number, length in enumerate(schedule(4, 15)):
        whole(length)
        for row in (3, 1, 0, 2):
            if number % 3 == 1 and length[row]:  # lost before the server's pass, or after it
                numbers = draft_numbers(draft_seed(5, row), int(apart.number[row]), len(two.texts[row]), length[row])
                lost = two.draft(np.array([row]), length[[row]], numbers[None])
                if number % 2:
                    apart.read(np.array([row]), lost)
            play(two, apart, [row], length[[row]])
        if number == 5:  # a device that comes back reads its whole text
            two.begin(0, apart.texts[0])
        assert one.texts == server.texts == two.texts == apart.texts
    assert server.all_texts[:-4]


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, 5), (0.0, 5)])
def test_texts_of_a_testbed_are_those_of_one_process(temperature, kept, pair, monkeypatch):
    monkeypatch.setattr(  # the prompts are words of another tokenizer
        llama_engine.LlamaModel, "tokens", lambda self, text, raw: [int(word[1:]) for word in text.split()]
    )
    length = np.random.default_rng(0).integers(0, 5, (10, 4))
    ((expected, rounds),) = alone(length, 1, temperature, kept, pair)
    with opened(kept, pair.target, temperature=temperature) as testbed, joined(testbed, 4, model=pair.draft):
        for row, result in zip(length, rounds, strict=True):
            assert play_testbed(testbed, 0, row)[0].accepted.tolist() == result.accepted.tolist()
        assert testbed.verifiers[0].texts == expected.texts


def test_first_tokens_have_the_law_of_the_target(tmp_path):
    models = (load_model(save_gguf(tmp_path / f"{seed}.gguf", seed, scale=0.3), threads=1) for seed in (1, 0))
    pair, counted, users = Pair(*models), np.zeros(WORDS), 200
    for seed in range(12):
        drafter = Drafter(pair.draft.sequences(users, WORDS, 16), 1.0, WORDS, 2)
        verifier = Verifier(pair.target.sequences(users, WORDS, 16), 1.0, seed, requests_of(pair, prompts=[[5]]))
        rows = np.arange(users)
        for row in rows:
            drafter.begin(row, verifier.next_request(row))
        uniform = np.stack([draft_numbers(draft_seed(seed, row), 0, 1, 1) for row in rows])
        drafts = drafter.draft(rows, np.ones(users, dtype=np.int64), uniform)
        verdict = verifier.accept(rows, drafts, verifier.read(rows, drafts))
        tokens = np.where(verdict.accepted > 0, drafts.token[:, 0], verdict.token)
        counted += np.bincount(tokens, minlength=WORDS)
    logits = pair.target.sequences(1, WORDS, 16).read(np.zeros(1, dtype=np.int64), [[5]])
    law = sampling.probabilities(logits, 1.0, "")[0, 0]
    assert chisquare(*merge_rare(counted, law * counted.sum())).pvalue > 1e-3


def test_records_are_those_of_texts_one_by_one(pair):
    texts = record_texts(pair, [[5, 2], [7, 3, 9], [6]], 4, 20, 1.0, 9)
    alone = record_texts(pair, [[7, 3, 9]], 5, 20, 1.0, 9)[0]
    for one, other in zip(texts[1], alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_llama_does_not_have_is_refused(files, tmp_path, monkeypatch):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    folder = save_tiny(tmp_path / "model", 0)
    for name, options, sentence in (
        (str(tmp_path / "bad.gguf"), {}, r"^model: expected a GGUF file that llama.cpp knows, got '.*bad.gguf' \(\S+"),
        (folder, {"engine": "llama.cpp"}, r"^model: expected a .gguf file for llama.cpp, got"),
        (files["small"], {"bits": 4}, r"^bits: expected None for llama.cpp, got 4; transformers has it$"),
        (files["small"], {"dtype": "float16"}, r"^dtype: expected 'float32' for llama.cpp"),
        (files["small"], {"device": "cuda"}, r"^device: expected 'cpu' for llama.cpp"),
        (files["small"], {"threads": 0}, r"^threads: expected"),
        (files["small"], {"engine": "llama"}, r"^engine: expected one of .*did you mean 'llama.cpp'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_model(name, **options)
    stored = load_model(files["small"], threads=1).sequences(2, WORDS, 8)
    with pytest.raises(ValueError, match=r"^tokens: expected a text of at most 8 tokens for '.*small.gguf', got 9$"):
        stored.read(np.arange(2), [[1], [2] * 9])
    stored.read(np.arange(2), [[1], [2] * 8])
    monkeypatch.setattr(llama_engine.ll, "llama_model_is_recurrent", lambda handle: True)
    with pytest.raises(ValueError, match=r"^model: expected attention in all layers, so that the cache can be trimmed"):
        load_model(files["small"])


def test_a_failed_pass_leaves_the_texts_as_they_were(pair, monkeypatch):
    stored, rows = pair.target.sequences(2, WORDS, 99), np.arange(2)
    first = stored.read(rows, [[1, 2], [3]])
    decode, calls = llama_engine.ll.llama_decode, []
    monkeypatch.setattr(
        llama_engine.ll, "llama_decode", lambda *given: calls.append(0) or (len(calls) == 2 or decode(*given))
    )
    with pytest.raises(ValueError, match=r"to read a batch of 1 with 8 tokens, got llama.cpp's status True$"):
        stored.read(rows, [[4] * 40, [5]])
    assert stored.length.tolist() == [2, 1]
    stored.trim(rows, np.zeros(2, dtype=np.int64))
    np.testing.assert_array_equal(stored.read(rows, [[1, 2], [3]])[:, :1], first[:, :1])


def test_a_device_needs_neither_torch_nor_scipy_nor_numba(files, tmp_path):
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'scipy', 'numba', 'matplotlib'): sys.modules[name] = None\n"
        "import multispin_lab.testbed.device\n"
        "from multispin_env.apps.commands.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = "join", "--draft", files["small"], "--name", "pi", "--measure", str(tmp_path / "pi.toml")
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "llama-cpp-python" in DeviceProfile.load(tmp_path / "pi.toml").model


def test_commands_use_it(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("abc de\nba\nfghi\n", encoding="utf-8")
    models = ["--target", files["large"], "--draft", files["small"], "--threads", "1"]
    sizes = ["--batches", "1", "2", "--lengths", "0", "2", "--repeats", "1", "--context", "8"]
    assert main(["profile", *models, *sizes, "--out", "server"]) == 0
    assert "large.gguf in llama ?B Q8_0" in (tmp_path / "server.toml").read_text(encoding="utf-8")
    prompts = ["--prompts", "p.txt", "--raw", "--tokens", "20"]
    assert main(["record", *models, *prompts, "--server", "server.toml", "--out", "mine"]) == 0
    run = ["--scenario", "mine.toml", "--num-users", "2", "--rounds", "6", "--controller", "homogeneous"]
    assert main(["live", *models, *prompts, *run, "--out", "live"]) == 0
    assert '"llama-cpp-python"' in (tmp_path / "live.json").read_text(encoding="utf-8")
    assert (
        main(["live", *models, "--engine", "transformers", *prompts, *run, "--draft-bits", "4", "--out", "other"]) == 0
    )
    assert main(["live", *models, *prompts, *run, "--draft-bits", "4", "--out", "other"]) == 2
    assert "bits: expected None for llama.cpp, got 4" in capsys.readouterr().err


def test_speeds_and_draft_models(files, tmp_path, capsys):
    assert run_tool("evidence", ["engines", "--file", files["large"], "--batches", "1", "2", "--context", "9"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^(?:transformers|llama.cpp) +[12] +[\d.]+ +[\d.]+ ", out, re.MULTILINE)) == 4
    three = save_gguf(tmp_path / "three.gguf", 0, layers=3)
    assert run_tool("evidence", ["engines", "--file", three, "--drafts", str(tmp_path)]) == 0
    assert "without layers [1] of 3" in capsys.readouterr().out
    smaller, whole = load_model(str(tmp_path / "pruned.gguf"), threads=1), load_model(three, threads=1)
    assert smaller.num_weights < whole.num_weights
    Pair(smaller, whole).draft.sequences(1, WORDS, 8).read(np.zeros(1, dtype=np.int64), [[1, 2]])
