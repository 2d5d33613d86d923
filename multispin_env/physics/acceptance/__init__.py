"""Acceptance processes, one file each; ``multispin_env.registry.ACCEPTANCES`` names them."""
