"""Random Llamas of a few thousand weights with a tokenizer of a few words, made where they are needed.

Transformers is imported late: a worker that runs no test of models would spend two seconds.
"""

from pathlib import Path
from typing import Any

import torch as th

from multispin_lab.models.transformers_engine import TransformersModel

WORDS = 24
"""Tokens of the vocabulary."""


def tiny_tokenizer(words: int = WORDS, reverse: bool = False) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    numbers = range(words - 1, 1, -1) if reverse else range(2, words)
    vocabulary = {"<end>": 0, "<unknown>": 1} | {f"w{index}": number for index, number in enumerate(numbers, start=2)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>")


def tiny_model(
    seed: int, words: int = WORDS, hidden: int = 16, context: int = 512, scale: float = 1.0
) -> TransformersModel:
    """Make a model with clearly uneven distributions of the next token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with th.random.fork_rng():
        th.manual_seed(seed)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=words,
                hidden_size=hidden,
                intermediate_size=2 * hidden,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=context,
                eos_token_id=0,
                bos_token_id=None,
                pad_token_id=0,
            )
        ).eval()
        with th.no_grad():
            network.lm_head.weight.mul_(25.0 * scale)
            network.model.embed_tokens.weight.mul_(10.0)
    network.requires_grad_(False)
    return TransformersModel.of(f"tiny-{seed}", network, tiny_tokenizer(words))


def save_tiny(folder: Path, seed: int, **options: Any) -> str:
    return save_model(tiny_model(seed, **options), folder)


def save_model(model: TransformersModel, folder: Path) -> str:
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)
