"""Scripts of the maintainers: ``python -m tools.build``, ``tools.pack``, ``tools.cards``, ..."""
