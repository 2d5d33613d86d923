"""Environments without the barrier, one file each; ``multispin_env.registry.ENVIRONMENTS`` names them."""
