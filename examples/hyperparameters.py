"""Search hyperparameters of PPO with Optuna. The study is an SQLite file: a search that was stopped goes on."""

from dataclasses import replace
from pathlib import Path

import optuna
import torch as th

import multispin_env as ms
from agents.base import tuning_for
from agents.measures import Measure
from agents.ppo import SETTINGS
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings

ENV = "MultiSpin/Heterogeneous-v0"
EPISODE_ROUNDS = 64


def main(trials: int = 30, timesteps: int = 100_000, study: str = "results/hyperparameters.sqlite") -> float:
    """Try some settings; returns the best share of the optimum, on validation states that no table uses."""
    settings = Settings(ms.Scenario.preset("llama2", num_users=8), ms.ENVIRONMENTS.load(ENV)(), "lengths")
    validate = Measure(ENV, settings).validation()
    th.set_num_threads(1)

    def share(trial: optuna.Trial) -> float:
        agent = replace(
            SETTINGS,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            width=trial.suggest_categorical("width", [16, 32, 64]),
            epochs=trial.suggest_int("epochs", 2, 8),
            log_std=trial.suggest_float("log_std", -3.5, -1.0),
        )
        env = make_vec_env(ENV, settings, agent.num_envs, EPISODE_ROUNDS, seed=trial.number)
        model = agent.build(env, lambda remaining: remaining, trial.number, "cpu", tuning_for(settings))
        model.learn(timesteps)
        return validate(model)["share_of_reference"]

    Path(study).parent.mkdir(parents=True, exist_ok=True)
    search = optuna.create_study(
        study_name="ppo",
        storage=f"sqlite:///{study}",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
    )
    search.optimize(share, trials)
    print(f"best of {len(search.trials)} trials: {search.best_value:.4f} of the optimum with {search.best_params}")
    return float(search.best_value)


if __name__ == "__main__":
    main()
