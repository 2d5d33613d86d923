"""Figures, one file each: compute to a table, draw from the table."""
