"""Learning agents: all code that needs torch or Stable-Baselines3. ``AGENTS`` is the registry of algorithms."""

from typing import Any

from agents.registry import AGENTS, PRETRAINED
from multispin_env.checks import check_name, missing_package

__all__ = ["AGENTS", "PRETRAINED", "load"]


def load(env_id: str) -> Any:
    """Load the pretrained agent of an environment.

    Its ``act`` maps observations to actions for any number of users; see `multispin_env.evaluation.policy.Policy`. In
    environments that show the whole state, the agent can also be called with a state, like a controller. Raises
    ``ValueError`` for an id that is not in `PRETRAINED`, with the closest id as a suggestion, and
    ``ModuleNotFoundError`` if a package of the extra ``train`` is missing.
    """
    try:
        from agents.models import ROOT, read  # imported late, since it imports torch
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "train") from error
    check_name("pretrained agent", env_id, PRETRAINED)
    return read(ROOT / PRETRAINED[env_id])
