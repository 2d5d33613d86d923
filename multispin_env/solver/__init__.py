"""Optimum of one round: problem, a compiled search with a proof, equal finish times, and the search in NumPy."""

from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.sensitivities import Sensitivities

__all__ = ["CertifiedDecision", "Sensitivities"]
