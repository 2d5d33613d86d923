"""Speed of the page of ``multispin explore``; needs Debian's Chromium and its driver.

Seconds from the start of the command until a page is served, and for each view the time from a moved slider until its
answer is on the screen, with 20 devices; for animations also frames per second.
"""

import time
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tools import Options, Row, show
from multispin_lab.explore.page import VIEWS
from tests.lab.explore.browser import browser, redraw, resize, served, visit

MOVED = {"megahertz": (5.0, 0.5), "snr_shift": (-10.0, 0.5), "seed": (0, 1)}
"""Views, with the sliders that are moved, their start and their step."""

SHOWN = {
    "one-round": "one-round?num_users=8&moved=3&moved_db=-10",
    "landscape": "landscape?scenario=qwen3.5&server=a100-70b",
    "no-barrier": "no-barrier?seconds=10",
    "rush": "no-barrier?left=load-aware&num_users=8&requests=rush+in+azure-code&load=0.2&seconds=20",
}
"""Links by names of pictures."""

PICTURES = {"wide": 1600, "phone": 400}
"""Widths of the pictures."""

PLAYED = """
const done = arguments[0];
const button = document.querySelector('[data-player="play"]');
if (!button) return done(null);
button.click();
setTimeout(() => {
  const player = document.getElementById("player").player;
  const rate = 1000 * player.frames / (performance.now() - player.started);
  button.click();
  done(rate);
}, 2000);
"""
"""Script that plays for two seconds and returns the frames per second, or null."""


def start_seconds() -> float:
    """Return the seconds from the start of the command until its page is served."""
    begin = time.perf_counter()
    with served() as address, urllib.request.urlopen(f"{address}/") as page:
        page.read()
        return time.perf_counter() - begin


def redrawn(driver: Any, view: str, count: int) -> Iterator[Row]:
    for slider, (start, step) in MOVED.items():
        if driver.execute_script("return !!document.getElementById(arguments[0])", slider):
            redraw(driver, "num_users", 20)
            times = [1e3 * redraw(driver, slider, start + step * move) for move in range(count)]
            yield {
                "": f"{view}, {slider}: ms (goal 200)",
                "median": f"{median(times):.0f}",
                "largest": f"{max(times):.0f}",
            }
    frames = driver.execute_async_script(PLAYED)
    if frames is not None:
        yield {"": f"{view}: frames/s (goal 20)", "median": f"{frames:.0f}", "largest": ""}


def take_pictures(driver: Any, address: str, folder: Path) -> None:
    """Take pictures of the top of every view, on a wide screen and on a phone, for the documentation."""
    for name, link in SHOWN.items():
        for size, width in PICTURES.items():
            resize(driver, width)
            visit(driver, f"{address}/{link}")
            driver.save_screenshot(str(folder / f"explore-{name}-{size}.png"))


OPTIONS: Options = {
    "count": (31, "moves of a slider"),
    "pictures": (None, "folder; only take the documentation's pictures", {"type": Path}),
}


def measure(driver: Any, address: str, count: int) -> Iterator[Row]:
    for view in VIEWS.names():
        visit(driver, f"{address}/{view}")
        yield from redrawn(driver, view, count)


def run(options: Namespace) -> None:
    with served() as address, browser() as driver:
        if options.pictures is not None:
            take_pictures(driver, address, options.pictures)
            return
        show("start until the page is served (goal 3 s)", [{"s": f"{median(start_seconds() for _ in range(3)):.2f}"}])
        show("from a moved slider to the picture", measure(driver, address, options.count))
