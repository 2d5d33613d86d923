"""``python -m multispin_env.evaluation``."""

import sys

from multispin_env.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
