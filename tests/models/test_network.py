"""Models are loaded, checked, and refused in one sentence."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import torch as th
from models.tiny import WORDS, save_tiny, tiny_model, tiny_tokenizer

from multispin_env.models.network import GROUP, Model, Pair, _source, load_model, round_weights


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
    before, after = (one.network.get_parameter(name) for one in (exact, rounded))
    for row_before, row_after in zip(before, after, strict=True):
        step = (row_before.max() - row_before.min()) / 7
        assert len(row_after.unique()) <= 8
        assert (row_after - row_before).abs().max() <= 0.5001 * step
    assert before.shape[1] < GROUP


def test_many_bits_change_little(folder):
    rounded = load_model(folder)
    round_weights(rounded.network, 8)
    ids = th.arange(WORDS)[None]
    first, second = (th.softmax(one.network(input_ids=ids).logits, -1) for one in (tiny_model(3), rounded))
    assert 0 < (first - second).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("{}/nowhere", {}, "model: expected a folder that exists, got '.*nowhere'"),
        ("{}", {}, "model: expected a folder with a model's config.json, got"),
        ("{}/none.gguf", {}, "model: expected a GGUF file, got .* which does not exist"),
        ("{}/bad.gguf", {}, "model: expected a folder, GGUF file or hub name with a model, got"),
        ("no-such-model-at-all", {}, "model: expected a folder, GGUF file or hub name with a model, got"),
        (None, {"device": "moon"}, "device: expected one that torch can use here, as cpu, got 'moon'"),
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
        ("config.json", "model_type", {"AutoConfig": "own.Own"}),
        ("config.json", "model_type", {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}),
        ("tokenizer_config.json", "tokenizer_class", {"AutoTokenizer": ["own.Own", None]}),
    ],
    ids=["config", "model", "tokenizer"],
)
def test_code_beside_a_model_does_not_run(file, key, auto_map, folder, tmp_path, monkeypatch):
    """Not even if whoever is asked says yes."""
    shutil.copytree(folder, tmp_path / "model")
    config = tmp_path / "model" / file
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | {"auto_map": auto_map, key: "own"}), "utf-8")
    mark = tmp_path / "mark"
    (tmp_path / "model" / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n", "utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n" * 9))
    with pytest.raises(ValueError, match="model: expected"):
        load_model(str(tmp_path / "model"))
    assert not mark.exists()


def test_other_vocabularies_are_refused():
    one, other = tiny_model(0), tiny_model(1)
    assert Pair(one, other).vocabulary_size == WORDS
    with pytest.raises(ValueError, match=rf"draft: expected the vocabulary of the target, {WORDS} tokens, got 30"):
        Pair(tiny_model(0, words=30), other)
    vocabulary = Model("renamed", one.network, tiny_tokenizer())
    vocabulary.tokenizer.add_tokens(["extra"])
    with pytest.raises(ValueError, match="of which 1 differ, the first 'extra'"):
        Pair(vocabulary, other)


def test_padding_of_a_last_layer_is_no_token():
    """Two sizes of one family may fill up their last layers differently."""
    padded = tiny_model(1, words=WORDS + 8)
    wide = Model("wide", padded.network, tiny_tokenizer())
    assert Pair(tiny_model(0), wide).vocabulary_size == WORDS


def test_windows_are_refused():
    model = tiny_model(0)
    model.network.config.sliding_window = 64
    with pytest.raises(ValueError, match=r"model: expected full attention in all layers.*a window of 64 tokens"):
        Model("windowed", model.network, model.tokenizer)
    model.network.config.sliding_window = None
    model.network.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ValueError, match="linear_attention"):
        Model("linear", model.network, model.tokenizer)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt: expected text of at least one token, got ''"):
        tiny_model(0).encode("")


def test_a_chat_template_is_used_unless_raw():
    model = tiny_model(0)
    model.tokenizer.chat_template = "{% for m in messages %}w3 {{ m.content }} w4{% endfor %}"
    assert model.encode("w5") == [3, 5, 4]
    assert model.encode("w5", raw=True) == [5]
    assert np.isscalar(model.context)


def test_a_link_to_a_gguf_file_is_found_by_its_own_name(tmp_path, monkeypatch):
    """As in the hub's folders, where files are links to others without an ending."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b").write_bytes(b"GGUF")
    (tmp_path / "mine.gguf").symlink_to(tmp_path / "blobs" / "0a1b")
    monkeypatch.chdir(tmp_path)
    assert _source("mine.gguf") == (str(tmp_path), {"gguf_file": "mine.gguf"})
