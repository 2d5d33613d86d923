"""Real language models: profile them, record how they draft, and let them draft live (extra ``models``)."""

DTYPES = ("float32", "bfloat16", "float16")  # floating-point types of a model, torch's names
