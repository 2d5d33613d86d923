"""Views of the page, and their table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multispin_env.explore.markup import Markup
from multispin_env.explore.places import Places
from multispin_env.explore.settings import ViewSettings
from multispin_env.registry import Registry


@dataclass(frozen=True)
class PageView:
    """One view of the page. Nothing of a visitor is kept: what is shown is a function of the settings.

    Parameters
    ----------
    title, about
        Its name, and what it is for in one or two sentences.
    settings
        Class of its settings.
    start
        The settings of a link without any.
    compute
        Numbers from settings, by the public API.
    draw
        What the page shows, from settings and numbers.
    as_python, as_command
        Text that prints the numbers again.
    scripts
        Further files of ``assets`` that the view needs. They listen to the event ``drawn`` of the document.
    """

    title: str
    about: str
    settings: type[ViewSettings]
    start: Callable[[Places], Any]
    compute: Callable[[Any, Places], Any]
    draw: Callable[[Any, Any], Markup]
    as_python: Callable[[Any, Places], str]
    as_command: Callable[[Any, Places], str]
    scripts: tuple[str, ...] = ()


_PAGES = "multispin_env.explore.pages."

VIEWS: Registry = Registry(
    "view",
    {
        "one-round": _PAGES + "one_round:VIEW",
        "landscape": _PAGES + "landscape:VIEW",
        "no-barrier": _PAGES + "no_barrier:VIEW",
        "agent": _PAGES + "agent:VIEW",
    },
)
"""By the path of the page, in the order of its menu."""
