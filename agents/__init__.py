"""Everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms, one file each."""

from importlib.util import find_spec

from multispin_env.registry import Registry

for _package in ("stable_baselines3", "torch", "safetensors", "tensorboard", "matplotlib", "rich"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f'agents: the package {_package!r} is missing, allowed after: pip install -e ".[train]"', name=_package
        )

AGENTS = Registry(
    "agent",
    {
        "ppo": "agents.ppo:SETTINGS",
        "sac": "agents.sac:SETTINGS",
        "imitation": "agents.imitation:SETTINGS",
    },
)
