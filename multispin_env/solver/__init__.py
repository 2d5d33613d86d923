"""Optimum of one round: problem, relaxation, fast rule, and a search with a proof of optimality."""
