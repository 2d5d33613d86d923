"""Emulated devices: what each asks for, its text so far, and how far both models have read it."""

from collections.abc import Sequence

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.models.network import Pair
from multispin_env.models.sequences import Sequences


class PromptOrder:
    """Which prompt each request of each device has: all prompts in random order, then all in another one, and so on.

    Request j of device k takes place j K + k of that endless list. So it depends on nothing but the seed: whoever
    decides, and however fast requests end, device k gets the same requests. There are P ``prompts``.
    """

    def __init__(self, prompts: int, num_users: int, seed: int) -> None:
        self._prompts, self._users, self._seed = prompts, num_users, seed

    def prompt(self, device: int, number: int) -> int:
        """Index of the prompt of a device's request, both counted from 0."""
        cycle, place = divmod(number * self._users + device, self._prompts)
        stream = [self._seed, 1, cycle]  # the 1 so that nothing else is drawn from it
        return int(np.random.default_rng(stream).permutation(self._prompts)[place])


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
        self.number: IntArray = np.full(num_users, -1)
        """Request of each device, (K,), counted from 0."""
        self.age: IntArray = np.zeros(num_users, dtype=np.int64)
        """Rounds that it is old, (K,)."""
        self.task: IntArray = np.zeros(num_users, dtype=np.int64)
        """Its task, (K,)."""
        self.left: IntArray = np.zeros(num_users, dtype=np.int64)
        """Tokens that it may still get, (K,)."""
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
            last = next((place for place, one in enumerate(new) if one in self.pair.target.ends), None)
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
