"""The page as a web application: the only room that knows the library behind it."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from multispin_env.explore.guard import Guard
from multispin_env.explore.page import answer, whole_page
from multispin_env.explore.places import Places
from multispin_env.explore.view import VIEWS

ASSETS = files("multispin_env.explore") / "assets"


def make_app(places: Places, host: str, port: int) -> ASGIApp:
    """The page for these places, which is called by this name.

    Raises
    ------
    ValueError
        For a scenario file that the first view cannot begin with.
    """
    first = VIEWS.names()[0]
    VIEWS.load(first).start(places)

    def page(name: str, request: Request) -> Response:
        if name not in VIEWS.names():
            return PlainTextResponse(f"view: expected one of {list(VIEWS.names())}", 404)
        return HTMLResponse(whole_page(name, request.url.query, places))

    def draw(name: str, request: Request) -> Response:
        return JSONResponse(answer(name, request.url.query, places))

    routes = [
        Route("/", _threaded(page, first)),
        Route("/draw/{view}", _threaded(draw, first)),
        Mount("/assets", StaticFiles(directory=str(ASSETS))),
        Route("/{view}", _threaded(page, first)),
    ]
    return Guard(Starlette(routes=routes), host, port)


def _threaded(respond: Callable[[str, Request], Response], first: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that computes aside, so that others are answered meanwhile."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(respond, request.path_params.get("view", first), request)

    return endpoint
