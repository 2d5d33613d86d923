"""``python -m multispin_env.watch``: two contenders on the same states, side by side."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from multispin_env.checks import check_real
from multispin_env.envs.rendering.window import Window, require_display
from multispin_env.evaluation.cli import DEFAULT_ENV, PATIENCE, add_set_option, parse_settings
from multispin_env.evaluation.contenders import native, reference_of
from multispin_env.evaluation.printing import exit_status
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.watch.files import Pixels, writer_for
from multispin_env.watch.film import Film, Frame, make_watched_env, watch

PROGRAM = "python -m multispin_env.watch"

OWN = ("num_users", "max_episode_steps", "render_mode")
"""Arguments of environments that this command sets itself."""

EXAMPLES = """examples:
  {program} --controller optimal --beside fixed
  {program} --controller optimal --beside fixed --set reward=sampled --rounds 24 --out watch.gif
  {program} --env MultiSpin/HiddenAcceptance-v0 --controller optimal+filter --beside optimal+task-mean
  {program} --env MultiSpin/DelayedChannel-v0 --set delay=2 --controller optimal+quantile --beside optimal+last-report
"""


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Watch two controllers, or plug-ins of controllers and estimators, on the same states.",
        epilog=EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--env", default=DEFAULT_ENV, help=f"environment id (default {DEFAULT_ENV})")
    parser.add_argument("--controller", metavar="NAME", help="shown left (default: the best known)")
    parser.add_argument("--beside", metavar="NAME", default="fixed", help="shown right (default fixed)")
    parser.add_argument("--scenario", default="llama2", help="preset name (default llama2)")
    parser.add_argument("--num-users", type=int, default=8, help="K, number of devices (default 8)")
    parser.add_argument("--rounds", type=int, default=64, help="rounds to play (default 64)")
    parser.add_argument("--seed", type=int, default=EPISODE_SEED, help=f"of the episode (default {EPISODE_SEED})")
    parser.add_argument("--fps", type=float, default=12.0, help="frames a second (default 12)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .gif or .mp4 to write (default: a window)")
    add_set_option(parser, "arguments of the environment, as reward=sampled, values as in Python")
    return parser


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    found = parse_settings(options.set)
    for name in OWN:
        if name in found:
            raise ValueError(f"set: got {name!r}, allowed is an argument of the environment other than {list(OWN)}")
    return {**found, "num_users": options.num_users}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _film(options: argparse.Namespace) -> Film:
    arguments = _arguments(options)
    env = make_watched_env(options.env, options.rounds, options.scenario, arguments)
    episodes = []
    for name in (options.controller or reference_of(native(env).settings), options.beside):
        _say(f"playing {options.rounds} rounds of {name}")
        episodes.append(watch(env, name, options.seed))
    return Film(*episodes)


def _write(film: Film, options: argparse.Namespace) -> None:
    """Write the film to its file, and say from time to time how far it is."""
    write = writer_for(options.out)
    frames = film.frames()
    report = _Progress(options.rounds)
    pictures: list[Callable[[], Pixels]] = [partial(_drawn, film, frame, report) for frame in frames]
    write(options.out, pictures, [frame.times for frame in frames], options.fps)
    _say(f"wrote {options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


def _drawn(film: Film, frame: Frame, report: Callable[[int], None]) -> Pixels:
    report(frame.number)
    return film.draw(frame).array()


class _Progress:
    """Lines on stderr, some seconds apart."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.shown = monotonic()

    def __call__(self, number: int) -> None:
        """Report a round that is being drawn."""
        if monotonic() - self.shown > PATIENCE:
            _say(f"drawing round {number + 1} of {self.rounds}")
            self.shown = monotonic()


def _show(film: Film, options: argparse.Namespace) -> None:
    """Show the film in a window until it ends, or its user closes it."""
    window = Window(PROGRAM, options.fps)
    try:
        for frame in film.frames():
            canvas = film.draw(frame)
            if not all(window.show(canvas) for _ in range(frame.times)):
                return
    finally:
        window.close()


def _run(options: argparse.Namespace) -> None:
    check_real("fps", options.fps, 1.0, 60.0)
    if options.out is None:
        require_display()
        _show(_film(options), options)
    else:
        writer_for(options.out)
        _write(_film(options), options)


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for what cannot be done."""
    options = parser(program).parse_args(arguments)
    return exit_status(program, lambda: _run(options))
