"""Web application of the page, and its guard: who may ask for what."""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multispin_env.apps.explore.page import VIEWS, answer, render_view
from multispin_env.apps.explore.settings import ScenarioSources
from multispin_env.apps.explore.workers import AnswerError, BusyError, Workers

_SENT = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Headers of every answer: the browser loads nothing from elsewhere, and shows the page in no frame of another."""


class _Guard:
    """Refuses requests that another page sent, or that call this machine by a name that is not its own."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.app = app
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        everywhere = host in ("0.0.0.0", "::")  # of a machine whose names are not known here
        self.known = None if everywhere else {f"{name}:{port}" for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem = self._problem(Headers(scope=scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SENT)
            await send(message)

        app = self.app if problem is None else PlainTextResponse(problem, 403)
        await app(scope, receive, send_guarded)

    def _problem(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self.known is not None and host not in self.known:
            return f"host: expected one of {sorted(self.known)}, got another name"
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return "origin: expected this page, got another one"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not _opens(headers):
            return "sec-fetch-site: expected this page, or a link that is followed to it, got a part of another page"
        return None


def _opens(headers: Headers) -> bool:
    """Whether the browser leaves another page to show this one, and does not load it as a part."""
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


_ASSETS = files("multispin_env.apps.explore") / "assets"


def make_app(sources: ScenarioSources, host: str, port: int) -> ASGIApp:
    """The page for these sources, at this address; ``ValueError`` for a scenario file that it can't begin with."""
    first = VIEWS.names()[0]
    VIEWS.load(first).settings.start(sources)
    workers = Workers()

    async def page(request: Request) -> Response:
        name = request.path_params.get("view", first)
        if name not in VIEWS.names():
            return PlainTextResponse(f"view: expected one of {list(VIEWS.names())}", 404)
        return await computed(request, name, render_view, HTMLResponse, PlainTextResponse)

    async def draw(request: Request) -> Response:
        return await computed(request, request.path_params["view"], answer, JSONResponse, _said)

    async def computed(
        request: Request,
        name: str,
        function: Callable[[str, str, ScenarioSources], Any],
        respond: Callable[[Any], Response],
        refuse: Callable[..., Response],
    ) -> Response:
        """What the function returns; it ends when whoever asked has gone."""
        work = asyncio.create_task(workers.answer(function, name, request.url.query, sources))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            return respond(work.result()) if work.done() else Response()  # which nobody reads
        except asyncio.CancelledError:
            return refuse("page: expected to answer, got the end of multispin explore", 503, None)
        except AnswerError as why:
            return refuse(str(why), 503, {"retry-after": "5"} if isinstance(why, BusyError) else None)
        finally:
            work.cancel()
            gone.cancel()

    routes = [
        Route("/", page),
        Route("/draw/{view}", draw),
        Mount("/assets", StaticFiles(directory=str(_ASSETS))),
        Route("/{view}", page),
    ]
    return _Guard(Starlette(routes=routes), host, port)


def _said(why: str, status: int, headers: dict[str, str] | None) -> Response:
    """A refusal as the script of the page reads it."""
    return JSONResponse({"said": why}, status, headers)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
