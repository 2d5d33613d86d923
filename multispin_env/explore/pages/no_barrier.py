"""Two controllers without the barrier as a page."""

import json
from typing import Any

from multispin_env.explore.markup import Markup, element, fragment
from multispin_env.explore.no_barrier import NoBarrierSettings, as_command, as_python, compute
from multispin_env.explore.pages.parts import card, cell_table, numbers, scrolling
from multispin_env.explore.view import PageView

TITLES = {
    "token_goodput": "tokens/s",
    "tokens_in_time": "tokens/s in time",
    "share_missed": "share missed",
    "ttft_p50": "TTFT p50 (s)",
    "ttft_p99": "TTFT p99 (s)",
    "tpot_p50": "TPOT p50 (s)",
    "tpot_p99": "TPOT p99 (s)",
    "e2el_p50": "E2EL p50 (s)",
    "e2el_p99": "E2EL p99 (s)",
}
"""What is said of an episode, in words."""


def draw(settings: NoBarrierSettings, found: dict[str, Any]) -> Markup:
    """What the page shows."""
    return fragment([_timelines(found), _first(found), _means(settings, found)])


def _timelines(found: dict[str, Any]) -> Markup:
    """Where ``player.js`` draws, and what it draws."""
    record = Markup(json.dumps(found, separators=(",", ":")).replace("<", "\\u003c"))
    return card(
        "Timelines",
        element("div", id="player"),
        element("script", record, id="record", type="application/json"),
        about="What each device and the server (S, with the size of its batch) do in the first episode.",
        wide=True,
    )


def _first(found: dict[str, Any]) -> Markup:
    keys = list(found["sides"][0]["facts"])
    rows = [(side["name"], *(f"{side['facts'][key]:.3f}" for key in keys)) for side in found["sides"]]
    return card(
        "The first episode",
        numbers({"bound": f"{found['bound']:.2f} tokens/s"}),
        scrolling(cell_table("first", ("controller", *(TITLES[key] for key in keys)), rows)),
        about="No rule makes more than the bound in the long run where every device always has a request.",
        wide=True,
    )


def _means(settings: NoBarrierSettings, found: dict[str, Any]) -> Markup:
    tables = [
        scrolling(cell_table(f"means-{place}", one["header"], one["lines"]))
        for place, one in enumerate(found["tables"])
    ]
    return card(
        "Means",
        *tables,
        about=f"{settings.episodes} episodes of {settings.seconds:g} s, with seeds from {settings.seed} on.",
        wide=True,
    )


VIEW = PageView(
    title="No barrier",
    about="The server verifies what is there, and nobody waits for everybody. Two controllers meet the same devices "
    "and requests, side by side.",
    settings=NoBarrierSettings,
    start=NoBarrierSettings.start,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
    scripts=("player.js",),
)
