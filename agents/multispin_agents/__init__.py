"""Learning agents: all code that needs torch or Stable-Baselines3. ``AGENTS`` is the registry of algorithms.

``DevicePolicy`` and ``make_vec_env`` are for algorithms of Stable-Baselines3; torch is imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from multispin_agents.registry import AGENTS, PRETRAINED
from multispin_env.checks import check_name, missing_package

if TYPE_CHECKING:
    from multispin_agents.policies import DevicePolicy
    from multispin_agents.vec_env import make_vec_env

__all__ = ["AGENTS", "PRETRAINED", "DevicePolicy", "load", "make_vec_env"]

_LATE = {"DevicePolicy": "multispin_agents.policies", "make_vec_env": "multispin_agents.vec_env"}
"""Modules of the names that need torch, which are imported late."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LATE[name]), name)
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "train") from error


def load(env_id: str) -> Any:
    """Load the pretrained agent of an environment.

    Its ``act`` maps observations to actions for any number of users; see `multispin_env.evaluation.policy.Policy`. In
    environments that show the whole state, the agent can also be called with a state, like a controller. Raises
    ``ValueError`` for an id that is not in `PRETRAINED`, with the closest id as a suggestion, and
    ``ModuleNotFoundError`` if a package of the extra ``train`` is missing.
    """
    try:
        from multispin_agents.models import ROOT, read  # imported late, since it imports torch
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "train") from error
    check_name("pretrained agent", env_id, PRETRAINED)
    return read(ROOT / PRETRAINED[env_id])
