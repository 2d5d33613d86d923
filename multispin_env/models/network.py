"""A language model of the user: loaded from a folder, a GGUF file or a hub, and checked."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch as th

from multispin_env.checks import check_integer, check_name, shown
from multispin_env.models.rounding import round_weights

DTYPES = {"float32": th.float32, "bfloat16": th.bfloat16, "float16": th.float16}
"""Numbers that a model calculates with, by the name of the option."""


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model and its tokenizer."""

    name: str  # as the user gave it
    network: Any  # a ``transformers`` model with full attention in all its layers
    tokenizer: Any

    def __post_init__(self) -> None:
        config = self.network.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        windowed = window is not None and getattr(config, "use_sliding_window", True) and window < self.context
        if kinds != {"full_attention"} or windowed:
            what = f"a window of {window} tokens" if windowed else f"layers of {sorted(kinds)}"
            raise ValueError(
                f"model: expected full attention in all layers, whose cache can be trimmed, got {what} in {self.name!r}"
            )

    @property
    def device(self) -> th.device:
        """Where it calculates."""
        return self.network.device

    @cached_property
    def context(self) -> int:
        """Most tokens of a text, the prompt's included; 2048 where the configuration does not say."""
        return int(getattr(self.network.config, "max_position_embeddings", None) or 2048)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        given = getattr(self.network.generation_config, "eos_token_id", None)
        ids = given if isinstance(given, list) else [given]
        return frozenset(int(one) for one in (*ids, self.tokenizer.eos_token_id) if one is not None)

    @cached_property
    def cache_argument(self) -> str:
        """Name of the forward pass's argument for keys and values; newer versions renamed it."""
        return "cache" if "cache" in inspect.signature(self.network.forward).parameters else "past_key_values"

    def encode(self, prompt: str, raw: bool = False) -> list[int]:
        """Tokens of a prompt: in the model's chat template where it has one, unless ``raw``; at least one."""
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
    """Load a model for inference: a folder as ``transformers`` saves it, a ``.gguf`` file, or a name on the hub.

    Its weights are rounded to so many ``bits``, 2 to 8, unless ``None``. ``ValueError`` for a name without a model, an
    unknown device or dtype, or a model whose cache cannot be trimmed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    check_name("dtype", dtype, DTYPES)
    if bits is not None:
        check_integer("bits", bits, 2, 8)
    _check_device(device)
    source, options = _source(name)
    options["trust_remote_code"] = False  # else transformers asks whether to run a file that lies beside the weights
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        with memory_for(f"the weights of {name!r}"):
            network = AutoModelForCausalLM.from_pretrained(source, dtype=DTYPES[dtype], **options).to(device).eval()
    except MemoryError:
        raise
    except Exception as error:  # what broken files raise has no common base but this
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"model: expected a folder, GGUF file or hub name with a model, got {name!r} ({reason})"
        ) from None
    network.requires_grad_(False)
    if bits is not None:
        round_weights(network, bits)
    return Model(name if bits is None else f"{name} at {bits} bits", network, tokenizer)


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """Where ``transformers`` finds it, and how."""
    path = Path(name)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ValueError(f"model: expected a GGUF file, got {name!r}, which does not exist")
        return str(path.absolute().parent), {"gguf_file": path.name}  # not where a link leads: names differ there
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: expected a folder with a model's config.json, got {name!r}")
    looks_like_path = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if looks_like_path and not path.exists():
        raise ValueError(f"model: expected a folder that exists, got {name!r}")
    return name, {}


def _check_device(device: str) -> None:
    try:
        th.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"device: expected one that torch can use here, as cpu, got {device!r} ({reason})") from None


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Turn torch's errors of too little memory into ``MemoryError``, which says for what."""
    try:
        yield
    except (th.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, th.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(what) from None
        raise


@dataclass(frozen=True, eq=False)
class Pair:
    """A draft and a target model; ``ValueError`` unless each token has the same number in both."""

    draft: Model
    target: Model

    def __post_init__(self) -> None:
        if self.draft is self.target:
            return
        small, large = (model.tokenizer.get_vocab() for model in (self.draft, self.target))
        if small != large:
            differing = sorted(token for token in {*small, *large} if small.get(token) != large.get(token))
            raise ValueError(
                f"draft: expected the vocabulary of the target, {len(large)} tokens, got {len(small)}, "
                f"of which {len(differing)} differ, the first {shown(differing[0])}"
            )

    @cached_property
    def vocabulary_size(self) -> int:
        """V: logits beyond it are padding of a model's last layer."""
        outputs = [model.network.get_output_embeddings().weight.shape[0] for model in (self.draft, self.target)]
        known = max(self.target.tokenizer.get_vocab().values()) + 1
        return int(min(known, *outputs))

    @property
    def context(self) -> int:
        """Most tokens of a text that both can read."""
        return min(self.draft.context, self.target.context)
