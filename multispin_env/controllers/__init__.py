"""State to decision, batched; one file each, named as in the paper; ``registry.CONTROLLERS`` names them."""
