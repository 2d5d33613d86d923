"""``python -m multispin_env.watch``."""

import sys

from multispin_env.watch.cli import main

if __name__ == "__main__":
    sys.exit(main())
