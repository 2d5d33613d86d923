"""Agents, with everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms."""

from importlib.util import find_spec
from typing import Any

from multispin_env.checks import missing_package

for _package in ("stable_baselines3", "torch", "safetensors", "tensorboard", "matplotlib", "rich"):
    if find_spec(_package) is None:
        raise missing_package(_package, "train")

from agents.registry import AGENTS, PRETRAINED  # noqa: E402 (after the check above)

__all__ = ["AGENTS", "PRETRAINED", "load"]


def load(env_id: str) -> Any:
    """Load the pretrained agent of an environment; any number of users will do.

    Parameters
    ----------
    env_id
        One of `PRETRAINED`.

    Returns
    -------
    Pretrained
        Its ``act`` answers observations with actions; see `multispin_env.evaluation.policy.Policy`. For environments
        that show the whole state it may be called with a state, as controllers are.

    Raises
    ------
    ValueError
        For an unknown id; the nearest is suggested.
    """
    from agents.models import load_pretrained  # torch is only imported when something is loaded

    return load_pretrained(env_id)
