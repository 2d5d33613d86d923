"""A device of a testbed: connects, drafts when the server asks, and uploads at the given rate."""

import re
from collections.abc import Callable, Mapping
from time import perf_counter, sleep
from typing import Any, NamedTuple, Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from multispin_env.apps.testbed.messages import (
    CHUNK,
    FROM_SERVER,
    PROTOCOL,
    Draft,
    DraftForm,
    pack,
    pieces,
    unpack,
    unpack_text,
)
from multispin_env.apps.testbed.transport import Context, as_z85, check_key, make_socket
from multispin_env.checks import shown

_RETRY = 0.5  # seconds after a lost connection
_ADDRESS = re.compile(r"tcp://([0-9a-f]{64})@(.+:\d{1,5})")
_REFUSALS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "access: expected the access key of the server, got another one",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "connect: expected the address that the server printed, got another key",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "connect: expected the address that the server printed, got another key",
}


class LostError(Exception):
    """The connection is lost, and may be made again."""


class Drafts(Protocol):
    """Draft model with one text for each seat."""

    def begin(self, seat: int, number: int, text: list[int]) -> None:
        """Read a request's text."""

    def draft(self, seat: int, length: int) -> Draft:
        """Draft L tokens after the text."""

    def extend(self, seat: int, new: list[int]) -> None:
        """Append tokens to the text, of which the first may have been drafted."""


class Address(NamedTuple):
    """Address of a server with its public key."""

    endpoint: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse ``tcp://HEX@HOST:PORT``; ``ValueError`` for another text."""
        match = _ADDRESS.fullmatch(text)
        if not match:
            raise ValueError(f"connect: expected tcp://HEX@HOST:PORT as the server printed it, got {shown(text)}")
        return cls(f"tcp://{match[2]}", match[1])


def join(
    address: Address,
    access: str,
    about: Mapping[str, Any],
    make: Callable[[dict[str, Any]], Drafts],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Draft for a server until it refuses this device (``ValueError``) or ``stop`` returns true.

    ``about`` are the fields of ``hello`` without the protocol, and ``make`` returns the draft model for those of
    ``welcome``. A lost connection is made again.
    """
    check_key("access", access)
    while not stop():
        with _Session(address, access) as session:
            try:
                session.run(about, make, stop)
            except LostError:
                sleep(_RETRY)


class _Session:
    """One connection to a server."""

    def __init__(self, address: Address, access: str) -> None:
        self._context: Context = zmq.Context()
        options: dict[int, int | bytes] = {zmq.CURVE_SERVERKEY: as_z85(address.key), zmq.LINGER: 0}
        self._socket = make_socket(self._context, zmq.DEALER, access, options)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | sum(_REFUSALS))
        self._socket.connect(address.endpoint)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def run(self, about: Mapping[str, Any], make: Callable[[dict[str, Any]], Drafts], stop: Callable[[], bool]) -> None:
        """Follow the server's messages."""
        self._send("hello", protocol=PROTOCOL, **about)
        model, terms, drafted = None, {}, {}
        while not stop():
            part = self._receive()
            if not part:  # nothing, or a look for broken connections
                continue
            kind, fields, body = unpack(part, FROM_SERVER)
            if kind == "refused":
                raise ValueError(f"server: {fields['reason']}")
            if kind == "again":
                raise LostError
            if kind == "welcome":
                model, terms = make(fields), fields
                continue
            assert model is not None, "the server has said welcome"
            seat = fields["seat"]
            if kind == "begin":
                model.begin(seat, fields["number"], unpack_text(body, terms["size"]))
                self._send("ready", seat=seat)
            elif kind == "decide":
                drafted[seat] = self._upload(model, terms, fields)
            elif not fields["ended"]:
                model.extend(seat, [*drafted.pop(seat, [])[: fields["accepted"]], fields["token"]])

    def _upload(self, model: Drafts, terms: dict[str, Any], decision: dict[str, Any]) -> list[int]:
        start = perf_counter()
        draft = model.draft(decision["seat"], decision["length"])
        _sleep_until(start + terms["token_time"] * decision["length"])
        begun = perf_counter()
        now = {name: decision[name] for name in ("seat", "round")}
        self._send("drafted", seconds=begun - start, **now)
        body = DraftForm(terms["size"], terms["kept"], terms["bits"]).pack(draft)
        for number, (after, first, last) in enumerate(pieces(len(body), decision["upload"], CHUNK)):
            _sleep_until(begun + after)
            self._send("draft", body[first:last], piece=number, **now)
        return draft.tokens.tolist()

    def _send(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        self._socket.send(pack(kind, body, **fields))

    def _receive(self) -> bytes:
        """Return the next part, or b"" after a moment; `LostError` if the connection is lost."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        events = dict(poller.poll(100))
        if self._socket in events:
            return self._socket.recv()
        if self._monitor in events:
            event = recv_monitor_message(self._monitor)["event"]
            if event in _REFUSALS:
                raise ValueError(_REFUSALS[event])
            raise LostError
        return b""


def _sleep_until(time: float) -> None:
    sleep(max(0.0, time - perf_counter()))
