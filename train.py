"""Train an agent on multispin_env and compare it with every controller; ``--help`` lists the options."""

import sys

if __name__ == "__main__":
    try:
        from agents.cli import main
    except ModuleNotFoundError as error:
        print(
            f'train.py: the package {error.name!r} is missing, allowed after: pip install -e ".[train]"',
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(main())
