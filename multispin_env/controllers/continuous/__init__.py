"""Controllers without the barrier (ours)."""
