"""Comparison of contenders on the same states and episodes, with confidence intervals; without torch."""
