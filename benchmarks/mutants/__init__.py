"""Mutants: what the tests would let through."""
