"""A page of ``multispin explore`` in a browser without a screen, for the benchmark, the pictures and the tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")  # Debian's

QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""Options with which the browser asks nobody but the page."""

READY = """
const done = arguments[0];
const look = () => (document.readyState === "complete" ? done() : setTimeout(look, 5));
look();
"""

REDRAWN = """
const [name, value, done] = arguments;
const control = document.getElementById(name);
const begin = performance.now();
const give = () => done(performance.now() - begin);
const drawn = () => requestAnimationFrame(() => requestAnimationFrame(give));
document.addEventListener("drawn", drawn, { once: true });
control.value = value;
control.dispatchEvent(new Event("input", { bubbles: true }));
"""
"""Sets a control; says after how many ms the answer is on the screen."""


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The address of a page that is served by a process of its own."""
    command = [sys.executable, "-m", "multispin_env", "explore", "--port", "0", "--no-browser", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[2].rstrip("/")
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def browser() -> Iterator[Any]:
    """A browser with an empty profile, which logs what it says and what it loads."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for option in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: Any, width: int, height: int = 1000) -> None:
    """The size of the screen; a narrow one is a phone's."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def visit(driver: Any, url: str) -> None:
    """Open a page; return when its scripts have run, which the driver alone does not wait for on a busy machine."""
    driver.get(url)
    driver.execute_async_script(READY)


def redraw(driver: Any, name: str, value: float | str) -> float:
    """Set a control; returns the seconds until the answer is on the screen."""
    took: float = driver.execute_async_script(REDRAWN, name, str(value))
    return took / 1e3
