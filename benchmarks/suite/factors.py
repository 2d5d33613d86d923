"""Scores by action encoding, network and training, in the tasks that our agents play in another encoding.

PPO of Stable-Baselines3 with its defaults learns in the encoding of the task and in that of our agents, with its own
network and with `DevicePolicy`, from the same rollouts of 8 environments × 256 steps. The last column is our `ppo`,
with its own update and settings. A cell is the mean over seeds, with the smallest and the largest.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from stable_baselines3.common.policies import ActorCriticPolicy

from benchmarks.suite.methods import parallel_ppo
from benchmarks.suite.potential import score
from benchmarks.tools import Options, Row, show
from multispin_agents import DevicePolicy
from multispin_agents.policies import policy_of
from multispin_env.envs.config import EnvConfig
from multispin_lab.suite.frozen import own_content
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, OWN
from multispin_lab.suite.trainer import own_config
from multispin_lab.suite.version import task

NETWORKS: dict[str, str | type[ActorCriticPolicy]] = {"MLP": "MultiInputPolicy", "Device": DevicePolicy}

TASKS = [name for name, own in own_content().items() if own["action"] != task(name).config.action]


def stock_score(name: str, config: EnvConfig, policy: str | type[ActorCriticPolicy], steps: int, seed: int) -> float:
    """Train PPO of Stable-Baselines3 in a configuration of a task and return the score."""
    model = parallel_ppo(policy, config, seed).learn(steps)
    return task(name).score(policy_of(model, config)).score.mean


def row(name: str, seeds: Sequence[int], steps: int) -> Row:
    """Train all methods in a task."""
    suite_task = task(name)

    def cell(of_seed: Callable[[int], float]) -> str:
        scores = [of_seed(seed) for seed in seeds]
        text = f"{sum(scores) / len(scores):.3f} ({min(scores):.3f}–{max(scores):.3f})"
        print(name, text, sep="  ", file=sys.stderr, flush=True)  # a cell takes minutes
        return text

    cells = {"task": name}
    encodings = {"task": (MIDDLE_ACTIONS, suite_task.config), "own": (OWN + MIDDLE_ACTIONS, own_config(suite_task))}
    for encoding, (middle, config) in encodings.items():
        cells[f"{encoding}: action 0"] = f"{suite_task.score(middle).score.mean:.3f}"
        for network, policy in NETWORKS.items():
            cells[f"{encoding}: {network}"] = cell(partial(stock_score, name, config, policy, steps))
    return {**cells, "ppo (ours)": cell(lambda seed: score(name, seed, steps))}


def rows(options: Namespace) -> Iterator[Row]:
    for name in options.tasks:
        yield row(name, range(options.seeds), options.steps)


OPTIONS: Options = {
    "tasks": (TASKS, "names"),
    "seeds": (3, "trainings of each method"),
    "steps": (50_000, "of the environment, for each training"),
}


def run(options: Namespace) -> None:
    show("Scores by action encoding, network and training", rows(options))
