"""Measured laws of verification, one file each; ``multispin_env.registry.SERVERS`` names them."""
