"""Figures of the paper and its claims, from this model: ``multispin reproduce``."""
