"""Controllers of the continuous family, where nobody waits for everybody, and what no policy exceeds (ours)."""
