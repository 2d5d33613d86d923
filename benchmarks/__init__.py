"""Speed and evidence, printed as tables; ``python -m benchmarks.<name> --help``."""
