"""Lossless rounds of real models whose devices draft ahead: see docs/evidence/drafting-ahead.md.

A device's chain holds the tokens drafted after its text. Each token is argmin_x E_x / q(x), where q is the draft's
distribution and E are exponential variables of the position. So a chain that is kept equals a new draft, and texts do
not depend on how far a device drafts ahead.
"""

import numpy as np
import torch as th
from typing_extensions import override

from multispin_env.apps.models.network import Verified, memory_errors
from multispin_env.apps.models.rounds import EmulatedDevices, Player, RoundResult
from multispin_env.arrays import BoolArray, FloatArray, IntArray

DEVICE, SERVER = 3, 4
"""Part of the seed of the exponential variables, for separate random streams."""


class ChainPlayer(Player):
    """Player of rounds whose devices draft ahead.

    With the scenario's guess ``"shared-seed"`` the server draws the token after an accepted draft with the exponential
    variables of the device, else with others. At temperature 0 both give the same token.
    """

    def __init__(
        self, devices: EmulatedDevices, temperature: float, seed: int, guess: str, kept: int | None = None
    ) -> None:
        super().__init__(devices, temperature, seed, kept)
        self._seed, self._stream = seed, DEVICE if guess == "shared-seed" else SERVER
        self.chains: list[list[tuple[int, th.Tensor]]] = [[] for _ in devices.texts]
        """Tokens after each device's text, with the distribution (V,) that each was drawn from."""
        self._ahead: IntArray = np.zeros(len(devices.texts), dtype=np.int64)
        self._hit: BoolArray = np.zeros(len(devices.texts), dtype=bool)

    @override
    def __call__(self, length: IntArray, ahead: IntArray | None = None) -> RoundResult:
        """Play a round of drafts (K,), after which each device drafts a guess and ``ahead`` (K,) more tokens."""
        self._ahead = np.zeros_like(length) if ahead is None else ahead
        played = super().__call__(length)
        for device in np.flatnonzero(self.devices.age == 0).tolist():
            self.chains[device] = []
        return played._replace(hit=self._hit)

    @override
    def _draft(self, length: IntArray, uniform: FloatArray) -> tuple[IntArray, th.Tensor]:
        self._grow(length + 1 + self._ahead)
        drafted, law = self._blank(*uniform.shape)
        for device, size in enumerate(length.tolist()):
            for position, (token, q) in enumerate(self.chains[device][:size]):
                drafted[device, position], law[device, position] = token, q
        return drafted, law

    def _grow(self, size: IntArray) -> None:
        draft, texts, chains = self.devices.draft, self.devices.texts, self.chains
        while True:
            rows = np.flatnonzero(size > [len(chain) for chain in chains])
            if not len(rows):
                return
            longer = [texts[row] + [token for token, _ in chains[row]] for row in rows.tolist()]
            unread = [text[draft.length[row] :] for row, text in zip(rows.tolist(), longer, strict=True)]
            with memory_errors(f"the token probabilities of {len(rows)} chains of up to {int(size.max())} tokens"):
                laws = self._draft_law(draft.read(rows, unread, last=1)[:, 0])
                laws = laws.to(self.devices.pair.target.device)
            for row, text, q in zip(rows.tolist(), longer, laws, strict=True):
                chains[row].append((self._draw(q, DEVICE, row, len(text)), q))

    def _draw(self, law: th.Tensor, stream: int, device: int, position: int) -> int:
        rng = np.random.default_rng([self._seed, stream, device, int(self.devices.number[device]), position])
        exponential = th.as_tensor(rng.standard_exponential(len(law)), device=law.device)
        return int((law / exponential).argmax())

    @override
    def _replace_last(self, target: th.Tensor, verified: Verified, length: IntArray) -> Verified:
        token = verified.token.copy()
        self._hit = np.zeros(len(length), dtype=bool)
        for device, chain in enumerate(self.chains):
            size = int(length[device])
            if verified.accepted[device] == size:
                token[device] = self._last_token(target[device, size], device, size)
                self._hit[device] = token[device] == chain[size][0]
            self.chains[device] = chain[size + 1 :] if self._hit[device] else []
        return Verified(verified.accepted, token)

    def _last_token(self, law: th.Tensor, device: int, size: int) -> int:
        """Draw the server's token after a fully accepted draft from the target's distribution (V,).

        It must not depend on the device's guess, or texts would not follow the target's distribution.
        """
        return self._draw(law, self._stream, device, len(self.devices.texts[device]) + size)
