"""Where the page is reached, and how it is answered."""

import ipaddress
import socket

import uvicorn
from starlette.types import ASGIApp

from multispin_env.checks import check_integer

MOST_REQUESTS = 200
"""Requests at once; more are answered that the page is busy."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 takes a free one.

    Raises
    ------
    ValueError
        For a bad port, or an address that is taken or is not one of this machine.
    """
    check_integer("port", port, 0, 65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)  # who asks before the page is ready waits for it
    except OSError as error:
        raise ValueError(
            f"host and port: expected a free address of this machine, got {host}:{port} ({error.strerror})"
        ) from None


def serve(app: ASGIApp, at: socket.socket) -> None:
    """Answer until the process is ended."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[at])
