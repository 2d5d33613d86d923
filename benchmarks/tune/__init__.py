"""Searches for defaults."""
