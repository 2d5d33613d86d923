"""Seconds that a token of context adds to a drafted one, for the profiles: ``python -m tools.context_times``.

Estimated: a token reads the weights once and the cache of all tokens before it, and reading sets the time, so that a
time T after C_0 tokens becomes T (W + b C) / (W + b C_0). Windows and states of other layers have constant sizes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import multispin_env as ms
from benchmarks.figures.context import MODELS as FIGURE_MODELS
from benchmarks.figures.context import DraftModel
from multispin_env.draft import DraftProfile
from multispin_env.registry import DEVICES, DRAFTS

MODELS = {
    # layers that grow, heads of keys and values, their size, weights that a token reads, with the output layer
    **FIGURE_MODELS,
    # Lightning-AI/litgpt at 2685705, litgpt/config.py
    "Gemma 3 1B": DraftModel(4, 1, 256, 1.000e9),  # of 26 layers; the others have windows of 512
    "Qwen2.5-0.5B": DraftModel(24, 2, 64, 0.4940e9),
    "Qwen2.5-1.5B": DraftModel(28, 2, 128, 1.544e9),
    "Qwen2.5-3B": DraftModel(36, 2, 128, 3.086e9),
    "Qwen3-4B": DraftModel(36, 8, 128, 4.022e9),
    "TinyLlama-1.1B": DraftModel(22, 4, 64, 1.035e9),
    # google-deepmind/gemma at b2dc124, gemma/gm/nn/gemma4/_gemma4.py: 7 of 35 layers, four read the cache of another
    "Gemma 4 E2B": DraftModel(7, 1, 512, 2.279e9),
    # Model card of LiquidAI/LFM2-1.2B (6 of 16 layers, 1,170,340,608 weights) and its config.json (32 heads, 8 of keys)
    "LFM2-1.2B": DraftModel(6, 8, 64, 1.170e9),
    # THUDM/slime at f8879db, scripts/models/qwen3.5-0.8B.sh; ggml-org/Llama-macOS#63 (weights, 12 MB for 1,000 tokens)
    "Qwen3.5-0.8B": DraftModel(6, 2, 256, 0.758e9),
}


class Run(NamedTuple):
    """Model as a profile ran it."""

    model: str
    bits: float  # mean of the weights that a token reads
    cache_bits: int = 16

    @property
    def weights(self) -> float:
        """Bytes of weights that a token reads."""
        return MODELS[self.model].weights * self.bits / 8.0

    @property
    def cache(self) -> int:
        """Bytes of cache that a token reads for each token before it."""
        return MODELS[self.model].cache * self.cache_bits // 16

    def context_time(self, draft_time: float, context: int) -> float:
        """Return c in s from a draft time in s after ``context`` tokens, with four digits."""
        return float(f"{draft_time * self.cache / (self.weights + self.cache * context):.4g}")

    @property
    def source(self) -> str:
        """Text of ``context_source``."""
        layers, heads, size, _ = MODELS[self.model]
        of = f"{layers} layers, {heads} head{'s' * (heads > 1)} of {size}, keys and values of {self.cache_bits} bits"
        return f"estimated: {self.cache:,} B of cache a token ({of}) for {self.weights / 1e9:.3g} GB of weights a token"


# Mean bits with scales. Q4_0, Q4_K_M: from sizes that llama-bench prints (Llama-3.2-1B 729.75 and 762.81 MiB, Qwen2.5
# 373.71 and 934.69 MiB, 1.79 GiB). Q2_K: types of tensors in src/llama-quant.cpp of ggml-org/llama.cpp at 007dbbf.
GENIE = Run("Llama-3.2-1B", 4.85, 8)  # output layer and cache 8 bits: qai_hub_models/models/_shared/llm/model.py
QWEN = {"q2": (5.38, 3.47), "q4": (6.35, 5.08, 4.98), "q8": (8.5, 8.5, 8.5), "fp16": (16.0, 16.0, 16.0)}
RUNS = {
    **dict.fromkeys(("galaxy-a33-q8", "galaxy-s23-q8", "galaxy-s24-ultra-q8"), Run("Gemma 3 1B", 8.5)),
    **dict.fromkeys(("iphone-13-pro-q8", "pixel-6a-q8", "pixel-8-q8"), Run("Gemma 3 1B", 8.5)),
    **dict.fromkeys(("iphone-15-pro-q8", "iphone-16-pro-q8"), Run("Qwen2.5-1.5B", 8.5)),
    **dict.fromkeys(("galaxy-s25-ultra-cpu", "galaxy-s25-ultra-npu"), Run("LFM2-1.2B", 4.0)),
    **dict.fromkeys(("snapdragon-8-elite-npu", "snapdragon-8-elite-gen-5-npu", "snapdragon-x2-elite-npu"), GENIE),
    "galaxy-s24-ultra-gpu": Run("Qwen2.5-1.5B", 6.24),  # q4f16_2: 4.5, output layer 16; TinyBench, mlc-chat-config.json
    "iphone-16-pro-gpu": Run("Qwen2.5-1.5B", 4.5),
    "iphone-17-pro-gpu": Run("Gemma 4 E2B", 4.5),
    "mac-m4-max-gpu": Run("Llama-3.2-1B", 5.18),
    "oneplus-12-cpu": Run("Llama-3.2-1B", 5.64),  # 4 and scales of 32 weights, output layer 8
    "raspberry-pi-5-cpu": Run("TinyLlama-1.1B", 8.5),
    "raspberry-pi-5-hailo-10h": Run("Qwen2.5-1.5B", 4.5),
    "rk3562-npu": Run("Qwen3.5-0.8B", 8.0),
    "rk3576-npu": Run("TinyLlama-1.1B", 4.0),
    "rk3588-npu": Run("Qwen2.5-1.5B", 8.0),
    "rtx-4050-laptop": Run("Qwen2.5-1.5B", 5.95),  # 4.16, output layer 16, as GPTQ quantizes blocks only
    "rv1126b-npu": Run("Qwen3.5-0.8B", 4.0),
    "snapdragon-8-elite-npu-ggml": Run("Llama-3.2-1B", 4.95),
    **{
        f"qwen2.5-{size}b-{name}": Run(f"Qwen2.5-{size}B", bits)
        for name, of_sizes in QWEN.items()
        for size, bits in zip(("0.5", "1.5", "3"), of_sizes, strict=False)
    },
}

MEASURED = [  # john-rocky/apple-silicon-llm-bench at 93ef587, results/raw: tokens/s after two contexts
    ("M4 Max, MLX", Run("Qwen3-0.6B", 4.5), (83, 561.4), (43_416, 84.17)),
    ("M4 Max, MLX", Run("Qwen3-4B", 4.5), (83, 163.0), (10_785, 100.7)),
    ("M4 Max, MLX", Run("Qwen3-8B", 4.5), (83, 98.29), (10_785, 72.0)),
    ("iPhone 17 Pro, MLX", Run("Qwen3-4B", 4.5), (83, 20.3), (2745, 14.6)),
    ("iPhone 17 Pro, Core AI", Run("Qwen3-4B", 4.0), (83, 17.0), (4041, 11.9)),
    ("iPhone 17 Pro, LiteRT", Run("Qwen3-4B", 4.0), (83, 15.3), (2745, 13.7)),
]


def profiles() -> Iterator[tuple[ms.DeviceProfile | DraftProfile, float]]:
    """Yield the profiles with a time of a drafted token, and that time."""
    for profile in (table.load(name) for table in (DEVICES, DRAFTS) for name in table.names()):
        if (time := profile.draft_time) is not None:
            yield profile, time


if __name__ == "__main__":
    print("profile: model, mean bits, bytes of cache a token, GB of weights, ns a token, twice the time at")
    for profile, time in profiles():
        if (run := RUNS.get(profile.name)) is not None:
            facts = f"{run.model}, {run.bits}, {run.cache:,}, {run.weights / 1e9:.3f}"
            added = run.context_time(time, profile.draft_context)
            print(f"{profile.name}: {facts}, {1e9 * added:.4g}, {profile.draft_context + time / added:,.0f}")
    print("\nmeasured twice: ns a token, estimated over measured")
    for device, run, (short, fast), (long, slow) in MEASURED:
        found = (1.0 / slow - 1.0 / fast) / (long - short)
        print(f"{device}, {run.model}: {1e9 * found:.0f}, {run.context_time(1.0 / fast, short) / found:.2f}")
