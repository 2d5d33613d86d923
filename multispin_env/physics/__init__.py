"""The model: arrays in, arrays out, users on the last axis; no Gymnasium and no hidden random state."""
