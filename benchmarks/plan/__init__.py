"""Near-optimal schedules in a static channel: periodic tables of lengths by simulated annealing."""
