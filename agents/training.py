"""Training run from its configuration to its checkpoint."""

from pathlib import Path

import torch as th
from rich.console import Console
from stable_baselines3.common.logger import configure

from agents.base import AgentSettings, tuning_for
from agents.budget import Limits
from agents.callbacks import TrainingMonitor
from agents.checkpoints import MODEL, load_checkpoint
from agents.measures import Measure
from agents.memory import keep_memory
from agents.registry import AGENTS
from agents.runs import RunConfig, held, save_config
from agents.vec_env import first_seed, make_vec_env
from multispin_env.checks import cut, shown

TENSORBOARD = "tensorboard"


def check_device(name: str) -> None:
    """``ValueError`` unless it is a device that torch can use here, or ``auto``."""
    try:
        th.empty(1, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # unknown, not built for, not there
        reason = cut(str(error))
        raise ValueError(f"device: expected a device of torch here, got {shown(name)} ({reason})") from None


def train(
    config: RunConfig,
    folder: Path,
    limits: Limits,
    resume: bool,
    device: str,
    console: Console,
    settings: AgentSettings | None = None,
) -> int | None:
    """Train, writing configuration, log, learning curve and checkpoints into the folder.

    Parameters
    ----------
    config
        What to train.
    folder
        An existing folder that can be written.
    limits
        When to stop.
    resume
        Continue from the folder's checkpoint.
    device
        As in torch.
    console
        Where progress is shown.
    settings
        Hyperparameters; ``None`` for the agent's own.

    Returns
    -------
    int or None
        The signal that stopped it, or ``None`` if the budget was used up.

    Raises
    ------
    ValueError
        As `held`, and for a run that is there already, or can't be resumed.
    OSError
        If a file can't be written.
    """
    th.set_num_threads(1)  # the networks are small: more threads only wait for each other
    keep_memory()
    with held(folder):
        checkpoint = load_checkpoint(folder) if resume else None
        agent: AgentSettings = AGENTS.load(config.agent) if settings is None else settings
        done = checkpoint.num_timesteps if checkpoint else 0
        budget = limits.budget(agent.timesteps, checkpoint.seconds if checkpoint else 0.0)
        seed = first_seed(config.seed, done, agent.num_envs)
        steps = config.settings.variant.family.max_episode_steps
        env = make_vec_env(config.env, config.settings, agent.num_envs, steps, seed)
        model = agent.build(env, budget.remaining, seed, device, tuning_for(config.settings))
        if checkpoint:
            checkpoint.restore(model)
        else:
            save_config(folder, config, limits)
        if budget.done(done) >= 1.0:
            return None
        model.set_logger(configure(str(folder / TENSORBOARD), ["tensorboard"]))
        best = load_checkpoint(folder, MODEL).score if resume else None
        monitor = TrainingMonitor(folder, Measure(config.env, config.settings), budget, console, best)
        left = 10**12 if budget.timesteps is None else budget.timesteps - done
        with monitor.stop_on_signals():
            model.learn(left, callback=monitor, reset_num_timesteps=checkpoint is None)
        return monitor.stopped_by
