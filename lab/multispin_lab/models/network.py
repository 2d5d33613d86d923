"""Language models of the user: loading, rounding, ragged batches, and lossless speculative sampling.

Column s of a row's cache belongs to the token at position s of its text. A pass writes keys and values of its tokens at
their positions, and each token attends to positions up to its own. Rejected tokens are removed by reducing the row's
length: later columns are masked, and the next tokens overwrite them. Rows of a pass may have different numbers of
tokens: shorter ones are padded, and padding writes only to columns after their lengths. Speculative sampling is that of
Leviathan et al. (ICML 2023), with random numbers as arguments.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from transformers.cache_utils import Cache, DynamicLayer

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_name, require, shown
from multispin_lab.models import DTYPES

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


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model and its tokenizer."""

    name: str  # as given by the user
    network: Any  # ``transformers`` model with full attention in all layers
    tokenizer: Any

    def __post_init__(self) -> None:
        config = self.network.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        windowed = window is not None and getattr(config, "use_sliding_window", True) and window < self.context
        if kinds != {"full_attention"} or windowed:
            got = f"a window of {window} tokens" if windowed else f"layers of {sorted(kinds)}"
            raise ValueError(
                f"model: expected full attention in all layers, so that the cache can be trimmed, got {got} in "
                f"{self.name!r}"
            )

    @property
    def device(self) -> th.device:
        """Torch device of the weights."""
        return self.network.device

    @cached_property
    def context(self) -> int:
        """Maximal tokens of a text with its prompt; 2048 if the configuration has no value."""
        return int(getattr(self.network.config, "max_position_embeddings", None) or 2048)

    @cached_property
    def vocabulary_size(self) -> int:
        """V; further logits are padding of the last layer."""
        outputs = self.network.get_output_embeddings().weight.shape[0]
        return int(min(max(self.tokenizer.get_vocab().values()) + 1, outputs))

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        configured = getattr(self.network.generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(int(token) for token in (*ids, self.tokenizer.eos_token_id) if token is not None)

    @cached_property
    def cache_argument(self) -> str:
        """Name of the forward pass's argument for keys and values, which differs between versions."""
        return "cache" if "cache" in inspect.signature(self.network.forward).parameters else "past_key_values"

    def encode(self, prompt: str, raw: bool = False) -> list[int]:
        """Encode a prompt, in the model's chat template if it has one, unless ``raw``; ``ValueError`` for no tokens."""
        if raw or not getattr(self.tokenizer, "chat_template", None):
            tokens = self.tokenizer.encode(prompt)
        else:
            message = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            tokens = self.tokenizer.encode(text, add_special_tokens=False)
        if not tokens:
            raise ValueError(f"prompt: expected text of at least one token, got {shown(prompt)}")
        return [int(token) for token in tokens]


def load_model(name: str, device: str = "cpu", dtype: str = "float32", bits: int | None = None) -> Model:
    """Load a model for inference from a ``transformers`` folder, a ``.gguf`` file, or a name on the hub.

    Weights are rounded to ``bits``, 2 to 8, unless ``None``. ``ValueError`` for a name without a model, an unknown
    device or dtype, or a model whose cache can't be trimmed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    check_name("dtype", dtype, DTYPES)
    if bits is not None:
        check_integer("bits", bits, 2, 8)
    try:
        th.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        got = f"{device!r} ({_cause(error)})"
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
            f"model: expected a folder, GGUF file or hub name with a model, got {name!r} ({_cause(error)})"
        ) from None
    network.requires_grad_(False)
    if bits is not None:
        round_weights(network, bits)
    return Model(name if bits is None else f"{name} at {bits} bits", network, tokenizer)


def _cause(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _source(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ValueError(f"model: expected a GGUF file, got {name!r}, which does not exist")
        return str(path.absolute().parent), {"gguf_file": path.name}  # links are not resolved, as names differ there
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: expected a folder with a model's config.json, got {name!r}")
    if not path.exists() and (path.is_absolute() or name.startswith(".") or name.count("/") != 1):
        raise ValueError(f"model: expected a folder that exists, or USER/NAME on the hub, got {name!r}")
    return name, {}


@contextmanager
def memory_errors(purpose: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into ``MemoryError`` with the purpose of the memory."""
    try:
        yield
    except (th.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, th.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(purpose) from None
        raise


def wait_for(model: Model) -> None:
    """Wait until a model's device has finished its queue."""
    if model.device.type == "cuda":
        th.cuda.synchronize(model.device)


@dataclass(frozen=True, eq=False)
class Pair:
    """A draft and a target model; ``ValueError`` unless all tokens have equal ids in both."""

    draft: Model
    target: Model

    def __post_init__(self) -> None:
        if self.draft is self.target:
            return
        small, large = (model.tokenizer.get_vocab() for model in (self.draft, self.target))
        if small != large:
            differing = sorted(token for token in {*small, *large} if small.get(token) != large.get(token))
            raise ValueError(
                f"draft: expected the vocabulary of the target ({len(large)} tokens), got {len(small)} tokens; "
                f"{len(differing)} differ, the first is {shown(differing[0])}"
            )

    @cached_property
    def vocabulary_size(self) -> int:
        """V of both models."""
        return min(self.draft.vocabulary_size, self.target.vocabulary_size)

    @property
    def context(self) -> int:
        """Maximal tokens of a text for both models."""
        return min(self.draft.context, self.target.context)


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


def server_memory(pair: Pair, dtype: str) -> dict[str, Any]:
    """Return the fields of a server for the memory of its GPU; none on a processor."""
    if pair.target.device.type != "cuda":
        return {}
    memory = float(th.cuda.get_device_properties(pair.target.device).total_memory)
    source = f"multispin profile, in {dtype}: memory of the GPU, and configurations of the models"
    sizes = size_in_memory(pair.target.network) | size_in_memory(pair.draft.network, "draft_")
    return {"gpus": 1, "gpu_memory": memory, "memory_source": source, **sizes}


def probabilities(logits: th.Tensor, temperature: float, model: str) -> th.Tensor:
    """Return the distribution of the next token, (..., V) in float64; at temperature 0 the most likely token has 1.

    ``ValueError`` with the name of the ``model`` if the largest logit is not finite.
    """
    largest = logits.amax(-1)
    if not (finite := th.isfinite(largest)).all():
        raise ValueError(f"logits: expected finite numbers from {model!r}, got {float(largest[~finite][0])}")
    if temperature == 0.0:
        return th.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    return th.softmax(logits.double() / temperature, -1)


def pick_tokens(law: th.Tensor, uniform: FloatArray) -> IntArray:
    """Sample tokens (...) from ``law`` (..., V) by inversion; ``uniform`` (...) in [0, 1)."""
    cumulative = law.cumsum(-1)
    level = th.as_tensor(uniform, device=law.device, dtype=law.dtype) * cumulative[..., -1]
    token = th.searchsorted(cumulative, level[..., None].contiguous(), right=True)[..., 0]
    return np.asarray(token.clamp_max(law.shape[-1] - 1).cpu().numpy())


def truncated(law: th.Tensor, kept: int) -> th.Tensor:
    """Return the ``kept`` largest probabilities of ``law`` (..., V), normalised; the others become 0."""
    if kept >= law.shape[-1]:
        return law
    largest, tokens = law.topk(kept)
    return th.zeros_like(law).scatter(-1, tokens, largest / largest.sum(-1, keepdim=True))


def overlap(target: th.Tensor, draft: th.Tensor) -> FloatArray:
    """Return Σ_x min(p, q) (...), the probability that a token drafted from q is accepted."""
    return np.asarray(th.minimum(target, draft).sum(-1).clamp_max(1.0).cpu().numpy())


def acceptance(target: th.Tensor, draft: th.Tensor, token: IntArray) -> FloatArray:
    """Return β = min(1, p / q) of a drafted token (...) ([MS] 4), given both distributions (..., V)."""
    index = th.as_tensor(token, device=target.device)[..., None]
    p, q = (law.gather(-1, index)[..., 0] for law in (target, draft))
    return np.asarray((p / q).clamp_max(1.0).cpu().numpy())


def confidences(draft: th.Tensor, token: IntArray) -> FloatArray:
    """Return the `CONFIDENCES` (..., 3) of a drafted token (...), given the draft model's distribution (..., V)."""
    q = draft.gather(-1, th.as_tensor(token, device=draft.device)[..., None])[..., 0]
    first, second = draft.topk(2).values.unbind(-1)
    entropy = th.special.entr(draft).sum(-1) / math.log(draft.shape[-1])
    return np.asarray(th.stack([q, first - second, entropy], -1).clamp(0.0, 1.0).cpu().numpy())


def residual(target: th.Tensor, draft: th.Tensor) -> th.Tensor:
    """Return max(0, p − q) (..., V), the unnormalised distribution of the token that replaces a refused one."""
    rest = (target - draft).clamp_min(0.0)
    empty = rest.sum(-1, keepdim=True) <= 0.0  # p = q up to rounding
    return th.where(empty, target, rest)


class Verified(NamedTuple):
    """Result of the verification of drafts of several lengths."""

    accepted: IntArray  # accepted tokens of each draft, (b,)
    token: IntArray  # the token after them, (b,): it replaces a refused token, or is one more


def verify(
    target: th.Tensor, draft: th.Tensor, drafted: IntArray, length: IntArray, uniform: FloatArray, last: FloatArray
) -> Verified:
    """Accept a prefix of each draft and draw the next token, so that texts follow the target's distribution.

    The tokens ``drafted`` (b, L) were drawn from ``draft`` (b, L, V); those from a row's ``length`` (b,) on are
    padding. ``target`` (b, L + 1, V) is the target's distribution at each of them and after the last one. ``uniform``
    (b, L) and ``last`` (b,) are independent in [0, 1), for acceptance and for the next token.
    """
    rows, longest = drafted.shape
    beta = acceptance(target[:, :longest], draft, drafted)
    passes = (uniform < beta) & (np.arange(longest) < length[:, None])
    accepted = np.cumprod(passes, axis=1).sum(1).astype(np.int64)
    refused = th.as_tensor(accepted < length, device=target.device)[:, None]
    at = th.arange(rows, device=target.device)
    position = th.as_tensor(accepted, device=target.device)
    p = target[at, position]
    if longest:
        p = th.where(refused, residual(p, draft[at, position.clamp_max(longest - 1)]), p)
    return Verified(accepted, pick_tokens(p, last))


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


class Sequences:
    """Key-value cache of a model for the texts of several rows."""

    def __init__(self, model: Model, rows: int, vocabulary_size: int) -> None:
        self.model, self.vocabulary_size = model, vocabulary_size
        self.length: IntArray = np.zeros(rows, dtype=np.int64)  # tokens read of each row, (rows,)
        self._positions = _PassPositions()
        layers = [_PositionedLayer(self._positions, rows) for _ in range(model.network.config.num_hidden_layers)]
        self._cache = Cache(layers=layers)

    def trim(self, rows: IntArray, length: IntArray) -> None:
        """Remove all but the first ``length`` (b,) tokens of rows (b,)."""
        require("length", length, (length >= 0) & (length <= self.length[rows]), "0 to the tokens that were read")
        self.length[rows] = length

    def read(self, rows: IntArray, texts: Sequence[Sequence[int]], last: int | None = None) -> th.Tensor:
        """Read at least one more token of each of several different rows (b,), in one batch.

        Returns the logits (b, q, V) after each token, without padding of the vocabulary; q is the length of the longest
        text, and logits of padding are meaningless. With ``last``, only those after the last ``last`` tokens of each
        row. ``ValueError`` if a text would exceed the model's context; ``MemoryError`` names batch and tokens.
        """
        counts = np.array([len(text) for text in texts])
        require("texts", counts, counts >= max(1, last or 1), f"at least {max(1, last or 1)} tokens of each row")
        longest = int(counts.max())
        if int(self.length[rows].max()) + longest > self.model.context:
            raise ValueError(
                f"tokens: expected a text of at most {self.model.context}, the context of {self.model.name!r}, "
                f"got {int(self.length[rows].max()) + longest}"
            )
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
        logits = parts[0] if len(parts) == 1 else th.cat(parts, 1)
        self.length[rows] += counts
        if last is None:
            return logits
        index = th.as_tensor(counts[:, None] - last + np.arange(last), device=logits.device) - (
            longest - logits.shape[1]
        )
        return logits.gather(1, index[..., None].expand(-1, -1, logits.shape[-1]))

    @th.inference_mode()
    def _pass(self, rows: IntArray, ids: IntArray, begin: int, num_logits: int) -> th.Tensor | None:
        device = self.model.device
        columns = self.length[rows][:, None] + begin + np.arange(ids.shape[1])
        positions = self._positions
        positions.width = int(columns.max()) + 1
        positions.rows, positions.columns = (th.as_tensor(array, device=device) for array in (rows, columns))
        masked = th.arange(positions.width, device=device) > positions.columns[:, None, :, None]  # (b, 1, q, width)
        dtype = self.model.network.dtype
        arguments: dict[str, Any] = {
            "input_ids": th.as_tensor(ids, device=device),
            "position_ids": positions.columns,
            "attention_mask": th.zeros_like(masked, dtype=dtype).masked_fill(masked, th.finfo(dtype).min),  # is added
            self.model.cache_argument: self._cache,
            "use_cache": True,
            "logits_to_keep": max(num_logits, 1),
        }
        batch = f"a batch of {ids.shape[0]} with {ids.shape[1]} tokens each, {positions.width} with those before"
        try:
            with memory_errors(batch):
                logits: th.Tensor = self.model.network(**arguments).logits
        except MemoryError:
            raise
        except Exception as error:  # errors of networks have no common base class
            raise ValueError(f"model: expected {self.model.name!r} to read {batch}, got {_cause(error)}") from error
        expected, shape = (*ids.shape, self.vocabulary_size), tuple(logits.shape)  # some models return all logits
        if not (shape[:1] == expected[:1] and num_logits <= shape[1] <= expected[1] and shape[2:] >= expected[2:]):
            raise ValueError(f"logits: expected shape {expected} from {self.model.name!r}, got {shape}")
        return logits[..., : self.vocabulary_size] if num_logits else None
