"""Fading models, one file each; ``multispin_env.registry.CHANNELS`` names them."""
