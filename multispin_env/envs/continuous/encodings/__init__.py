"""Encodings of decisions, one file each; ``multispin_env.registry.ORDER_ENCODINGS`` names them."""
