"""Environments of rounds: all devices wait for all, and a decision holds for one round."""
