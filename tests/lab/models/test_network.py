import io
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from scipy.stats import chisquare

import multispin_env as ms
from multispin_lab.models import network
from multispin_lab.models.network import GROUP_SIZE, Model, Pair, Sequences, _source, load_model
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
    return Model("other", model.network, model.tokenizer)


def test_other_vocabularies_and_windows_are_refused():
    model, wide = tiny_model(1), Model("wide", tiny_model(1, words=WORDS + 8).network, tiny_tokenizer())
    renamed = Model("renamed", tiny_model(0).network, tiny_tokenizer())
    renamed.tokenizer.add_tokens(["extra"])
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
    monkeypatch.setattr(network, "MAX_PASS_TOKENS", part)
    monkeypatch.setattr(network, "MIN_GROWTH", 5)
    rng = np.random.default_rng(part)
    texts = [[] for _ in range(4)]
    stored = Sequences(model, 4, WORDS)
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
    stored = Sequences(model, 2, WORDS)
    with pytest.raises(ValueError, match=r"tokens: expected a text of at most 8, the context of 'tiny-0', got 9"):
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
        Sequences(model, 2, WORDS).read(np.arange(2), [[1], [2, 3, 4]])


def laws(seed, *shape):
    return th.as_tensor(np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.4), shape[:-1]))


def test_overlap_is_the_mean_of_beta_over_drafts():
    p, q = laws(0, 50, 7), laws(1, 50, 7)
    beta = np.stack([network.acceptance(p, q, np.full(50, token)) for token in range(7)], -1)
    np.testing.assert_allclose((beta * q.numpy()).sum(-1), network.overlap(p, q), rtol=1e-12)
    np.testing.assert_allclose(network.overlap(p, p), 1.0, rtol=1e-12)


@pytest.mark.parametrize("kept", [1, 2, 4, 9])
def test_drafts_from_fewer_probabilities_are_accepted_as_often_as_their_overlap_says(kept):
    """Drafts are drawn, accepted and replaced one by one with NumPy; the target's law must remain."""
    p, q = laws(6, 1, 9)[0], laws(7, 1, 9)[0]
    few = network.truncated(q[None], kept)[0].numpy()
    assert (few > 0.0).sum() == kept
    assert set(np.flatnonzero(few)) == set(np.argsort(q.numpy())[-kept:])
    rng, size, target = np.random.default_rng(9), 40_000, p.numpy()
    drafted = rng.choice(9, size, p=few)
    accepted = rng.random(size) < target[drafted] / few[drafted]
    rest = np.clip(target - few, 0.0, None)
    tokens = np.where(accepted, drafted, rng.choice(9, size, p=rest / rest.sum()))
    assert accepted.mean() == pytest.approx(network.overlap(p, network.truncated(q, kept)), abs=0.01)
    if kept == 1:
        assert accepted.mean() == pytest.approx(target[q.argmax()], abs=0.01)
    assert chisquare(np.bincount(tokens, minlength=9), size * target).pvalue > 1e-3


def test_draws_follow_the_law_and_the_temperature():
    law = laws(2, 1, 6)
    uniform = (np.arange(60_000) + 0.5) / 60_000
    tokens = network.pick_tokens(law.expand(60_000, -1), uniform)
    np.testing.assert_allclose(np.bincount(tokens, minlength=6) / 60_000, law[0].numpy(), atol=2e-5)
    sure = th.tensor([[0.0, 1.0, 0.0]]).double().expand(2, -1)
    assert network.pick_tokens(sure, np.array([0.0, 1 - 1e-16])).tolist() == [1, 1]
    logits = th.tensor([[0.0, 3.0, 1.0]])
    assert network.probabilities(logits, 0.0, "mine").tolist() == [[0.0, 1.0, 0.0]]
    np.testing.assert_allclose(network.probabilities(logits, 2.0, "mine"), th.softmax(logits.double() / 2, -1))


def test_bytes_of_weights_and_of_a_token_in_the_cache():
    model = tiny_model(3)  # two layers with one of two heads of 8
    weights = sum(part.numel() for part in model.network.parameters())
    assert network.size_in_memory(model.network) == {"weights": 4 * weights, "token_cache": 2 * 2 * 8 * 4}
    half = network.size_in_memory(model.network.to(th.bfloat16), "draft_")
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
    expected = share * network.size_in_memory(model.network)["token_cache"]
    setattr(model.network.config, field, value)
    assert network.size_in_memory(model.network).get("token_cache", 0.0) == expected


def test_the_memory_of_a_server_is_that_of_its_gpu(monkeypatch):
    pair = Pair(tiny_model(3), tiny_model(4))
    assert network.server_memory(pair, "float32") == {}
    monkeypatch.setattr(Model, "device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(th.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10**9))
    memory = network.server_memory(pair, "float32")
    server = ms.Server(name="mine", model="", source="", fixed_time=0.1, time_per_draft=0.1, **memory)
    weights, token = network.size_in_memory(pair.target.network).values()
    assert server.memory.kv_tokens == int((0.9e9 - weights) / token)
    assert server.memory.draft_kv_factor == pytest.approx(2.0, rel=1e-3)
