"""Processes that compute for the page: few at a time, and each ends when nobody waits for it."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multispin_env.explore import workers
from multispin_env.explore.workers import AnswerError, BusyError, Workers

ROOT = Path(__file__).parent.parent.parent


def beat(file, *_):
    """Compute without end, and write that it goes on."""
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
    """Whether a computation stops within some seconds."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        size = file.stat().st_size
        time.sleep(0.3)
        if file.stat().st_size == size:
            return True
    return False


def test_a_process_stays_for_the_next_question():
    async def ask():
        several = Workers()
        return [await several.answer(os.getpid) for _ in range(2)]

    first, second = asyncio.run(ask())
    assert first == second != os.getpid()


def test_what_takes_too_long_stops(tmp_path, monkeypatch):
    heart = tmp_path / "heart"

    async def wait():
        several = Workers()
        await several.answer(os.getpid)  # it has started
        monkeypatch.setattr(workers, "MOST_SECONDS", 0.5)
        with pytest.raises(AnswerError, match=r"^page: expected settings that are answered within 0.5 s, got slower"):
            await several.answer(beat, heart)

    asyncio.run(wait())
    assert is_over(heart)


def test_few_compute_and_few_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "MOST_WAITING", 2)
    hearts = [tmp_path / f"{number}" for number in range(workers.AT_ONCE + 2)]

    async def crowd():
        several = Workers()
        asked = [asyncio.create_task(several.answer(beat, heart)) for heart in hearts]
        await begun(*hearts[: workers.AT_ONCE])
        with pytest.raises(BusyError, match=r"^page: expected at most 4 questions at once, got more"):
            await several.answer(int)
        assert not any(heart.exists() for heart in hearts[workers.AT_ONCE :])
        for one in asked:
            one.cancel()
        await asyncio.wait(asked)
        assert await several.answer(int) == 0

    asyncio.run(crowd())


def test_a_process_that_is_killed_is_one_sentence():
    async def ask():
        several = Workers()
        with pytest.raises(AnswerError, match=r"^page: expected an answer, got none"):
            await several.answer(os._exit, 1)
        assert await several.answer(int) == 0

    asyncio.run(ask())


def test_no_computation_outlives_the_page(tmp_path):
    heart = tmp_path / "heart"
    code = "import asyncio, sys; from tests.explore.test_computing import Workers, beat\n"
    code += "asyncio.run(Workers().answer(beat, sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", code, str(heart)], cwd=ROOT) as page:
        asyncio.run(begun(heart))
        page.kill()
    assert is_over(heart)
