"""Models of transformers, run by torch: loading, rounding of weights, and ragged batches.

Column s of a row's cache belongs to the token at position s of its text. A pass writes keys and values of its tokens at
their positions, and each token attends to positions up to its own. Rejected tokens are removed by reducing the row's
length: later columns are masked, and the next tokens overwrite them. Rows of a pass may have different numbers of
tokens: shorter ones are padded, and padding writes only to columns after their lengths.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from transformers.cache_utils import Cache, DynamicLayer
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_lab.models.engine import Model, Sequences, first_line, memory_errors, on_threads
from multispin_lab.models.sampling import Logits

GROUP_SIZE = 32  # weights of a row that share a scale, as in common 4-bit formats


def round_weights(network: Any, bits: int) -> None:
    """Round the matrices of all linear layers in place to 2^bits levels for each group of `GROUP_SIZE` weights.

    Levels are spaced evenly between the extremes of a group. Matrices tied to a rounded one, such as an embedding, are
    rounded too. The weights stay floating point numbers, so drafts change but the time of a pass does not.
    """
    with th.no_grad():
        linear = [module for module in network.modules() if isinstance(module, th.nn.Linear)]
        for weight in {id(module.weight): module.weight for module in linear}.values():
            for part in weight.split(4096):  # bounded memory
                part.copy_(_round_matrix(part, bits))


def _round_matrix(matrix: th.Tensor, bits: int) -> th.Tensor:
    rows, columns = matrix.shape
    padded = th.nn.functional.pad(matrix.float(), (0, -columns % GROUP_SIZE), mode="constant")
    groups = padded.reshape(rows, -1, GROUP_SIZE)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(th.finfo(th.float32).tiny)
    rounded: th.Tensor = low + ((groups - low) / step).round() * step
    return rounded.reshape(rows, -1)[:, :columns].to(matrix.dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformersModel(Model):
    """Model and tokenizer of transformers, with full attention in all layers."""

    network: Any
    tokenizer: Any

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    @classmethod
    def of(cls, name: str, network: Any, tokenizer: Any) -> Self:
        """Return a model; ``ValueError`` unless it has full attention in all layers."""
        config, vocabulary = network.config, tokenizer.get_vocab()
        context = int(getattr(config, "max_position_embeddings", None) or 2048)
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        windowed = window is not None and getattr(config, "use_sliding_window", True) and window < context
        if kinds != {"full_attention"} or windowed:
            got = f"a window of {window} tokens" if windowed else f"layers of {sorted(kinds)}"
            raise ValueError(
                f"model: expected full attention in all layers, so that the cache can be trimmed, got {got} in {name!r}"
            )
        end = getattr(network.generation_config, "eos_token_id", None)
        ends = *(end if isinstance(end, list) else [end]), tokenizer.eos_token_id
        outputs = network.get_output_embeddings().weight.shape[0]
        device, threads = network.device, th.get_num_threads()
        return cls(
            name=name,
            network=network,
            tokenizer=tokenizer,
            context=context,
            vocabulary=vocabulary,
            vocabulary_size=int(min(max(vocabulary.values()) + 1, outputs)),
            ends=frozenset(int(token) for token in ends if token is not None),
            num_weights=sum(part.numel() for part in network.parameters()),
            dtype=str(network.dtype).removeprefix("torch."),
            device=str(th.cuda.get_device_name(device)) if device.type == "cuda" else on_threads(str(device), threads),
        )

    @cached_property
    def cache_argument(self) -> str:
        """Name of the forward pass's argument for keys and values, which differs between versions."""
        return "cache" if "cache" in inspect.signature(self.network.forward).parameters else "past_key_values"

    @override
    def tokens(self, prompt: str, raw: bool) -> list[int]:
        if raw or not getattr(self.tokenizer, "chat_template", None):
            tokens = self.tokenizer.encode(prompt)
        else:
            message = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            tokens = self.tokenizer.encode(text, add_special_tokens=False)
        return [int(token) for token in tokens]

    @override
    def sequences(self, rows: int, vocabulary_size: int, room: int | None = None) -> Sequences:
        return _PaddedSequences(self, rows, vocabulary_size, room)

    @override
    def memory(self) -> dict[str, Any]:
        if self.network.device.type != "cuda":
            return {}
        memory = float(th.cuda.get_device_properties(self.network.device).total_memory)
        source = f"multispin profile, in {self.dtype}: memory of the GPU, and configurations of the models"
        return {"gpus": 1, "gpu_memory": memory, "memory_source": source, **size_in_memory(self.network)}


def load(name: str, device: str, dtype: str, bits: int | None, threads: int | None) -> TransformersModel:
    """Load a model as `loading.load_model`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if threads is not None:
        th.set_num_threads(threads)
    try:
        th.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        got = f"{device!r} ({first_line(error)})"
        raise ValueError(f"device: expected a device that torch can use, such as 'cpu', got {got}") from None
    source, options = _source(name)
    options["trust_remote_code"] = False  # else transformers asks whether to run code from the model's folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        with memory_errors(f"the weights of {name!r}"):
            network = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options).to(device).eval()
    except MemoryError:
        raise
    except Exception as error:  # errors of broken files have no common base class
        raise ValueError(
            f"model: expected a folder, GGUF file or hub name with a model, got {name!r} ({first_line(error)})"
        ) from None
    network.requires_grad_(False)
    if bits is not None:
        round_weights(network, bits)
    return TransformersModel.of(name if bits is None else f"{name} at {bits} bits", network, tokenizer)


def _source(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix.lower() == ".gguf":
        return str(path.absolute().parent), {"gguf_file": path.name}  # links are not resolved, as names differ there
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: expected a folder with a model's config.json, got {name!r}")
    if not path.exists() and (path.is_absolute() or name.startswith(".") or name.count("/") != 1):
        raise ValueError(f"model: expected a folder that exists, or USER/NAME on the hub, got {name!r}")
    return name, {}


def size_in_memory(network: Any, prefix: str = "") -> dict[str, float]:
    """Return the fields of a server for the bytes of a network's weights, and of a token in its cache.

    Only layers of full attention keep each token. Nothing is returned for unknown caches, such as those of sliding
    windows or latent attention, and for weights in quantized formats.
    """
    config = network.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    others = ("kv_lora_rank", "quantization_config", "sliding_window")
    if {*layers} - {"full_attention", "linear_attention"} or any(getattr(config, name, None) for name in others):
        return {}
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = float(sum(part.numel() * part.element_size() for part in network.parameters()))
    token = 2.0 * layers.count("full_attention") * heads * size * network.dtype.itemsize  # keys and values
    return {f"{prefix}weights": weights, f"{prefix}token_cache": token}


MAX_PASS_TOKENS = 256  # of a row; longer prompts are read in parts, so that memory is bounded
MIN_GROWTH = 128  # columns


class _PassPositions:
    """Positions that the current pass reads and writes, for all layers."""

    rows: th.Tensor  # (b,)
    columns: th.Tensor  # (b, q)
    width: int  # columns that are read


class _PositionedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer, (rows, heads, columns, head size); all layers share ``positions``."""

    def __init__(self, positions: _PassPositions, rows: int) -> None:
        super().__init__()
        self.positions, self.count = positions, rows

    def update(self, key_states: th.Tensor, value_states: th.Tensor, *_: Any, **__: Any) -> tuple[th.Tensor, th.Tensor]:
        """Write new keys and values (b, heads, q, d) at their positions; return those of the rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (states.new_zeros(self._shape(states, 0)) for states in (key_states, value_states))
        positions = self.positions
        if positions.width > self.keys.shape[2]:
            extra = max(positions.width - self.keys.shape[2], MIN_GROWTH)
            self.keys, self.values = (
                th.cat([old, old.new_zeros(self._shape(old, extra))], 2) for old in (self.keys, self.values)
            )
        at = (positions.rows[:, None], slice(None), positions.columns)
        self.keys[at] = key_states.transpose(1, 2)
        self.values[at] = value_states.transpose(1, 2)
        return self.keys[positions.rows, :, : positions.width], self.values[positions.rows, :, : positions.width]

    def _shape(self, states: th.Tensor, columns: int) -> tuple[int, ...]:
        return (self.count, states.shape[1], columns, states.shape[3])


class _PaddedSequences(Sequences):
    def __init__(self, model: TransformersModel, rows: int, vocabulary_size: int, room: int | None) -> None:
        super().__init__(model, rows, vocabulary_size, room)
        self._network, self._argument, self._positions = model.network, model.cache_argument, _PassPositions()
        layers = [_PositionedLayer(self._positions, rows) for _ in range(model.network.config.num_hidden_layers)]
        self._cache = Cache(layers=layers)

    @override
    def _trim(self, rows: IntArray, length: IntArray) -> None:
        pass  # later columns are masked

    @override
    @th.inference_mode()
    def _read(self, rows: IntArray, texts: Sequence[Sequence[int]], counts: IntArray, last: int | None) -> Logits:
        longest = int(counts.max())
        ids = np.zeros((len(counts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
        first = 0 if last is None else max(0, int(counts.min()) - last)  # first column whose logits are returned
        parts = []
        for begin in range(0, longest, MAX_PASS_TOKENS):
            end = min(begin + MAX_PASS_TOKENS, longest)
            part = self._pass(rows, ids[:, begin:end], begin, max(0, end - max(begin, first)))
            if part is not None:
                parts.append(part)
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
        if last is None:
            return logits
        columns = counts[:, None] - last + np.arange(last) - (longest - logits.shape[1])
        return np.take_along_axis(logits, columns[..., None], 1)

    def _pass(self, rows: IntArray, ids: IntArray, begin: int, num_logits: int) -> Logits | None:
        device = self._network.device
        columns = self.length[rows][:, None] + begin + np.arange(ids.shape[1])
        positions = self._positions
        positions.width = int(columns.max()) + 1
        positions.rows, positions.columns = (th.as_tensor(array, device=device) for array in (rows, columns))
        masked = th.arange(positions.width, device=device) > positions.columns[:, None, :, None]  # (b, 1, q, width)
        dtype = self._network.dtype
        arguments: dict[str, Any] = {
            "input_ids": th.as_tensor(ids, device=device),
            "position_ids": positions.columns,
            "attention_mask": th.zeros_like(masked, dtype=dtype).masked_fill(masked, th.finfo(dtype).min),  # is added
            self._argument: self._cache,
            "use_cache": True,
            "logits_to_keep": max(num_logits, 1),
        }
        batch = f"a batch of {ids.shape[0]} with {ids.shape[1]} tokens each, {positions.width} with those before"
        try:
            with memory_errors(batch):
                logits: th.Tensor = self._network(**arguments).logits
        except MemoryError:
            raise
        except Exception as error:  # errors of networks have no common base class
            raise ValueError(f"model: expected {self.model.name!r} to read {batch}, got {first_line(error)}") from error
        expected, shape = (*ids.shape, self.vocabulary_size), tuple(logits.shape)  # some models return all logits
        if not (shape[:1] == expected[:1] and num_logits <= shape[1] <= expected[1] and shape[2:] >= expected[2:]):
            raise ValueError(f"logits: expected shape {expected} from {self.model.name!r}, got {shape}")
        if not num_logits:
            return None
        return np.asarray(logits[..., : self.vocabulary_size].float().cpu().numpy())
