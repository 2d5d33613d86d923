"""State to decision, batched; named as in the paper; ``registry.CONTROLLERS`` names them."""
