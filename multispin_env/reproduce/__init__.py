"""Every figure of the paper and its claims, from this model: ``python -m multispin_env.reproduce``."""
