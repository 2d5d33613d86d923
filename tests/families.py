import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from multispin_env.controllers.names import controller_names
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

CONFIGS = {env_id: ENVIRONMENTS.load(env_id) for env_id in ENVIRONMENTS.names()}
DEFAULTS = {env_id: EnvConfig.of(env_id) for env_id in CONFIGS}
CLASSES = {env_id: load_env_creator(gym.spec(env_id).entry_point) for env_id in CONFIGS}
ROUNDS = tuple(env_id for env_id, kind in CONFIGS.items() if issubclass(kind, RoundsConfig))
LONG = {env_id: {"rounds": 64} if env_id in ROUNDS else {} for env_id in CONFIGS}
"""Arguments with which episodes are longer than those of any test."""
SLOPING = tuple(env_id for env_id, config in DEFAULTS.items() if config.has_slopes)
REWARDED = tuple((env_id, reward) for env_id, config in DEFAULTS.items() for reward in config.rewards)
ENCODED = tuple((env_id, name) for env_id, kind in CONFIGS.items() for name in kind.encodings.names())
RULES = (*controller_names("rounds", Scenario.preset("llama2")), "ahead-price")
"""Controllers of rounds for devices without batteries."""
ON_SERVER = {"scenario": "qwen3.5", "server": "a100-7b-gemm", "payload": "ids", "min_draft_length": 0, "num_users": 3}
"""A server whose time depends on tokens, and devices that may draft nothing."""
