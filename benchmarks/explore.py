"""Speed of the page of ``multispin explore``: ``python -m benchmarks.explore``; needs Debian's Chromium and its driver.

It prints the seconds from the start of the command until a page has been served, and of each view the median time from
a moved slider until its answer is on the screen, with 20 devices. Where a view plays an animation, it prints its frames
in a second too.
"""

import argparse
import time
import urllib.request
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.browser import browser, redraw, resize, served, visit
from multispin_env.explore.page import VIEWS

START, REDRAW, FRAMES = 3.0, 0.2, 20.0
"""Goals: seconds, seconds, frames a second."""

MOVED = {"megahertz": (5.0, 0.5), "snr_shift": (-10.0, 0.5), "seed": (0, 1)}
"""Sliders that are moved, each from where and by how much; of the views that have them."""

SHOWN = {
    "one-round": "one-round?num_users=8&moved=3&moved_db=-10",
    "landscape": "landscape?scenario=qwen3.5&server=a100-70b",
    "no-barrier": "no-barrier?left=groups&seconds=10",
    "rush": "no-barrier?num_users=8&requests=rush+in+azure-code&load=0.2&seconds=20",
    "agent": "agent?num_users=12&agent=MultiSpin/HiddenAcceptance-v0&rounds=6",
}
"""Links of the pictures, by their names."""

MIDDLE = """
const time = document.querySelector('[data-player="time"]');
if (time) {
  time.value = time.max / 2;
  time.dispatchEvent(new Event("input"));
}
"""
"""Shows the middle of an episode, where a page has one."""

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
"""Plays for two seconds; says how many frames a second were drawn, or null."""


def start_seconds() -> float:
    """From the start of the command until its page is here."""
    begin = time.perf_counter()
    with served() as address, urllib.request.urlopen(f"{address}/") as page:
        page.read()
        return time.perf_counter() - begin


def has(driver: Any, control: str) -> bool:
    """Whether the page has a control."""
    found: bool = driver.execute_script("return !!document.getElementById(arguments[0])", control)
    return found


def redraw_seconds(driver: Any, slider: str, count: int) -> list[float]:
    """Times of so many moves of a slider, with 20 devices."""
    redraw(driver, "num_users", 20)
    start, step = MOVED[slider]
    return [redraw(driver, slider, start + step * move) for move in range(count)]


def take_pictures(driver: Any, address: str, folder: Path) -> None:
    """Pictures of the top of every view, on a wide screen and on a phone, for the documentation."""
    for name, link in SHOWN.items():
        for size, width in PICTURES.items():
            resize(driver, width)
            visit(driver, f"{address}/{link}")
            driver.execute_script(MIDDLE)
            driver.save_screenshot(str(folder / f"explore-{name}-{size}.png"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=31, help="moves of the slider (default 31)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="only take the documentation's pictures")
    options = parser.parse_args()
    if options.pictures is not None:
        with served() as address, browser() as driver:
            take_pictures(driver, address, options.pictures)
        return
    starts = [start_seconds() for _ in range(3)]
    print(f"start until the page is served: {median(starts):.2f} s (goal {START:g} s)")
    with served() as address, browser() as driver:
        for name in VIEWS.names():
            visit(driver, f"{address}/{name}")
            for slider in filter(partial(has, driver), MOVED):
                times = redraw_seconds(driver, slider, options.count)
                said = f"median {1e3 * median(times):.0f} ms, largest {1e3 * max(times):.0f} ms"
                print(f"{name}, {slider}: redrawn in {said} (goal {1e3 * REDRAW:g} ms)")
            frames = driver.execute_async_script(PLAYED)
            if frames is not None:
                print(f"{name}: {frames:.0f} frames/s (goal {FRAMES:g})")


if __name__ == "__main__":
    main()
