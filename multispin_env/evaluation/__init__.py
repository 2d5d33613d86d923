"""Scores of anything that decides, on the same states, with intervals; no torch here."""
