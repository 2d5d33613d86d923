"""Guard of the page: who may ask for what."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE = ("0.0.0.0", "::")
"""Addresses that stand for all of a machine, whose names are not known here."""

SENT = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Headers of every answer: the browser loads nothing from elsewhere, and shows the page in no frame of another."""


class Guard:
    """Refuses requests that another page sent, or that call this machine by a name that is not its own.

    Parameters
    ----------
    app
        What answers all others.
    host, port
        Where the page is.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.app = app
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        self.known = None if host in EVERYWHERE else {f"{name}:{port}" for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with status 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem = self._problem(Headers(scope=scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SENT)
            await send(message)

        app = self.app if problem is None else PlainTextResponse(problem, 403)
        await app(scope, receive, send_guarded)

    def _problem(self, headers: Headers) -> str | None:
        """What is wrong with a request, in a sentence."""
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
