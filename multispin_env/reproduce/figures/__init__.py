"""One file a figure: compute to a table, draw from the table."""
