"""Verification without the barrier: time passes from one verification to the next (ours)."""
