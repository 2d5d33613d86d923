"""``python -m agents.evaluate``: the command ``multispin evaluate``."""

import sys

from multispin_env.commands.main import run_alias

if __name__ == "__main__":
    sys.exit(run_alias("evaluate"))
