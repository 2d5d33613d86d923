"""What a learned scheduler does differently from the rules: ``python -m benchmarks.learned_schedulers``."""
