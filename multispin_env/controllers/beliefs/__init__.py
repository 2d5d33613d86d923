"""Beliefs about acceptance from counts of accepted tokens: priors, counts and their likelihood."""
