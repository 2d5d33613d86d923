"""The family without the barrier: schedulers, and the bound that none of them exceeds (ours)."""
