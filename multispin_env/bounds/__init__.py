"""Upper bounds on the goodput of every policy."""
