"""Run the command ``multispin``, as ``python -m multispin_env``."""

import sys

from multispin_env.apps.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
