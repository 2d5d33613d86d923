"""Environments, one file each; ``multispin_env.registry.ENVIRONMENTS`` names them."""
