"""Open a page with sliders in the browser that shows one round and the goodput around its optimum.

The page is served from this machine and loads nothing from other sites. Other machines can reach it only with --host.
"""

import argparse
import threading
import webbrowser
from pathlib import Path
from pprint import pprint

from multispin_env.apps.terminal.arguments import Command
from multispin_lab.explore.page import view_numbers
from multispin_lab.explore.settings import ScenarioSources


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="add the scenario of this .toml or .json file")
    host = "address to listen on (default 127.0.0.1: only this machine)"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, default=8050, help="port to listen on, 0 for a free one (default 8050)")
    link = "print the numbers of a link such as '/landscape?seed=3' instead of opening the page"
    parser.add_argument("--print", metavar="LINK", help=link)
    parser.add_argument("--no-browser", action="store_true", help="print the address without opening a browser")


def _serve_page(options: argparse.Namespace, sources: ScenarioSources) -> None:
    from multispin_lab.explore.app import make_app
    from multispin_lab.explore.serving import is_loopback, open_socket, run_server

    with open_socket(options.host, options.port) as socket:
        port = socket.getsockname()[1]
        app = make_app(sources, options.host, port)
        shown = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{shown}:{port}/"
        print(f"{options.program}: {address} (Ctrl-C ends it)", flush=True)
        if not is_loopback(options.host):
            warning = f"anyone who can reach {options.host} can use this page without a password"
            print(f"{options.program}: {warning}", flush=True)
        if not options.no_browser:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        run_server(app, socket)


def _run(options: argparse.Namespace) -> None:
    if options.print is not None:
        pprint(view_numbers(options.print, options.scenario), compact=True, sort_dicts=False)
    else:
        _serve_page(options, ScenarioSources(options.scenario))


COMMAND = Command(
    __doc__,
    ("", "--scenario mine.toml", "--port 0 --no-browser", "--print '/landscape?num_users=8'"),
    _add_options,
    _run,
)
