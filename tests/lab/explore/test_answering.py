import asyncio
import os
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from multispin_lab.explore import app, serving, workers
from multispin_lab.explore.serving import _IdleTimeoutProtocol
from multispin_lab.explore.settings import ScenarioSources
from multispin_lab.explore.workers import AnswerError, BusyError, Workers
from tests.lab.explore.browser import served

pytestmark = pytest.mark.slow


def beat(file, *_):
    while True:
        with open(file, "ab") as heart:
            heart.write(b".")
        time.sleep(0.01)


async def begun(*files):
    """Wait until computations have begun."""
    async with asyncio.timeout(60.0):
        while not all(file.exists() for file in files):
            await asyncio.sleep(0.02)


def is_over(file):
    """Whether a computation stops within five seconds."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        size = file.stat().st_size
        time.sleep(0.3)
        if file.stat().st_size == size:
            return True
    return False


def test_a_process_stays_until_it_is_killed_and_what_takes_too_long_stops(tmp_path, monkeypatch):
    heart = tmp_path / "heart"
    heart.touch()

    async def ask():
        several = Workers()
        first = await several.answer(os.getpid)
        with pytest.raises(AnswerError, match=r"^page: expected an answer, got none: ValueError: invalid literal"):
            await several.answer(int, "x")
        assert await several.answer(os.getpid) == first != os.getpid()
        with pytest.raises(AnswerError, match=r"^page: expected an answer, got none"):
            await several.answer(os._exit, 1)
        numbers = range(6)  # more than computations at a time: each answer is that to its own question
        assert await asyncio.gather(*(several.answer(int, number) for number in numbers)) == list(numbers)
        monkeypatch.setattr(workers, "ANSWER_TIMEOUT", 0.5)
        with pytest.raises(AnswerError, match=r"^page: expected an answer within 0.5 s, got none"):
            await several.answer(beat, heart)

    asyncio.run(ask())
    assert is_over(heart)


def test_few_compute_and_few_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "MAX_QUEUED", 2)
    hearts = [tmp_path / f"{number}" for number in range(workers.MAX_PARALLEL + 2)]

    async def crowd():
        several = Workers()
        asked = [asyncio.create_task(several.answer(beat, heart)) for heart in hearts]
        await begun(*hearts[: workers.MAX_PARALLEL])
        with pytest.raises(BusyError, match=r"^page: expected at most 4 requests at once, got more"):
            await several.answer(int)
        assert not any(heart.exists() for heart in hearts[workers.MAX_PARALLEL :])
        for entry in asked:
            entry.cancel()
        await asyncio.wait(asked)
        assert await several.answer(int) == 0

    asyncio.run(crowd())


def test_no_computation_outlives_the_page(tmp_path):
    heart = tmp_path / "heart"
    code = "import asyncio, sys; from tests.lab.explore.test_answering import Workers, beat\n"
    code += "asyncio.run(Workers().answer(beat, sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", code, str(heart)], cwd=Path(__file__).parents[3]) as page:
        asyncio.run(begun(heart))
        page.kill()
    assert is_over(heart)


SCOPE = {
    "type": "http", "http_version": "1.1", "method": "GET", "path": "/draw/one-round", "query_string": b"",
    "root_path": "", "headers": [(b"host", b"127.0.0.1:1")],
}  # fmt: skip


def test_a_computation_stops_with_whoever_asked_and_with_the_page(tmp_path, monkeypatch):
    """Ctrl-C during a computation prints no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "answer", beat)  # which writes to the file that has the name of the view
    page, heart, sent, left = app.make_app(ScenarioSources(), "127.0.0.1", 1), tmp_path / "one-round", [], []

    async def send(message):
        sent.append(message)

    async def leaves():
        await begun(heart)
        left.append(time.monotonic())
        return {"type": "http.disconnect"}

    asyncio.run(page(SCOPE, leaves, send))
    assert time.monotonic() - left[0] < 5.0
    assert is_over(heart)
    heart.unlink()
    sent.clear()

    async def end():
        asked = asyncio.create_task(page(SCOPE, asyncio.Event().wait, send))
        await begun(heart)
        asked.cancel()
        await asked

    asyncio.run(end())
    assert sent[0]["status"] == 503
    assert is_over(heart)


@pytest.fixture(scope="module")
def address():
    with served() as where:
        yield where


@contextmanager
def connected(address, text):
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as entry:
        entry.sendall(text.format(host=parts.netloc).encode())
        yield entry


def status(address, path, seconds=30):
    with urllib.request.urlopen(f"{address}{path}", timeout=seconds) as result:
        return result.status


def test_many_slow_questions_hold_up_no_style_sheet(address):
    slow = "GET /draw/no-barrier?left=groups&seconds=60&episodes=16&num_users=40&seed={seed} HTTP/1.1\r\nHost: {{host}}"
    assert status(address, "/one-round?num_users=1") == 200
    with ExitStack() as crowd:
        texts = [slow.format(seed=seed) + "\r\n\r\n" for seed in range(45)]
        asked = [crowd.enter_context(connected(address, text)) for text in texts]
        refused = asked[-1].recv(1000).decode().lower()
        assert refused.startswith("http/1.1 503 ")
        assert "\r\nretry-after: " in refused
        assert status(address, "/assets/explore.css", seconds=10) == 200
        with pytest.raises(urllib.error.HTTPError, match="503"):
            status(address, "/")
    end = time.monotonic() + 15.0  # less than the others would take
    while True:
        try:
            assert status(address, "/one-round?num_users=1") == 200
            break
        except urllib.error.HTTPError:
            assert time.monotonic() < end


def test_connections_that_ask_for_nothing_shut_nobody_out(address):
    with ExitStack() as crowd:
        opened = [crowd.enter_context(connected(address, "GET / HTTP/1.1\r\n")) for _ in range(230)]
        assert status(address, "/assets/explore.css") == 200
        closed, _, _ = select.select(opened, [], [], 0)  # nothing else comes on these
        assert len(closed) >= 230 - serving.MAX_IDLE


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
    monkeypatch.setattr(serving, "IDLE_TIMEOUT", 0.2)

    async def talk():
        config = uvicorn.Config(answer, lifespan="off", timeout_keep_alive=60, ws="none")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: _IdleTimeoutProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server, asyncio.timeout(30.0):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            result = await reader.read()  # until the connection is closed
            writer.close()
            await writer.wait_closed()
        return result

    assert asyncio.run(talk()).count(b"here") == sent.count(b"\r\n\r\n")
