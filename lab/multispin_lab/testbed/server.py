"""The server of a testbed: rounds in which real devices draft and the target model verifies."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter, sleep
from typing import Any, NamedTuple, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer
from multispin_env.scenario import Scenario
from multispin_lab.models.contender import draw_conditions
from multispin_lab.models.engine import Model
from multispin_lab.models.halves import Drafts, Requests, Verifier, draft_seed
from multispin_lab.models.prompts import Prompts
from multispin_lab.models.rounds import RoundResult
from multispin_lab.testbed.connections import Connections, Terms
from multispin_lab.testbed.messages import Draft, vocabulary_digest


class Settings(NamedTuple):
    """Settings of a testbed."""

    temperature: float = 1.0
    seed: int = 0
    raw: bool = False  # whether prompts are used without the chat template
    tokens: int = 64  # of each request
    seats: int = 1  # contenders, each with requests of its own
    host: str = "127.0.0.1"
    port: int = 8051
    emulate: bool = False  # whether devices wait until the scenario's draft times have passed
    emulate_pass: bool = False  # whether the server waits until the scenario's pass has ended
    pacing: bool = True  # whether uploads take the time of the scenario's uplink
    patience: float = 3.0  # times the predicted access time
    grace: float = 2.0  # seconds more, after which a device is dropped; rounds wait as long for one that reads a text
    max_timeout: float = 30.0  # seconds, after which a device is dropped in any case


class Measured(NamedTuple):
    """Times of a round in seconds by the server's clock; arrays (K,) are NaN of devices without a draft."""

    present: BoolArray  # whether the device has played
    drafting: FloatArray
    uploading: FloatArray
    device_drafting: FloatArray  # by the device's clock
    access: float  # until the last draft has come, or was given up
    round_time: float


class Testbed:
    """Server with a target model for K devices, which may come and go.

    Devices are invited by `address` and the ``access`` key, 64 hexadecimal digits. ``say`` gets a sentence when a
    device comes or goes. Close the testbed after use. ``ValueError`` if the address cannot be opened, for a scenario
    that a testbed cannot play, or for prompts that do not fit it.
    """

    def __init__(
        self,
        scenario: Scenario,
        target: Model,
        prompts: Prompts,
        access: str,
        settings: Settings,
        say: Callable[[str], None] = lambda event: None,
    ) -> None:
        check_scenario(scenario)
        self.scenario, self.settings = scenario, settings
        longest = scenario.max_draft_length
        encoded = prompts.encode(target, longest + 1, settings.raw)
        requests = Requests(encoded, prompts.task_indices(scenario), settings.tokens, target.context - longest)
        users, size, context = scenario.num_users, target.vocabulary_size, requests.longest_text + longest
        self.verifiers = [
            Verifier(target.sequences(users, size, context), settings.temperature, settings.seed, requests)
            for _ in range(settings.seats)
        ]
        for device in range(users):
            for verifier in self.verifiers:
                verifier.next_request(device)
        common: dict[str, Any] = {"seats": settings.seats, "size": size, "context": context}
        common |= {
            "kept": min(scenario.sent_probabilities, size),
            "bits": scenario.bits_per_probability,
            "temperature": settings.temperature,
        }
        draft_time = draw_conditions(scenario, 1, np.random.default_rng([settings.seed, 0])).draft_time
        emulated = (settings.emulate * draft_time).tolist()
        welcomes = [
            {**common, "draft_seed": draft_seed(settings.seed, device), "token_time": emulated[device]}
            for device in range(users)
        ]
        terms = Terms(vocabulary_digest(target.vocabulary), context, longest, welcomes, settings.grace)
        self.connections = Connections(terms, self._text_of, settings.host, settings.port, access, say)
        self.address = self.connections.address
        self._number = 0  # of rounds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gym.make` copies its arguments

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()

    def _text_of(self, device: int, seat: int) -> tuple[int, list[int]]:
        verifier = self.verifiers[seat]
        return int(verifier.number[device]), verifier.texts[device]

    @property
    def token_time(self) -> FloatArray:
        """Time to draft a token, (K,) s: of the scenario if emulated, else as measured in the last drafts."""
        return np.array([slot.token_time for slot in self.connections.slots])

    def play(
        self, seat: int, length: IntArray, bandwidth: FloatArray, efficiency: FloatArray
    ) -> tuple[RoundResult, Measured]:
        """Play a round of drafts of L (K,) tokens; devices that are not ready take no part.

        A device whose draft has not come after ``patience`` times the predicted access time and ``grace``, or after
        ``max_timeout``, is dropped.
        """
        settings, connections, users = self.settings, self.connections, len(length)
        ready = connections.present
        asked = np.flatnonzero(ready & (length > 0))
        upload = np.zeros(users)
        upload[asked] = self.scenario.uplink.upload_time(length[asked], efficiency[asked], bandwidth[asked])
        timeout = settings.patience * float((length * self.token_time + upload)[ready].max()) + settings.grace
        timeout = min(timeout, settings.max_timeout)
        self._number += 1
        start, paced = perf_counter(), upload if settings.pacing else np.zeros(users)
        uploads = connections.collect(seat, self._number, length, paced, asked.tolist(), timeout)
        access = perf_counter() - start
        present = ready & connections.present
        drafts = {row: entry.draft for row, entry in uploads.items() if entry.draft is not None}
        played = self._verify(seat, np.flatnonzero(present), drafts)
        round_time = perf_counter() - start - played.prompt_time
        drafting, uploading, device_drafting = np.full((3, users), np.nan)
        for row, entry in uploads.items():
            drafting[row], uploading[row] = entry.drafted - entry.start, entry.ended - entry.drafted
            device_drafting[row] = entry.seconds
        return played, Measured(present, drafting, uploading, device_drafting, access, round_time)

    def _verify(self, seat: int, rows: IntArray, drafts: Mapping[int, Draft]) -> RoundResult:
        """Verify drafts, send the verdicts, and begin requests in place of those that ended; n rows, none to K."""
        accepted, gained = np.zeros((2, self.scenario.num_users), dtype=np.int64)
        if not len(rows):
            return RoundResult(accepted, gained, 0.0, 0.0, 0.0, 0.0)
        verifier, batch, times = self.verifiers[seat], self._batch(rows, drafts), [perf_counter()]
        logits = verifier.read(rows, batch)
        if self.settings.emulate_pass:
            law = self.scenario.law.time(len(rows), len(rows) * (int(batch.length.max()) + 1))
            sleep(max(0.0, times[0] + float(law) - perf_counter()))
        times.append(perf_counter())
        verdict = verifier.accept(rows, batch, logits)
        times.append(perf_counter())
        accepted[rows], gained[rows] = verdict.accepted, verdict.gained
        for row, *fields in zip(rows.tolist(), *(part.tolist() for part in verdict), strict=True):
            self.connections.send(row, "verdict", seat=seat, accepted=fields[0], token=fields[1], ended=fields[3])
        sent = perf_counter()
        self.begin_requests(seat, rows[verdict.ended].tolist())
        passing, accepting = np.diff(times).tolist()
        return RoundResult(accepted, gained, 0.0, passing, accepting, perf_counter() - sent)

    def begin_requests(self, seat: int, devices: Iterable[int]) -> None:
        """Begin the next requests of some devices."""
        for device in devices:
            self.verifiers[seat].next_request(device)
            self.connections.begin(device, seat)

    def _batch(self, rows: IntArray, drafts: Mapping[int, Draft]) -> Drafts:
        """Return the drafts of some devices as one batch; a device without one was not asked for a draft."""
        length = np.array([len(drafts[row].tokens) if row in drafts else 0 for row in rows.tolist()])
        shape = len(rows), int(length.max())
        tokens, ids = np.zeros(shape, dtype=np.int64), np.zeros((*shape, self.connections.form.kept), np.int64)
        counts = np.zeros_like(ids)
        for index, size in enumerate(length.tolist()):
            if size:
                tokens[index, :size], ids[index, :size], counts[index, :size] = drafts[int(rows[index])]
        return Drafts(length, tokens, ids, counts)


def check_scenario(scenario: Scenario) -> None:
    """Raise ``ValueError`` for a scenario with parts that a testbed cannot play."""
    if scenario.draft_ahead:
        raise ValueError("draft_ahead: expected False on a testbed, got True")
    check_integer("bits_per_probability", scenario.bits_per_probability, 1, 16)
