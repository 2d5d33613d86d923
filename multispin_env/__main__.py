"""``python -m multispin_env``: the command ``multispin``."""

import sys

from multispin_env.apps.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
