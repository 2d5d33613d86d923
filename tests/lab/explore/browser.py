"""Page of ``multispin explore`` in a headless browser, for the benchmark, the pictures and the tests."""

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
"""Options without network access except to the page."""

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
"""Set a control; return the ms until the answer is drawn."""


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Yield the address of a page served by another process."""
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
    """Yield a headless browser with an empty profile and a log."""
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
    """Set the size of the screen; below 500 it is a phone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def visit(driver: Any, url: str) -> None:
    """Open a page and wait until its scripts have run."""
    driver.get(url)
    driver.execute_async_script(READY)


def redraw(driver: Any, name: str, value: float | str) -> float:
    """Set a control; return the seconds until the answer is drawn."""
    took: float = driver.execute_async_script(REDRAWN, name, str(value))
    return took / 1e3
