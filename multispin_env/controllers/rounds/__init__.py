"""Controllers of rounds."""
