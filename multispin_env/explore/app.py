"""The page: a menu of views, the controls of one of them, and what it shows for them."""

from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from multispin_env.checks import check_name
from multispin_env.explore.pages.parts import element
from multispin_env.explore.places import Places
from multispin_env.explore.settings import Choice, Kept, Settings, Slider
from multispin_env.explore.view import VIEWS, View
from multispin_env.terminal.status import sentence

REFUSALS = (ValueError, TypeError, OSError, ImportError, MemoryError)
"""What settings can be refused with, in a sentence."""

PAUSE = 0.03
"""Seconds without another change after which a slider is taken at its word."""


def make_app(places: Places) -> Dash:
    """The page for these places.

    Raises
    ------
    ValueError
        For a scenario file that no view can begin with.
    """
    VIEWS.load(VIEWS.names()[0]).start(places)
    app = Dash(
        "multispin_env.explore",
        assets_folder=str(files("multispin_env.explore") / "assets"),
        title="multispin explore",
        update_title="",
        suppress_callback_exceptions=True,
        serve_locally=True,
        compress=False,
    )
    app.layout = html.Div(
        [
            dcc.Location(id="address", refresh="callback-nav"),
            html.Header([html.P("multispin explore", className="brand"), html.Nav(id="menu")]),
            html.Main(id="page"),
        ]
    )
    _connect(app, places)
    return app


def _connect(app: Dash, places: Places) -> None:
    @app.callback(Output("menu", "children"), Output("page", "children"), Input("address", "href"))
    def show_page(href: str | None) -> tuple[list[Any], list[Any]]:
        """The view of an address, with its settings."""
        parts = urlsplit(href or "")
        name = parts.path.strip("/") or VIEWS.names()[0]
        try:
            check_name("view", name, VIEWS.names())
        except ValueError as error:
            return menu(None), [html.P(str(error), role="alert", className="said")]
        return menu(name), page(name, parts.query, places)

    @app.callback(
        Output("results", "children"),
        Output("said", "children"),
        Output("link", "href"),
        Output("python", "children"),
        Output("command", "children"),
        Input({"type": "field", "name": ALL}, "value"),
        Input({"type": "asked", "name": ALL}, "data"),
        State("link", "href"),
        State("view", "data"),
        prevent_initial_call=True,
    )
    def redraw(_values: list[Any], _asked: list[Any], link: str, name: str) -> tuple[Any, ...]:
        """What the controls ask for; where they are refused, a sentence, and all else stays.

        Fields without a control are as in the link, which has the last good settings, unless one was just asked for.
        """
        try:
            check_name("view", name, VIEWS.names())
            view = VIEWS.load(name)
            given = {entry["id"]["name"]: entry.get("value", "") for entry in ctx.inputs_list[0]}
            return shown(name, view, view.settings.read(kept(view, link) | given | asked()), places)
        except REFUSALS as error:
            return no_update, sentence(error), no_update, no_update, no_update

    app.clientside_callback(
        ClientsideFunction("explore", "redrawn"),
        Output("link", "title"),
        Input("link", "href"),
        Input("said", "children"),
    )
    app.clientside_callback(ClientsideFunction("explore", "played"), Output("player", "title"), Input("record", "data"))


def kept(view: View, link: str) -> dict[str, str]:
    """Fields without a control, as the link has them."""
    last = view.settings.from_query(urlsplit(link).query)
    return {entry.name: getattr(last, entry.name) for entry, control in last.controls() if isinstance(control, Kept)}


def asked() -> dict[str, str]:
    """Fields without a control that something on the page just asked to change."""
    by_name = {entry["id"]["name"]: entry.get("value") for entry in ctx.inputs_list[1]}
    triggered = {
        one["name"] for one in ctx.triggered_prop_ids.values() if isinstance(one, dict) and one["type"] == "asked"
    }
    return {name: str(by_name[name]["text"]) for name in triggered if isinstance(by_name[name], dict)}


def menu(present: str | None) -> list[Any]:
    """Links to all views."""
    return [
        dcc.Link(VIEWS.load(name).title, href=f"/{name}", className="present" if name == present else "")
        for name in VIEWS.names()
    ]


def page(name: str, query: str, places: Places) -> list[Any]:
    """A view with its controls; a link that is refused begins with the start of the view, and a sentence."""
    view = VIEWS.load(name)
    refusal = ""
    try:
        settings = view.settings.from_query(query) if query else view.start(places)
        results, _, href, python, command = shown(name, view, settings, places)
    except REFUSALS as error:
        refusal = sentence(error)
        settings = view.start(places)
        results, _, href, python, command = shown(name, view, settings, places)
    return [
        dcc.Store(id="view", data=name),
        html.H1(view.title),
        html.P(view.about),
        html.P(refusal, id="said", role="alert", className="said"),
        html.Div(
            [
                html.Form(
                    [_control(entry, control, settings, places) for entry, control in view.settings.controls()],
                    id="controls",
                ),
                html.Div(results, id="results"),
            ],
            className="sides",
        ),
        html.Section(
            [
                html.A("Link to these settings", id="link", href=href),
                _copied("python", "Copy as Python", python),
                _copied("command", "Copy as command", command),
            ],
            className="card",
        ),
    ]


def shown(name: str, view: View, settings: Settings, places: Places) -> tuple[Any, ...]:
    """Results, no refusal, link, Python and command."""
    results = view.draw(settings, view.compute(settings, places))
    return (
        results,
        "",
        f"/{name}?{settings.query()}",
        view.as_python(settings, places),
        view.as_command(settings, places),
    )


def _copied(name: str, title: str, text: str) -> Any:
    button = element(html.Button, title, {"data-copy": name}, type="button")
    return html.Div([button, html.Details([html.Summary(f"See it as {name}"), html.Pre(text, id=name)])])


def _control(entry: Any, control: Slider | Choice | Kept, settings: Settings, places: Places) -> Any:
    """One control with its label and value."""
    identity = {"type": "field", "name": entry.name}
    value = getattr(settings, entry.name)
    if isinstance(control, Kept):
        return dcc.Store(id={"type": "asked", "name": entry.name})
    label = html.Label(control.label, htmlFor=_dom_id(identity))
    if isinstance(control, Choice):
        options = [{"label": one, "value": one} for one in control.names(places)]
        return html.Div(
            [label, dcc.Dropdown(options, value, id=identity, clearable=False, searchable=False)], className="control"
        )
    number = element(html.Output, f"{value:g} {control.unit}".strip(), {"data-unit": control.unit})
    ranged = dcc.Input(
        id=identity, type="range", value=value, min=control.low, max=control.high, step=control.step, debounce=PAUSE
    )
    return html.Div([label, number, ranged], className="control")


def _dom_id(identity: dict[str, str]) -> str:
    """As Dash writes it: keys in order, no spaces."""
    return "{" + ",".join(f'"{key}":"{identity[key]}"' for key in sorted(identity)) + "}"
