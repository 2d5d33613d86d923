"""Comparison of contenders on the same states and episodes, with confidence intervals; without torch."""

from multispin_env.evaluation.public import ComparisonTable

__all__ = ["ComparisonTable"]
