"""Environments without the barrier: a step is one verification, and a decision holds until the next one ends."""
