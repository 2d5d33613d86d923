"""Gain of the native vector in training: ``python -m benchmarks.training_speed --out results/training_speed``.

PPO with the settings of ``train.py``, on the native vector and on Stable-Baselines3's `DummyVecEnv` of the same
environments, same seed, one thread. Frames (rounds of one copy) per second of CPU time for the environments alone
(with random actions drawn beforehand), for collecting rollouts with the policy, and for all of `learn`; and whether
both learn the same: mean reward of every rollout and the final parameters are compared bit for bit. Beside them,
on the native vector, Stable-Baselines3's own PPO with settings that it needs to learn about as much from 1,000,000
rounds as `Proximal` does from its own budget. All take turns in one run, and the best of the turns counts. ``--quick``
is a smoke test.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import multispin_env as ms
from agents.base import tuning_for
from agents.policies import EquivariantActorCritic
from agents.ppo import SETTINGS, PPOSettings
from agents.runs import RunConfig
from agents.training import keep_memory
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import MAX_EPISODE_STEPS

ENV_ID = "MultiSpin/Heterogeneous-v0"
TARGET = 3.0
DRAWN = 8
STAGES = {"env": "environments alone", "collect": "collecting with the policy", "learn": "all of learn"}


def native(users: int, copies: int, seed: int) -> VecEnv:
    """What ``train.py`` trains on."""
    config = RunConfig(ENV_ID, ms.Scenario.preset("llama2", num_users=users), "ppo", "residual", seed)
    return make_vec_env(ENV_ID, config.settings, copies, MAX_EPISODE_STEPS, seed)


def dummy(users: int, copies: int, seed: int) -> VecEnv:
    """Stable-Baselines3's loop over single environments; it seeds copy i with ``seed + i`` too."""
    env = DummyVecEnv([partial(gym.make, ENV_ID, scenario="llama2", num_users=users)] * copies)
    env.seed(seed)
    return env


def plain(env: VecEnv, rollout_rounds: int, batch_size: int, seed: int) -> PPO:
    """PPO of Stable-Baselines3, with a critic, four epochs and networks of twice the width."""
    return PPO(
        EquivariantActorCritic,
        env,
        learning_rate=1e-3,
        n_steps=rollout_rounds,
        batch_size=batch_size,
        n_epochs=4,
        gamma=0.0,
        gae_lambda=1.0,
        clip_range=0.2,
        target_kl=0.02,
        max_grad_norm=1.0,
        policy_kwargs={"width": 32, "log_std_init": -2.5},
        seed=seed,
        device="cpu",
    )


PLAIN_COPIES, PLAIN_ROUNDS, PLAIN_BATCH = 128, 16, 512
"""Copies, rounds of a rollout and rows of a minibatch of plain PPO."""

VECTORS: dict[str, Callable[[int, int, int], VecEnv]] = {"native": native, "dummy": dummy}


class Watch(BaseCallback):
    """CPU time of collecting, and the mean reward of every rollout."""

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
class Run:
    """CPU-seconds of the stages for ``frames`` frames, and what was learned."""

    frames: int
    seconds: dict[str, float]
    means: list[float]
    parameters: dict[str, th.Tensor]


def environments_alone(env: VecEnv, rounds: int) -> float:
    """CPU-seconds of so many rounds of all copies with random actions."""
    env.action_space.seed(0)
    actions = [np.stack([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(DRAWN)]
    env.reset()
    start = process_time()
    for i in range(rounds):
        env.step(actions[i % DRAWN])
    return process_time() - start


def run(name: str, users: int, settings: PPOSettings, rollouts: int, seed: int) -> Run:
    """One training of so many rollouts."""
    make = VECTORS[name]
    rounds = rollouts * settings.rollout_rounds
    alone = environments_alone(make(users, settings.num_envs, seed), rounds)
    env = make(users, settings.num_envs, seed)
    tuning = tuning_for(
        RunConfig(ENV_ID, ms.Scenario.preset("llama2", num_users=users), "ppo", "residual", seed).settings
    )
    model = settings.build(env, lambda progress: progress, seed, "cpu", tuning)
    return learnt(model, rounds * settings.num_envs, alone)


def learnt(model: PPO, frames: int, alone: float) -> Run:
    """Measure `learn`."""
    watch = Watch()
    start = process_time()
    model.learn(frames, callback=watch)
    seconds = {"env": alone, "collect": watch.collecting, "learn": process_time() - start}
    return Run(frames, seconds, watch.means, {k: v.clone() for k, v in model.policy.state_dict().items()})


def run_plain(users: int, frames: int, quick: bool, seed: int) -> Run:
    """One training of plain PPO on the native vector."""
    copies, batch = (16, 64) if quick else (PLAIN_COPIES, PLAIN_BATCH)
    env = native(users, copies, seed)
    return learnt(
        plain(env, PLAIN_ROUNDS, batch, seed), -(-frames // (copies * PLAIN_ROUNDS)) * copies * PLAIN_ROUNDS, 0.0
    )


def difference(a: Run, b: Run) -> dict[str, Any]:
    """How equal two runs are."""
    steps = [float((a.parameters[key] - b.parameters[key]).abs().max()) for key in a.parameters]
    return {
        "curves_equal": a.means == b.means,
        "parameters_equal": all(th.equal(a.parameters[key], b.parameters[key]) for key in a.parameters),
        "largest_curve_difference": float(np.abs(np.subtract(a.means, b.means)).max()),
        "largest_parameter_difference": max(steps),
        "rollouts": len(a.means),
        "first_mean_reward": a.means[0],
        "last_mean_reward": a.means[-1],
    }


def compare(users: int, settings: PPOSettings, rollouts: int, turns: int, seed: int) -> dict[str, Any]:
    """Both vectors in turns, at one K."""
    runs: dict[str, list[Run]] = {name: [] for name in VECTORS}
    others: list[Run] = []
    first = run("native", users, settings, 1, seed)  # torch's first calls are slow
    quick = settings is not SETTINGS
    for _ in range(turns):
        for name, done in runs.items():
            done.append(run(name, users, settings, rollouts, seed))
        others.append(run_plain(users, rollouts * first.frames, quick, seed))
    best = {
        name: {stage: min(one.seconds[stage] for one in done) / done[0].frames * 1e6 for stage in STAGES}
        for name, done in runs.items()
    }
    plainly = min(one.seconds["learn"] / one.frames for one in others) * 1e6
    return {
        "microseconds_a_frame": best,
        "plain_microseconds_a_frame": plainly,
        "times_plain": plainly / best["native"]["learn"],
        "ratio": {stage: best["dummy"][stage] / best["native"][stage] for stage in STAGES},
        "same": difference(runs["native"][0], runs["dummy"][0]),
        "repeatable": difference(runs["native"][0], runs["native"][-1]),
    }


def show(users: int, measured: dict[str, Any]) -> None:
    """Print one K."""
    best, ratio, same = measured["microseconds_a_frame"], measured["ratio"], measured["same"]
    print(f"\nPPO, residual, K = {users}: frames per CPU-second")
    print(f"{'':30}{'native':>12}{'dummy':>12}{'ratio':>8}")
    for stage, text in STAGES.items():
        rates = "".join(f"{1e6 / best[name][stage]:12,.0f}" for name in VECTORS)
        print(f"{text:30}{rates}{ratio[stage]:8.2f}")
    for name in VECTORS:
        b = best[name]
        parts = (b["env"], b["collect"] - b["env"], b["learn"] - b["collect"])
        texts = (f"{part:.1f} ({part / b['learn']:.0%})" for part in parts)
        print(f"µs a frame, {name:8} environments {{}}, policy and buffer {{}}, update {{}}".format(*texts))
    most = best["dummy"]["learn"] / (best["native"]["learn"] - best["native"]["env"])
    network = 1.0 - best["native"]["env"] / best["native"]["learn"]
    print(f"the network takes {network:.0%} of native's learn; were environments free, its ratio would be {most:.2f}")
    for what in ("curve", "parameter"):
        equal = same["curves_equal" if what == "curve" else "parameters_equal"]
        how = "bit for bit the same" if equal else f"differ by up to {same[f'largest_{what}_difference']:.3g}"
        print(f"{what}s after {same['rollouts']} rollouts: {how}")
    plainly, times = 1e6 / measured["plain_microseconds_a_frame"], measured["times_plain"]
    print(f"learn of Stable-Baselines3's PPO on the native vector: {plainly:,.0f} frames per CPU-second")
    print(f"mean reward of the first and last rollout: {same['first_mean_reward']:.4f}, {same['last_mean_reward']:.4f}")
    print(f"{'met   ' if times >= TARGET else 'MISSED'} {times:6.2f} of {TARGET:g} times, learn of that PPO")
    for stage, text in STAGES.items():
        print(f"{'met   ' if ratio[stage] >= TARGET else 'MISSED'} {ratio[stage]:6.2f} of {TARGET:g} times, {text}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few copies, one K, one turn")
    parser.add_argument("--num-users", type=int, nargs="+", default=[4, 20])
    parser.add_argument("--rollouts", type=int, default=24, help="of 4 rounds of 256 copies (default 24)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/training_speed"))
    options = parser.parse_args()
    th.set_num_threads(1)  # both as train.py does
    keep_memory()
    settings, rollouts, turns, all_users = SETTINGS, options.rollouts, options.turns, options.num_users
    if options.quick:
        settings, rollouts, turns, all_users = replace(SETTINGS, num_envs=16, batch_size=64), 5, 1, [4]
    results = {}
    for users in all_users:
        results[users] = compare(users, settings, rollouts, turns, options.seed)
        show(users, results[users])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "training_speed.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    print(f"written: {options.out}/training_speed.json")


if __name__ == "__main__":
    main()
