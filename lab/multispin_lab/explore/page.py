"""HTML of the page: views, menu, controls and results. No state of a visitor is stored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multispin_env.apps.terminal.output import error_message
from multispin_env.registry import Registry
from multispin_lab.explore.markup import Markup, element
from multispin_lab.explore.settings import Choice, Control, ScenarioSources, Slider, SystemSettings

VIEWS = Registry(
    "view",
    "multispin_lab.explore.settings:SystemSettings",
    {
        "one-round": "multispin_lab.explore.one_round:RoundSettings",
        "landscape": "multispin_lab.explore.landscape:LandscapeSettings",
        "no-barrier": "multispin_lab.explore.no_barrier:NoBarrierSettings",
    },
    classes=True,
)
"""Views by path, in the order of the menu."""


def answer(name: str, query: str, sources: ScenarioSources) -> dict[str, Any]:
    """Return ``html``, ``link``, ``python``, ``command`` and ``option_labels`` of a view, or only an ``error``."""
    try:
        settings = _settings(name, query, sources)
        link = f"/{name}?{settings.query()}"
        return {
            "html": settings.draw(settings.compute(sources)),
            "link": link,
            "python": _as_python(link, sources),
            "command": settings.as_command(sources),
            "option_labels": settings.option_labels(sources),
        }
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        return {"error": error_message(error)}


def view_numbers(link: str, scenario_file: str | Path | None = None) -> Any:
    """Return the numbers of the page for a link such as "/landscape?num_users=8"; ``ValueError`` for a bad link."""
    parts = urlsplit(link)
    sources = ScenarioSources(None if scenario_file is None else Path(scenario_file))
    return _settings(parts.path.strip("/"), parts.query, sources).compute(sources)


def _as_python(link: str, sources: ScenarioSources) -> str:
    arguments = [link, *([] if sources.scenario_file is None else [str(sources.scenario_file)])]
    return f"""from pprint import pprint

from multispin_lab.explore.page import view_numbers

numbers = view_numbers({", ".join(map(repr, arguments))})
pprint(numbers, compact=True, sort_dicts=False)
"""


def _settings(name: str, query: str, sources: ScenarioSources) -> SystemSettings:
    view: type[SystemSettings] = VIEWS.load(name)
    if not query:
        return view.start(sources)
    settings = view.from_query(query)
    settings.check_choices(sources)
    return settings


def render_view(name: str, query: str, sources: ScenarioSources) -> str:
    """Return the page of a view; for a bad link, the initial page of the view with the error."""
    results = answer(name, query, sources)
    error = results.get("error", "")
    if error:
        query = ""
        results = answer(name, query, sources)
    settings = _settings(name, query, sources)
    menu = [
        element("a", VIEWS.load(other).title, href=f"/{other}", aria_current="page" if other == name else None)
        for other in VIEWS.names()
    ]
    labels = settings.option_labels(sources)
    controls = [_control(entry.name, control, settings, sources, labels) for entry, control in settings.controls()]
    body = [
        element("header", element("p", "multispin explore"), element("nav", menu, aria_label="views")),
        element(
            "main",
            element("h1", settings.title),
            element("p", settings.about),
            element("p", error or results.get("error", ""), id="error", role="alert"),
            element(
                "div",
                element("form", controls, id="controls", autocomplete="off"),
                element("div", Markup(results.get("html", "")), id="results"),
                class_="sides",
            ),
            element(
                "section",
                element("a", "Link to these settings", id="link", href=results.get("link", f"/{name}")),
                _copy_button("python", "Python", results.get("python", "")),
                _copy_button("command", "command", results.get("command", "")),
                class_="card",
            ),
            data_view=name,
        ),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1, minimum-scale=1"),
        element("title", f"{settings.title} - multispin explore"),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href="/assets/explore.css"),
        *(element("script", src=f"/assets/{file}", defer=True) for file in ("explore.js", *settings.scripts)),
    ]
    return "<!DOCTYPE html>" + element("html", element("head", head), element("body", body), lang="en")


def _copy_button(name: str, title: str, text: str) -> Markup:
    details = element("details", element("summary", f"Show the {title}"), element("pre", text, id=name))
    return element("div", element("button", f"Copy as {title}", type="button", data_copy=name), details)


def _control(
    name: str, control: Control, settings: SystemSettings, sources: ScenarioSources, labels: Mapping[str, str]
) -> Markup:
    value = getattr(settings, name)
    if not control.label:
        return element("input", type="hidden", name=name, value=value, data_good=value)
    label = element("label", control.label, for_=name)
    if isinstance(control, Choice):
        names = control.names(sources)
        options = [element("option", option, value=option, selected=option == value) for option in names]
        scenario_value = element("span", labels[name], data_label=name) if name in labels else None
        return element("div", label, scenario_value, element("select", options, id=name, name=name), class_="control")
    assert isinstance(control, Slider)
    bounds = {"min": control.low, "max": control.high, "step": control.step}
    number = element("output", f"{value:g} {control.unit}".strip(), for_=name, data_unit=control.unit)
    ranged = element("input", type="range", id=name, name=name, value=value, data_good=value, **bounds)
    return element("div", label, number, ranged, class_="control")
