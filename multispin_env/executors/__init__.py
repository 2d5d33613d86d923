"""Who does many tasks that know nothing of each other: this process, processes of this machine, or a Ray cluster."""
