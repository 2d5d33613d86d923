"""Controllers of rounds; ``multispin_env.registry.CONTROLLERS`` names them."""
