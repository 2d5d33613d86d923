"""``multispin explore``: a page with sliders in the browser."""

import argparse
import threading
import webbrowser
from pathlib import Path
from pprint import pprint

from multispin_env.apps.explore.page import view_numbers
from multispin_env.apps.explore.settings import ScenarioSources
from multispin_env.apps.terminal.arguments import Command

_DESCRIPTION = """A page with sliders, to see why a decision is what it is: one round, and the landscape around it.

It opens in the browser and is computed on this machine. It loads nothing from elsewhere, and nobody else can reach it
unless --host says so.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="a .toml or .json file beside the presets")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to be reached at (default 127.0.0.1: only from here)"
    )
    parser.add_argument("--port", type=int, default=8050, help="0 takes a free one (default 8050)")
    parser.add_argument(
        "--print", metavar="LINK", help="print the numbers of a link, as '/landscape?seed=3', and serve no page"
    )
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")


def _serve_page(options: argparse.Namespace, sources: ScenarioSources) -> None:
    from multispin_env.apps.explore.app import make_app
    from multispin_env.apps.explore.serving import is_loopback, open_socket, run_server

    with open_socket(options.host, options.port) as at:
        port = at.getsockname()[1]
        app = make_app(sources, options.host, port)
        shown = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{shown}:{port}/"
        print(f"{options.program}: {address} (Ctrl-C ends it)", flush=True)
        if not is_loopback(options.host):
            print(
                f"{options.program}: whoever reaches {options.host} can use this page, without a password", flush=True
            )
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        run_server(app, at)


def _run(options: argparse.Namespace) -> None:
    if options.print is not None:
        pprint(view_numbers(options.print, options.scenario), compact=True, sort_dicts=False)
    else:
        _serve_page(options, ScenarioSources(options.scenario))


COMMAND = Command(
    _DESCRIPTION,
    ("", "--scenario mine.toml", "--port 0 --no-browser", "--print '/landscape?num_users=8'"),
    _add_options,
    _run,
)
