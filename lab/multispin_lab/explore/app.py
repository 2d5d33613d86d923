"""Web application of the page, and the check of where a request comes from."""

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

from multispin_lab.explore.page import VIEWS, answer, render_view
from multispin_lab.explore.settings import ScenarioSources
from multispin_lab.explore.workers import AnswerError, BusyError, Workers

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Headers of every response: the browser loads nothing from other sites and shows the page in no frame."""


class _Guard:
    """Middleware that refuses requests of other pages (CSRF) and unknown host names (DNS rebinding)."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.app = app
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        all_interfaces = host in ("0.0.0.0", "::")  # the names of this machine are not known here
        self.hosts = None if all_interfaces else {f"{name}:{port}" for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem = self._problem(Headers(scope=scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self.app if problem is None else PlainTextResponse(problem, 403)
        await app(scope, receive, send_guarded)

    def _problem(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self.hosts is not None and host not in self.hosts:
            return f"host: expected one of {sorted(self.hosts)}, got another name"
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return "origin: expected a request from this page, got a request from another page"
        follows_link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not follows_link:
            return "sec-fetch-site: expected a request from this page or a link to it, got a request from another page"
        return None


_ASSETS = files("multispin_lab.explore") / "assets"


def make_app(sources: ScenarioSources, host: str, port: int) -> ASGIApp:
    """Return the page for these sources at this address; ``ValueError`` if the page can't start with the file."""
    first = VIEWS.names()[0]
    VIEWS.load(first).start(sources)
    workers = Workers()

    async def page(request: Request) -> Response:
        name = request.path_params.get("view", first)
        return await compute(request, name, render_view, HTMLResponse, PlainTextResponse)

    async def draw(request: Request) -> Response:
        return await compute(request, request.path_params["view"], answer, JSONResponse, refuse_json)

    def refuse_json(message: str, status: int, headers: dict[str, str] | None) -> Response:
        return JSONResponse({"error": message}, status, headers)

    async def compute(
        request: Request,
        name: str,
        function: Callable[[str, str, ScenarioSources], Any],
        respond: Callable[[Any], Response],
        refuse: Callable[..., Response],
    ) -> Response:
        """Call the function in a worker; stop when the client disconnects."""
        if name not in VIEWS.names():
            return refuse(f"view: expected one of {list(VIEWS.names())}", 404, None)
        work = asyncio.create_task(workers.answer(function, name, request.url.query, sources))
        disconnect = asyncio.create_task(wait_for_disconnect(request))
        try:
            await asyncio.wait((work, disconnect), return_when=asyncio.FIRST_COMPLETED)
            return respond(work.result()) if work.done() else Response()  # to a client that has disconnected
        except asyncio.CancelledError:
            return refuse("page: expected a running server, got the end of multispin explore", 503, None)
        except AnswerError as error:
            return refuse(str(error), 503, {"retry-after": "5"} if isinstance(error, BusyError) else None)
        finally:
            work.cancel()
            disconnect.cancel()

    async def wait_for_disconnect(request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    routes = [
        Route("/", page),
        Route("/draw/{view}", draw),
        Mount("/assets", StaticFiles(directory=str(_ASSETS))),
        Route("/{view}", page),
    ]
    return _Guard(Starlette(routes=routes), host, port)
