"""Timing of one decision, alone."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, cast

import numpy as np
import torch as th

from agents.export import TracedNetwork, onnx_of
from agents.policies import Deterministic, TorchNetwork
from benchmarks.learned_schedulers.subjects import AGENT, PRESETS, Learned, System
from multispin_env.controllers.factory import make_controller
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.exported import ONNX, POLICY, describe, load_policy
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.table import aligned
from multispin_env.physics.continuous.types import ContinuousState

USERS, DECISIONS = 20, 100
SKIPPED = 10
"""Verifications at the start of an episode, where all devices are alike, and decisions that are not timed."""

RULES = ("groups", "prices", "own-pace", "load-aware")

Seen = tuple[Observation, ContinuousState]
"""What an agent and what a rule decide for."""


@dataclass(frozen=True)
class Row:
    """One way to decide.

    Parameters
    ----------
    env, name
        Where, and what.
    median, slowest
        Seconds of a decision: the median, and the 95 % quantile.
    """

    env: str
    name: str
    median: float
    slowest: float


def seen_by(learned: Learned, system: System, count: int) -> list[Seen]:
    """Observations and states (K,) that the agent comes by, one after the other."""
    episodes = learned.episodes(system, 2)
    env = episodes.env_for(learned.policy)
    observation, _ = env.reset(seed=episodes.seed)
    found = []
    for _ in range(SKIPPED + count):
        state: ContinuousState = native(env).state
        found.append(({key: array[0] for key, array in observation.items()}, state[0]))
        observation, *_ = env.step(learned.policy.act(observation))
    return found


def timed(env: str, name: str, decide: Callable[[Seen], Any], seen: Sequence[Seen]) -> Row:
    """Times of a decision, one at a time."""
    seconds = []
    for one in seen:
        start = perf_counter()
        decide(one)
        seconds.append(perf_counter() - start)
    counted = seconds[SKIPPED:]
    return Row(env, name, float(np.median(counted)), float(np.quantile(counted, 0.95)))


def exported(learned: Learned) -> Policy:
    """The same policy, run by onnxruntime.

    Raises
    ------
    ModuleNotFoundError
        If a package for it is missing.
    """
    policy, settings = learned.policy, learned.policy.settings
    inner = cast(TorchNetwork, policy.network).policy.eval()
    network = TracedNetwork(cast(Deterministic, inner), settings.observations.space, settings.actions.columns)  # type: ignore[arg-type]
    content = onnx_of(network.requires_grad_(False), settings)
    about = describe(settings, learned.env_id, settings.arguments, {ONNX: content})
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ONNX).write_bytes(content)
        (folder / POLICY).write_text(json.dumps(about), encoding="utf-8")
        return load_policy(folder)


def measured(learned: Learned, count: int) -> list[Row]:
    """The agent, its network, and the rules."""
    system = System.of(PRESETS[0], learned.env_id, num_users=USERS)
    seen = seen_by(learned, system, count)
    own = replace(learned.policy.settings, scenario=system.scenario)
    policy, actions = Policy(own, learned.policy.network), own.actions
    subjects: dict[str, Callable[[Seen], Any]] = {
        f"{AGENT}: observation, action, order": lambda one: actions.decode(policy.act(one[0]), one[1]),
        "its network, torch": lambda one: policy.network(_batch(one)),
    }
    if isinstance(policy.network, TorchNetwork):
        onnx = _or_none(learned)
        if onnx is not None:
            subjects["its network, onnxruntime"] = lambda one: onnx.network(_batch(one))
    for name in dict.fromkeys((learned.reference, *RULES)):
        subjects[name] = _rule(name, system)
    return [timed(learned.env_id, name, decide, seen) for name, decide in subjects.items()]


def _batch(one: Seen) -> dict[str, Any]:
    return {key: array[None] for key, array in one[0].items()}


def _rule(name: str, system: System) -> Callable[[Seen], Any]:
    rule = make_controller(name, system.scenario)
    return lambda one: rule(one[1])


def _or_none(learned: Learned) -> Policy | None:
    """Without the packages for it there is no line."""
    try:
        return exported(learned)
    except ModuleNotFoundError:
        return None


def run(subjects: Sequence[Learned], size: int | None) -> list[Row]:
    """All agents, on one core: networks are small, and more threads only wait for each other."""
    before = th.get_num_threads()
    th.set_num_threads(1)
    try:
        return [row for one in subjects for row in measured(one, size or DECISIONS)]
    finally:
        th.set_num_threads(before)


def table(rows: Sequence[Row]) -> str:
    """A table for each environment."""
    parts = []
    for env in dict.fromkeys(row.env for row in rows):
        own = [row for row in rows if row.env == env]
        lines = [(row.name, f"{1e3 * row.median:.3f}", f"{1e3 * row.slowest:.3f}") for row in own]
        parts.append(aligned((f"{env}, K = {USERS}, a decision alone", "median (ms)", "95 % (ms)"), lines))
    return "\n\n".join(parts)
