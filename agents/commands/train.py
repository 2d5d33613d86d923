"""``multispin train``: train an agent and compare it with every controller."""

import argparse
import shlex
import signal
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from agents.base import usual_choice
from agents.budget import Limits
from agents.checkpoints import CHECKPOINT, MODEL
from agents.measures import Measure
from agents.models import load_run_model
from agents.options import ENCODING_NAMES, RUNS, SETTINGS, config_from, run_folder, settings_from
from agents.outside import OPTION, admit, file_name
from agents.registry import AGENTS
from agents.report import agent_label, draw_report, show, write_report
from agents.runs import CONFIG, RunConfig, check_run_name, load_config, make_folder, make_next_folder
from agents.training import check_device, train
from multispin_env.envs.named_files import with_same_files
from multispin_env.terminal.arguments import add_system_options, chosen_arguments
from multispin_env.terminal.command import Command


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_system_options(parser, SETTINGS)
    names = ", ".join(AGENTS.names())
    parser.add_argument("--agent", help=f"one of {names}, or {OPTION} (default ppo; without the barrier evolution)")
    encodings = ", ".join(ENCODING_NAMES)
    parser.add_argument("--action", help=f"action encoding: {encodings} (default residual; without the barrier tuned)")
    parser.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--timesteps", type=int, help="rounds to train, all copies together (default: the agent's)")
    budget.add_argument("--minutes", type=float, help="minutes to train instead")
    parser.add_argument("--name", help=f"name of the run, a folder in {RUNS}/ (default: made from the options)")
    parser.add_argument(
        "--resume", metavar="NAME", help="continue the run of this name, to its own budget or a new one"
    )
    parser.add_argument("--device", default="cpu", help="as in torch (default cpu, the fastest for small networks)")


def _new_folder(options: argparse.Namespace, config: RunConfig) -> Path:
    if options.name is not None:
        folder = run_folder(options.name)
        check_run_name(folder.name)
        make_folder(folder)
        return folder
    variant = config.env.split("/")[-1].split("-")[0].lower()
    stem = f"{variant}-{config.scenario.name}-k{config.scenario.num_users}-{file_name(config.agent)}-{config.action}"
    return make_next_folder(RUNS, check_run_name(stem))


def _resumed(options: argparse.Namespace) -> tuple[RunConfig, Path, Limits]:
    folder = run_folder(options.resume)
    config, limits = load_config(folder, chosen_arguments(options))
    for name in usual_choice(config.env):
        given, saved = getattr(options, name), getattr(config, name)
        if given is not None and given != saved:
            raise ValueError(f"{name}: expected {saved!r}, as the run {options.resume!r} has, got {given!r}")
    settings = settings_from(options, config.env, config.action, config)
    settings = replace(settings, variant=with_same_files(settings.variant, config.settings.variant))
    for part in ("scenario", "variant"):
        if getattr(settings, part) != getattr(config.settings, part):
            raise ValueError(f"{part}: expected the values of the run {options.resume!r}, or none, got others")
    given_limits = Limits(options.timesteps, options.minutes)
    return config, folder, limits if given_limits == Limits() else given_limits


def _prepare(options: argparse.Namespace) -> tuple[RunConfig, Path, Limits]:
    if options.resume is not None:
        if options.name is not None:
            raise ValueError("name: expected either --name or --resume, got both")
        config, folder, limits = _resumed(options)
        make_folder(folder)
        return config, folder, limits
    config, limits = config_from(options), Limits(options.timesteps, options.minutes)
    return config, _new_folder(options, config), limits


def _finish(config: RunConfig, folder: Path, console: Console) -> None:
    measure = Measure(config.env, config.settings)
    model = load_run_model(folder, config.env, config.settings)
    console.print(f"comparing on {measure.kind.default_size} held-out {measure.kind.noun} ...")
    report = measure.report(model, agent_label(config))
    write_report(report, folder)
    draw_report(report, agent_label(config), folder)
    show(report, Console())
    console.print(
        f"saved in {folder}: {MODEL}, {CHECKPOINT}, {CONFIG}, table.json, table.csv, pictures, tensorboard",
        soft_wrap=True,
    )


def run(options: argparse.Namespace) -> int | None:
    """Train and compare; returns a status if a signal stops it."""
    console = Console(stderr=True, markup=False, emoji=False)  # names are shown as they are
    check_device(options.device)
    if options.agent is not None:
        admit(options.agent)
    config, folder, limits = _prepare(options)
    said = f"run {folder}: {config.agent} on {config.env}, {config.action} actions, seed {config.seed}"
    console.print(said, soft_wrap=True)
    stopped_by = train(config, folder, limits, options.resume is not None, options.device, console)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        command = f"{options.program} --resume {shlex.quote(str(folder))}"
        console.print(f"stopped by {name}; continue with: {command}", soft_wrap=True)
        return 128 + stopped_by
    _finish(config, folder, console)
    return None


COMMAND = Command(
    "Train an agent, then compare it with every controller on held-out states, or, where something is hidden or "
    "remembered, with plug-ins and the clairvoyant on held-out episodes.",
    (
        "                                    the default: about half a minute on two cores",
        "--scenario qwen3.5 --num-users 8 --minutes 2",
        "--name mine --agent sac --action lengths",
        "--agent apg --action lengths        learn from derivatives instead of from returns",
        "--env MultiSpin/HiddenAcceptance-v0 --set spread=0.2",
        "--agent examples.own_agent:AGENT",
        "--resume mine --timesteps 2000000   go on where it stopped",
    ),
    add_options,
    run,
)
