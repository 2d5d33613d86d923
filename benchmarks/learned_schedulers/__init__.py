"""What a learned controller does differently from the rules: ``python -m benchmarks.learned_schedulers``."""
