"""Executors of many independent tasks: this process, processes of this machine, or a Ray cluster."""
