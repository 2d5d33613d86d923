"""``multispin explore``: a page with sliders in the browser."""

import argparse
import threading
import webbrowser
from pathlib import Path

from multispin_env.explore.app import make_app
from multispin_env.explore.places import RUNS, Places
from multispin_env.explore.serving import LOOPBACK, bound, guard, is_loopback, serve
from multispin_env.terminal.command import Command

DESCRIPTION = """A page with sliders, to see why a decision is what it is: one round, and the landscape around it.

It opens in the browser and is computed on this machine. It loads nothing from elsewhere, and nobody else can reach it
unless --host says so.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="a .toml or .json file beside the presets")
    parser.add_argument(
        "--runs", type=Path, default=RUNS, metavar="FOLDER", help=f"agents that were trained (default {RUNS})"
    )
    parser.add_argument(
        "--host", default=LOOPBACK, help=f"address to be reached at (default {LOOPBACK}: only from here)"
    )
    parser.add_argument("--port", type=int, default=8050, help="0 takes a free one (default 8050)")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    places = Places(options.scenario, options.runs)
    with bound(options.host, options.port) as listening:
        app = make_app(places)
        port = listening.getsockname()[1]
        guard(app.server, options.host, port)
        shown = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{shown}:{port}/"
        print(f"{options.program}: {address} (Ctrl-C ends it)", flush=True)
        if not is_loopback(options.host):
            print(
                f"{options.program}: whoever reaches {options.host} can use this page, without a password", flush=True
            )
        if not options.no_browser:
            threading.Timer(0.3, webbrowser.open, [address]).start()
        serve(app.server, listening)


COMMAND = Command(
    DESCRIPTION,
    ("", "--scenario mine.toml", "--port 0 --no-browser"),
    add_options,
    run,
)
