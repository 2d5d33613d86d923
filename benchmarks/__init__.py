"""Speed and evidence of multispin_env, printed as tables; ``python -m benchmarks.<tool> --help``."""
