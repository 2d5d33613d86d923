"""Tools of the maintainers: ``python -m tools.pack``, ``python -m tools.cards``."""
