"""A device of a testbed: connects, drafts when the server asks, and uploads in the given time."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from multispin_lab.access import check_key, parse_address
from multispin_lab.models.engine import Model
from multispin_lab.models.halves import Drafter, draft_numbers
from multispin_lab.testbed import messages
from multispin_lab.testbed.messages import Draft, DraftForm, pack, pieces
from multispin_lab.testbed.transport import Context, as_z85, make_socket, new_key

_RETRY = 0.5  # seconds after a lost connection
_TIMED = 8  # tokens of the draft from which the draft time is estimated
_MOMENT = 100  # ms between looks at `stop`
_REFUSALS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "access: expected the access key of the server, got another one",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "connect: expected the address that the server printed, got another key",
}
_LOSSES: dict[int, str] = {
    zmq.EVENT_DISCONNECTED: "closed by the server",
    zmq.EVENT_CONNECT_RETRIED: "no server",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "no answer",
}


class _LostError(Exception):
    """The connection is lost, and may be made again; the text says how."""


def join(
    address: str,
    access: str,
    about: Mapping[str, Any],
    make: Callable[[dict[str, Any]], Drafter],
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda event: None,
) -> None:
    """Draft for the server at an address until it ends or refuses this device (``ValueError``), or ``stop()`` is true.

    ``about`` are the fields of ``hello`` without protocol and instance, and ``make`` returns a drafter with a row for
    each seat for the fields of ``welcome``. A lost connection is made again. ``say`` gets a sentence when this device
    joins, when the connection is lost, once where no server is found, and when the server ends.
    """
    endpoint, key = parse_address(address)
    check_key("access", access)
    instance, last = new_key(), ""

    def make_and_say(terms: dict[str, Any]) -> Drafter:
        nonlocal last
        last = ""
        say("joined")
        return make(terms)

    while not stop():
        context: Context = zmq.Context()
        try:
            session = _Session(context, endpoint, key, access, make_and_say)
            session.send("hello", protocol=messages.PROTOCOL, instance=instance, **about)
            while not (stop() or session.has_ended):
                session.follow()
            return say("the server has ended") if session.has_ended else None
        except _LostError as error:
            if str(error) != last:
                last = str(error)
                say(f"{last} at {endpoint}, trying again")
            sleep(_RETRY)
        finally:
            context.destroy(linger=0)


def draft_for(
    address: str,
    access: str,
    model: Model,
    name: str,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda event: None,
) -> None:
    """Draft with a model for the server at an address, as `join`; a first draft is timed."""
    trial, start = Drafter(model.sequences(1, model.vocabulary_size, 2 * _TIMED), 1.0, 1, 1), 0.0
    trial.begin(0, [0])
    for _ in range(2):  # the first is slower
        start = perf_counter()
        trial.draft(np.zeros(1, dtype=np.int64), np.array([_TIMED]), np.zeros((1, _TIMED)))
    about = {
        "name": name,
        "vocabulary": messages.vocabulary_digest(model.vocabulary),
        "size": model.vocabulary_size,
        "context": model.context,
        "draft": Path(model.name).name,
        "token_time": min((perf_counter() - start) / _TIMED, messages.MAX_TOKEN_TIME),
    }
    join(address, access, about, partial(_drafter, model), stop, say)


def _drafter(model: Model, terms: Mapping[str, Any]) -> Drafter:
    sequences = model.sequences(terms["seats"], terms["size"], terms["context"])
    return Drafter(sequences, terms["temperature"], terms["kept"], terms["bits"])


class _Session:
    """One connection to a server."""

    _drafter: Drafter  # made for `welcome`, the first message
    _terms: dict[str, Any]
    has_ended = False  # the server

    def __init__(
        self, context: Context, endpoint: str, key: str, access: str, make: Callable[[dict[str, Any]], Drafter]
    ) -> None:
        self._socket = make_socket(context, zmq.DEALER, access, {zmq.CURVE_SERVERKEY: as_z85(key)})
        self._monitor = self._socket.get_monitor_socket(sum(_LOSSES) | sum(_REFUSALS))
        self._socket.connect(endpoint)
        self._poller = zmq.Poller()
        for socket in (self._socket, self._monitor):
            self._poller.register(socket, zmq.POLLIN)
        self._make = make
        self._requests: dict[int, int] = {}  # number of the request in each seat
        self._drafted: dict[int, list[int]] = {}  # tokens that wait for a verdict

    def send(self, kind: str, body: bytes = b"", /, **fields: Any) -> None:
        """Send a message."""
        self._socket.send(pack(kind, body, **fields))

    def follow(self) -> None:
        """Follow the next message, or return after a moment; `_LostError` if the connection is lost."""
        events = dict(self._poller.poll(_MOMENT))
        if self._socket in events:
            if part := self._socket.recv():  # an empty one is a look for broken connections
                self._obey(*messages.unpack(part, messages.FROM_SERVER))
        elif self._monitor in events:
            event = recv_monitor_message(self._monitor)["event"]
            raise ValueError(_REFUSALS[event]) if event in _REFUSALS else _LostError(_LOSSES[event])

    def _obey(self, kind: str, fields: dict[str, Any], body: bytes) -> None:
        match kind:
            case "welcome":
                self._terms, self._drafter = fields, self._make(fields)
            case "begin":
                self._requests[fields["seat"]] = fields["number"]
                self._drafter.begin(fields["seat"], messages.unpack_text(body, self._terms["size"]))
                self.send("ready", seat=fields["seat"])
            case "decide":
                self._draft(fields["seat"], fields["round"], fields["length"], fields["upload"])
            case "verdict":
                drafted = self._drafted.pop(fields["seat"], [])[: fields["accepted"]]
                if not fields["ended"]:
                    self._drafter.extend(fields["seat"], len(drafted), [*drafted, fields["token"]])
            case "again":
                raise _LostError("late for the server")
            case "end":
                self.has_ended = True
            case "refused":
                raise ValueError(f"server: {fields['reason']}")

    def _draft(self, seat: int, number: int, length: int, upload: float) -> None:
        start, drafter, terms = perf_counter(), self._drafter, self._terms
        uniform = draft_numbers(terms["draft_seed"], self._requests[seat], len(drafter.texts[seat]), length)
        drafts = drafter.draft(np.array([seat]), np.array([length]), uniform[None])
        draft = Draft(drafts.token[0], drafts.ids[0], drafts.counts[0])
        self._drafted[seat] = draft.tokens.tolist()
        _sleep_until(start + terms["token_time"] * length)
        begun = perf_counter()
        self.send("drafted", seat=seat, round=number, seconds=begun - start)
        body = DraftForm(terms["size"], terms["kept"], terms["bits"]).pack(draft)
        for piece, (after, first, last) in enumerate(pieces(len(body), upload, messages.CHUNK)):
            _sleep_until(begun + after)
            self.send("draft", body[first:last], seat=seat, round=number, piece=piece)


def _sleep_until(time: float) -> None:
    sleep(max(0.0, time - perf_counter()))
