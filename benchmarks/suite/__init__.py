"""Tools of the frozen suite."""
