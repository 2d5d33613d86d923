"""The page as others reach it: who asks for much, or for nothing, shuts nobody out."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from multispin_env.explore import app, serving
from multispin_env.explore.serving import Impatient
from multispin_env.explore.settings import Places
from tests.explore.browser import served
from tests.explore.test_computing import beat, begun, is_over

SLOW = "/draw/no-barrier?left=groups&seconds=60&episodes=16&num_users=40"


@pytest.fixture(scope="module")
def address():
    with served() as where:
        yield where


@contextmanager
def connected(address, text):
    """A connection on which a text was sent."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as one:
        one.sendall(text.format(host=parts.netloc).encode())
        yield one


def status(address, path):
    """Status of an answer, and its seconds."""
    begin = time.monotonic()
    with urllib.request.urlopen(f"{address}{path}", timeout=30) as found:
        return found.status, time.monotonic() - begin


def test_many_slow_questions_hold_up_no_style_sheet(address):
    """Most are refused at once; when all have gone, the page answers again."""
    assert status(address, "/one-round?num_users=1")[0] == 200
    with ExitStack() as crowd:
        asked = [
            crowd.enter_context(connected(address, f"GET {SLOW}&seed={seed} HTTP/1.1\r\nHost: {{host}}\r\n\r\n"))
            for seed in range(45)
        ]
        refused = asked[-1].recv(1000).decode().lower()
        assert refused.startswith("http/1.1 503 ")
        assert "\r\nretry-after: " in refused
        found, seconds = status(address, "/assets/explore.css")
        assert found == 200
        assert seconds < 10.0
        with pytest.raises(urllib.error.HTTPError, match="503"):
            status(address, "/")
    end = time.monotonic() + 15.0  # less than the others would take
    while True:
        try:
            assert status(address, "/one-round?num_users=1")[0] == 200
            break
        except urllib.error.HTTPError:
            assert time.monotonic() < end


def test_connections_that_ask_for_nothing_shut_nobody_out(address):
    with ExitStack() as crowd:
        opened = [crowd.enter_context(connected(address, "GET / HTTP/1.1\r\n")) for _ in range(230)]
        assert status(address, "/assets/explore.css")[0] == 200
        assert sum(is_closed(one) for one in opened) >= 230 - serving.MOST_IDLE


def is_closed(connection):
    """Whether the page has closed a connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def answer(scope, receive, send):
    await asyncio.sleep(0.5)
    await PlainTextResponse("here")(scope, receive, send)


BEGINNINGS = {
    "nothing": b"",
    "half a request": b"GET / HTTP/1.1\r\n",
    "half of the second": b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n",
    "no body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("sent", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_connection_is_closed_where_no_whole_request_comes(sent, monkeypatch):
    """Also after an answer, which itself may take longer than that."""
    monkeypatch.setattr(serving, "PATIENCE", 0.2)

    async def talk():
        config = uvicorn.Config(answer, lifespan="off", timeout_keep_alive=60, ws="none")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(lambda: Impatient(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            async with asyncio.timeout(30.0):
                found = await reader.read()  # until the connection is closed
            writer.close()
            await writer.wait_closed()
        return found

    assert asyncio.run(talk()).count(b"here") == sent.count(b"\r\n\r\n")


SCOPE = {
    "type": "http", "http_version": "1.1", "method": "GET", "path": "/draw/heart", "query_string": b"", "root_path": "",
    "headers": [(b"host", b"127.0.0.1:1")],
}  # fmt: skip


@pytest.fixture
def endless(tmp_path, monkeypatch):
    """A page that computes without end, and the file that grows meanwhile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "answer", beat)  # which writes to the file that has the name of the view
    return app.make_app(Places(), "127.0.0.1", 1), tmp_path / "heart"


def test_a_computation_stops_when_whoever_asked_has_gone(endless):
    page, heart = endless
    left = []

    async def receive():
        await begun(heart)
        left.append(time.monotonic())
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    asyncio.run(page(SCOPE, receive, send))
    assert time.monotonic() - left[0] < 5.0
    assert is_over(heart)


def test_the_end_of_the_page_is_an_answer_too(endless):
    """So that Ctrl-C amid a computation prints no traceback."""
    page, heart = endless
    sent = []

    async def send(message):
        sent.append(message)

    async def end():
        asked = asyncio.create_task(page(SCOPE, asyncio.Event().wait, send))
        await begun(heart)
        asked.cancel()
        await asked

    asyncio.run(end())
    assert sent[0]["status"] == 503
    assert is_over(heart)
