"""Passes of real models: timed ones, rounds of emulated devices, and recorded texts."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch as th

from multispin_env.apps.models.network import (
    Model,
    Pair,
    Sequences,
    Verified,
    acceptance,
    memory_errors,
    overlap,
    pick_tokens,
    probabilities,
    residual,
    verify,
)
from multispin_env.apps.models.passes import VERIFY, PassCell, Setting
from multispin_env.arrays import BoolArray, FloatArray, IntArray


class PromptOrder:
    """Which prompt each request of each device has: all prompts in random order, then all in another one, and so on.

    Request j of device k takes position j K + k of that endless list. So it depends on nothing but the seed: whoever
    decides, and however fast requests end, device k gets the same requests. There are P ``prompts``.
    """

    def __init__(self, prompts: int, num_users: int, seed: int) -> None:
        self._prompts, self._users, self._seed = prompts, num_users, seed

    def prompt(self, device: int, number: int) -> int:
        """Index of the prompt of a device's request, both counted from 0."""
        cycle, position = divmod(number * self._users + device, self._prompts)
        stream = [self._seed, 1, cycle]  # the 1 so that nothing else is drawn from it
        return int(np.random.default_rng(stream).permutation(self._prompts)[position])


class EmulatedDevices:
    """K devices with a request each.

    A text is a list of all tokens that are known, the prompt's first. A model reads what it has not read of it at its
    next pass. Before a round that is one token for the target: the last one, which nobody has read. For the draft it
    is that one too, and also the last drafted token if all were accepted; and more if the device did not draft.

    The P prompts, with the ``task`` (P,) of each, are short enough for the context with the ``longest`` draft and one
    token behind it. A request ends after ``most_tokens``.
    """

    def __init__(
        self,
        pair: Pair,
        prompts: Sequence[Sequence[int]],
        task: IntArray,
        order: PromptOrder,
        num_users: int,
        most_tokens: int,
        longest: int,
    ) -> None:
        self.pair = pair
        self.draft, self.target = (
            Sequences(model, num_users, pair.vocabulary_size) for model in (pair.draft, pair.target)
        )
        self._prompts, self._task, self._order = prompts, task, order
        self._most_tokens, self._room = most_tokens, pair.context - longest
        self.texts: list[list[int]] = [[] for _ in range(num_users)]
        self.number: IntArray = np.full(num_users, -1)  # request of each device, (K,), counted from 0
        self.age: IntArray = np.zeros(num_users, dtype=np.int64)  # rounds that it is old, (K,)
        self.task: IntArray = np.zeros(num_users, dtype=np.int64)  # its task, (K,)
        self.left: IntArray = np.zeros(num_users, dtype=np.int64)  # tokens that it may still get, (K,)
        self.begin(np.arange(num_users))

    def unread(self, kept: Sequences, device: int) -> list[int]:
        """What a model has still to read of a device's text, at least one token."""
        return self.texts[device][kept.length[device] :]

    def take(self, drafted: IntArray, accepted: IntArray, token: IntArray) -> tuple[IntArray, IntArray]:
        """Go on behind a round: add what was accepted and the server's token, and let the models forget the rest.

        A request ends with the target's end token, or where it has all the tokens that it may get. Of ``drafted``
        (K, L) tokens so many are ``accepted`` (K,), with ``token`` (K,) behind them. Returns the tokens gained, (K,),
        without those behind the end of a request, and the devices whose requests ended.
        """
        everybody = np.arange(len(self.texts))
        before = np.array([len(text) for text in self.texts])
        for kept in (self.draft, self.target):
            kept.trim(everybody, np.minimum(kept.length, before + accepted))
        gained = np.zeros(len(self.texts), dtype=np.int64)
        ended = np.zeros(len(self.texts), dtype=bool)
        for device, text in enumerate(self.texts):
            new = [*drafted[device, : accepted[device]].tolist(), int(token[device])][: self.left[device]]
            last = next((position for position, one in enumerate(new) if one in self.pair.target.ends), None)
            text += new if last is None else new[: last + 1]
            gained[device] = len(text) - before[device]
            ended[device] = last is not None or gained[device] == self.left[device]
        self.left = self.left - gained
        self.age = self.age + 1
        return gained, np.flatnonzero(ended)

    def begin(self, devices: IntArray) -> None:
        """Next requests of these devices: both models read the prompts up to the last token."""
        if not len(devices):
            return
        self.number, self.age, self.task, self.left = (
            one.copy() for one in (self.number, self.age, self.task, self.left)
        )
        for device in devices.tolist():
            self.number[device] += 1
            prompt = self._order.prompt(device, int(self.number[device]))
            self.texts[device] = list(self._prompts[prompt])
            self.task[device] = self._task[prompt]
            self.age[device] = 0
            self.left[device] = min(self._most_tokens, self._room - len(self.texts[device]))
        for kept in (self.draft, self.target):
            kept.trim(devices, np.zeros(len(devices), dtype=np.int64))
            longer = np.array([device for device in devices.tolist() if len(self.texts[device]) > 1], dtype=np.int64)
            if len(longer):
                kept.read(longer, [self.texts[device][:-1] for device in longer.tolist()], last=1)


class Stopwatch:
    """Verifies and drafts behind a context that has been read, and says how long each pass took.

    A pass is that of the network alone, with the logits of all its positions: no tokenizer, and no drawing of tokens.
    The draft model chooses the likeliest token each time, so that a token is known before the next one is begun. Before
    it so many as ``context`` tokens of each text of the largest ``batch`` are read; which they are does not matter.
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
        """Seconds of a pass; the texts are as before afterwards."""
        verifies = cell.what == VERIFY
        sequences, rows = self.target if verifies else self.draft, np.arange(cell.batch)
        texts = self._tokens(cell.batch, cell.length + 1)
        wait_for(sequences.model)
        begun = self.clock()
        if verifies:
            sequences.read(rows, texts)
        else:
            self._draft(rows, texts[0][0], cell.length)
        wait_for(sequences.model)
        seconds = self.clock() - begun
        sequences.trim(rows, np.full(cell.batch, self.context))
        return seconds

    def _draft(self, rows: IntArray, token: int, length: int) -> None:
        for _ in range(length):
            token = int(self.draft.read(rows, [[token]], last=1)[0, 0].argmax())

    def _tokens(self, rows: int, count: int) -> list[list[int]]:
        return self.rng.integers(0, self.size, (rows, count)).tolist()


def wait_for(model: Model) -> None:
    """Wait until a model's device has done all that it was told."""
    if model.device.type == "cuda":
        th.cuda.synchronize(model.device)


def describe_setting(pair: Pair, dtype: str, context: int) -> Setting:
    """What times depend on: the models, the device and its numbers, and what was read before."""
    return {
        "target": pair.target.name,
        "target_weights": _weights(pair.target),
        "draft": pair.draft.name,
        "draft_weights": _weights(pair.draft),
        "device": _device_name(pair.target.device),
        "dtype": dtype,
        "context": context,
    }


def _weights(model: Model) -> int:
    return sum(weight.numel() for weight in model.network.parameters())


def _device_name(device: th.device) -> str:
    if device.type == "cuda":
        return str(th.cuda.get_device_name(device))
    threads = th.get_num_threads()
    return f"{device} with {threads} thread{'' if threads == 1 else 's'}"


class RoundResult(NamedTuple):
    """What a round gave."""

    accepted: IntArray  # drafted tokens that are accepted, (K,), also those behind the end of a request
    gained: IntArray  # tokens of the requests, (K,)
    pass_time: float  # seconds of the target's pass on this machine, which the law of verification is about
    accepting_time: float  # seconds of what follows it: laws of the tokens, who is accepted, what comes behind
    drafting_time: float
    """Seconds of drafting on this machine, one batch for all devices. No device takes it: theirs is emulated."""
    prompt_time: float  # seconds in which both models read the prompts of new requests, between this round and the next
    hit: BoolArray | None = None
    """Whether all drafted tokens are accepted and the server's is the chain's, (K,); ``None``: nobody drafts ahead."""


class Player:
    """Plays rounds of some devices; two players of the same seed give each device the same numbers."""

    def __init__(self, devices: EmulatedDevices, temperature: float, seed: int) -> None:
        self.devices, self.temperature = devices, temperature
        # the 2 so that nothing else is drawn from the same stream
        self._generators = [np.random.default_rng([seed, 2, device]) for device in range(len(devices.texts))]

    def __call__(self, length: IntArray) -> RoundResult:
        """Play a round of drafts of L (K,) ≥ 0 tokens; at temperature 0 the likeliest token is taken.

        Each device draws 2 L + 1 uniform numbers from its own generator: to draft, to accept, and for the last token.
        So its text does not depend on the others'.
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
        with memory_errors(f"the laws of a batch of {users} with {longest + 1} tokens each"):
            target = self._law(devices.target, logits)
            found = self._answer(target, verify(target, law, drafted, length, accepting, last), length)
        accepting_time = perf_counter() - end  # its results are in the main memory, so the device is done
        gained, ended = devices.take(drafted, found.accepted, found.token)
        begun = perf_counter()
        devices.begin(ended)
        prompt_time = _now(devices.pair.target) - begun
        return RoundResult(found.accepted, gained, end - start, accepting_time, drafting_time, prompt_time)

    def _draft(self, length: IntArray, uniform: FloatArray) -> tuple[IntArray, th.Tensor]:
        """Drafted tokens (K, L) and the laws (K, L, V) that they are drawn from; behind a row's length is filling."""
        devices, kept = self.devices, self.devices.draft
        drafted, law = self._blank(*uniform.shape)
        for position in range(uniform.shape[1]):
            rows = np.flatnonzero(length > position)
            texts = [
                devices.unread(kept, row) if position == 0 else [int(drafted[row, position - 1])]
                for row in rows.tolist()
            ]
            q = self._law(kept, kept.read(rows, texts, last=1)[:, 0])
            drafted[rows, position] = pick_tokens(q, uniform[rows, position])
            law[rows, position] = q.to(law.device)
        return drafted, law

    def _law(self, read: Sequences, logits: th.Tensor) -> th.Tensor:
        return probabilities(logits, self.temperature, read.model.name)

    def _blank(self, users: int, longest: int) -> tuple[IntArray, th.Tensor]:
        pair = self.devices.pair
        with memory_errors(f"the laws of a batch of {users} with {longest} drafted tokens each"):
            law = th.ones((users, longest, pair.vocabulary_size), dtype=th.float64, device=pair.target.device)
        return np.zeros((users, longest), dtype=np.int64), law

    def _answer(self, target: th.Tensor, found: Verified, length: IntArray) -> Verified:
        """What the server sends; where devices draft ahead, another token behind a draft that is accepted whole."""
        return found


def _now(model: Model) -> float:
    """Seconds of the clock when all that was asked of the model's device is done."""
    wait_for(model)
    return perf_counter()


class _Text(NamedTuple):
    """What was recorded along a text of n places, or at a position of n texts."""

    token: IntArray  # the text, (n,)
    probability: FloatArray  # β of the token that was proposed at each position, (n,)
    accepted: BoolArray  # whether it was accepted, (n,)
    overlap: FloatArray  # Σ_x min(p, q), (n,)


def record_texts(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    first: int,
    tokens: int,
    temperature: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[_Text]:
    """Record texts in one batch, a token of each at a time.

    A text ends behind the target's end token, after so many ``tokens``, or at the end of the context. ``first`` is the
    number of the first prompt among all: each has random numbers of its own, which follow from ``seed`` and its number.
    ``report`` is called with the number of tokens that the longest texts have. ``MemoryError`` says batch and tokens.
    """
    rngs = [np.random.default_rng([seed, first + row]) for row in range(len(prompts))]
    models = [pair.target] if pair.draft is pair.target else [pair.target, pair.draft]
    readers = [Sequences(model, len(prompts), pair.vocabulary_size) for model in models]
    places: list[list[tuple[int, float, bool, float]]] = [[] for _ in prompts]
    # one prompt at a time: in a batch, logits of all columns from the shortest prompt's end on would be kept
    logits = [
        th.cat([one.read(np.array([row]), [text], 1)[:, -1] for row, text in enumerate(prompts)]) for one in readers
    ]
    rows: IntArray = np.arange(len(prompts))
    while True:
        with memory_errors(f"the probabilities of a batch of {len(rows)}"):
            laws = [probabilities(one, temperature, model.name) for one, model in zip(logits, models, strict=True)]
            position = _place(laws, np.array([rngs[row].random(3) for row in rows]))
        for row, *numbers in zip(rows, *(part.tolist() for part in position), strict=True):
            places[row].append(tuple(numbers))
        report(max(map(len, places)))
        going = [
            len(places[row]) < tokens
            and token not in pair.target.ends
            and len(prompts[row]) + len(places[row]) <= pair.context
            for row, token in zip(rows.tolist(), position.token.tolist(), strict=True)
        ]
        rows, last = rows[going], position.token[going]
        if not len(rows):
            return [_Text(*map(np.array, zip(*one, strict=True))) for one in places]
        logits = [one.read(rows, last[:, None].tolist(), 1)[:, -1] for one in readers]


def _place(laws: Sequence[th.Tensor], uniform: FloatArray) -> _Text:
    """One position of b texts: ``laws`` (b, V) of the target and, if it is another, the draft; ``uniform`` (b, 3)."""
    p, q = laws[0], laws[-1]
    proposed = pick_tokens(q, uniform[:, 0])
    beta = acceptance(p, q, proposed)
    accepted = uniform[:, 1] < beta
    token = np.where(accepted, proposed, pick_tokens(residual(p, q), uniform[:, 2]))
    return _Text(token, beta, accepted, overlap(p, q))
