"""Page as text: its views, menu, controls, and what a view shows for its settings. Nothing of a visitor is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multispin_env.apps.explore.markup import Markup, element, fragment
from multispin_env.apps.explore.settings import Choice, Control, HiddenText, ScenarioSources, Slider, SystemSettings
from multispin_env.apps.terminal.output import sentence
from multispin_env.checks import check_name
from multispin_env.registry import Registry


@dataclass(frozen=True)
class PageView:
    """One view of the page; what it shows is a function of its settings."""

    title: str
    about: str  # what it is for, in one or two sentences
    settings: type[SystemSettings]
    compute: Callable[[Any, ScenarioSources], Any]  # numbers from settings, by the public API
    draw: Callable[[Any, Any], Markup]  # what the page shows, from settings and numbers
    as_command: Callable[[Any, ScenarioSources], str]  # prints the numbers again
    scripts: tuple[str, ...] = ()  # further files of ``assets``, which listen to the event ``drawn`` of the document


VIEWS = Registry(
    "view",
    "multispin_env.apps.explore.page:PageView",
    {
        "one-round": "multispin_env.apps.explore.one_round:VIEW",
        "landscape": "multispin_env.apps.explore.landscape:VIEW",
        "no-barrier": "multispin_env.apps.explore.no_barrier:VIEW",
    },
)
"""By the path of the page, in the order of its menu."""


def _view(name: str) -> PageView:
    check_name("view", name, VIEWS.names())
    view: PageView = VIEWS.load(name)
    return view


def answer(name: str, query: str, sources: ScenarioSources) -> dict[str, Any]:
    """``html``, ``link``, ``python``, ``command`` and ``kept`` of a view for a query; or why not, as ``said`` alone."""
    try:
        view = _view(name)
        settings = _view_settings(view, query, sources)
        link = f"/{name}?{settings.query()}"
        return {
            "html": view.draw(settings, view.compute(settings, sources)),
            "link": link,
            "python": _as_python(link, sources),
            "command": view.as_command(settings, sources),
            "kept": settings.kept(sources),
        }
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        return {"said": sentence(error)}


def view_numbers(link: str, scenario_file: str | Path | None = None) -> Any:
    """Return the numbers that the page shows for a link, as "/landscape?num_users=8"; ``ValueError`` for a bad link."""
    parts = urlsplit(link)
    view = _view(parts.path.strip("/"))
    sources = ScenarioSources(None if scenario_file is None else Path(scenario_file))
    return view.compute(_view_settings(view, parts.query, sources), sources)


def _as_python(link: str, sources: ScenarioSources) -> str:
    given = [link, *([] if sources.scenario_file is None else [str(sources.scenario_file)])]
    return f"""from pprint import pprint

from multispin_env.apps.explore.page import view_numbers

numbers = view_numbers({", ".join(map(repr, given))})
pprint(numbers, compact=True, sort_dicts=False)
"""


def _view_settings(view: PageView, query: str, sources: ScenarioSources) -> SystemSettings:
    if not query:
        return view.settings.start(sources)
    settings = view.settings.from_query(query)
    settings.check_choices(sources)
    return settings


def render_view(name: str, query: str, sources: ScenarioSources) -> str:
    """The page of a view; where the link is refused, with the start of the view and the sentence that refuses it."""
    view = _view(name)
    found = answer(name, query, sources)
    said = found.get("said", "")
    if said:
        query = ""
        found = answer(name, query, sources)
    settings = _view_settings(view, query, sources)
    menu = [
        element("a", VIEWS.load(other).title, href=f"/{other}", aria_current="page" if other == name else None)
        for other in VIEWS.names()
    ]
    kept = settings.kept(sources)
    controls = [_control(entry.name, control, settings, sources, kept) for entry, control in view.settings.controls()]
    body = [
        element("header", element("p", "multispin explore"), element("nav", menu, aria_label="views")),
        element(
            "main",
            element("h1", view.title),
            element("p", view.about),
            element("p", said or found.get("said", ""), id="said", role="alert"),
            element(
                "div",
                element("form", controls, id="controls", autocomplete="off"),
                element("div", Markup(found.get("html", "")), id="results"),
                class_="sides",
            ),
            element(
                "section",
                element("a", "Link to these settings", id="link", href=found.get("link", f"/{name}")),
                _copied("python", "Python", found.get("python", "")),
                _copied("command", "command", found.get("command", "")),
                class_="card",
            ),
            data_view=name,
        ),
    ]
    return _document(f"{view.title} - multispin explore", ("explore.js", *view.scripts), fragment(body))


def _document(title: str, scripts: tuple[str, ...], body: Markup) -> str:
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1, minimum-scale=1"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href="/assets/explore.css"),
        *(element("script", src=f"/assets/{name}", defer=True) for name in scripts),
    ]
    return "<!DOCTYPE html>" + element("html", element("head", head), element("body", body), lang="en")


def _copied(name: str, title: str, text: str) -> Markup:
    shown = element("details", element("summary", f"See the {title}"), element("pre", text, id=name))
    return element("div", element("button", f"Copy as {title}", type="button", data_copy=name), shown)


def _control(
    name: str, control: Control, settings: SystemSettings, sources: ScenarioSources, kept: Mapping[str, str]
) -> Markup:
    value = getattr(settings, name)
    if isinstance(control, HiddenText):
        return element("input", type="hidden", name=name, value=value, data_good=value)
    label = element("label", control.label, for_=name)
    if isinstance(control, Choice):
        names = control.names(sources)
        texts = [kept[name], *names[1:]] if name in kept else names
        options = [
            element("option", text, value=option, selected=option == value)
            for text, option in zip(texts, names, strict=True)
        ]
        return element("div", label, element("select", options, id=name, name=name), class_="control")
    assert isinstance(control, Slider)
    bounds = {"min": control.low, "max": control.high, "step": control.step}
    number = element("output", f"{value:g} {control.unit}".strip(), for_=name, data_unit=control.unit)
    ranged = element("input", type="range", id=name, name=name, value=value, data_good=value, **bounds)
    return element("div", label, number, ranged, class_="control")
