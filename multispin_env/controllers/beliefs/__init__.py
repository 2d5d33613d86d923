"""What counts of accepted tokens tell about acceptance: priors, counts and their likelihood."""
