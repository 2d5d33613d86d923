"""Bounds that no policy exceeds."""
