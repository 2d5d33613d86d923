"""Connections of a testbed's server: admission of devices, and the messages of a round.

Only devices with the access key get through the handshake of CURVE. ZeroMQ closes connections that do not finish it in
a few seconds, and those with a message above the largest that a device has to send; a thread closes the oldest of too
many. All waiting is in `_receive`, so that nothing else runs between rounds; meanwhile messages wait in ZeroMQ's
queues.
"""

import math
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import zmq
import zmq.auth.thread
from zmq.utils.monitor import recv_monitor_message

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, cut, reason, shown
from multispin_lab.testbed import messages
from multispin_lab.testbed.messages import Draft, DraftForm, Message, pack, pieces
from multispin_lab.testbed.transport import Context, Socket, as_z85, make_socket, new_key, public_key

_PROBE = 0.25  # seconds between looks for broken connections while waiting
_READING = 120.0  # seconds to read a text, after which a device is dropped
_WEIGHT = 0.2  # of a new draft time
_STRANGERS = 32  # connections that are open and not of a device; ZeroMQ has no limit of its own
_SHORTEST = 1e-6  # draft time, seconds


class Terms(NamedTuple):
    """Terms of a testbed of K devices."""

    vocabulary: str  # its `vocabulary_digest`
    context: int  # longest text with a draft, tokens
    longest: int  # L_max
    welcomes: list[dict[str, Any]]  # fields of the message to each device, (K,)
    grace: float  # seconds for which rounds wait for a device that reads a text


@dataclass(eq=False)
class Slot:
    """One of the K devices, connected or not."""

    identity: bytes | None = None  # of its connection
    name: str = ""
    instance: str = ""  # of its process
    draft: str = ""  # its model
    token_time: float = 0.0  # T_k, s/token, as measured so far or emulated
    missed: int = 0  # rounds
    late: int = 0  # texts that it had not read when rounds went on
    begun: float = 0.0  # when the last text was sent
    ready: set[int] = field(default_factory=set)  # seats whose text it has read
    active: bool = False  # whether rounds wait for it: it has been ready for all seats, and is not late
    descriptor: int = -1  # of its connection's file


@dataclass(eq=False)
class Upload:
    """What a device has sent in a round; times in seconds by the server's clock, unless stated."""

    fields: dict[str, int]  # seat and round, which its messages repeat
    length: int
    pieces: list[int]  # bytes of each
    start: float  # when `decide` was sent
    drafted: float = np.nan  # when `drafted` came
    ended: float = np.nan  # when the last piece came
    seconds: float = np.nan  # of drafting, by the device's clock
    body: list[bytes] = field(default_factory=list)
    draft: Draft | None = None  # in the end


class Connections:
    """Socket of a server for K devices.

    ``text_of`` returns number and text of a device's request in a seat, and ``say`` gets a sentence when a device comes
    or goes. Devices with the same ``access`` key, 64 hexadecimal digits, are let in. ``ValueError`` if the address
    cannot be opened.
    """

    def __init__(
        self,
        terms: Terms,
        text_of: Callable[[int, int], tuple[int, list[int]]],
        host: str,
        port: int,
        access: str,
        say: Callable[[str], None] = lambda event: None,
    ) -> None:
        self.terms, self._text_of, self._say = terms, text_of, say
        self.seats, *form = (terms.welcomes[0][name] for name in ("seats", "size", "kept", "bits"))
        self.form = DraftForm(*form)
        self.slots = [Slot() for _ in terms.welcomes]
        self._uploads: dict[int, Upload] = {}  # of the devices in this round
        self._forgotten: deque[bytes] = deque(maxlen=2 * len(self.slots) + 8)  # connections that are ignored
        self._context: Context = zmq.Context()
        self._guard = zmq.auth.thread.ThreadAuthenticator(self._context)
        self._guard.start()
        self._guard.allow_any, self._guard.certs = False, {"*": {as_z85(public_key(access)): True}}
        secret = new_key()
        options: dict[int, int | bytes] = {
            zmq.CURVE_SERVER: 1,
            zmq.MAXMSGSIZE: 4 + messages.LARGEST_HEADER + self.form.bytes_of(terms.longest),
            zmq.ROUTER_MANDATORY: 1,  # sending to a broken connection is an error
            zmq.LINGER: 1000,
        }
        self._socket = make_socket(self._context, zmq.ROUTER, secret, options)
        events = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        threading.Thread(target=self._close_strangers, args=(events,), daemon=True).start()
        try:
            self.address = f"tcp://{public_key(secret)}@{host}:{self._bind(host, port)}"
        except BaseException:
            self.close()
            raise

    def _bind(self, host: str, port: int) -> int:
        check_integer("port", port, 0, 65535)
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
            self._socket.bind(f"tcp://[{address}]:{port or '*'}")
        except (OSError, zmq.ZMQError) as error:
            got = f"{host}:{port} ({error.strerror})"
            raise ValueError(f"host and port: expected a free address of this machine, got {got}") from None
        return int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def _close_strangers(self, events: Socket) -> None:
        """Close the oldest of too many connections that are not of a device; return when the context ends."""
        connections: dict[int, None] = {}  # descriptors, the oldest first
        with events, suppress(zmq.ContextTerminated):
            while True:
                message = recv_monitor_message(events)
                connections.pop(message["value"], None)
                if message["event"] == zmq.EVENT_ACCEPTED:
                    connections[message["value"]] = None
                devices = {slot.descriptor for slot in self.slots}
                strangers = [descriptor for descriptor in connections if descriptor not in devices]
                for descriptor in strangers[:-_STRANGERS]:
                    del connections[descriptor]
                    with suppress(OSError):  # it has ended by now
                        connection = socket.socket(fileno=descriptor)  # no copy, since there may be no free descriptor
                        try:
                            connection.shutdown(socket.SHUT_RDWR)  # then ZeroMQ closes it
                        finally:
                            connection.detach()

    def close(self) -> None:
        """Tell the devices that the server ends, and close the socket."""
        for device in range(len(self.slots)):
            self.send(device, "end")
        self._socket.close()
        self._guard.stop()
        self._context.term()

    @property
    def present(self) -> BoolArray:
        """Devices that have read all their texts, (K,)."""
        return np.array([len(slot.ready) == self.seats for slot in self.slots])

    def wait(self, count: int) -> None:
        """Wait until ``count`` devices are present, and those that have played have read their new texts.

        A device that has not read them after ``grace`` seconds, half as many after each time, is no longer waited for
        until it has, so that a device that does not read cannot delay the others for long, however often.
        """
        while True:
            present = self.present
            reading = [k for k, slot in enumerate(self.slots) if slot.identity is not None and not present[k]]
            for device in reading:
                slot = self.slots[device]
                seconds = perf_counter() - slot.begun
                if seconds > _READING:
                    self._drop(device, "again", "has not read its texts in time")
                elif slot.active and seconds > self.terms.grace * 0.5**slot.late:
                    slot.active, slot.late = False, slot.late + 1
                    self._say(f"{slot.name}: still reads, rounds go on without it")
            if present.sum() >= count and not any(self.slots[k].active for k in reading):
                return
            self._receive(perf_counter() + _PROBE)

    def begin(self, device: int, seat: int) -> None:
        """Send the text of a device's request in a seat."""
        number, text = self._text_of(device, seat)
        slot = self.slots[device]
        slot.ready.discard(seat)
        slot.begun = perf_counter()
        self.send(device, "begin", messages.pack_text(text), seat=seat, number=number)

    def collect(
        self, seat: int, number: int, length: IntArray, upload: FloatArray, devices: Iterable[int], timeout: float
    ) -> dict[int, Upload]:
        """Ask ``devices`` for drafts of L (K,) ≥ 1 tokens, sent over ``upload`` (K,) seconds; return those that came.

        A device without a complete draft after ``timeout`` seconds is dropped, as is one that breaks a rule.
        """
        self._uploads = {}
        for device in devices:
            fields, size, seconds = {"seat": seat, "round": number}, int(length[device]), float(upload[device])
            parts = [end - begin for _, begin, end in pieces(self.form.bytes_of(size), seconds, messages.CHUNK)]
            self._uploads[device] = Upload(fields, size, parts, perf_counter())
            self.send(device, "decide", length=size, upload=seconds, **fields)
        end = perf_counter() + timeout
        while any(entry.draft is None for entry in self._uploads.values()) and perf_counter() < end:
            self._receive(end)
        for device in [device for device, entry in self._uploads.items() if entry.draft is None]:
            self._drop(device, "again", f"has sent no draft in {timeout:.1f} s")
        uploads, self._uploads = self._uploads, {}
        return uploads

    def send(self, device: int, kind: str, body: bytes = b"", /, **fields: Any) -> None:
        """Send a message to a device, which is dropped if its connection is broken."""
        self._reach(device, pack(kind, body, **fields))

    def _reach(self, device: int, part: bytes = b"") -> None:
        """Send a part, by default an empty one, which devices ignore; drop the device if its connection is broken."""
        identity = self.slots[device].identity
        if identity is not None and not self._sent(identity, part):
            self._drop(device, "again", "has left")

    def _sent(self, identity: bytes, part: bytes) -> bool:
        try:
            self._socket.send_multipart([identity, part], zmq.NOBLOCK)
        except zmq.ZMQError:  # broken, or its queue is full
            return False
        return True

    def _receive(self, end: float) -> None:
        """Handle the next message, or return at a time of the clock or a bit earlier."""
        left = max(0.0, min(end - perf_counter(), _PROBE))
        if not self._socket.poll(math.ceil(1e3 * left)):
            for number in range(len(self.slots)):
                self._reach(number)
            return
        frames = self._socket.recv_multipart(copy=False)
        identity, *parts = (frame.bytes for frame in frames)
        if identity in self._forgotten:
            return
        device = next((k for k, slot in enumerate(self.slots) if slot.identity == identity), None)
        try:
            if len(parts) != 1:
                raise ValueError(f"message: expected one part, got {len(parts)}")
            message = messages.unpack(parts[0], messages.FROM_DEVICE)
            if device is None:
                self._admit(identity, message, int(frames[-1].get(zmq.SRCFD)))
            else:
                self._handle(device, message)
        except ValueError as error:
            if device is None:
                self._dismiss(identity, "refused", reason=cut(reason(error)))
            else:
                self._drop(device, "refused", cut(reason(error)))

    def _dismiss(self, identity: bytes, kind: str, **fields: Any) -> None:
        self._sent(identity, pack(kind, **fields))
        self._forgotten.append(identity)

    def _drop(self, device: int, kind: str, cause: str) -> None:
        slot = self.slots[device]
        assert slot.identity is not None
        self._dismiss(slot.identity, kind, **({"reason": cause} if kind == "refused" else {}))
        slot.identity, slot.active = None, False
        slot.ready.clear()
        slot.missed += self._uploads.pop(device, None) is not None
        self._say(f"{slot.name}: {cause}")

    def _admit(self, identity: bytes, message: Message, descriptor: int) -> None:
        kind, fields, terms = message.kind, message.fields, self.terms
        if kind != "hello":
            raise ValueError(f"message: expected 'hello' first, got {kind!r}")
        if fields["vocabulary"] != terms.vocabulary or fields["size"] < self.form.size:
            raise ValueError(
                f"draft: expected the vocabulary of the target, got another one of {fields['size']} tokens"
            )
        if fields["context"] < terms.context:
            raise ValueError(f"context: expected at least {terms.context} tokens, got {fields['context']}")
        device = self._free_slot(fields["name"], fields["instance"])
        welcome, former = terms.welcomes[device], self.slots[device]
        about = {name: fields[name] for name in ("name", "instance", "draft")}
        about |= {"token_time": welcome["token_time"] or max(_SHORTEST, fields["token_time"]), "descriptor": descriptor}
        self.slots[device] = Slot(identity, **about, missed=former.missed, late=former.late)
        self.send(device, "welcome", **welcome)
        for seat in range(self.seats):
            self.begin(device, seat)
        self._say(f"{fields['name']}: is device {device + 1}")

    def _free_slot(self, name: str, instance: str) -> int:
        """Return the slot of this name, else the first that never had a device, else one whose device has gone.

        The same process gets its slot again before the end of its old connection is noticed.
        """
        for device, slot in enumerate(self.slots):
            if slot.name == name and slot.identity is not None:
                if slot.instance == instance:
                    self._drop(device, "again", "connects again")
                self._reach(device)
                if slot.identity is not None:
                    raise ValueError(f"name: expected one that no device has, got {shown(name)}")
        free = [k for k, slot in enumerate(self.slots) if slot.identity is None]
        if not free:
            raise ValueError(f"devices: expected at most {len(self.slots)}, got one more")
        return min(free, key=lambda k: (self.slots[k].name != name, self.slots[k].name != ""))

    def _handle(self, device: int, message: Message) -> None:
        kind, fields, body = message
        slot, entry = self.slots[device], self._uploads.get(device)
        if kind == "ready":
            if fields["seat"] in slot.ready or fields["seat"] >= self.seats:
                raise ValueError(f"ready: expected a seat with a new text, got {fields['seat']}")
            slot.ready.add(fields["seat"])
            slot.active = slot.active or len(slot.ready) == self.seats
            return
        if entry is None or any(fields.get(name) != value for name, value in entry.fields.items()):
            raise ValueError(f"{kind}: expected a message of this round, got {shown(fields)}")
        now, is_drafted = perf_counter(), np.isfinite(entry.drafted)
        if kind == "drafted" and not is_drafted:
            entry.drafted, entry.seconds = now, fields["seconds"]
            if entry.seconds > now - entry.start:
                raise ValueError(f"seconds: expected at most the {now - entry.start:.3f} s since `decide`, got more")
            return
        number, sizes = len(entry.body), entry.pieces
        if kind != "draft" or not is_drafted or entry.draft is not None:
            raise ValueError(f"message: expected `drafted` and `draft` once for a `decide`, got {kind!r}")
        if fields["piece"] != number or len(body) != sizes[number]:
            got = f"piece {fields['piece']} of {len(body)} bytes"
            raise ValueError(f"draft: expected piece {number} of {sizes[number]} bytes, got {got}")
        entry.body.append(body)
        if number + 1 == len(sizes):
            entry.draft, entry.ended = self.form.unpack(b"".join(entry.body), entry.length), now
            if not self.terms.welcomes[device]["token_time"]:
                new = slot.token_time + _WEIGHT * (entry.seconds / entry.length - slot.token_time)
                slot.token_time = float(np.clip(new, _SHORTEST, messages.MAX_TOKEN_TIME))
