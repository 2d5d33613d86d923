"""Real language models: profiles, records of acceptance, and live rounds (extra ``models``)."""

DTYPES = ("float32", "bfloat16", "float16")  # floating-point types of a model, torch's names

ENGINES = ("transformers", "llama.cpp")
"""Programs that run models."""
