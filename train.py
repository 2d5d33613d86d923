"""Script ``python train.py``, the same as ``multispin train``; ``--help`` lists the options."""

import sys

from multispin import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt("train.py")
    try:
        from multispin_env.apps.commands.main import run_alias
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f'train.py: the package {error.name!r} is missing; install it with: pip install -e ".[train]"\n'
        )
        sys.exit(2)
    sys.exit(run_alias("train"))
