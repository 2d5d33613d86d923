"""Search for hyperparameters of PPO with Optuna (``pip install optuna``); a new start continues from the file STUDY.

Several processes that run this file share the work.
"""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import multispin_env as ms
from multispin_agents import AGENTS
from multispin_agents.vec_env import NativeVecEnv

STUDY = "sweep.log"
ENV = "MultiSpin/Heterogeneous-v0"
ARGUMENTS: dict[str, Any] = {"num_users": 8, "action": "lengths"}
SEED = 10_000  # first seed of the episodes for selection, which tables do not use


def objective(trial: optuna.Trial, timesteps: int) -> float:
    """Train with hyperparameters that Optuna chooses; return the share of the optimum."""
    agent: Any = replace(
        AGENTS.load("ppo"),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        width=trial.suggest_categorical("width", [8, 16, 32]),
    )
    envs: Any = gym.make_vec(ENV, num_envs=agent.num_envs, autoreset_mode="SameStep", **ARGUMENTS).unwrapped
    model = agent.build(NativeVecEnv(envs, seed=0), lambda progress: progress, seed=0, device="cpu").learn(timesteps)
    return ms.evaluate(model, ENV, episodes=20, seed=SEED, **ARGUMENTS).share or 0.0


def main(trials: int = 20, timesteps: int = 100_000) -> optuna.Study:
    """Run trials until the study has this number of trials; return the study."""
    study = optuna.create_study(
        study_name="ppo",
        storage=JournalStorage(JournalFileBackend(STUDY)),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),  # several trials in parallel
    )
    study.optimize(lambda trial: objective(trial, timesteps), n_trials=max(trials - len(study.trials), 0))
    print(f"best of {len(study.trials)}: {study.best_value:.4f} of the optimum with {study.best_params}")
    return study


if __name__ == "__main__":
    main()
