"""The repository of the checkout; a source distribution has none."""

import subprocess

import pytest

from tools.sizes import AGENTS, CORE, LAB, ROOT

PACKAGES = CORE, AGENTS, LAB


def git(*arguments, fine=(0,)):
    """Return the lines that git prints; skip the test without git, or outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode not in fine:
        pytest.skip("needs the repository")
    return done.stdout.splitlines()
