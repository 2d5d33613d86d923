"""League of every agent in every environment, with seeds, beside the best plug-in and the optimum."""
