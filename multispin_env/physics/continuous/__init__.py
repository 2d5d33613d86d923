"""Model without the barrier: time advances from one verification to the next (not in the paper)."""
