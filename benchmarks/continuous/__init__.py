"""Rules and agents without the barrier: ``python -m benchmarks.continuous``."""
