"""Upper bounds on the goodput of every policy."""

from multispin_env.bounds.ahead import RateOptimum, rate_optimum
from multispin_env.bounds.rate import RateBound
from multispin_env.solver.energy import EnergyBound

__all__ = ["EnergyBound", "RateBound", "RateOptimum", "rate_optimum"]
