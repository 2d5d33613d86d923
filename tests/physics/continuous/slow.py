"""One system without the barrier, simulated event by event in plain Python without code of the package."""

import heapq
import math
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace


@dataclass(frozen=True)
class Level:
    ttft: float = math.inf
    tpot: float = math.inf
    e2el: float = math.inf
    e2el_per_token: float = 0.0

    def first_due(self, request):
        return request.arrived + self.ttft if request.first is None else math.inf

    def due(self, request):
        first_due = request.arrived + self.ttft
        if request.first is not None and request.first > first_due:
            return first_due
        whole = request.arrived + (self.e2el + self.e2el_per_token * request.output)
        first = first_due if request.first is None else request.first
        return min(first + (self.tpot * (request.output - 1) if request.output > 1 else 0.0), whole)

    def met(self, request):
        whole = self.e2el + self.e2el_per_token * request.output
        return request.ttft <= self.ttft and request.tpot <= self.tpot and request.e2el <= whole


@dataclass
class Request:
    arrived: float
    prompt: int
    output: int
    wanted: int
    first: float | None = None  # time of its first tokens
    last: float | None = None  # time of its latest tokens
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
    """Queue of one device, from rows (gap, prompt tokens, output tokens)."""

    def __init__(self, rows, closed):
        self.rows, self.closed = deque(rows), closed
        self.waiting, self.arrived = deque(), []  # the second holds all requests that arrived

    def next_after(self, time):
        return time + self.rows[0][0] if self.rows else math.inf

    def arrive(self, now):
        _, prompt, output = self.rows.popleft()
        self.arrived.append(Request(now, prompt, output, output))
        self.waiting.append(self.arrived[-1])


FREE, DRAFTING, UPLOADING, READY, IDLE, REPEATING = range(6)
# order of events at one instant; a request that arrives when a verification ends finds a device without a draft
DRAFT_ENDS, UPLOAD_ENDS, DRAFT_ARRIVES, VERIFICATION_ENDS, REQUEST_ARRIVES, DECISION_MADE, TIMEOUT_ENDS = range(7)


@dataclass
class Device:
    """Seconds are absolute, air times are of the whole band."""

    draft_time: float
    mean_gain: float
    acceptance: float
    fading: object  # iterator of numbers
    noise: object  # iterator of exponential variables; None if nothing is drawn
    expects: bool = False  # whether tokens are expected and only hits drawn
    repeats: object = None  # iterator of seconds of repetitions, one for each cycle; None if no upload is lost
    repeated: float = 0.0  # seconds of this cycle's repetitions
    delay: float = 0.0  # access, paid by a device that drafts
    growth: tuple = (0.0, 0)  # seconds of a drafted token for each token of context, and tokens that add none
    reads: float = math.inf  # tokens of a prompt in a second
    rates: object = None  # iterator of acceptance rates of requests; None if constant
    line: Line | None = None  # None for endless requests
    request: Request | None = None

    def __post_init__(self):
        self.phase, self.length, self.aim = FREE, 0, 0
        self.gain = self.draft_ends = self.left = self.began = self.gain_drawn = self.head_start = 0.0
        self.read_ends = 0.0  # when the device has read the prompt, and tokens that came meanwhile
        self.measured = self.draft_time  # after few tokens of context


def empty_outcome(users):
    """Outcome of a step: lists by device, and dictionaries of the devices that take part."""
    served = SimpleNamespace(arrivals={}, dropped={}, finished={}, gaps={}, drafts={})
    batch = {"verified": [], "lengths": {}, "head_start": {}, "chain": {}, "hit": {}}
    uploads = {"drafted_at": {}, "uploaded_at": {}, "air": [0.0] * users}
    return SimpleNamespace(start=0.0, duration=0.0, tokens=[0.0] * users, served=served, **batch, **uploads)


class Slow:
    """Plays decisions: dictionaries of lists and numbers."""

    def __init__(self, scenario, discipline, law, devices, coherence_time=0.5):
        self.scenario, self.discipline, self.law, self.tau = scenario, discipline, law, coherence_time
        self.devices, self.level = devices, Level()
        self.now, self.epoch, self.outcome = 0.0, 0.0, empty_outcome(len(devices))
        self.heap, self.rates, self.version, self.batch = [], {}, 0, 0
        self.air_of_drafts = self.air_dropped = 0.0

    def serve(self, requests, closed, level):
        """Requests that end: rows (gap, prompt, output) by device, and limits (ttft, tpot, e2el, e2el_per_token)."""
        self.level = Level(*level)
        for k, (device, rows) in enumerate(zip(self.devices, requests, strict=True)):
            device.line, device.phase = Line(rows, closed), IDLE
            self._await_request(k)

    def efficiency(self, device):
        return math.log1p(10.0 ** (self.scenario.transmit_snr_db / 10.0) * device.gain) / math.log(2.0)

    def token_time(self, device):
        return self.scenario.bits_per_token / (self.scenario.total_bandwidth * self.efficiency(device))

    def fresh_gain(self, device):
        if self.law != "gauss-markov":
            return device.mean_gain * next(device.fading)
        real, imaginary = next(device.fading), next(device.fading)
        return device.mean_gain * (real**2 + imaginary**2) / 2.0

    def _next_gain(self, device, elapsed):
        if self.law == "static":
            return device.gain
        if self.law == "independent":
            return self.fresh_gain(device)
        corr = math.exp(-elapsed / self.tau)
        scale = math.sqrt((1.0 - corr**2) * device.mean_gain / 2.0)
        amplitude = complex(corr * math.sqrt(device.gain)) + scale * complex(next(device.fading), next(device.fading))
        return abs(amplitude) ** 2

    def play(self, decision):
        self.epoch = epoch = self.now
        decision = {"priority": None, "share": None, "timeout": math.inf, "least_batch": 1} | decision
        self.decision, self.outcome = decision, empty_outcome(len(self.devices))
        if any(decision.get("drop", ())):
            self._drop([k for k, dropped in enumerate(decision["drop"]) if dropped])
        self.keys = [None] * len(self.devices)
        for k, device in enumerate(self.devices):
            if device.phase == FREE:
                self._begin(k, device)
            self.keys[k] = self._key(k, device)
        self.awaited = [k for k, d in enumerate(self.devices) if decision["join"][k] == 2 and d.phase != IDLE]
        self._share_out()
        self.waiting, self.busy = True, False
        heapq.heappush(self.heap, (epoch, DECISION_MADE, 0, 0))
        heapq.heappush(self.heap, (epoch + decision["timeout"], TIMEOUT_ENDS, 0, 0))
        while True:
            self._forget_old_rates()
            time, kind, k, _ = heapq.heappop(self.heap)
            assert self.now <= time < math.inf
            self._serve_until(time)
            if kind == VERIFICATION_ENDS:
                return self._finish()
            self._happen(kind, k)
            self._forget_old_rates()
            if not self.busy and not (self.heap and self.heap[0][0] == self.now):
                self._perhaps_start()

    def _forget_old_rates(self):
        while self.heap and self.heap[0][1] == UPLOAD_ENDS and self.heap[0][3] != self.version:
            heapq.heappop(self.heap)

    def draft_time(self, device):
        """Of the request, or as planned for one that is not there."""
        request, (added, most) = device.request, device.growth
        context = request.prompt + request.output - request.wanted if request else self.scenario.context
        return device.measured + added * max(context - most, 0)

    def _begin(self, k, device):
        device.draft_time = self.draft_time(device)
        length = self.decision["draft_length"][k]
        if device.request:
            length = min(length, max(self.scenario.min_draft_length, device.request.wanted - 1))
        starts = self.now
        if device.read_ends > self.now and self.scenario.min_draft_length == 0:
            length = 0
        elif device.read_ends > self.now:
            starts = device.read_ends
        device.phase, device.length, device.began = DRAFTING, length, self.now
        device.aim = self.decision["aim"][k] if "aim" in self.decision else self.batch
        missing = max(length - device.head_start, 0.0)
        device.draft_ends = starts + self.scenario.round_trip_time + missing * device.draft_time
        device.draft_ends += device.delay if length else 0.0
        device.left = length * self.token_time(device)
        self.air_of_drafts += device.left
        heapq.heappush(self.heap, (device.draft_ends, DRAFT_ENDS, k, 0))

    def _key(self, k, device):
        priority = self.decision["priority"][k] if self.decision["priority"] else 0.0
        return priority, device.left, max(device.draft_ends, self.epoch), k

    def _serve_until(self, time):
        for k, rate in self.rates.items():
            served = rate * (time - self.now)
            self.devices[k].left -= served
            self.outcome.air[k] += served
        self.now = time

    def _share_out(self):
        sending = [k for k, device in enumerate(self.devices) if device.phase == UPLOADING]
        share = self.decision["share"] or [1.0 / len(self.devices)] * len(self.devices)
        if self.discipline == "serial":
            self.rates = {min(sending, key=lambda k: self.keys[k]): 1.0} if sending else {}
        elif self.discipline == "reserved":
            self.rates = {k: share[k] for k in sending}
        else:
            total = sum(share[k] for k in sending)
            self.rates = {k: share[k] / total for k in sending if share[k] > 0.0}
        self.version += 1
        for k, rate in self.rates.items():
            heapq.heappush(self.heap, (self.now + self.devices[k].left / rate, UPLOAD_ENDS, k, self.version))

    def _happen(self, kind, k):
        if kind >= DECISION_MADE:
            self.waiting &= kind != TIMEOUT_ENDS
            return
        if kind == REQUEST_ARRIVES:
            self._arrive(k)
            if self.devices[k].phase == IDLE:
                self._serve_next(self.devices[k])
                self._begin(k, self.devices[k])
                self.keys[k] = self._key(k, self.devices[k])
            return
        if kind == DRAFT_ARRIVES:
            self._arrived(k)
            return
        ended = [j for j in self.rates if self._ends_now(j)]  # at this instant, whatever the new rates are
        if kind == DRAFT_ENDS:
            self.outcome.drafted_at[k] = self.now - self.epoch
            self.devices[k].phase = UPLOADING
            ended += [k] if self.devices[k].left == 0.0 else []
        for j in ended + [k] * (kind == UPLOAD_ENDS):
            device = self.devices[j]
            device.left = 0.0
            if device.repeated and device.length:
                device.phase = REPEATING
                heapq.heappush(self.heap, (self.now + device.repeated, DRAFT_ARRIVES, j, 0))
            else:
                self._arrived(j)
        self._share_out()

    def _arrived(self, k):
        self.outcome.uploaded_at[k] = self.now - self.epoch
        self.devices[k].phase = READY

    def _ends_now(self, j):
        return (self.now, UPLOAD_ENDS, j, self.version) in self.heap

    def _perhaps_start(self):
        join, scenario = self.decision["join"], self.scenario
        ready = [k for k, d in enumerate(self.devices) if join[k] >= 1 and d.phase == READY]
        missing = any(self.devices[k].phase != READY for k in self.awaited)
        enough = len(ready) >= min(self.decision["least_batch"], sum(j >= 1 for j in join))
        if not ready or (self.waiting and (missing or not enough)):
            return
        self.busy = True
        self.outcome.start, self.outcome.verified = self.now - self.epoch, ready
        lengths, requests = [self.devices[k].length for k in ready], [self.devices[k].request for k in ready]
        self.outcome.lengths = dict(zip(ready, lengths, strict=True))
        tokens = len(ready) * (max(lengths) + 1) if scenario.padded_verification else sum(lengths) + len(ready)
        tokens += sum(r.prompt for r in requests if r and r.first is None)
        time = scenario.verification_fixed_time + len(ready) * scenario.verification_time_per_draft
        time += max((a + b * tokens for a, b in scenario.verification_pieces), default=0.0)
        time += scenario.context_time * sum(r.prompt + r.output - r.wanted if r else scenario.context for r in requests)
        heapq.heappush(self.heap, (self.now + time, VERIFICATION_ENDS, 0, 0))

    def _finish(self):
        self.heap = [event for event in self.heap if event[1] != TIMEOUT_ENDS]
        heapq.heapify(self.heap)
        self.outcome.duration = self.now - self.epoch
        self.batch += 1
        for k in self.outcome.verified:
            device = self.devices[k]
            noise = next(device.noise) if device.noise else None
            self.outcome.tokens[k] = self._tokens(device, noise)
            if self.scenario.draft_ahead:
                self.outcome.head_start[k] = device.head_start
                self.outcome.chain[k], self.outcome.hit[k] = self._chain(device), self._is_hit(device, noise)
                device.head_start = self.outcome.chain[k] if self.outcome.hit[k] else 0.0
            device.gain = self._next_gain(device, self.now - device.gain_drawn)
            device.gain_drawn = self.now
            device.repeated = next(device.repeats) if device.repeats else 0.0
            if device.request:
                self._deliver(k, device)
            device.phase, device.length = FREE, 0
        self._take_up()
        return self.outcome

    def _is_hit(self, device, noise):
        alpha = device.acceptance
        guessed = {"greedy": alpha, "shared-seed": alpha / (2.0 - alpha), "independent": alpha**2}[self.scenario.guess]
        return noise >= -device.length * math.log(alpha) - math.log(guessed)

    def _chain(self, device):
        # tokens after the draft and the predicted token; they are drafted one by one from the start of the cycle, or
        # from the end of the reading
        count = math.floor(device.head_start)
        left = self.now - max(device.began, device.read_ends) - self.scenario.round_trip_time
        left += (device.head_start - count) * device.draft_time  # done part of the current token
        while left >= device.draft_time:
            count, left = count + 1, left - device.draft_time
        ahead = count - device.length - 1 + left / device.draft_time
        return min(max(ahead, 0.0), self.scenario.max_draft_length)

    def _tokens(self, device, variable):
        if variable is None or device.expects:
            return sum(device.acceptance**i for i in range(device.length + 1))
        gained = 1
        while gained <= device.length and variable >= -gained * math.log(device.acceptance):
            gained += 1
        return float(gained)

    def _await_request(self, k):
        heapq.heappush(self.heap, (self.devices[k].line.next_after(self.now), REQUEST_ARRIVES, k, 0))

    def _arrive(self, k):
        line, count = self.devices[k].line, self.outcome.served.arrivals
        line.arrive(self.now)
        count[k] = count.get(k, 0) + 1
        if not line.closed:
            self._await_request(k)

    def _take_up(self):
        # devices without a request take the next one, also of those that arrive at this instant
        self._forget_old_rates()
        while self.heap and self.heap[0][:2] == (self.now, REQUEST_ARRIVES):
            self._arrive(heapq.heappop(self.heap)[2])
        for device in self.devices:
            if device.line and not device.request:
                if device.phase == IDLE:
                    device.began = self.now
                device.phase, device.length = IDLE, 0
                if device.line.waiting:
                    self._serve_next(device)

    def _serve_next(self, device):
        device.request, device.phase, device.head_start = device.line.waiting.popleft(), FREE, 0.0
        device.read_ends = self.now + device.request.prompt / device.reads
        if device.rates:
            device.acceptance = next(device.rates)

    def _deliver(self, k, device):
        request, served, drawn = device.request, self.outcome.served, self.outcome.tokens[k]
        served.drafts[k] = device.length, drawn - 1.0
        self.outcome.tokens[k] = gained = min(drawn, request.wanted)
        request.wanted -= int(gained)
        if device.read_ends > self.now:  # the device reads the server's tokens, too
            device.read_ends += gained / device.reads
        if request.first is None:
            request.first = self.now
        else:
            served.gaps[k] = self.now - request.last
        request.last = self.now
        if request.wanted == 0:
            served.finished[k] = request
            self._end(k, device, "finished")

    def _drop(self, dropped):
        for k in dropped:
            device = self.devices[k]
            self.outcome.served.dropped[k] = self.now - device.request.arrived
            self.air_dropped += device.left
            device.left = 0.0
            self._end(k, device, "dropped")
        self.heap = [
            event for event in self.heap if event[1] not in (DRAFT_ENDS, DRAFT_ARRIVES) or event[2] not in dropped
        ]
        heapq.heapify(self.heap)
        self._take_up()

    def _end(self, k, device, fate):
        device.request.fate, device.request, device.head_start = fate, None, 0.0
        if device.line.closed:
            self._await_request(k)
