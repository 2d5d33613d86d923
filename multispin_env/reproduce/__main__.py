"""``python -m multispin_env.reproduce``."""

import sys

from multispin_env.reproduce.cli import main

if __name__ == "__main__":
    sys.exit(main())
