"""Passes of real models: measured times, rounds of emulated devices, and recorded texts."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch as th

from multispin_env.apps.models.counts import KEPT
from multispin_env.apps.models.network import (
    Model,
    Pair,
    Sequences,
    Verified,
    acceptance,
    confidences,
    memory_errors,
    overlap,
    pick_tokens,
    probabilities,
    residual,
    truncated,
    verify,
)
from multispin_env.apps.models.passes import VERIFY, PassCell, Setting
from multispin_env.arrays import BoolArray, FloatArray, IntArray


def prompt_index(device: int, number: int, prompts: int, num_users: int, seed: int) -> int:
    """Return the prompt of a device's request number, all from 0: repeated random permutations of all P ``prompts``.

    Request j of device k has position j K + k in this sequence. So it depends on the seed only: device k gets the same
    requests under any controller.
    """
    cycle, position = divmod(number * num_users + device, prompts)
    stream = [seed, 1, cycle]  # the 1 separates this random stream
    return int(np.random.default_rng(stream).permutation(prompts)[position])


class EmulatedDevices:
    """K devices, each with one request.

    A text is a list of tokens that begins with the prompt. At its next pass a model reads the part of the text that it
    has not read. Before a round that is only the last token for the target. For the draft model it is also the last
    drafted token if all were accepted, and more if the device did not draft.

    The P prompts, with the ``task`` (P,) of each, must fit in the context with the ``longest`` draft and one more
    token. A request ends after ``most_tokens``.
    """

    def __init__(
        self,
        pair: Pair,
        prompts: Sequence[Sequence[int]],
        task: IntArray,
        seed: int,
        num_users: int,
        most_tokens: int,
        longest: int,
    ) -> None:
        self.pair = pair
        self.draft, self.target = (
            Sequences(model, num_users, pair.vocabulary_size) for model in (pair.draft, pair.target)
        )
        self._prompts, self._task, self._seed = prompts, task, seed
        self._most_tokens, self._room = most_tokens, pair.context - longest
        self.texts: list[list[int]] = [[] for _ in range(num_users)]
        self.number: IntArray = np.full(num_users, -1)  # request of each device, (K,), counted from 0
        self.age: IntArray = np.zeros(num_users, dtype=np.int64)  # rounds since the request began, (K,)
        self.task: IntArray = np.zeros(num_users, dtype=np.int64)  # its task, (K,)
        self.left: IntArray = np.zeros(num_users, dtype=np.int64)  # remaining tokens until its limit, (K,)
        self.begin(np.arange(num_users))

    def unread(self, sequences: Sequences, device: int) -> list[int]:
        """Return the tokens of a device's text that a model has not read, at least one."""
        return self.texts[device][sequences.length[device] :]

    def take(self, drafted: IntArray, accepted: IntArray, token: IntArray) -> tuple[IntArray, IntArray]:
        """Append the accepted tokens and the server's token, and trim the models' caches.

        ``accepted`` (K,) of the ``drafted`` (K, L) tokens are followed by ``token`` (K,). A request ends with the
        target's end token or at its limit. Returns the tokens gained, (K,), up to the end of the request, and the
        devices whose requests ended.
        """
        devices = np.arange(len(self.texts))
        before = np.array([len(text) for text in self.texts])
        for sequences in (self.draft, self.target):
            sequences.trim(devices, np.minimum(sequences.length, before + accepted))
        gained = np.zeros(len(self.texts), dtype=np.int64)
        ended = np.zeros(len(self.texts), dtype=bool)
        for device, text in enumerate(self.texts):
            new = [*drafted[device, : accepted[device]].tolist(), int(token[device])][: self.left[device]]
            last = next((position for position, entry in enumerate(new) if entry in self.pair.target.ends), None)
            text += new if last is None else new[: last + 1]
            gained[device] = len(text) - before[device]
            ended[device] = last is not None or gained[device] == self.left[device]
        self.left = self.left - gained
        self.age = self.age + 1
        return gained, np.flatnonzero(ended)

    def begin(self, devices: IntArray) -> None:
        """Begin the next requests of some devices: both models read the prompts up to the last token."""
        if not len(devices):
            return
        arrays = (self.number, self.age, self.task, self.left)
        self.number, self.age, self.task, self.left = (array.copy() for array in arrays)
        for device in devices.tolist():
            self.number[device] += 1
            order = len(self._prompts), len(self.texts), self._seed
            prompt = prompt_index(device, int(self.number[device]), *order)
            self.texts[device] = list(self._prompts[prompt])
            self.task[device] = self._task[prompt]
            self.age[device] = 0
            self.left[device] = min(self._most_tokens, self._room - len(self.texts[device]))
        longer = np.array([device for device in devices.tolist() if len(self.texts[device]) > 1], dtype=np.int64)
        for sequences in (self.draft, self.target):
            sequences.trim(devices, np.zeros(len(devices), dtype=np.int64))
            if len(longer):
                sequences.read(longer, [self.texts[device][:-1] for device in longer.tolist()], last=1)


class Stopwatch:
    """Timer of verification and draft passes after a context.

    Measures only the network, with the logits of all positions: no tokenizer, and no sampling. The draft model takes
    the most likely token, so each token depends on the one before. First ``context`` random tokens are read for each
    text of the largest ``batch``.
    """

    def __init__(
        self,
        pair: Pair,
        batch: int,
        context: int,
        rng: np.random.Generator,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.size, self.context, self.rng, self.clock = pair.vocabulary_size, context, rng, clock
        self.target = Sequences(pair.target, batch, self.size)
        self.draft = Sequences(pair.draft, 1, self.size)
        for sequences in (self.target, self.draft):
            rows = np.arange(len(sequences.length))
            sequences.read(rows, self._tokens(len(rows), context), last=1)

    def __call__(self, cell: PassCell) -> float:
        """Return the seconds of a pass, and reset the texts."""
        verifies = cell.what == VERIFY
        sequences, rows = self.target if verifies else self.draft, np.arange(cell.batch)
        texts = self._tokens(cell.batch, cell.length + 1)
        wait_for(sequences.model)
        start = self.clock()
        if verifies:
            sequences.read(rows, texts)
        else:
            token = texts[0][0]
            for _ in range(cell.length):
                token = int(sequences.read(rows, [[token]], last=1)[0, 0].argmax())
        wait_for(sequences.model)
        seconds = self.clock() - start
        sequences.trim(rows, np.full(cell.batch, self.context))
        return seconds

    def _tokens(self, rows: int, count: int) -> list[list[int]]:
        return self.rng.integers(0, self.size, (rows, count)).tolist()


def wait_for(model: Model) -> None:
    """Wait until a model's device has finished its queue."""
    if model.device.type == "cuda":
        th.cuda.synchronize(model.device)


def describe_setting(pair: Pair, dtype: str, context: int) -> Setting:
    """Return the settings that determine measured times: models, device, floating-point type and context."""
    weights = [sum(part.numel() for part in model.network.parameters()) for model in (pair.target, pair.draft)]
    device, threads = pair.target.device, th.get_num_threads()
    cpu = f"{device} with {threads} thread{'' if threads == 1 else 's'}"
    return {
        "target": pair.target.name,
        "target_weights": weights[0],
        "draft": pair.draft.name,
        "draft_weights": weights[1],
        "device": str(th.cuda.get_device_name(device)) if device.type == "cuda" else cpu,
        "dtype": dtype,
        "context": context,
    }


class RoundResult(NamedTuple):
    """Result of a round; times in seconds on this machine."""

    accepted: IntArray  # accepted tokens, (K,), also those after the end of a request
    gained: IntArray  # tokens of the requests, (K,)
    verification_time: float  # the target's pass, without sampling
    accepting_time: float  # token probabilities, acceptance and sampling
    drafting_time: float  # one batch for all devices; the emulated devices have draft times of their own
    prompt_time: float  # prompts of new requests, read by both models after the round
    hit: BoolArray | None = None
    """Whether the whole draft is accepted and the server's token equals the chain's, (K,); ``None`` without chains."""


class Player:
    """Player of rounds; players with the same seed use the same random numbers for each device.

    Devices draft from the ``kept`` largest probabilities, which the server receives; by default from all.
    """

    def __init__(self, devices: EmulatedDevices, temperature: float, seed: int, kept: int | None = None) -> None:
        self.devices, self.temperature = devices, temperature
        self._kept = kept or devices.pair.vocabulary_size
        # the 2 separates these random streams
        self._generators = [np.random.default_rng([seed, 2, device]) for device in range(len(devices.texts))]

    def __call__(self, length: IntArray) -> RoundResult:
        """Play a round of drafts of L (K,) ≥ 0 tokens; at temperature 0 the most likely token is taken.

        Each device draws 2 L + 1 uniform numbers from its own generator: for drafting, acceptance, and the last token.
        So its text does not depend on other devices.
        """
        devices = self.devices
        users, longest = len(length), int(length.max())
        uniform, accepting, last = np.zeros((users, longest)), np.zeros((users, longest)), np.zeros(users)
        for device, (size, generator) in enumerate(zip(length.tolist(), self._generators, strict=True)):
            numbers = generator.random(2 * size + 1)
            uniform[device, :size], accepting[device, :size] = numbers[:size], numbers[size:-1]
            last[device] = numbers[-1]
        start = perf_counter()
        drafted, law = self._draft(length, uniform)
        drafting_time = _now(devices.pair.draft) - start
        texts = [
            devices.unread(devices.target, device) + drafted[device, : length[device]].tolist()
            for device in range(users)
        ]
        start = perf_counter()
        logits = devices.target.read(np.arange(users), texts)
        end = _now(devices.pair.target)
        with memory_errors(f"the token probabilities of a batch of {users} with {longest + 1} tokens each"):
            target = self._law(devices.target, logits)
            verified = self._replace_last(target, verify(target, law, drafted, length, accepting, last), length)
        accepting_time = perf_counter() - end  # results are in main memory, so the device has finished
        gained, ended = devices.take(drafted, verified.accepted, verified.token)
        prompt_start = perf_counter()
        devices.begin(ended)
        prompt_time = _now(devices.pair.target) - prompt_start
        return RoundResult(verified.accepted, gained, end - start, accepting_time, drafting_time, prompt_time)

    def _draft(self, length: IntArray, uniform: FloatArray) -> tuple[IntArray, th.Tensor]:
        """Draft tokens (K, L); return them and their distributions (K, L, V), padded after each row's length."""
        devices, draft = self.devices, self.devices.draft
        drafted, law = self._blank(*uniform.shape)
        for position in range(uniform.shape[1]):
            rows = np.flatnonzero(length > position)
            texts = [
                devices.unread(draft, row) if position == 0 else [int(drafted[row, position - 1])]
                for row in rows.tolist()
            ]
            q = self._draft_law(draft.read(rows, texts, last=1)[:, 0])
            drafted[rows, position] = pick_tokens(q, uniform[rows, position])
            law[rows, position] = q.to(law.device)
        return drafted, law

    def _law(self, sequences: Sequences, logits: th.Tensor) -> th.Tensor:
        return probabilities(logits, self.temperature, sequences.model.name)

    def _draft_law(self, logits: th.Tensor) -> th.Tensor:
        return truncated(self._law(self.devices.draft, logits), self._kept)

    def _blank(self, users: int, longest: int) -> tuple[IntArray, th.Tensor]:
        pair = self.devices.pair
        with memory_errors(f"the token probabilities of a batch of {users} with {longest} drafted tokens each"):
            law = th.ones((users, longest, pair.vocabulary_size), dtype=th.float64, device=pair.target.device)
        return np.zeros((users, longest), dtype=np.int64), law

    def _replace_last(self, target: th.Tensor, verified: Verified, length: IntArray) -> Verified:
        """Replace the token after a fully accepted draft, where devices draft ahead."""
        return verified


def _now(model: Model) -> float:
    wait_for(model)
    return perf_counter()


class _Text(NamedTuple):
    """Record of n positions of a text, or of one position of n texts."""

    token: IntArray  # (n,)
    probability: FloatArray  # β of the token that was proposed, (n,)
    accepted: BoolArray  # whether it was accepted, (n,)
    overlap: FloatArray  # Σ_x min(p, q), (n,)
    kept: FloatArray  # the same with each number of `KEPT` probabilities of q, (n, len(KEPT))
    confidence: FloatArray  # `CONFIDENCES` of the proposed token, (n, 3); of q at temperature 1 for a greedy target


def record_texts(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    first: int,
    tokens: int,
    temperature: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[_Text]:
    """Record texts in one batch, token by token.

    A text ends after the target's end token, after ``tokens`` tokens, or at the end of the context. Random numbers of a
    prompt follow from ``seed`` and its number; ``first`` is the number of the first prompt. ``report`` is called with
    the length of the longest text. ``MemoryError`` names batch and tokens.
    """
    rngs = [np.random.default_rng([seed, first + row]) for row in range(len(prompts))]
    models = [pair.target] if pair.draft is pair.target else [pair.target, pair.draft]
    readers = [Sequences(model, len(prompts), pair.vocabulary_size) for model in models]
    records: list[list[tuple[Any, ...]]] = [[] for _ in prompts]
    # one prompt at a time: a batch would hold the logits of all columns from the shortest prompt's end on
    logits = [
        th.cat([reader.read(np.array([row]), [text], 1)[:, -1] for row, text in enumerate(prompts)])
        for reader in readers
    ]
    rows: IntArray = np.arange(len(prompts))
    while True:
        with memory_errors(f"the probabilities of a batch of {len(rows)}"):
            laws = [probabilities(part, temperature, model.name) for part, model in zip(logits, models, strict=True)]
            p, q = laws[0], laws[-1]
            uniform = np.array([rngs[row].random(3) for row in rows])
            proposed = pick_tokens(q, uniform[:, 0])
            beta = acceptance(p, q, proposed)
            accepted = uniform[:, 1] < beta
            token = np.where(accepted, proposed, pick_tokens(residual(p, q), uniform[:, 2]))
            kept = np.stack([overlap(p, truncated(q, count)) for count in KEPT], -1)
            soft = q if temperature else probabilities(logits[-1], 1.0, models[-1].name)
            position = _Text(token, beta, accepted, overlap(p, q), kept, confidences(soft, proposed))
        for row, *numbers in zip(rows, *(part.tolist() for part in position), strict=True):
            records[row].append(tuple(numbers))
        report(max(map(len, records)))
        unfinished = [
            len(records[row]) < tokens
            and token not in pair.target.ends
            and len(prompts[row]) + len(records[row]) <= pair.context
            for row, token in zip(rows.tolist(), position.token.tolist(), strict=True)
        ]
        rows, last = rows[unfinished], position.token[unfinished]
        if not len(rows):
            return [_Text(*map(np.array, zip(*entries, strict=True))) for entries in records]
        logits = [reader.read(rows, last[:, None].tolist(), 1)[:, -1] for reader in readers]
