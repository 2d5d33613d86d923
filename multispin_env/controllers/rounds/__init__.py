"""Controllers of rounds, one file each; ``multispin_env.registry.CONTROLLERS`` names them."""
