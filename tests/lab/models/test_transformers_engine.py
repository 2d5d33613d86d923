import io
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from multispin_lab.models import transformers_engine
from multispin_lab.models.engine import Pair
from multispin_lab.models.loading import load_model
from multispin_lab.models.transformers_engine import GROUP_SIZE, TransformersModel, _source, size_in_memory
from tests.lab.models.tiny import WORDS, save_tiny, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), 3)


def test_a_saved_model_is_the_same(folder):
    loaded, made = load_model(folder), tiny_model(3)
    ids = th.arange(WORDS)[None]
    assert th.equal(loaded.network(input_ids=ids).logits, made.network(input_ids=ids).logits)
    assert (loaded.context, loaded.ends, loaded.encode("w5 w2")) == (512, {0}, [5, 2])


def test_rounding_leaves_few_levels(folder):
    exact, rounded = load_model(folder), load_model(folder, bits=3)
    assert rounded.name.endswith("at 3 bits")
    name = "model.layers.0.mlp.up_proj.weight"
    before, after = (entry.network.get_parameter(name) for entry in (exact, rounded))
    for row_before, row_after in zip(before, after, strict=True):
        step = (row_before.max() - row_before.min()) / 7
        assert len(row_after.unique()) <= 8
        assert (row_after - row_before).abs().max() <= 0.5001 * step
    assert before.shape[1] < GROUP_SIZE
    ids = th.arange(WORDS)[None]
    first, second = (
        th.softmax(entry.network(input_ids=ids).logits, -1) for entry in (exact, load_model(folder, bits=8))
    )
    assert 0 < (first - second).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("{}/nowhere", {}, "model: expected a folder that exists, or USER/NAME on the hub, got '.*nowhere'"),
        ("{}", {}, "model: expected a folder with a model's config.json, got"),
        ("{}/none.gguf", {}, "model: expected a GGUF file, got .* which does not exist"),
        ("{}/bad.gguf", {}, "model: expected a folder, GGUF file or hub name with a model, got"),
        ("no-such/model-at-all", {}, "model: expected a folder, GGUF file or hub name with a model, got"),
        ("no-such-model-at-all", {}, "model: expected a folder that exists, or USER/NAME on the hub, got"),
        (None, {"device": "moon"}, "device: expected a device that torch can use, such as 'cpu', got 'moon'"),
        (None, {"dtype": "float23"}, "dtype: .*did you mean 'float32'"),
        (None, {"bits": 1}, "bits: expected"),
    ],
)
def test_what_is_no_model_is_refused(name, options, sentence, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ValueError, match=sentence):
        load_model(folder if name is None else name.format(tmp_path), **options)


@pytest.mark.parametrize(
    ("file", "key", "auto_map"),
    [
        ("config.json", "model_type", {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}),
        ("tokenizer_config.json", "tokenizer_class", {"AutoTokenizer": ["own.Own", None]}),
    ],
    ids=["model", "tokenizer"],
)
def test_code_beside_a_model_does_not_run(file, key, auto_map, folder, tmp_path, monkeypatch):
    """Not even if the user answers yes."""
    shutil.copytree(folder, tmp_path / "model")
    config = tmp_path / "model" / file
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | {"auto_map": auto_map, key: "own"}), "utf-8")
    mark = tmp_path / "mark"
    (tmp_path / "model" / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n", "utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n" * 9))
    with pytest.raises(ValueError, match="model: expected"):
        load_model(str(tmp_path / "model"))
    assert not mark.exists()


def model_with(**options):
    model = tiny_model(0)
    for name, value in options.items():
        setattr(model.network.config, name, value)
    return TransformersModel.of("other", model.network, model.tokenizer)


def test_other_vocabularies_and_windows_are_refused():
    of, tokenizer = TransformersModel.of, tiny_tokenizer()
    model, wide = tiny_model(1), of("wide", tiny_model(1, words=WORDS + 8).network, tiny_tokenizer())
    tokenizer.add_tokens(["extra"])
    renamed = of("renamed", tiny_model(0).network, tokenizer)
    for draft in (tiny_model(0), wide):  # its last layer is filled up
        assert Pair(draft, model).vocabulary_size == WORDS
    for make, message in (
        (lambda: Pair(tiny_model(0, words=30), model), rf"vocabulary of the target \({WORDS} tokens\), got 30"),
        (lambda: Pair(renamed, model), "1 differ, the first is 'extra'"),
        (lambda: model_with(sliding_window=64), "model: expected full attention in all layers.*a window of 64 tokens"),
        (lambda: model_with(layer_types=["linear_attention", "full_attention"]), "linear_attention"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_chat_template_is_used_unless_raw():
    model = tiny_model(0)
    model.tokenizer.chat_template = "{% for m in messages %}w3 {{ m.content }} w4{% endfor %}"
    assert model.encode("w5") == [3, 5, 4]
    assert model.encode("w5", raw=True) == [5]
    with pytest.raises(ValueError, match="prompt: expected text of at least one token, got ''"):
        model.encode("", raw=True)


def test_a_link_to_a_gguf_file_is_found_by_its_own_name(tmp_path, monkeypatch):
    """The hub's cache has links to files without a suffix."""
    (tmp_path / "0a1b").write_bytes(b"GGUF")
    (tmp_path / "mine.gguf").symlink_to(tmp_path / "0a1b")
    monkeypatch.chdir(tmp_path)
    assert _source("mine.gguf") == (str(tmp_path), {"gguf_file": "mine.gguf"})


def uncached(model, text):
    with th.inference_mode():
        return model.network(input_ids=th.tensor([list(text)]), use_cache=False).logits[0]


def assert_same(logits, model, text, first):
    expected = uncached(model, text)[first : first + len(logits)]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def model():
    return tiny_model(0)


@pytest.mark.parametrize("part", [3, 256])
def test_cached_passes_equal_uncached_ones(model, part, monkeypatch):
    monkeypatch.setattr(transformers_engine, "MAX_PASS_TOKENS", part)
    monkeypatch.setattr(transformers_engine, "MIN_GROWTH", 5)
    rng = np.random.default_rng(part)
    texts = [[] for _ in range(4)]
    stored = model.sequences(4, WORDS)
    for _ in range(25):
        rows = rng.permutation(4)[: rng.integers(1, 5)]
        last = rng.choice([None, 1, 2])
        more = [rng.integers(0, WORDS, rng.integers(last or 1, 9)).tolist() for _ in rows]
        before = stored.length[rows]
        logits = stored.read(rows, more, last)
        for row, text, result in zip(rows, more, logits, strict=True):
            texts[row] += text
            count = last or len(text)
            assert_same(result[:count], model, texts[row], len(texts[row]) - count)
        length = rng.integers(before, stored.length[rows] + 1)
        stored.trim(rows, length)
        for row, size in zip(rows, length, strict=True):
            del texts[row][size:]
            assert stored.length[row] == len(texts[row])


def test_what_cannot_be_read_is_refused(monkeypatch):
    model = tiny_model(0, context=8)
    stored = model.sequences(2, WORDS)
    with pytest.raises(ValueError, match=r"tokens: expected a text of at most 8 tokens for 'tiny-0', got 9"):
        stored.read(np.arange(2), [[1], [2] * 9])
    with pytest.raises(ValueError, match=r"texts\[1\]: expected at least 1 tokens of each row, got 0"):
        stored.read(np.arange(2), [[1], []])
    stored.read(np.arange(2), [[1, 2], [3]])
    with pytest.raises(ValueError, match=r"length\[1\]: expected 0 to the tokens that were read"):
        stored.trim(np.arange(2), np.array([2, 2]))

    def fail(**_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(model.network, "forward", fail)
    with pytest.raises(MemoryError, match="a batch of 2 with 3 tokens each, 3 with those before"):
        model.sequences(2, WORDS).read(np.arange(2), [[1], [2, 3, 4]])


def test_bytes_of_weights_and_of_a_token_in_the_cache():
    model = tiny_model(3)  # two layers with one of two heads of 8
    weights = sum(part.numel() for part in model.network.parameters())
    assert size_in_memory(model.network) == {"weights": 4 * weights, "token_cache": 2 * 2 * 8 * 4}
    half = size_in_memory(model.network.to(th.bfloat16), "draft_")
    assert half == {"draft_weights": 2 * weights, "draft_token_cache": 2 * 2 * 8 * 2}


@pytest.mark.parametrize(
    ("field", "value", "share"),
    [
        ("layer_types", ["full_attention", "linear_attention"], 0.5),
        ("layer_types", ["full_attention", "sliding_attention"], 0.0),
        ("kv_lora_rank", 64, 0.0),
        ("quantization_config", {"bits": 4}, 0.0),
    ],
)
def test_only_full_attention_has_a_known_cache(field, value, share):
    model = tiny_model(3)
    expected = share * size_in_memory(model.network)["token_cache"]
    setattr(model.network.config, field, value)
    assert size_in_memory(model.network).get("token_cache", 0.0) == expected


def test_the_memory_of_a_server_is_that_of_its_gpu(monkeypatch):
    model = tiny_model(3)
    assert model.memory() == {}
    monkeypatch.setattr(type(model.network), "device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(th.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10**9))
    server = ms.Server(name="mine", model="", source="", fixed_time=0.1, time_per_draft=0.1, **model.memory())
    weights, token = size_in_memory(model.network).values()
    assert server.memory.kv_tokens == int((0.9e9 - weights) / token)
