"""Agents, with everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms."""

from typing import Any

from agents.registry import AGENTS, PRETRAINED
from multispin_env.checks import missing_package

__all__ = ["AGENTS", "PRETRAINED", "load"]


def load(env_id: str) -> Any:
    """Load the pretrained agent of an environment, one of `PRETRAINED`; any number of users will do.

    Its ``act`` answers observations with actions; see `multispin_env.evaluation.policy.Policy`. For environments that
    show the whole state it may be called with a state, as controllers are. ``ValueError`` for an unknown id, which
    suggests the nearest; ``ModuleNotFoundError`` if a package of the extra ``train`` is missing.
    """
    try:
        from agents.models import load_pretrained  # torch is only imported when something is loaded
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "train") from error
    return load_pretrained(env_id)
