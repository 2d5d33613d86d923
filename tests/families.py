import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from multispin_env.controllers.names import controller_names
from multispin_env.envs.rounds.variants import RoundsVariant
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

VARIANTS = {env_id: ENVIRONMENTS.load(env_id) for env_id in ENVIRONMENTS.names()}
CLASSES = {env_id: load_env_creator(gym.spec(env_id).entry_point) for env_id in VARIANTS}
ROUNDS = tuple(env_id for env_id, variant in VARIANTS.items() if issubclass(variant, RoundsVariant))
LONG = {env_id: {"rounds": 64} if env_id in ROUNDS else {} for env_id in VARIANTS}
"""Arguments with which episodes are longer than those of any test."""
SLOPING = tuple(env_id for env_id, variant in VARIANTS.items() if variant().learning.slopes)
REWARDED = tuple((env_id, reward) for env_id, variant in VARIANTS.items() for reward in variant().learning.rewards)
ENCODED = tuple((env_id, name) for env_id, variant in VARIANTS.items() for name in variant.family.encodings.names())
RULES = (*controller_names("rounds", Scenario.preset("llama2")), "ahead-price")
"""Controllers of rounds for devices without batteries."""
ON_SERVER = {"scenario": "qwen3.5", "server": "a100-7b-gemm", "payload": "ids", "min_draft_length": 0, "num_users": 3}
"""A server whose time depends on tokens, and devices that may draft nothing."""
