"""Optimum of one round: problem, a compiled search with a proof, and relaxation, fast rule and search in NumPy."""
