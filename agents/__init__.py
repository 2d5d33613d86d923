"""Agents, with everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms, one file each."""

from importlib.util import find_spec
from typing import Any

from multispin_env.checks import check_name, missing_package

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
    check_name("pretrained agent", env_id, PRETRAINED)
    from agents.pretrained.policies import ROOT, read  # torch is only imported when something is loaded

    return read(ROOT / PRETRAINED[env_id])
