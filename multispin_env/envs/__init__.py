"""Gymnasium environments of the model; the formulas of the system are in `physics`."""

from multispin_env.envs.registration import unregister_environment

__all__ = ["unregister_environment"]
