import asyncio
import json
import re
from functools import cache
from urllib.parse import urlencode

import pytest

from multispin_env.scenario import Scenario
from multispin_lab.explore.app import make_app
from multispin_lab.explore.markup import Markup, element, line_chart
from multispin_lab.explore.page import VIEWS, answer, render_view
from multispin_lab.explore.settings import Choice, ScenarioSources

HERE = ScenarioSources()
PORT = 8050
HOST = f"127.0.0.1:{PORT}"


@cache
def app_at(address):
    return make_app(HERE, address, PORT)


def ask(path, query="", address="127.0.0.1", **headers):
    sent = []
    arguments = [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "", "scheme": "http", "server": ("127.0.0.1", PORT),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in ({"host": HOST} | headers).items()],
    }  # fmt: skip

    async def receive():
        return arguments.pop() if arguments else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    asyncio.run(app_at(address)(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, body.decode()


def test_texts_are_escaped():
    assert element("a", "<b>", Markup("<i>"), href='"&"') == '<a href="&quot;&amp;&quot;">&lt;b&gt;<i></a>'
    assert "<script>alert" not in render_view("one-round", "edits=<script>alert(1)</script>", HERE)
    assert answer("one-round", "scenario=<b>", HERE)["error"].startswith("scenario: expected one of")


@pytest.mark.parametrize(
    ("end", "across", "up"),
    [
        ((10.0, 8.0), "0 2 4 6 8 10", "0 2 4 6 8"),
        ((40.0, 90.0), "0 10 20 30 40", "0 50 100"),  # above the highest point
        ((25.0, 0.3), "0 5 10 15 20 25", "0 0.1 0.2 0.3"),
        ((11.0, 3.0), "0 2 4 6 8 10", "0 1 2 3"),  # within the width
    ],
)
def test_axes_are_labelled_from_0_to_their_ends(end, across, up):
    drawn = line_chart("chart", {"a line": [(0.0, 0.0), end]}, "x", "y", {})
    labels = re.findall(r'<text [^>]*text-anchor="(\w+)">([\d.]+)</text>', drawn)
    assert " ".join(label for anchor, label in labels if anchor == "end") == up
    assert " ".join(label for anchor, label in labels if anchor == "middle") == across


def test_a_refused_link_says_so_and_begins_anew():
    page = render_view("one-round", "num_users=99", HERE)
    assert "num_users: expected an integer in 1..40, got 99" in page
    assert "<h2>Optimum</h2>" in page
    views = f"view: expected one of {list(VIEWS.names())}"
    assert ask("/nowhere")[::2] == (404, views)
    status, _, body = ask("/draw/nowhere")
    assert (status, json.loads(body)) == (404, {"error": views})


OUTSIDE = (
    *("/assets/../app.py", "/assets/..%2fapp.py", "/assets/%2e%2e/app.py", "/assets//etc/passwd", "/assets/"),
    *("/../../etc/passwd", "/assets/../../../../../../etc/passwd", "/assets/."),
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_file_but_the_assets_is_served(path):
    status, _, body = ask(path)
    assert status == 404
    assert not re.search("root:|import", body)


LOOKED_UP = [
    (view, entry.name)
    for view in VIEWS.names()
    for entry, control in VIEWS.load(view).controls()
    if isinstance(control, Choice) and callable(control.options)
]
"""All choices whose names are known only where the page is served."""


@pytest.mark.parametrize(("view", "name"), LOOKED_UP)
def test_no_choice_is_the_path_of_a_file(view, name, tmp_path):
    """Existing and missing files give the same error."""
    Scenario.preset("r1").save(tmp_path / "a.toml")
    there, nowhere = (answer(view, urlencode({name: tmp_path / file}), HERE)["error"] for file in ("a.toml", "b.toml"))
    assert there.startswith(f"{name}: expected one of ")
    assert there == nowhere.replace("b.toml", "a.toml")
    assert there in render_view(view, urlencode({name: tmp_path / "a.toml"}), HERE).replace("&#x27;", "'")


EVIL = "http://evil.example"
REFUSED = {
    "another name": {"host": "evil.example"},
    "another name with our port": {"host": f"evil.example:{PORT}"},
    "another port": {"host": "127.0.0.1:1"},
    "no name": {"host": ""},
    "another page": {"origin": EVIL},
    "a page without a name": {"origin": "null"},
    "another page of a machine with any name": {"address": "0.0.0.0", "host": "lab.example", "origin": EVIL},
    **{
        f"{part} of {site}": {"sec_fetch_site": site, "sec_fetch_mode": mode, "sec_fetch_dest": target}
        for site in ("cross-site", "same-site")
        for part, mode, target in (
            ("img", "no-cors", "image"), ("iframe", "navigate", "iframe"), ("fetch", "cors", "empty"), ("?", "", "")
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/draw/one-round", "/assets/explore.js"])
@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
def test_other_names_and_other_pages_are_refused(path, headers):
    status, _, body = ask(path, **headers)
    assert status == 403
    assert len(body.splitlines()) == 1


OPENED = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
ANSWERED = [
    *({"sec_fetch_site": site, **OPENED} for site in ("cross-site", "none")),  # a link is followed
    *(
        {"host": f"{name}:{PORT}", "origin": f"http://{name}:{PORT}", "sec_fetch_site": "same-origin"}
        for name in ("localhost", "[::1]", "127.0.0.1")
    ),
    {"address": "0.0.0.0", "host": "lab.example:8050"},  # a machine that is reached everywhere has any name
]


@pytest.mark.parametrize("headers", ANSWERED)
def test_links_and_own_names_are_answered(headers):
    assert [ask(path, "num_users=1", **headers)[0] for path in ("/one-round", "/draw/one-round")] == [200, 200]


def test_the_browser_is_told_to_load_nothing_from_elsewhere():
    _, headers, _ = ask("/assets/explore.js")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert {policy.pop(name) for name in ("script-src", "connect-src", "form-action")} == {"'self'"}
    assert {policy.pop(name) for name in ("default-src", "base-uri", "frame-ancestors")} == {"'none'"}
    assert policy == {"img-src": "'self' data:", "style-src": "'self' 'unsafe-inline'"}
    assert headers["x-content-type-options"] == "nosniff"
