"""Seconds that a token of context adds to a drafted one, for the profiles: ``python -m tools.context_times``.

The first table has the estimates of the profiles; the second compares estimates with devices measured after two
contexts.
"""

from collections.abc import Iterator

import multispin_env as ms
from benchmarks.draft_models import QuantizedModel
from benchmarks.tools import Row, show
from multispin_env.draft import DraftProfile
from multispin_env.registry import DEVICES, DRAFTS

# Mean bits with scales, or 4 and 8 where a source has no scales. Q4_0, Q4_K_M: from sizes that llama-bench prints
# (Llama-3.2-1B 729.75 and 762.81 MiB, Qwen2.5 373.71 and 934.69 MiB, 1.79 GiB). Q2_K: types of tensors in
# src/llama-quant.cpp of ggml-org/llama.cpp at 007dbbf. Genie: output layer and cache of 8 bits,
# qai_hub_models/models/_shared/llm/model.py of qualcomm/ai-hub-models.
GEMMA_Q8 = QuantizedModel("Gemma 3 1B", 8.5)
GENIE = QuantizedModel("Llama-3.2-1B", 4.85, 8)
LFM_Q4 = QuantizedModel("LFM2-1.2B", 4.0)
QWEN_Q8 = QuantizedModel("Qwen2.5-1.5B", 8.5)
QWEN_BITS = {"q2": (5.38, 3.47), "q4": (6.35, 5.08, 4.98), "q8": (8.5, 8.5, 8.5), "fp16": (16.0, 16.0, 16.0)}

PROFILE_MODELS = {
    "galaxy-a33-q8": GEMMA_Q8,
    "galaxy-s23-q8": GEMMA_Q8,
    "galaxy-s24-ultra-gpu": QuantizedModel("Qwen2.5-1.5B", 6.24),  # q4f16_2: 4.5, output layer 16; mlc-chat-config.json
    "galaxy-s24-ultra-q8": GEMMA_Q8,
    "galaxy-s25-ultra-cpu": LFM_Q4,
    "galaxy-s25-ultra-npu": LFM_Q4,
    "iphone-13-pro-q8": GEMMA_Q8,
    "iphone-15-pro-q8": QWEN_Q8,
    "iphone-16-pro-gpu": QuantizedModel("Qwen2.5-1.5B", 4.5),
    "iphone-16-pro-q8": QWEN_Q8,
    "iphone-17-pro-gpu": QuantizedModel("Gemma 4 E2B", 4.5),
    "mac-m4-max-gpu": QuantizedModel("Llama-3.2-1B", 5.18),
    "oneplus-12-cpu": QuantizedModel("Llama-3.2-1B", 5.64),  # 4 and scales of 32 weights, output layer 8
    "pixel-6a-q8": GEMMA_Q8,
    "pixel-8-q8": GEMMA_Q8,
    "raspberry-pi-5-cpu": QuantizedModel("TinyLlama-1.1B", 8.5),
    "raspberry-pi-5-hailo-10h": QuantizedModel("Qwen2.5-1.5B", 4.5),
    "rk3562-npu": QuantizedModel("Qwen3.5-0.8B", 8.0),
    "rk3576-npu": QuantizedModel("TinyLlama-1.1B", 4.0),
    "rk3588-npu": QuantizedModel("Qwen2.5-1.5B", 8.0),
    "rtx-4050-laptop": QuantizedModel("Qwen2.5-1.5B", 5.95),  # 4.16, output layer 16, as GPTQ quantizes blocks only
    "rv1126b-npu": QuantizedModel("Qwen3.5-0.8B", 4.0),
    "snapdragon-8-elite-gen-5-npu": GENIE,
    "snapdragon-8-elite-npu": GENIE,
    "snapdragon-8-elite-npu-ggml": QuantizedModel("Llama-3.2-1B", 4.95),
    "snapdragon-x2-elite-npu": GENIE,
    **{
        f"qwen2.5-{size}b-{quantisation}": QuantizedModel(f"Qwen2.5-{size}B", mean)
        for quantisation, means in QWEN_BITS.items()
        for size, mean in zip(("0.5", "1.5", "3"), means, strict=False)  # no 3B model in 2 bits
    },
}
"""Models that the profiles ran, by name of a device or draft profile; profiles without one have no estimate."""

# john-rocky/apple-silicon-llm-bench at 93ef587, results/raw; a context is the prompt and half of 128 tokens
MEASURED_TWICE = (
    ("M4 Max, MLX", QuantizedModel("Qwen3-0.6B", 4.5), (83, 561.4), (43_416, 84.17)),
    ("M4 Max, MLX", QuantizedModel("Qwen3-4B", 4.5), (83, 163.0), (10_785, 100.7)),
    ("M4 Max, MLX", QuantizedModel("Qwen3-8B", 4.5), (83, 98.29), (10_785, 72.0)),
    ("iPhone 17 Pro, MLX", QuantizedModel("Qwen3-4B", 4.5), (83, 20.3), (2745, 14.6)),
    ("iPhone 17 Pro, Core AI, GPU", QuantizedModel("Qwen3-4B", 4.0), (83, 17.0), (4041, 11.9)),
    ("iPhone 17 Pro, LiteRT", QuantizedModel("Qwen3-4B", 4.0), (83, 15.3), (2745, 13.7)),
    ("iPhone 17 Pro, Core AI, Neural Engine", QuantizedModel("Qwen3-4B", 4.0), (83, 27.4), (4041, 10.5)),
)
"""Devices with the model and two pairs (tokens of context, tokens/s)."""


def profiles() -> Iterator[tuple[ms.device.DeviceProfile | DraftProfile, float]]:
    """Yield the profiles with a time of a drafted token, and that time."""
    for profile in (table.load(name) for table in (DEVICES, DRAFTS) for name in table.names()):
        if (time := profile.draft_time) is not None:
            yield profile, time


def estimate(profile: ms.device.DeviceProfile | DraftProfile, time: float) -> float:
    """Return ``draft_context_time`` of a profile of `PROFILE_MODELS`, with four digits."""
    return float(f"{PROFILE_MODELS[profile.name].context_time(time, profile.draft_context):.4g}")


def source(model: QuantizedModel) -> str:
    """Return the text of ``context_source``."""
    layers, heads, size, _ = model.configuration
    shape = f"{layers} layers, {heads} head{'s' * (heads > 1)} of {size}, keys and values of {model.cache_bits} bits"
    weights = f"{model.weights / 1e9:.3g} GB of weights a token"
    return f"estimated: {model.cache:,} B of cache a token ({shape}) for {weights}"


def estimates() -> Iterator[Row]:
    """Return the estimates, and the context after which a drafted token takes twice as long."""
    for profile, time in profiles():
        if profile.name in PROFILE_MODELS:
            model, added = PROFILE_MODELS[profile.name], estimate(profile, time)
            yield {
                "profile": profile.name,
                "model": model.name,
                "bits": f"{model.bits:g}",
                "bytes of cache a token": f"{model.cache:,}",
                "weights (GB)": f"{model.weights / 1e9:.3f}",
                "ns a token": f"{1e9 * added:.0f}",
                "doubles at": f"{profile.draft_context + time / added:,.0f}",
            }


def comparisons() -> Iterator[Row]:
    """Return estimates from the time after the shorter context, and the slope between both."""
    for device, model, (short, fast), (long, slow) in MEASURED_TWICE:
        measured = (1.0 / slow - 1.0 / fast) / (long - short)
        estimated = model.context_time(1.0 / fast, short)
        yield {
            "device": device,
            "model": model.name,
            "measured (ns a token)": f"{1e9 * measured:.0f}",
            "estimated": f"{1e9 * estimated:.0f}",
            "estimated over measured": f"{estimated / measured:.2f}",
        }


if __name__ == "__main__":
    show("estimates", estimates())
    show("measured after two contexts", comparisons())
