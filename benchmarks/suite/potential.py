"""Batteries learnt from a reward with a concave potential of the charge, whose numbers are those of the rule `shaped`.

`ppo` learns the task ``battery`` as in the suite, but the reward of a round has (Σ_k ΔΦ_k − ν Σ_k Δb_k) / K more, with
Φ = ν C p ((1 + s/2) x − s x²/2) for a battery with the relative charge x: a joule is worth more in an empty battery.
A potential changes no long-run rate, but with γ = 0 an agent maximises the reward of one round, which is now nearly the
objective of `shaped`, the reference. So these scores are "reward from the reference" and not ranked with others; the
package has no option for it.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from typing_extensions import override

from benchmarks.tools import Options, Row, show
from multispin_agents.policies import policy_of
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.arrays import FloatArray
from multispin_env.controllers.rounds.energy import SHAPED
from multispin_env.solver.energy import energy_law
from multispin_lab.suite.trainer import BudgetSpentError, Cell, PolicyRecorder
from multispin_lab.suite.version import task

PRICE, SLOPE = SHAPED.keywords["price"], SHAPED.keywords["slope"]


class PotentialEnv(NativeVecEnv):
    """Environments with batteries whose rewards have the potential in place of the price of a joule."""

    @override
    def reset(self) -> Any:
        observation = super().reset()
        self._start()
        return observation

    @override
    def step_wait(self) -> Any:
        observation, rewards, dones, infos = super().step_wait()
        level = observation["level"].copy()
        for env in np.flatnonzero(dones):
            level[env] = infos[env]["terminal_observation"]["level"]
        rewards = rewards + (self._potential(level) - self._before).astype(np.float32)
        self._start()
        return observation, rewards, dones, infos

    def _start(self) -> None:
        batteries = self.env.state.batteries
        assert batteries is not None
        self._capacity = batteries.capacity
        self._before = self._potential(batteries.level)

    def _potential(self, level: FloatArray) -> FloatArray:
        worth = PRICE * ((1.0 + SLOPE / 2.0) * level - SLOPE * level**2 / 2.0) - level
        scenario = self.env.scenario
        return np.add.reduce(energy_law(scenario).price * self._capacity * worth, -1) / scenario.num_users


def score(name: str, seed: int, steps: int, kind: type[NativeVecEnv] = NativeVecEnv) -> float:
    """Train `ppo` in a task as ``multispin suite run`` does, in environments of a kind, and return the score."""
    suite_task, (model, config) = task(name), Cell("ppo", name, seed, steps).start()
    model.set_env(kind.of(config, model.n_envs, model.seed or 0))
    callback: BaseCallback = PolicyRecorder(steps)
    with suppress(BudgetSpentError):
        model.learn(steps, callback=callback)
    return suite_task.score(policy_of(model, config)).score.mean


def rows(seeds: int, steps: int) -> Iterator[Row]:
    for seed in range(seeds):
        yield {
            "seed": seed,
            "steps": steps,
            "reward of the task": f"{score('battery', seed, steps):.3f}",
            "reward from the reference": f"{score('battery', seed, steps, PotentialEnv):.3f}",
        }


OPTIONS: Options = {"seeds": 3, "steps": (50_000, "of the environment, for each training")}


def run(options: Namespace) -> None:
    show("battery: score of ppo", rows(options.seeds, options.steps))
