"""``python -m benchmarks.league``: the command ``multispin league``."""

import sys

from multispin_env.commands.main import run_alias

if __name__ == "__main__":
    sys.exit(run_alias("league"))
