"""Parts from outside this package, by ``module:ATTRIBUTE``.

A module is only imported where the user names it, never because a file or a page does.
"""

import os
import sys
from importlib import import_module
from typing import Any

from multispin_env.checks import shown

FORM = "module:ATTRIBUTE"  # How such a name is written


def is_outside(name: object) -> bool:
    """Whether a name is that of a part outside this package."""
    return isinstance(name, str) and ":" in name


def imported(kind: str, name: str) -> Any:
    """Import what ``module:ATTRIBUTE`` names, in the present folder too; ``ValueError`` if it can't be imported."""
    if os.getcwd() not in sys.path:  # as of an installed script
        sys.path.append(os.getcwd())
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:  # ValueError for an empty name
        raise refusal(kind, name, f" ({error})") from error


def refusal(kind: str, name: str, why: str) -> ValueError:
    """Error for a name of this kind of part that stands for none; ``why`` goes on behind the name."""
    return ValueError(f"{kind}: expected {FORM} of one that can be imported, got {shown(name)}{why}")
