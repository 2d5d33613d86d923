"""``python -m multispin_env.watch``: the command ``multispin watch``."""

import sys

from multispin_env.commands.main import run_alias

if __name__ == "__main__":
    sys.exit(run_alias("watch"))
