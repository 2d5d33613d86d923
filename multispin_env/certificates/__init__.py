"""Proofs of optimality that a small program checks without the package."""
