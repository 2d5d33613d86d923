"""The repository of the checkout; there is none beside a source distribution."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def git(*arguments, fine=(0,)):
    """Lines that git prints; the test is skipped without git, or outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode not in fine:
        pytest.skip("needs the repository")
    return done.stdout.splitlines()
