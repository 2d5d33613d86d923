"""The family of rounds: everybody waits for everybody, one decision prices one round."""
