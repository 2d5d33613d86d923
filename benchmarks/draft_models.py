"""Draft models, and the estimate of what a token of context adds to the time of a drafted token.

A token reads the weights once and the cache of all tokens before it. If reading sets the time, a time T after C_0
tokens becomes T (W + b C) / (W + b C_0) after C, with W bytes of weights and b bytes of cache a token.
"""

from typing import NamedTuple


class DraftModel(NamedTuple):
    """Configuration of a model; layers with a window or a state of constant size are left out."""

    layers: int
    heads: int  # of keys and values
    head_size: int
    weights: float  # that a token reads: all but an embedding that is no output layer


MODELS = {
    # Lightning-AI/litgpt at 2685705, litgpt/config.py; weights are the sum of the matrices of these configurations
    "Gemma 3 1B": DraftModel(4, 1, 256, 1.000e9),  # of 26 layers; the others have windows of 512
    "Llama-3.1-8B": DraftModel(32, 8, 128, 7.505e9),
    "Llama-3.2-1B": DraftModel(16, 8, 64, 1.236e9),
    "Qwen2.5-0.5B": DraftModel(24, 2, 64, 0.4940e9),
    "Qwen2.5-1.5B": DraftModel(28, 2, 128, 1.544e9),
    "Qwen2.5-3B": DraftModel(36, 2, 128, 3.086e9),
    "Qwen3-0.6B": DraftModel(28, 8, 128, 0.596e9),
    "Qwen3-1.7B": DraftModel(28, 8, 128, 1.721e9),
    "Qwen3-4B": DraftModel(36, 8, 128, 4.022e9),
    "Qwen3-8B": DraftModel(36, 8, 128, 7.568e9),
    "TinyLlama-1.1B": DraftModel(22, 4, 64, 1.035e9),
    # google-deepmind/gemma at b2dc124, gemma/gm/nn/gemma4/_gemma4.py: 7 of 35 layers, four read the cache of another
    "Gemma 4 E2B": DraftModel(7, 1, 512, 2.279e9),
    # Model card of LiquidAI/LFM2-1.2B (6 of 16 layers, 1,170,340,608 weights) and its config.json (32 heads, 8 of keys)
    "LFM2-1.2B": DraftModel(6, 8, 64, 1.170e9),
    # THUDM/slime at f8879db, scripts/models/qwen3.5-0.8B.sh; ggml-org/Llama-macOS#63 (weights, 12 MB for 1,000 tokens)
    "Qwen3.5-0.8B": DraftModel(6, 2, 256, 0.758e9),
}


class QuantizedModel(NamedTuple):
    """Model of `MODELS` with the bits of its weights and cache."""

    name: str
    bits: float  # mean of the weights that a token reads, with scales
    cache_bits: int = 16

    @property
    def configuration(self) -> DraftModel:
        """Layers, heads and weights."""
        return MODELS[self.name]

    @property
    def weights(self) -> float:
        """Bytes of weights that a token reads."""
        return self.configuration.weights * self.bits / 8.0

    @property
    def cache(self) -> int:
        """Bytes of keys and values that a token reads for each token before it."""
        layers, heads, head_size, _ = self.configuration
        return 2 * layers * heads * head_size * self.cache_bits // 8

    def context_time(self, draft_time: float, context: int = 0) -> float:
        """Estimate the s that a token of context adds, from a draft time in s after ``context`` tokens."""
        return draft_time * self.cache / (self.weights + self.cache * context)
