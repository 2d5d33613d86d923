"""The family without the barrier: one step is one verification (ours)."""
