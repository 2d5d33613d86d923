"""The family without the barrier: one step is one verification, and a decision holds until the next one ends."""
