"""Connections of the testbed over real sockets: rounds, devices that come and go, and attacks."""

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pytest

zmq = pytest.importorskip("zmq")

from multispin_lab.access import parse_address  # noqa: E402
from multispin_lab.models.halves import Drafts  # noqa: E402
from multispin_lab.testbed.connections import Connections, Terms  # noqa: E402
from multispin_lab.testbed.device import join  # noqa: E402
from multispin_lab.testbed.messages import FROM_SERVER, Draft, DraftForm, pack, unpack  # noqa: E402
from multispin_lab.testbed.transport import as_z85, new_key  # noqa: E402
from tests.lab.testbed.devices import Thread  # noqa: E402

FORM = DraftForm(20, 3, 4)
WELCOME = {"seats": 2, **FORM._asdict(), "context": 100, "temperature": 1.0, "token_time": 0.0}
TERMS = Terms("words", 100, 4, [{**WELCOME, "draft_seed": seed} for seed in (7, 8)], 2.0)
ABOUT = {"name": "a", "vocabulary": "words", "size": 20, "context": 100, "draft": "small", "token_time": 0.01}
ACCESS = new_key()
BODY = FORM.pack(Draft(np.array([1, 2]), np.array([[1, 2, 3]] * 2), np.ones((2, 3), dtype=int)))


class Fake:
    """Drafter that drafts the number of its seat."""

    def __init__(self, welcome):
        self.welcome, self.texts = welcome, {}

    def begin(self, seat, text):
        self.texts[seat] = text

    def draft(self, rows, length, uniform):
        ids = np.broadcast_to(np.arange(3), (1, int(length[0]), 3))
        return Drafts(length, np.full((1, int(length[0])), rows[0]), ids, np.ones_like(ids))

    def extend(self, seat, accepted, new):
        assert accepted == len(new) - 1
        self.texts[seat] += new


class Device(Thread):
    """A device in a thread, with a `Fake` as its drafter."""

    def __init__(self, server, make=Fake, access=ACCESS, **about):
        super().__init__(server.address, ABOUT | about, make, access)


@pytest.fixture
def server():
    events = []
    connections = Connections(TERMS, lambda device, seat: (3, [device, seat]), "127.0.0.1", 0, ACCESS, events.append)
    connections.events = events
    yield connections
    connections.close()


def collect(server, devices=(0,), length=2, upload=0.0, timeout=0.3, number=5, seat=1):
    return server.collect(seat, number, np.full(2, length), np.full(2, upload), devices, timeout)


@contextmanager
def running(*devices):
    yield devices
    for device in devices:
        device.stop()


def test_a_round_and_its_times(server):
    with running(Device(server), Device(server, name="b")) as devices:
        server.wait(2)
        uploads = collect(server, (0, 1), upload=0.05, timeout=5.0)
        for device, upload in uploads.items():
            assert upload.draft.tokens.tolist() == [1, 1]
            assert 0.0 <= upload.seconds <= upload.drafted - upload.start < 1.0
            assert 0.05 - 0.01 <= upload.ended - upload.drafted < 1.0
            server.send(device, "verdict", seat=1, accepted=1, token=9, ended=False)
            server.begin(device, 0)
        server.wait(2)
        assert sorted(uploads) == [0, 1]
        for device in devices:
            (model,) = device.made
            number = model.welcome["draft_seed"] - 7
            assert model.texts == {0: [number, 0], 1: [number, 1, 1, 9]}
            assert model.welcome == TERMS.welcomes[number]
        assert all(0.0 < slot.token_time < 0.1 for slot in server.slots)


class Raw:
    """A peer with the access key that sends what it likes."""

    def __init__(self, server, access=ACCESS):
        (endpoint, key), secret = parse_address(server.address), as_z85(access)
        self.socket = zmq.Context().socket(zmq.DEALER)
        self.socket.curve_serverkey, self.socket.curve_secretkey = as_z85(key), secret
        self.socket.curve_publickey, self.socket.linger = zmq.curve_public(secret), 0
        self.socket.connect(endpoint)

    def send(self, kind, body=b"", **fields):
        self.socket.send(pack(kind, body, **fields))

    def hello(self, **about):
        self.send("hello", protocol=1, **ABOUT | {"instance": "1"} | about)

    def ready(self, server, count=1, **about):
        self.hello(**about)
        for seat in range(2):
            self.send("ready", seat=seat)
        server.wait(count)

    def refusal(self, server):
        """Reason of the refusal that ends the messages from the server."""
        end = time.perf_counter() + 5.0
        while time.perf_counter() < end:
            server._receive(time.perf_counter() + 0.01)
            while self.socket.poll(0):
                part = self.socket.recv()
                if part and (message := unpack(part, FROM_SERVER)).kind == "refused":
                    return message.fields["reason"]
        raise AssertionError("no refusal")

    def is_ignored(self, server):
        self.hello()
        server._receive(time.perf_counter() + 0.2)
        return not self.socket.poll(20)

    def close(self):
        self.socket.context.destroy(linger=0)


@pytest.fixture
def raw(server):
    peer = Raw(server)
    yield peer
    peer.close()


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"vocabulary": "others"}, "draft: expected the vocabulary of the target"),
        ({"size": 19}, "draft: expected the vocabulary of the target"),
        ({"context": 99}, "context: expected at least 100 tokens, got 99"),
        ({"name": "two\nlines"}, "hello: name: expected a text of one line"),
        ({"token_time": True}, "hello: token_time: expected a finite number"),
        ({"token_time": 1.1}, "hello: token_time: expected a finite number"),
        ({"more": 1}, "hello: field: expected one of"),
    ],
)
def test_a_wrong_hello_is_refused_and_its_sender_ignored(server, raw, about, sentence):
    raw.hello(**about)
    assert sentence in raw.refusal(server)
    assert raw.is_ignored(server)
    assert not any(slot.identity for slot in server.slots)


@pytest.mark.parametrize("parts", [[b""], [b"x", b"y"], [b"\xff" * 30], [pack("ready", seat=0)], [b"a"] * 10_000])
def test_other_parts_are_refused(server, raw, parts):
    raw.socket.send_multipart(parts)
    assert "expected" in raw.refusal(server)


def test_a_name_in_use_and_one_device_too_many(server, raw):
    other, third = Raw(server), Raw(server)
    raw.ready(server)
    other.hello(instance="2")
    assert "name: expected one that no device has, got 'a'" in other.refusal(server)
    other.close()
    other = Raw(server)
    other.ready(server, 2, name="b")
    third.hello(name="c")
    assert "devices: expected at most 2, got one more" in third.refusal(server)
    again = Raw(server)
    again.ready(server, 2)  # the same process, before its old connection has ended
    again.close()  # a broken connection frees its name at once
    returned = Raw(server)
    returned.ready(server, 2, instance="2")
    assert [slot.name for slot in server.slots] == ["a", "b"]
    for peer in (other, third, returned):
        peer.close()


NOW = {"seat": 1, "round": 5}
DRAFTED = pack("drafted", seconds=0.0, **NOW)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([DRAFTED, pack("draft", BODY[:-1], piece=0, **NOW)], "draft: expected piece 0 of 9 bytes, got piece 0 of 8"),
        ([DRAFTED, pack("draft", BODY + b"x", piece=0, **NOW)], "draft: expected piece 0 of 9 bytes"),
        ([DRAFTED, pack("draft", BODY, piece=1, **NOW)], "draft: expected piece 0 of 9 bytes, got piece 1"),
        ([DRAFTED, pack("draft", b"\xff" * len(BODY), piece=0, **NOW)], "tokens[0]: expected tokens below 20"),
        ([DRAFTED, pack("draft", bytes(len(BODY)), piece=0, **NOW)], "ids[0, 0]: expected ascending tokens"),
        ([DRAFTED, DRAFTED], "expected `drafted` and `draft` once"),
        ([pack("draft", BODY, piece=0, **NOW)], "expected `drafted` and `draft` once"),
        ([pack("drafted", seconds=-1, **NOW)], "drafted: seconds: expected a finite number"),
        ([pack("drafted", seconds=1000.0, **NOW)], "seconds: expected at most the"),
        ([pack("drafted", seconds=0.0, seat=1, round=4)], "drafted: expected a message of this round"),
        ([pack("drafted", seconds=0.0, seat=0, round=5)], "drafted: expected a message of this round"),
        ([pack("ready", seat=0)], "ready: expected a seat with a new text"),
        ([pack("hello", protocol=1, instance="1", **ABOUT)], "hello: expected a message of this round"),
    ],
)
def test_a_wrong_draft_ends_its_device_and_not_the_round(server, raw, parts, sentence):
    raw.ready(server)
    with running(Device(server, name="b")):
        server.wait(2)
        for part in parts:  # they wait until the server reads them
            raw.socket.send(part)
        uploads = collect(server, (0, 1), timeout=5.0)
        assert list(uploads) == [1]
        assert sentence in raw.refusal(server)
        assert (server.slots[0].missed, server.slots[0].identity) == (1, None)
        assert list(collect(server, (1,), timeout=5.0)) == [1]


def test_a_silent_device_is_dropped_and_comes_back(server):
    class Slow(Fake):
        def draft(self, *arguments):
            if not slept:
                slept.append(time.sleep(0.6))
            return super().draft(*arguments)

    slept = []
    with running(Device(server, Slow), Device(server, name="b")) as devices:
        server.wait(2)
        place = [slot.name for slot in server.slots].index("a")
        start = time.perf_counter()
        assert list(collect(server, (0, 1))) == [1 - place]
        assert 0.3 <= time.perf_counter() - start < 0.6
        assert "has sent no draft in 0.3 s" in server.events[-1]
        server.wait(2)
        assert server.slots[place].name == "a"
        assert sorted(collect(server, (0, 1), timeout=5.0)) == [0, 1]
        assert len(devices[0].made) == 2


def test_the_server_waits_for_the_last_device_and_a_new_server_is_found(server):
    with running(Device(server)):
        server.wait(1)
    assert collect(server) == {}  # it has left
    assert not server.present.any()
    with running(Device(server)):
        server.wait(1)
        assert list(collect(server, timeout=5.0)) == [0]


def test_the_access_key_is_needed(server):
    device = Device(server, access=new_key())
    device.thread.join(20)
    assert device.error == "access: expected the access key of the server, got another one"
    other = Device(SimpleNamespace(address=f"tcp://{'0' * 64}@{server.address.partition('@')[2]}"))
    other.thread.join(20)
    assert other.error == "connect: expected the address that the server printed, got another key"
    for text in ("tcp://gpu.local:8051", f"tcp://{ACCESS}@host", "http://x"):
        with pytest.raises(ValueError, match=r"connect: expected tcp://HEX@HOST:PORT"):
            parse_address(text)
    with pytest.raises(ValueError, match=r"access: expected 64 hexadecimal digits, got 3"):
        join(server.address, "abc", ABOUT, Fake)


def test_a_device_says_that_it_finds_no_server_has_joined_and_that_the_server_has_ended(server, monkeypatch):
    monkeypatch.setattr("multispin_lab.testbed.device._RETRY", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    with running(Device(SimpleNamespace(address=f"tcp://{'0' * 64}@{endpoint}")), Device(server)) as (lost, found):
        server.wait(1)
        for _ in range(2):
            server._drop(0, "again", "has left")
            server.wait(1)
        server.close()
        found.thread.join(5)
        assert not found.thread.is_alive()
        late = f"late for the server at tcp://{server.address.partition('@')[2]}, trying again"
        assert found.said == ["joined", late, "joined", late, "joined", "the server has ended"]
        assert lost.waits_for(f"no server at tcp://{endpoint}, trying again")
        time.sleep(0.3)
        assert len(lost.said) == 1  # of many trials


def test_the_first_draft_time_is_positive(server, raw):
    raw.ready(server, token_time=0.0)  # a controller refuses 0
    assert 0.0 < server.slots[0].token_time < 1e-5


def test_an_address_in_use_is_one_sentence(server):
    port = int(server.address.rpartition(":")[2])
    for host, number in (("127.0.0.1", port), ("nowhere.invalid", 0)):
        with pytest.raises(ValueError, match=r"^host and port: expected a free address of this machine, got"):
            Connections(TERMS, server._text_of, host, number, ACCESS)


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_others_without_the_key_cost_little(server):
    """Of HTTP, random bytes and slow connections nothing arrives, and rounds go on."""
    host, port = "127.0.0.1", int(server.address.rpartition(":")[2])
    with running(Device(server)):
        server.wait(1)
        before = resident()
        strangers = [socket.create_connection((host, port)) for _ in range(30)]
        greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x01CURVE" + b"\0" * 15 + b"\0" * 32
        for number, stranger in enumerate(strangers):
            data = [b"GET / HTTP/1.1\r\n\r\n", os.urandom(2000), greeting + b"\x06" + b"\xff" * 8 + b"\0" * 10_000, b""]
            stranger.sendall(data[number % 4])
        for number in range(5):
            assert list(collect(server, timeout=5.0, number=number)) == [0]
        assert resident() - before < 20e6
        for stranger in strangers:
            stranger.close()


def test_too_many_connections_are_closed_the_oldest_first(server):
    host, port = "127.0.0.1", int(server.address.rpartition(":")[2])
    with running(Device(server)):
        server.wait(1)
        strangers = [socket.create_connection((host, port)) for _ in range(150)]
        with running(Device(server, name="b")):
            server.wait(2)
            assert sorted(collect(server, (0, 1), timeout=5.0)) == [0, 1]
            open_ones = []
            for number, stranger in enumerate(strangers):
                stranger.settimeout(0.01 if number >= 150 - 32 else 1.0)  # less than the 3 s of the handshake
                with suppress(ConnectionError):
                    try:
                        while stranger.recv(100):  # the server's greeting, then the end
                            pass
                    except TimeoutError:
                        open_ones.append(number)
                stranger.close()
            assert 0 < len(open_ones) <= 32
            assert min(open_ones) >= 150 - 32


def test_a_device_that_does_not_read_costs_the_others_little_however_often(server):
    server.terms = server.terms._replace(grace=0.4)
    spent = []
    with running(Device(server, name="b")):
        server.wait(1)
        for number in range(6):  # it joins, drafts, does not read its next text, and joins again
            peer = Raw(server)
            peer.ready(server, 2, instance=str(number))
            place = [slot.name for slot in server.slots].index("a")
            peer.socket.send(DRAFTED)
            peer.socket.send(pack("draft", BODY, piece=0, **NOW))
            assert sorted(collect(server, (0, 1), timeout=5.0)) == [0, 1]
            server.begin(place, 1)
            start = time.perf_counter()
            server.wait(1)
            spent.append(time.perf_counter() - start)
            assert server.present.tolist() == [k != place for k in range(2)]
            assert server.events[-1] == "a: still reads, rounds go on without it"
            start = time.perf_counter()
            server.wait(1)
            assert time.perf_counter() - start < 0.1  # no more
            peer.send("ready", seat=1)
            server.wait(2)  # it may go on
            peer.close()
            while server.present[place]:
                server._receive(time.perf_counter() + 0.01)
    assert spent[0] >= 0.4
    assert sum(spent) < 2 * 0.4 + 6 * 0.3  # the server looks four times a second


def test_a_message_above_the_limit_never_arrives(server, raw):
    raw.ready(server)
    raw.socket.send(b"x" * 5_000)
    assert collect(server) == {}
    assert "left" in server.events[-1]


@pytest.mark.slow
def test_slow_connections_are_closed_and_do_not_slow_a_round(server):
    def times(number):
        start = time.perf_counter()
        for index in range(100):
            assert list(collect(server, timeout=5.0, number=number + index)) == [0]
        return (time.perf_counter() - start) / 100

    def trickle(stranger):
        with suppress(ConnectionError):
            for _ in range(20):
                stranger.send(b"\xff")
                time.sleep(0.8)

    with running(Device(server)):
        server.wait(1)
        alone, port = times(0), int(server.address.rpartition(":")[2])
        strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        threads = [threading.Thread(target=trickle, args=[stranger], daemon=True) for stranger in strangers]
        for thread in threads:
            thread.start()
        assert times(100) < 3 * alone + 0.01
        for thread, stranger in zip(threads, strangers, strict=True):
            thread.join(8)
            assert not thread.is_alive()
            stranger.close()
