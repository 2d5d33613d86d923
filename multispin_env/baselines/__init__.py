"""Systems and rules of others, for comparison."""
