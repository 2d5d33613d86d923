"""Presets, one file each; ``multispin_env.registry.SCENARIOS`` names them."""
