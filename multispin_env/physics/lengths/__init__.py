"""Laws of the lengths of requests, one file each; ``multispin_env.registry.LENGTHS`` names them."""
