"""Differences between a learned controller and the rules: ``python -m benchmarks.learned_schedulers``."""
