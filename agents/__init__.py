"""Everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms, one file each."""

from importlib.util import find_spec
from typing import Any

from multispin_env.registry import Registry

for _package in ("stable_baselines3", "torch", "safetensors", "tensorboard", "matplotlib", "rich"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f'agents: the package {_package!r} is missing, allowed after: pip install -e ".[train]"', name=_package
        )

AGENTS = Registry(
    "agent",
    {
        "apg": "agents.apg:SETTINGS",
        "ppo": "agents.ppo:SETTINGS",
        "sac": "agents.sac:SETTINGS",
        "imitation": "agents.imitation:SETTINGS",
        "generalist": "agents.apg:GENERALIST",
    },
)

PRETRAINED = Registry(
    "pretrained agent",
    {
        "MultiSpin/Homogeneous-v0": "homogeneous",
        "MultiSpin/Heterogeneous-v0": "heterogeneous",
        "MultiSpin/HiddenAcceptance-v0": "hidden_acceptance",
        "MultiSpin/DelayedChannel-v0": "delayed_channel",
        "MultiSpin/RecordedAcceptance-v0": "recorded_acceptance",
        "MultiSpin/Fair-v0": "fair",
    },
)
"""Environment ids with the folders in ``agents/pretrained`` of the agents trained for them."""


def load(env_id: str) -> Any:
    """Load the pretrained agent of an environment; any number of users will do.

    Parameters
    ----------
    env_id
        One of `PRETRAINED`.

    Returns
    -------
    PretrainedAgent
        Called with observations it answers actions; see `agents.pretrained.policies`. For environments that show the
        whole state a `PretrainedDecider`, called with a state as controllers are.

    Raises
    ------
    ValueError
        For an unknown id; the nearest is suggested.
    """
    folder = PRETRAINED.target(env_id)
    from agents.pretrained.policies import ROOT, read  # torch is only imported when something is loaded

    return read(ROOT / folder)
