"""Pairs of features that exclude each other, with the message of each pair."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from multispin_env.checks import shown
from multispin_env.registry import LINKS

_BATTERIES = (
    "battery_rounds: expected 0, or min_draft_length=0 without drafting ahead, got {battery_rounds:g} with "
    "draft_ahead={draft_ahead}, min_draft_length={min_draft_length}"
)
_DRAFT = (
    "fleet: expected none with a draft profile, whose draft time is that of its own machine, got {shown} with "
    "draft={draft!r}"
)
_CAPACITIES = (
    "battery_rounds: expected 0 with a fleet, since capacities are fitted to equal devices, got {battery_rounds:g}"
)
_GROWTH = "draft_context_time: expected 0 with a fleet, whose rows have their own, got {draft_context_time!r}"
_PRICE = "energy_price: expected 0 with {}, got {{energy_price}}"

PAIRS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "draft_ahead": {
            "other_link": "link: expected 'density' with draft_ahead, got {link!r}",
            "access_delay": "access_delay: expected none with draft_ahead, got {access_delay!r}",
        },
        "battery_rounds": {
            "other_link": "link: expected 'density' with batteries, got {link!r}",
            "access_delay": "access_delay: expected none with batteries, got {access_delay!r}",
            "upload_loss": "upload_loss: expected 0 with batteries, got {upload_loss!r}",
            **dict.fromkeys(("draft_ahead", "min_draft_length"), _BATTERIES),
        },
        "fleet": {"draft": _DRAFT, "battery_rounds": _CAPACITIES, "draft_context_time": _GROWTH},
        "without_barrier": {
            "battery_rounds": "battery_rounds: expected 0 without the barrier, got {battery_rounds:g}",
        },
        "tight": {
            "draft_ahead": "tight: expected False where draft_ahead is True, got True",
            "time_by_tokens": "tight: expected False where a pass takes longer for each of its tokens, got True",
        },
        "energy_price": {
            **dict.fromkeys(("tpot", "fixed_length"), _PRICE.format("tpot or fixed_length")),
            **dict.fromkeys(("other_link", "access_delay"), _PRICE.format("another link or access_delay")),
        },
    }
)
"""For a feature, those that it excludes: fields of a scenario and options, and the message with their values."""


def check_pairs(feature: str, values: Mapping[str, Any], **options: Any) -> None:
    """Raise ``ValueError`` if fields of a scenario or ``options`` have a feature together with one that it excludes.

    A feature is there if its value is true. ``"other_link"`` is a link without constant power per hertz.
    """
    values = {**values, **options}
    for other, message in PAIRS[feature].items() if values.get(feature) else ():
        is_link = other == "other_link"
        if not LINKS.load(values["link"]).constant_density if is_link else values.get(other):
            raise ValueError(message.format(**values, shown=shown(values[feature])))
