"""Everything that needs torch or Stable-Baselines3; ``AGENTS`` names the algorithms, one file each."""

from multispin_env.registry import Registry

AGENTS = Registry("agent", {"ppo": "agents.ppo:SETTINGS", "sac": "agents.sac:SETTINGS"})
