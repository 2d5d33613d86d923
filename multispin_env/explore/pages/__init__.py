"""Looks of the views."""
