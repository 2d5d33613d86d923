"""Gain of the native vector in training, with bit-for-bit equal learning.

PPO with the settings of ``train.py``, on the native vector and on Stable-Baselines3's `DummyVecEnv` of the same
environments, same seed, one thread. Frames (rounds of one environment) per second of CPU time for the environments
alone (with random actions drawn beforehand), for collecting rollouts with the policy, and for all of `learn`. Also, on
the native vector, Stable-Baselines3's PPO with settings with which it learns about as much from 1,000,000 rounds as
`Proximal` from its budget. All take turns in one run, and the best turn counts.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import process_time

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import multispin_env as ms
from benchmarks.speed.subjects import DEFAULT_ID, DRAWN, ROUNDS
from benchmarks.tools import Options, Row, cpu_seconds, show
from multispin_agents.policies import DevicePolicy
from multispin_agents.ppo import SETTINGS
from multispin_agents.runs import RunConfig
from multispin_agents.training import keep_memory
from multispin_agents.vec_env import NativeVecEnv

STAGES = {"env": "environments alone", "collect": "collecting with the policy", "learn": "all of learn"}
SEED = 0

PLAIN_COPIES, PLAIN_ROUNDS, PLAIN_BATCH = 128, 16, 512
"""Environments, rounds of a rollout and minibatch size of Stable-Baselines3's PPO."""


class Watch(BaseCallback):
    """Callback for the CPU time of collecting, and the mean reward of every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.collecting = 0.0
        self.means: list[float] = []
        self._since = 0.0

    def _on_rollout_start(self) -> None:
        self._since = process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.collecting += process_time() - self._since
        self.means.append(float(self.locals["rollout_buffer"].rewards.mean(dtype=np.float64)))


@dataclass(frozen=True)
class Learned:
    """Microseconds per frame of each stage, and the learned policy."""

    frame: dict[str, float]
    means: list[float]
    parameters: dict[str, th.Tensor]

    def same(self, other: "Learned") -> bool:
        """Whether both learned the same, bit for bit."""
        equal = all(th.equal(value, other.parameters[key]) for key, value in self.parameters.items())
        return equal and self.means == other.means


def _config(users: int) -> RunConfig:
    return RunConfig(ms.EnvConfig.of(DEFAULT_ID, num_users=users, rounds=ROUNDS), "ppo", SEED)


def vector(name: str, users: int, num_envs: int) -> VecEnv:
    """Make the native vector of ``train.py``, or the loop, which also seeds environment i with ``seed + i``."""
    if name == "native":
        return NativeVecEnv.of(_config(users).env, num_envs, SEED)
    env = DummyVecEnv([partial(gym.make, DEFAULT_ID, num_users=users, rounds=ROUNDS)] * num_envs)
    env.seed(SEED)
    return env


def environments_alone(env: VecEnv, rounds: int) -> float:
    """Return CPU-seconds of rounds of all environments with random actions."""
    env.action_space.seed(SEED)
    actions = [np.stack([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(DRAWN)]
    env.reset()
    return cpu_seconds(lambda: [env.step(actions[i % DRAWN]) for i in range(rounds)])


def learned(model: PPO, frames: int, env_seconds: float = 0.0) -> Learned:
    """Measure `learn`."""
    watch = Watch()
    spent = cpu_seconds(lambda: model.learn(frames, callback=watch))
    seconds = {"env": env_seconds, "collect": watch.collecting, "learn": spent}
    parameters = {key: value.clone() for key, value in model.policy.state_dict().items()}
    return Learned({stage: 1e6 * time / frames for stage, time in seconds.items()}, watch.means, parameters)


def ours(name: str, users: int, rollouts: int) -> Learned:
    """Train as ``train.py``, on one of the two vectors."""
    rounds, num_envs = rollouts * SETTINGS.rollout_rounds, SETTINGS.num_envs
    env_seconds = environments_alone(vector(name, users, num_envs), rounds)
    settings = SETTINGS.for_environment(_config(users).env)
    model = settings.build(vector(name, users, num_envs), lambda progress: progress, SEED, "cpu")
    return learned(model, rounds * num_envs, env_seconds)


def theirs(users: int, rollouts: int) -> Learned:
    """Train Stable-Baselines3's PPO, with a critic, four epochs and networks of twice the width."""
    rollout = PLAIN_COPIES * PLAIN_ROUNDS
    frames = -(-rollouts * SETTINGS.rollout_rounds * SETTINGS.num_envs // rollout) * rollout
    model = PPO(
        DevicePolicy,
        vector("native", users, PLAIN_COPIES),
        learning_rate=1e-3,
        n_steps=PLAIN_ROUNDS,
        batch_size=PLAIN_BATCH,
        n_epochs=4,
        gamma=0.0,
        gae_lambda=1.0,
        clip_range=0.2,
        target_kl=0.02,
        max_grad_norm=1.0,
        policy_kwargs={"width": 32, "log_std_init": -0.9},
        seed=SEED,
        device="cpu",
    )
    return learned(model, frames)


def measure(users: int, rollouts: int, turns: int) -> Iterator[Row]:
    runs: dict[str, list[Learned]] = {"native": [], "dummy": [], "SB3's PPO, native": []}
    ours("native", users, 1)  # first calls of torch are slow
    for _ in range(turns):
        runs["native"].append(ours("native", users, rollouts))
        runs["dummy"].append(ours("dummy", users, rollouts))
        runs["SB3's PPO, native"].append(theirs(users, rollouts))
    best = {name: {stage: min(run.frame[stage] for run in done) for stage in STAGES} for name, done in runs.items()}
    for stage, text in STAGES.items():
        rates = {name: 1e6 / spent[stage] if spent[stage] else "" for name, spent in best.items()}
        yield {
            "frames per CPU-second": text,
            **rates,
            "native over dummy": best["dummy"][stage] / best["native"][stage],
        }
    for text, parts in (
        ("µs a frame, environments", ("env",)),
        ("policy and buffer", ("collect", "env")),
        ("update", ("learn", "collect")),
    ):
        spent = {name: of[parts[0]] - sum(of[part] for part in parts[1:]) for name, of in best.items()}
        yield {"frames per CPU-second": text, **spent, "native over dummy": ""}
    same = runs["native"][0].same(runs["dummy"][0])
    blank = dict.fromkeys((*best, "native over dummy"), "")
    yield {"frames per CPU-second": "bit for bit the same", **blank, "dummy": "yes" if same else "NO"}


OPTIONS: Options = {"users": [4, 20], "rollouts": (24, "of 4 rounds of 256 environments"), "turns": 3}


def run(options: Namespace) -> None:
    th.set_num_threads(1)  # both as in train.py
    keep_memory()
    for users in options.users:
        show(f"PPO, residual, K = {users}", measure(users, options.rollouts, options.turns))
