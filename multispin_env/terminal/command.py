"""Base of commands: what each says of itself."""

import shlex
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from multispin_env.terminal.arguments import separated
from multispin_env.terminal.plausible import check_plausible


@dataclass(frozen=True)
class Command:
    """What a user can run: called with its name in messages and its arguments, it returns a status or ``None``.

    Parameters
    ----------
    description
        What it does: the beginning of its help.
    examples
        Arguments of the examples at the end of its help, one line each.
    add_options
        Adds its own options to a parser.
    run
        Does it. The options have two entries that the user does not give: ``program``, the name in messages, and
        ``command``, the line that repeats all this. Returns an exit status, or ``None`` for success; raises
        `ValueError`, `TypeError`, `OSError` or `ImportError`, in one sentence, for what cannot be done.
    """

    description: str
    examples: Sequence[str]
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]

    def parser(self, program: str) -> ArgumentParser:
        """Build the parser of the command line."""
        lines = "".join(f"  {program} {line}".rstrip() + "\n" for line in self.examples)
        parser = ArgumentParser(
            prog=program,
            description=self.description,
            epilog=f"examples:\n{lines}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        return parser

    def __call__(self, program: str, arguments: Sequence[str]) -> int | None:
        """Read the arguments and run."""
        options = self.parser(program).parse_args(separated(arguments))
        check_plausible(vars(options))
        options.program = program
        options.command = f"{program} {shlex.join(arguments)}".strip()
        return self.run(options)
