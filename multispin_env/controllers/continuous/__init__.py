"""Schedulers: state at the end of a verification to a standing order; ``registry.SCHEDULERS`` names them (ours)."""
