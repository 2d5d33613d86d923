"""Baselines: systems and rules from other work."""
