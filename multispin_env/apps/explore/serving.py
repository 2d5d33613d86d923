"""Server of the page: where it is reached, and how it answers."""

import asyncio
import ipaddress
import socket
from operator import itemgetter

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from multispin_env.checks import check_integer

IDLE_TIMEOUT = 5.0  # seconds in which a request has to come, the first as well as the next one
MAX_IDLE = 100  # connections whose request has not come; with one more, the oldest is dropped


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int) -> socket.socket:
    """A socket at the address, or ``ValueError``; port 0 takes a free one."""
    check_integer("port", port, 0, 65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)  # who asks before the page is ready waits for it
    except OSError as error:
        raise ValueError(
            f"host and port: expected a free address of this machine, got {host}:{port} ({error.strerror})"
        ) from None


def run_server(app: ASGIApp, at: socket.socket) -> None:
    """Answer until the process is ended."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=_Impatient,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[at])


class _Impatient(H11Protocol):
    """HTTP for a connection that is closed where no whole request comes, so that idle ones leave room for others."""

    closing: asyncio.TimerHandle | None = None  # None while a request is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        idle = [(one.closing.when(), one) for one in self.connections if isinstance(one, _Impatient) and one.closing]
        if len(idle) > MAX_IDLE:
            _, oldest = min(idle, key=itemgetter(0))
            self.connections.discard(oldest)  # at once: many may come before its end is told
            oldest.transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        """Let time run unless a request is being answered."""
        answers = self.cycle is not None and not self.cycle.response_complete
        if answers and self.closing:
            self.closing.cancel()
            self.closing = None
        elif not answers and not self.closing:
            self.closing = self.loop.call_later(IDLE_TIMEOUT, self.transport.close)
