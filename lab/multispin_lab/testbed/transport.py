"""Sockets and keys of a testbed: ZeroMQ with CURVE, which encrypts and authenticates both ends."""

import secrets
from collections.abc import Mapping

import zmq
from zmq.utils import z85

HANDSHAKE = 3.0  # seconds in which it must be finished
_HEARTBEAT = 2.0  # seconds between signs of life, which ZeroMQ's own thread sends
_LOST = 10.0  # seconds without one after which a connection is closed

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]


def new_key() -> str:
    """Return a new secret key, 64 hexadecimal digits."""
    return secrets.token_hex(32)


def as_z85(key: str) -> bytes:
    """Return a key as ZeroMQ writes it."""
    return z85.encode(bytes.fromhex(key))


def public_key(secret: str) -> str:
    """Return the public key of a secret key."""
    return z85.decode(zmq.curve_public(as_z85(secret))).hex()


def make_socket(context: Context, kind: int, secret: str, options: Mapping[int, int | bytes]) -> Socket:
    """Return a socket with a secret key and further options."""
    made = context.socket(kind)
    common: dict[int, int | bytes] = {
        zmq.CURVE_SECRETKEY: as_z85(secret),
        zmq.CURVE_PUBLICKEY: as_z85(public_key(secret)),
        zmq.HANDSHAKE_IVL: int(1e3 * HANDSHAKE),
        zmq.CONNECT_TIMEOUT: int(1e3 * HANDSHAKE),
        zmq.HEARTBEAT_IVL: int(1e3 * _HEARTBEAT),
        zmq.HEARTBEAT_TIMEOUT: int(1e3 * _LOST),
        zmq.IPV6: 1,
    }
    for option, value in {**common, **options}.items():
        made.setsockopt(option, value)
    return made
