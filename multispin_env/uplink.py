"""Uplink of a scenario: times, waits, joules and what is supported (links, access and losses are not in the paper)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.registry import LINKS

Lengths = FloatArray | IntArray | int
Arrange = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class Uplink:
    """Uplink shared by K devices, `Scenario.uplink`; its fields are those of the scenario with the same names.

    Arrays of devices are (..., K): draft lengths L in tokens, spectral efficiencies r in bit/s/Hz, bandwidths B_k in Hz
    and times in s. Lengths (..., 1) are common to all devices. Methods that add times return their argument where
    nothing is added, which is faster than adding zeros.
    """

    system: Any = field(repr=False)  # the scenario, from which a link takes its numbers
    num_users: int
    total_bandwidth: float
    bits_per_token: int
    min_draft_length: int
    round_trip_time: float
    link: str
    access_delay: tuple[float, ...]
    upload_loss: float
    repeat_time: float
    transmit_power: float

    # link

    @cached_property  # read several times in every step
    def constant_density(self) -> bool:
        """Whether the power per Hz is constant, as in the paper, so that the rate is proportional to the bandwidth."""
        return bool(LINKS.load(self.link).constant_density)

    @property
    def rate_law(self) -> Any:
        """The `Link`, with its numbers from the scenario."""
        return LINKS.load(self.link).of(self.system)

    @cached_property
    def band_time(self) -> float:
        """Q / B in s bit/s/Hz."""
        return self.bits_per_token / self.total_bandwidth

    def token_time(self, efficiency: FloatArray) -> FloatArray:
        """Return Q / (B r_k), the seconds in which a device uploads one token with the whole bandwidth."""
        return self.band_time / efficiency

    def shared_token_time(self, efficiency: FloatArray, users: int) -> FloatArray:
        """Return the seconds (..., K) in which a device uploads one token with the bandwidth B / ``users``."""
        if self.constant_density:
            return users * self.token_time(efficiency)
        return self.upload_time(np.array(1.0), efficiency, np.array(self.total_bandwidth / users))

    def upload_time(self, length: Lengths, efficiency: FloatArray, bandwidth: FloatArray) -> FloatArray:
        """Return L_k Q / (B_k r_k) in s ([MS] 9), or L_k Q / (B R(b)) with another link; 0 for L_k = 0."""
        bits = length * float(self.bits_per_token)  # as float: integers could overflow
        if self.constant_density:
            rate = bandwidth * efficiency
            if self.min_draft_length == 0 and not np.minimum.reduce(rate, None, initial=np.inf) > 0.0:
                rate = np.where(length == 0, 1.0, rate)  # without bandwidth
            return np.asarray(bits / rate)
        link, share, bits = self.rate_law, bandwidth / self.total_bandwidth, np.asarray(bits)
        rate = link.rate(np.where(bits > 0.0, share, 1.0), link.snr(self.system, efficiency))
        with np.errstate(divide="ignore"):  # infinite for a draft without bandwidth
            return np.asarray(bits / (rate * self.total_bandwidth))

    def elasticity(self, efficiency: FloatArray, bandwidth: FloatArray) -> FloatArray | float:
        """Return b R'(b) / R(b), at most 1 for a concave rate, for bandwidths > 0; 1 for constant power per Hz."""
        if self.constant_density:
            return 1.0
        link, share = self.rate_law, bandwidth / self.total_bandwidth
        snr = link.snr(self.system, efficiency)
        return np.asarray(share * link.slope(share, snr) / link.rate(share, snr))

    # access, repetitions and the round trip

    @cached_property  # read several times in every step
    def fixed_wait(self) -> float:
        """Seconds that every round and every cycle waits, whatever its drafts: T_rtt."""
        return self.round_trip_time

    @cached_property  # read several times in every step
    def access_delays(self) -> FloatArray | None:
        """``access_delay`` of each device, (K,) s; ``None`` without delays."""
        return np.broadcast_to(np.array(self.access_delay), self.num_users) if self.access_delay else None

    def access(self, length: Lengths) -> FloatArray | float:
        """Return the seconds (..., K) of access; 0 without delays or for a device without a draft."""
        return 0.0 if self.access_delays is None else self.access_delays * (np.asarray(length) > 0)

    def with_access(self, time: FloatArray, length: Lengths) -> FloatArray:
        """Return times (..., K) plus `access`."""
        return time + self.access(length) if self.access_delay else time

    @cached_property  # read several times in every step
    def repeat_delay(self) -> float:
        """h E[max_k G_k] in seconds of a round with drafts, for the repetitions G_k of each device, P(G ≥ j) = p^j."""
        if not self.upload_loss * self.repeat_time:
            return 0.0
        powers = self.upload_loss ** np.arange(1, 2 + int(-np.log(1e18 * self.num_users) / np.log(self.upload_loss)))
        return float(self.repeat_time * -np.expm1(self.num_users * np.log1p(-powers)).sum())

    @property
    def mean_repeats(self) -> float:
        """h p / (1 − p) in seconds: mean time of the repetitions of an upload without the barrier."""
        return self.repeat_time * self.upload_loss / (1.0 - self.upload_loss)

    def repeat_times(self, uniforms: FloatArray) -> FloatArray:
        """Return the seconds h G (...) of repetitions from uniform variables in [0, 1)."""
        repetitions = np.asarray(np.floor(np.log1p(-uniforms) / np.log(self.upload_loss)))
        return np.asarray(self.repeat_time * repetitions)

    def drawn_repeats(self, uniforms: FloatArray, length: FloatArray | IntArray) -> FloatArray:
        """Return the seconds (...) by which a round with drawn repetitions is longer than its mean, `repeat_delay`."""
        most = self.repeat_times(uniforms).max(-1)
        return np.where(length.any(-1), most - self.repeat_delay, 0.0)

    @property
    def round_wait(self) -> float:
        """Seconds of a round with drafts besides access and verification: T_rtt and `repeat_delay`."""
        return self.fixed_wait + self.repeat_delay

    def with_round_wait(self, time: FloatArray, length: FloatArray | IntArray) -> FloatArray:
        """Return times (...) plus T_rtt, and in rounds with drafts plus `repeat_delay`."""
        time = time + self.fixed_wait if self.fixed_wait else time
        return time + np.where(length.any(-1), self.repeat_delay, 0.0) if self.repeat_delay else time

    @property
    def delays_drafts(self) -> bool:
        """Whether a round with drafts waits longer than one without, besides drafting and sending."""
        return bool(self.repeat_delay or self.access_delay)

    @cached_property  # read in every decision without the barrier
    def has_wait(self) -> bool:
        """Whether a cycle with a draft has a `wait`."""
        return bool(self.access_delay or self.mean_repeats)

    def wait(self, length: Lengths) -> FloatArray:
        """Return the mean seconds (..., K) of access and repetitions in a cycle with L tokens, where there are some."""
        return self.access(length) + np.full(self.num_users, self.mean_repeats) * (np.asarray(length) > 0)

    def with_wait(self, time: FloatArray, length: Lengths, arrange: Arrange = np.asarray) -> FloatArray:
        """Return times plus `wait`, without T_rtt; ``arrange`` orders the axes of (..., K) as those of the times."""
        return time + arrange(self.wait(length)) if self.has_wait else time

    def cycle_wait(self, length: Lengths) -> FloatArray | float:
        """Return the mean seconds (..., K) in a cycle besides drafting and sending L (..., K) tokens, and the pass."""
        return self.fixed_wait + self.wait(length) if self.has_wait else self.fixed_wait

    def cycle_room(self, time: FloatArray, arrange: Arrange = np.asarray) -> FloatArray:
        """Return the seconds ≥ 0 left to draft and send in cycles of ``time`` s; ``arrange`` as in `with_wait`."""
        room = time - self.fixed_wait
        return np.maximum(room - arrange(self.wait(1)), 0.0) if self.has_wait else room

    # joules

    @cached_property  # read in every step
    def sending_power(self) -> float:
        """Watts of a device that sends with the whole bandwidth, with repetitions on average."""
        return self.transmit_power / (1.0 - self.upload_loss)

    def token_joules(self, efficiency: FloatArray, drafting: FloatArray | float) -> FloatArray:
        """Return the joules (..., K) to draft and send a token, from those to draft it.

        The power per Hz is constant, so that the share of a device has no effect.
        """
        joules = np.asarray(self.token_time(efficiency))
        joules *= self.sending_power
        joules += drafting
        return joules

    def round_joules(
        self, length: FloatArray, time: FloatArray, token: FloatArray, drafting: FloatArray | float
    ) -> FloatArray:
        """Return the joules (..., K) of drafts from upload times, `token_joules` and those to draft a token.

        With a link other than `Density`, a device sends with its whole power during its upload.
        """
        return length * token if self.constant_density else length * drafting + time * self.sending_power

    # what is supported

    def check(self, efficiency_limit: float) -> None:
        """Raise ``ValueError`` for fields of the uplink that do not go together."""
        if efficiency_limit and self.constant_density:
            raise ValueError(f"efficiency_limit: expected 0 with link {self.link!r}, got {efficiency_limit:g}")
        if self.upload_loss and not self.repeat_time:
            raise ValueError(f"repeat_time: expected seconds > 0 with upload_loss={self.upload_loss:g}, got 0")

    @property
    def of_paper(self) -> bool:
        """Whether link, access and losses are those of the paper."""
        return not self._others(())

    def require_paper(self, part: str, *fields: str) -> None:
        """Raise ``ValueError`` if these fields (default: all) are not the paper's, as ``part`` needs them."""
        for name, expected in self._others(fields):
            raise ValueError(f"{name}: expected {expected} {part}, got {getattr(self, name)!r}")

    def _others(self, fields: tuple[str, ...]) -> list[tuple[str, str]]:
        checks = {
            "link": ("'density'", self.constant_density),
            "access_delay": ("none", not self.access_delay),
            "upload_loss": ("0", not self.upload_loss),
        }
        return [(name, checks[name][0]) for name in checks if name in (fields or checks) and not checks[name][1]]

    def require_concave(self) -> None:
        """Raise ``ValueError`` for a link whose rate is not concave in the share."""
        if not (self.constant_density or self.rate_law.concave):
            expected = "a rate that is concave in the share for optimum, regret, certify and equal latency"
            raise ValueError(f"link: expected {expected}, got {self.link!r}")

    def require_alike(self) -> None:
        """Raise ``ValueError`` if devices differ, where their number varies."""
        if len(self.access_delay) > 1:
            expected = "one number for all devices, as their number varies"
            raise ValueError(f"access_delay: expected {expected}, got {self.access_delay}")
