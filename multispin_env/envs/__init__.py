"""Gymnasium environments of the model; the formulas of the system are in `physics`."""
