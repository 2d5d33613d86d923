"""Encodings of actions, one file each; ``multispin_env.registry.ENCODINGS`` names them."""
