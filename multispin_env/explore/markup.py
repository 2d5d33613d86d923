"""HTML from Python: elements whose texts are escaped."""

from collections.abc import Iterable
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


VOID = ("br", "input", "link", "meta")
"""Elements without an end."""

Child = Any
"""Markup, text, a number, or a list of these; ``None`` is nothing."""


def element(tag: str, *children: Child, **attributes: Any) -> Markup:
    """An element.

    Parameters
    ----------
    tag
        Its name.
    *children
        What is in it; all text that is not `Markup` is escaped.
    **attributes
        By name: a final underscore is left out, as of ``class_``; others become hyphens, as of ``data_cell``. ``True``
        gives an attribute without a value; ``None`` and ``False`` give none.

    Examples
    --------
    >>> from multispin_env.explore.markup import element
    >>> element("p", "1 < 2", class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2</p>'
    """
    words = [tag]
    for name, value in attributes.items():
        key = name.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start) if tag in VOID else Markup(f"{start}{fragment(children)}</{tag}>")


def fragment(children: Iterable[Child]) -> Markup:
    """Children one after the other."""
    return Markup("".join(map(_text, children)))


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    return fragment(child) if isinstance(child, list | tuple) else escape(str(child))
