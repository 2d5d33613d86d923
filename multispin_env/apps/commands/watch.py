"""Watch two controllers, or plug-ins of controllers and estimators, on the same states."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from multispin_env.apps.terminal.arguments import (
    COMMON_ARGUMENTS,
    DEFAULT_ENV,
    DEFAULT_SCENARIO,
    DEFAULTS,
    RESERVED,
    Command,
    add_system_options,
    check_settings,
    collect_arguments,
    parse_settings,
)
from multispin_env.apps.terminal.output import Progress
from multispin_env.apps.watch import Pixels, watch, writer_for
from multispin_env.checks import check_real
from multispin_env.controllers.names import CUSTOM_CONTROLLER
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering.canvas import load_pygame
from multispin_env.envs.rendering.renderers import Film, Window, require_display
from multispin_env.envs.rendering.traces import Frame
from multispin_env.evaluation.defaults import baseline_of, reference_of
from multispin_env.evaluation.statistics import EPISODE_SEED
from multispin_env.files import replace_file

USERS = 8  # default number of devices, small enough for readable pictures

_OWN_ARGUMENTS = ("rounds", "render_mode")
"""Arguments of an environment that the command sets."""


def _add_options(parser: argparse.ArgumentParser) -> None:
    settings = "arguments of the environment, as Python literals, e.g. reward=sampled"
    add_system_options(parser, settings, DEFAULTS | {"num_users": str(USERS)})
    parser.set_defaults(env=DEFAULT_ENV, scenario=DEFAULT_SCENARIO, num_users=USERS)
    left = f"controller, plug-in or {CUSTOM_CONTROLLER} on the left (default: the best known)"
    parser.add_argument("--controller", metavar="NAME", help=left)
    parser.add_argument("--versus", metavar="NAME", help="as --controller, on the right (default: the baseline)")
    differs = "arguments of the environment that differ on the right, e.g. draft_ahead=False"
    parser.add_argument("--versus-set", action="append", default=[], metavar="NAME=VALUE", help=differs)
    rounds = "number of rounds (default 64); in environments without rounds, use --set horizon=SECONDS"
    parser.add_argument("--rounds", type=int, default=64, help=rounds)
    parser.add_argument("--seed", type=int, default=EPISODE_SEED, help=f"seed of the episode (default {EPISODE_SEED})")
    parser.add_argument("--fps", type=float, default=12.0, help="frames per second (default 12)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".gif or .mp4 to write (default: show a window)")


def _film(options: argparse.Namespace) -> Film:
    arguments = collect_arguments(options, _OWN_ARGUMENTS)
    differing = parse_settings(options.versus_set, (*RESERVED, *_OWN_ARGUMENTS), "versus-set")
    check_settings(options, arguments | differing, [options.env], COMMON_ARGUMENTS)

    def config_of(others: Mapping[str, Any]) -> EnvConfig:
        config = EnvConfig.of(options.env, options.scenario, **{**arguments, **others})
        return config if "action" in arguments else config.for_any_decision

    config = config_of({})
    length = f"{options.rounds} rounds of " if config.family == "rounds" else ""
    left, right = options.controller or reference_of(config), options.versus or baseline_of(config)
    episodes = []
    with Progress(2) as progress:
        for name, changes in ((left, {}), (right, differing)):
            progress.begin(f"playing {length}{name}")
            trace = watch(config_of(changes), options.rounds, name, options.seed)
            differences = [f"{key}={value}" for key, value in changes.items()]
            title = ", ".join(differences if differences and left == right else [name, *differences])
            episodes.append(replace(trace, title=title))
    return Film(*episodes)


def _write(film: Film, options: argparse.Namespace) -> None:
    frames = film.frames()
    with Progress(1) as progress, replace_file(options.out.resolve()) as file:
        report = progress.begin(f"drawing {options.out}")

        def draw(index: int, frame: Frame) -> Pixels:
            report(index, len(frames))
            return film.draw(frame).array()

        pictures = [partial(draw, index, frame) for index, frame in enumerate(frames)]
        writer_for(options.out)(file, pictures, [frame.times for frame in frames], options.fps)


def _show(film: Film, options: argparse.Namespace) -> None:
    window = Window(options.program, options.fps)
    try:
        for frame in film.frames():
            canvas = film.draw(frame)
            if not all(window.show(canvas) for _ in range(frame.times)):
                return
    finally:
        window.close()


def _run(options: argparse.Namespace) -> None:
    check_real("fps", options.fps, 1.0, 60.0)
    load_pygame()  # fails before the episodes are played
    if options.out is None:
        require_display()
        _show(_film(options), options)
        return
    writer_for(options.out)
    _write(_film(options), options)
    print(f"wrote {options.out}: {options.out.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


COMMAND = Command(
    __doc__,
    (
        "--controller optimal --versus fixed",
        "--controller optimal --versus fixed --set reward=sampled --rounds 24 --out watch.gif",
        "--env MultiSpin/Continuous-v0 --controller groups --versus optimal --set horizon=6 reward=sampled",
        "--env MultiSpin/HiddenAcceptance-v0 --controller optimal+filter --versus optimal+task-mean",
        "--env MultiSpin/DraftAhead-v0 --controller optimal --versus optimal --versus-set draft_ahead=False",
        "--env MultiSpin/DelayedChannel-v0 --set delay=2 --controller optimal+quantile --versus optimal+last-report",
    ),
    _add_options,
    _run,
)
