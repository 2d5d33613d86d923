"""Estimates of what is hidden, batched; one file each; ``registry.ESTIMATORS`` names them."""
