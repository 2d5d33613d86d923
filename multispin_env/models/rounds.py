"""Real rounds: every device drafts, the server verifies all drafts in one pass."""

from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch as th

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.models.devices import EmulatedDevices
from multispin_env.models.network import Model, memory_for
from multispin_env.models.sampling import pick_tokens, probabilities, verify
from multispin_env.models.stopwatch import wait_for


class RoundResult(NamedTuple):
    """What a round gave."""

    accepted: IntArray  # drafted tokens that are accepted, (K,), also those behind the end of a request
    gained: IntArray  # tokens of the requests, (K,)
    pass_time: float  # seconds of the target's pass on this machine, which the law of verification is about
    accepting_time: float  # seconds of what follows it: laws of the tokens, who is accepted, what comes behind
    drafting_time: float
    """Seconds of drafting on this machine, one batch for all devices. No device takes it: theirs is emulated."""
    prompt_time: float  # seconds in which both models read the prompts of new requests, between this round and the next


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
        drafted, law = _draft(devices, length, self.temperature, uniform)
        drafting_time = _now(devices.pair.draft) - start
        texts = [
            devices.unread(devices.target, device) + drafted[device, : length[device]].tolist()
            for device in range(users)
        ]
        start = perf_counter()
        logits = devices.target.read(np.arange(users), texts)
        end = _now(devices.pair.target)
        with memory_for(f"the laws of a batch of {users} with {longest + 1} tokens each"):
            found = verify(probabilities(logits, self.temperature), law, drafted, length, accepting, last)
        accepting_time = perf_counter() - end  # its results are in the main memory, so the device is done
        gained, ended = devices.take(drafted, found.accepted, found.token)
        begun = perf_counter()
        devices.begin(ended)
        prompt_time = _now(devices.pair.target) - begun
        return RoundResult(found.accepted, gained, end - start, accepting_time, drafting_time, prompt_time)


def _draft(
    devices: EmulatedDevices, length: IntArray, temperature: float, uniform: FloatArray
) -> tuple[IntArray, th.Tensor]:
    """Drafted tokens (K, L) and the laws (K, L, V) that they are drawn from; behind a row's length is filling."""
    users, longest = uniform.shape
    kept = devices.draft
    drafted = np.zeros((users, longest), dtype=np.int64)
    with memory_for(f"the laws of a batch of {users} with {longest} drafted tokens each"):
        law = th.ones((users, longest, kept.vocabulary_size), dtype=th.float64, device=devices.pair.target.device)
    for place in range(longest):
        rows = np.flatnonzero(length > place)
        texts = [devices.unread(kept, row) if place == 0 else [int(drafted[row, place - 1])] for row in rows.tolist()]
        q = probabilities(kept.read(rows, texts, last=1)[:, 0], temperature)
        drafted[rows, place] = pick_tokens(q, uniform[rows, place])
        law[rows, place] = q.to(law.device)
    return drafted, law


def _now(model: Model) -> float:
    """Seconds of the clock when all that was asked of the model's device is done."""
    wait_for(model)
    return perf_counter()
