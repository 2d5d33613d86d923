"""Arrival processes, one file each; ``multispin_env.registry.ARRIVALS`` names them."""
