"""Random models of a few thousand weights as GGUF files, with a tokenizer of letters."""

from pathlib import Path

import numpy as np

LETTERS = "abcdefghijklmnopqrstu"
TOKENS = [
    "<|endoftext|>",
    *LETTERS,
    "ab",
    "Ġ",
]  # as many as `tiny.WORDS`; Ġ is a space, and transformers would add another end
WIDTH, HEADS, LAYERS, CONTEXT = 32, 2, 2, 512
WINDOW = 8

TEMPLATE = "{% for m in messages %}c{{ m.content }}{% endfor %}{% if add_generation_prompt %}d{% endif %}"


def save_gguf(
    file: Path, seed: int, windowed: bool = False, template: str = "", scale: float = 1.0, layers: int = LAYERS
) -> str:
    """Write a Llama, or a Gemma 3 with a window of 8 tokens in each layer but the last."""
    import gguf

    kind = "gemma3" if windowed else "llama"
    writer, rng, size = gguf.GGUFWriter(file, kind), np.random.default_rng(seed), len(TOKENS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(WIDTH)
    writer.add_value_length(WIDTH)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (size - 1)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)
    if windowed:
        writer.add_sliding_window(WINDOW)

    def add(name: str, *shape: int, factor: float = 1.0) -> None:
        weights = (factor * rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)

    def add_norm(name: str, width: int = WIDTH) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))

    add("token_embd", size, WIDTH, factor=3.0)
    add_norm("output_norm")
    add("output", size, WIDTH, factor=2.5 * scale)
    for block in (f"blk.{layer}" for layer in range(layers)):
        for name in ("attn_norm", "ffn_norm", *(("post_attention_norm", "post_ffw_norm") if windowed else ())):
            add_norm(f"{block}.{name}")
        if windowed:
            add_norm(f"{block}.attn_q_norm")
            add_norm(f"{block}.attn_k_norm")
        add(f"{block}.attn_q", HEADS * WIDTH, WIDTH)
        add(f"{block}.attn_k", WIDTH, WIDTH)
        add(f"{block}.attn_v", WIDTH, WIDTH)
        add(f"{block}.attn_output", WIDTH, HEADS * WIDTH)
        add(f"{block}.ffn_gate", 2 * WIDTH, WIDTH)
        add(f"{block}.ffn_up", 2 * WIDTH, WIDTH)
        add(f"{block}.ffn_down", WIDTH, 2 * WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(file)
