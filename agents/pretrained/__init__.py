"""Trained agents that ship with the package: configuration, network and score, one folder for each environment."""
