"""The family without the barrier: controllers, and the bound that none of them exceeds (ours)."""
