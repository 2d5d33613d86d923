"""HTTP server of the page: its socket and the timeout of idle connections."""

import asyncio
import ipaddress
import socket
from operator import itemgetter

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from multispin_env.apps.executors import Worker
from multispin_env.checks import check_integer
from multispin_lab.explore.workers import compile_rules

IDLE_TIMEOUT = 5.0  # seconds in which a whole request must arrive, first or next
MAX_IDLE = 100  # connections without a request; with one more, the oldest is dropped


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int) -> socket.socket:
    """Open a socket at the address; port 0 takes a free one. ``ValueError`` if it can't be opened."""
    check_integer("port", port, 0, 65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)  # requests wait until the page is ready
    except OSError as error:
        raise ValueError(
            f"host and port: expected a free address of this machine, got {host}:{port} ({error.strerror})"
        ) from None


def run_server(app: ASGIApp, at: socket.socket) -> None:
    """Serve the application until the process ends."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=_IdleTimeoutProtocol,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="none",
    )
    Worker(daemon=True).send(compile_rules)
    uvicorn.Server(config).run(sockets=[at])


class _IdleTimeoutProtocol(H11Protocol):
    """HTTP protocol that closes connections without a whole request in time, so that others are served."""

    closing: asyncio.TimerHandle | None = None  # None while a request is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._update_timer()
        protocols = [protocol for protocol in self.connections if isinstance(protocol, _IdleTimeoutProtocol)]
        idle = [(protocol.closing.when(), protocol) for protocol in protocols if protocol.closing]
        if len(idle) > MAX_IDLE:
            _, oldest = min(idle, key=itemgetter(0))
            self.connections.discard(oldest)  # now: many connections may come before `connection_lost`
            oldest.transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        self._update_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_timer()

    def _update_timer(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and self.closing:
            self.closing.cancel()
            self.closing = None
        elif not answering and not self.closing:
            self.closing = self.loop.call_later(IDLE_TIMEOUT, self.transport.close)
