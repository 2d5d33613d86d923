"""The page as a web application: the only room that knows the library behind it."""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from multispin_env.explore.guard import Guard
from multispin_env.explore.page import answer, whole_page
from multispin_env.explore.places import Places
from multispin_env.explore.view import VIEWS
from multispin_env.explore.workers import AnswerError, BusyError, Workers

ASSETS = files("multispin_env.explore") / "assets"

RETRY = {"retry-after": "5"}
"""Header for whoever finds the page busy."""


def make_app(places: Places, host: str, port: int) -> ASGIApp:
    """The page for these places, which is called by this name.

    Raises
    ------
    ValueError
        For a scenario file that the first view cannot begin with.
    """
    first = VIEWS.names()[0]
    VIEWS.load(first).start(places)
    workers = Workers()

    async def page(request: Request) -> Response:
        name = request.path_params.get("view", first)
        if name not in VIEWS.names():
            return PlainTextResponse(f"view: expected one of {list(VIEWS.names())}", 404)
        return await computed(request, name, whole_page, HTMLResponse, PlainTextResponse)

    async def draw(request: Request) -> Response:
        return await computed(request, request.path_params["view"], answer, JSONResponse, _said)

    async def computed(
        request: Request,
        name: str,
        function: Callable[[str, str, Places], Any],
        respond: Callable[[Any], Response],
        refuse: Callable[..., Response],
    ) -> Response:
        """What the function returns; it ends when whoever asked has gone."""
        work = asyncio.create_task(workers.answer(function, name, request.url.query, places))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            return respond(work.result()) if work.done() else Response()  # which nobody reads
        except asyncio.CancelledError:
            return refuse("page: expected to answer, got the end of multispin explore", 503, None)
        except AnswerError as why:
            return refuse(str(why), 503, RETRY if isinstance(why, BusyError) else None)
        finally:
            work.cancel()
            gone.cancel()

    routes = [
        Route("/", page),
        Route("/draw/{view}", draw),
        Mount("/assets", StaticFiles(directory=str(ASSETS))),
        Route("/{view}", page),
    ]
    return Guard(Starlette(routes=routes), host, port)


def _said(why: str, status: int, headers: dict[str, str] | None) -> Response:
    """A refusal as the script of the page reads it."""
    return JSONResponse({"said": why}, status, headers)


async def _gone(request: Request) -> None:
    """Return when whoever asked has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
