"""multispin_env."""
