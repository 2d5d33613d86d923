"""Answers for a server: how many devices or requests it serves in time."""
