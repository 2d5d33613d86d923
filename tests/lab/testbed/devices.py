"""Devices of a testbed as threads, with tiny models."""

import threading
import time
from contextlib import contextmanager
from functools import partial

from multispin_lab.testbed import device
from multispin_lab.testbed.device import join
from multispin_lab.testbed.messages import vocabulary_digest
from tests.lab.models.tiny import tiny_model

ACCESS = "ab" * 32


def drafter(model):
    return partial(device._drafter, model)


def about(model, name, token_time=0.01):
    return {
        "name": name,
        "vocabulary": vocabulary_digest(model.vocabulary),
        "size": model.vocabulary_size,
        "context": model.context,
        "draft": model.name,
        "token_time": token_time,
    }


class Thread:
    """A device in a thread."""

    def __init__(self, address, about, make, access=ACCESS):
        self.made, self.said, self.error, self.stopped = [], [], None, False
        self._make, self._arguments = make, (address, access, about)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _kept(self, terms):
        self.made.append(self._make(terms))
        self.made[-1].name = self._arguments[2]["name"]
        return self.made[-1]

    def _run(self):
        try:
            join(*self._arguments, self._kept, lambda: self.stopped, self.said.append)
        except ValueError as error:
            self.error = str(error)

    def waits_for(self, event, seconds=20.0):
        """Whether it says so, in time."""
        end = time.perf_counter() + seconds
        while event not in self.said and time.perf_counter() < end:
            time.sleep(0.02)
        return event in self.said

    def stop(self):
        self.stopped = True
        self.thread.join(5)
        assert not self.thread.is_alive()


@contextmanager
def joined(testbed, count, make=drafter, model=None):
    """Connect devices one after the other, so that device k has the name dk and slot k."""
    model = model or tiny_model(1)
    threads = []
    try:
        for number in range(count):
            threads.append(Thread(testbed.address, about(model, f"d{number}"), make(model)))
            testbed.connections.wait(number + 1)
        yield threads
    finally:
        for thread in threads:
            thread.stop()
