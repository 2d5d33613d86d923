"""GGUF files run by llama.cpp on a processor, by its C interface in the package llama-cpp-python (extra ``llama``).

The texts of a cache are the sequences of one context, each with cells of its own, so that the logits of a text are
equal in every bit alone and in any batch: activations are rounded to 8 bits, and with shared cells texts of a batch
changed logits by up to 1.1. For the same reason a pass reads at most 32 tokens of each text, since longer ones are
multiplied by other code. llama.cpp reads texts of different lengths in parts, which takes about as long as padding.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from weakref import finalize

import llama_cpp.llama_cpp as ll
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_lab.models.engine import Model, Sequences, on_threads
from multispin_lab.models.sampling import Logits

MAX_PASS_TOKENS = 32  # of a row
_ERROR = 4  # GGML_LOG_LEVEL_ERROR, which the package does not name

_log: list[str] = []
"""What llama.cpp has said, for messages of errors."""


@ll.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR:
        _log.append(text.decode(errors="replace").strip())


@dataclass(frozen=True, eq=False, kw_only=True)
class LlamaModel(Model):
    """Model of llama.cpp."""

    handle: Any  # of llama.cpp
    template: Callable[[str], str] | None  # from a prompt to the text of a chat
    threads: int

    packages: ClassVar[tuple[str, ...]] = ("llama-cpp-python",)

    @override
    def tokens(self, prompt: str, raw: bool) -> list[int]:
        plain = raw or self.template is None
        text = (prompt if self.template is None or raw else self.template(prompt)).encode()
        room = len(text) + 2  # a token has at least a byte, and two may be added
        tokens = (ctypes.c_int32 * room)()
        vocabulary = ll.llama_model_get_vocab(self.handle)
        count = ll.llama_tokenize(vocabulary, text, len(text), tokens, room, plain, True)
        return list(tokens[:count])

    @override
    def sequences(self, rows: int, vocabulary_size: int, room: int | None = None) -> Sequences:
        return _LlamaSequences(self, rows, vocabulary_size, room)


def load(name: str, threads: int | None) -> LlamaModel:
    """Load a ``.gguf`` file as `loading.load_model`."""
    ll.llama_log_set(_keep_log, None)
    ll.llama_backend_init()
    options = ll.llama_model_default_params()
    options.n_gpu_layers = 0
    _log.clear()
    handle = ll.llama_model_load_from_file(str(Path(name)).encode(), options)
    if not handle:
        raise ValueError(f"model: expected a GGUF file that llama.cpp knows, got {name!r} ({'; '.join(_log[:1])})")
    if ll.llama_model_is_recurrent(handle) or ll.llama_model_is_hybrid(handle):
        ll.llama_model_free(handle)
        raise ValueError(f"model: expected attention in all layers, so that the cache can be trimmed, got {name!r}")
    count = threads or os.cpu_count() or 1
    vocabulary = ll.llama_model_get_vocab(handle)
    texts = [
        ll.llama_vocab_get_text(vocabulary, token).decode() for token in range(ll.llama_vocab_n_tokens(vocabulary))
    ]
    ends = ll.llama_vocab_eos(vocabulary), int(_metadata(handle, "tokenizer.ggml.eot_token_id") or -1)
    description = ctypes.create_string_buffer(128)
    ll.llama_model_desc(handle, description, 128)
    model = LlamaModel(
        name=name,
        handle=handle,
        template=_template(handle, texts),
        threads=count,
        context=ll.llama_model_n_ctx_train(handle),
        vocabulary={text: token for token, text in enumerate(texts)},
        vocabulary_size=len(texts),
        ends=frozenset(token for token in ends if token >= 0),
        num_weights=ll.llama_model_n_params(handle),
        dtype=description.value.decode(),
        device=on_threads("cpu", count),
    )
    finalize(model, ll.llama_model_free, handle)
    return model


def _metadata(handle: Any, key: str) -> str:
    value = ctypes.create_string_buffer(64)
    return value.value.decode() if ll.llama_model_meta_val_str(handle, key.encode(), value, 64) > 0 else ""


def _template(handle: Any, texts: Sequence[str]) -> Callable[[str], str] | None:
    template, vocabulary = ll.llama_model_chat_template(handle, None), ll.llama_model_get_vocab(handle)
    if not template:
        return None
    special = ll.llama_vocab_eos(vocabulary), ll.llama_vocab_bos(vocabulary)
    chat = Jinja2ChatFormatter(template.decode(), *(texts[token] if token >= 0 else "" for token in special))
    return lambda prompt: str(chat(messages=[{"role": "user", "content": prompt}]).prompt)


class _LlamaSequences(Sequences):
    def __init__(self, model: LlamaModel, rows: int, vocabulary_size: int, room: int | None) -> None:
        super().__init__(model, rows, vocabulary_size, room)
        options = ll.llama_context_default_params()
        options.n_seq_max, options.n_ctx = rows, rows * self.room
        options.n_batch = options.n_ubatch = rows * MAX_PASS_TOKENS
        options.n_threads = options.n_threads_batch = model.threads
        options.swa_full = True  # windows can be trimmed
        _log.clear()
        self._context = ll.llama_init_from_model(model.handle, options)
        if not self._context:
            raise MemoryError(f"{rows} texts of {self.room} tokens for {model.name!r} ({'; '.join(_log[:1])})")
        self._batch = ll.llama_batch_init(rows * MAX_PASS_TOKENS, 0, 1)
        finalize(self, _free, self._batch, self._context, model)  # the model lives as long

    @override
    def _trim(self, rows: IntArray, length: IntArray) -> None:
        memory = ll.llama_get_memory(self._context)
        for row, size in zip(rows.tolist(), length.tolist(), strict=True):
            ll.llama_memory_seq_rm(memory, row, size, -1)

    @override
    def _read(self, rows: IntArray, texts: Sequence[Sequence[int]], counts: IntArray, last: int | None) -> Logits:
        longest = int(counts.max())
        first = np.zeros_like(counts) if last is None else counts - last  # column of the first logits
        logits = np.zeros((len(counts), last or longest, self.vocabulary_size), dtype=np.float32)
        try:
            for begin in range(0, longest, MAX_PASS_TOKENS):
                end = np.minimum(counts, begin + MAX_PASS_TOKENS)
                places = [(row, column) for row in range(len(counts)) for column in range(begin, end[row])]
                row, column = np.array(places).T
                wanted = column >= first[row]
                tokens = [texts[i][j] for i, j in places]
                self._decode(tokens, rows[row], self.length[rows[row]] + column, wanted)
                if wanted.any():
                    shape = int(wanted.sum()), self.model.vocabulary_size
                    stored = np.ctypeslib.as_array(ll.llama_get_logits(self._context), shape)
                    logits[row[wanted], (column - first[row])[wanted]] = stored[:, : self.vocabulary_size]
        except ValueError:
            self._trim(rows, self.length[rows])
            raise
        return logits

    def _decode(self, tokens: Sequence[int], rows: IntArray, positions: IntArray, wanted: Any) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        numbers = zip(tokens, rows.tolist(), positions.tolist(), wanted.tolist(), strict=True)
        for index, (token, row, position, is_wanted) in enumerate(numbers):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position, is_wanted
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
        if status := ll.llama_decode(self._context, batch):
            what = f"a batch of {len(set(rows.tolist()))} with {len(tokens)} tokens"
            raise ValueError(f"model: expected {self.model.name!r} to read {what}, got llama.cpp's status {status}")


def _free(batch: Any, context: Any, _: LlamaModel) -> None:
    ll.llama_batch_free(batch)
    ll.llama_free(context)
