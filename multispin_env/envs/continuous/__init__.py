"""The family without the barrier: one step is one verification, a decision is a standing order (ours)."""
