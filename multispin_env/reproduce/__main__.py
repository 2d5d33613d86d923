"""``python -m multispin_env.reproduce``: the command ``multispin reproduce``."""

import sys

from multispin_env.commands.main import run_alias

if __name__ == "__main__":
    sys.exit(run_alias("reproduce"))
