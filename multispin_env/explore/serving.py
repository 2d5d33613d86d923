"""Who may ask the page for what: the addresses it has, the names it is called by, and how much of it at once."""

import ipaddress
import logging
import socket
from typing import Any

import waitress
from flask import Flask, Response, abort, request

from multispin_env.checks import check_integer

LOOPBACK = "127.0.0.1"
"""The address unless another one is asked for."""

LARGEST_REQUEST = 256 * 1024
"""Bytes of a request."""

THREADS = 8
"""Answers that are computed at once; others wait."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address, before anything heavy is loaded.

    Raises
    ------
    ValueError
        For a bad port, or an address that is taken or is not one of this machine.
    """
    check_integer("port", port, 0, 65535)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise ValueError(
            f"host and port: expected a free address of this machine, got {host}:{port} ({error.strerror})"
        ) from None
    return listening


def guard(server: Flask, host: str, port: int) -> None:
    """Refuse requests that another page sent here, by its name or through a name that was bent to this address."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    known = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    anywhere = host in ("0.0.0.0", "::")

    @server.before_request
    def refuse() -> None:
        if not anywhere and request.host not in known:
            abort(403)
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            abort(403)

    @server.after_request
    def protect(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        return response


def serve(server: Any, listening: socket.socket) -> None:
    """Answer until the process is ended."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that one waits for another is no news
    waitress.serve(server, sockets=[listening], threads=THREADS, max_request_body_size=LARGEST_REQUEST, ident=None)
