"""Requests of the slow simulator: a line at a device, and when answers are due. No code of the package."""

import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Level:
    """Limits in seconds."""

    ttft: float = math.inf
    tpot: float = math.inf
    e2el: float = math.inf
    e2el_per_token: float = 0.0

    def first_due(self, request):
        """When the first token is due; never, once it has come."""
        return request.arrived + self.ttft if request.first is None else math.inf

    def due(self, request):
        """When the last one is due; if the first one came late, when that was due."""
        first_due = request.arrived + self.ttft
        if request.first is not None and request.first > first_due:
            return first_due
        whole = request.arrived + (self.e2el + self.e2el_per_token * request.output)
        if request.output == 1:
            return min(first_due if request.first is None else request.first, whole)
        return min((first_due if request.first is None else request.first) + self.tpot * (request.output - 1), whole)

    def met(self, request):
        """Whether a finished request was within all of them."""
        whole = self.e2el + self.e2el_per_token * request.output
        return request.ttft <= self.ttft and request.tpot <= self.tpot and request.e2el <= whole


@dataclass
class Request:
    """Its times are on the clock of the simulation."""

    arrived: float
    prompt: int
    output: int
    wanted: int
    first: float | None = None  # when its first tokens came
    last: float | None = None  # when its last ones so far came
    fate: str = "unfinished"

    @property
    def ttft(self):
        return self.first - self.arrived

    @property
    def e2el(self):
        return self.last - self.arrived

    @property
    def tpot(self):
        return 0.0 if self.output == 1 else (self.e2el - self.ttft) / (self.output - 1)


class Line:
    """One device's requests, from rows (gap, prompt tokens, output tokens); first come, first served."""

    def __init__(self, rows, closed):
        self.rows, self.closed = deque(rows), closed
        self.waiting, self.arrived = deque(), []  # the second holds all that ever came

    def next_after(self, time):
        """When the next one comes, if the one before came, or ended, at this time."""
        return time + self.rows[0][0] if self.rows else math.inf

    def arrive(self, now):
        _, prompt, output = self.rows.popleft()
        self.arrived.append(Request(now, prompt, output, output))
        self.waiting.append(self.arrived[-1])


@dataclass
class Served:
    """What becomes of requests in a step; by device, those alone to whom it happens."""

    arrivals: dict = field(default_factory=dict)
    dropped: dict = field(default_factory=dict)  # how long after they had arrived
    finished: dict = field(default_factory=dict)  # the requests
    gaps: dict = field(default_factory=dict)
    drafts: dict = field(default_factory=dict)  # tokens drafted and accepted
