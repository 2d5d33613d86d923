"""Controllers without the barrier (not in the paper)."""
