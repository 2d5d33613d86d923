"""Two schedulers without the barrier as a page."""

from typing import Any

from dash import dcc, html

from multispin_env.explore.no_barrier import NoBarrierSettings, as_command, as_python, compute
from multispin_env.explore.pages.parts import card, numbers, table
from multispin_env.explore.view import View

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


def draw(settings: NoBarrierSettings, found: dict[str, Any]) -> list[Any]:
    """Cards of the page."""
    span = f"{settings.episodes} episodes of {settings.seconds:g} s, with seeds from {settings.seed} on"
    timelines = card(
        "Timelines",
        html.Div(id="player"),
        dcc.Store(id="record", data=found),
        about="What each device and the server (S, with the size of its batch) do in the first episode.",
    )
    timelines.className = "card wide"
    return [timelines, _first(found), _means(found, span)]


def _first(found: dict[str, Any]) -> Any:
    keys = list(found["sides"][0]["facts"])
    rows = [(side["name"], *(f"{side['facts'][key]:.3f}" for key in keys)) for side in found["sides"]]
    made = card(
        "The first episode",
        numbers({"bound": f"{found['bound']:.2f} tokens/s"}),
        html.Div(table(("scheduler", *(TITLES[key] for key in keys)), rows, "first"), className="scrolls"),
        about="No rule makes more than the bound in the long run where every device always has a request.",
    )
    made.className = "card wide" if found["serving"] else "card"
    return made


def _means(found: dict[str, Any], span: str) -> Any:
    tables = [
        html.Div(table(one["header"], one["lines"], f"means-{place}"), className="scrolls")
        for place, one in enumerate(found["tables"])
    ]
    made = card("Means", numbers({"mean bound": f"{found['mean_bound']:.2f} tokens/s"}), *tables, about=f"{span}.")
    made.className = "card wide" if found["serving"] else "card"
    return made


VIEW = View(
    title="No barrier",
    about="The server verifies what is there, and nobody waits for everybody. Two schedulers meet the same devices and "
    "requests, side by side.",
    settings=NoBarrierSettings,
    start=NoBarrierSettings.start,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
)
