"""Scenes of a film: what is played for it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.cases import differing
from multispin_env.evaluation.contenders import deciding, make_contender, native, start, with_uplink_of
from multispin_env.registry import ENVIRONMENTS


def make_watched_env(env_id: str, rounds: int, scenario: str, arguments: Mapping[str, Any]) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment of one copy that remembers what pictures need."""
    check_name("env", env_id, ENVIRONMENTS.names())
    steps = check_integer("rounds", rounds, 1)
    family = ENVIRONMENTS.load(env_id).family
    by_itself = family.max_episode_steps is None
    return gym.make_vec(
        env_id,
        num_envs=1,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        max_episode_steps=None if by_itself else steps,
        render_mode="rgb_array",
        **{"action": family.any_decision, **arguments},
    )


def suited_env(
    env: VectorEnv[Any, Any, Any], name: str, make: Callable[[Mapping[str, Any]], VectorEnv[Any, Any, Any]]
) -> VectorEnv[Any, Any, Any]:
    """Return the environment, or one of ``make`` with other arguments where the contender of a name needs them."""
    variant = native(env).variant
    changed = differing(with_uplink_of(make_contender(name, env), variant), variant)
    return make(changed) if changed else env


def watch(env: VectorEnv[Any, Any, Any], name: str, seed: int) -> list[Any]:
    """Let a contender play one episode to its end in an environment of `make_watched_env`.

    Returns what there was to see after each step. With the same seed, contenders meet the same states.
    """
    base = native(env)
    contender = make_contender(name, env)
    decide = deciding(contender, base)
    start(contender)
    observation, _ = env.reset(seed=check_integer("seed", seed, 0))
    views, over = [], False
    while not over:
        observation, _, terminated, truncated, _ = env.step(decide(observation))
        views.append(replace(base.view(), title=name))
        over = bool(terminated[0] or truncated[0])
    return views
