"""Workloads: arrivals, lengths and service levels of requests (not in the paper; docs/evidence/serving.md)."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rng
from multispin_env.checks import check_fields, check_instance, check_real, check_rng, checked_field, shown
from multispin_env.physics.arrivals import Arrivals, Arriving, Source
from multispin_env.physics.lengths import Lengths

_SLOWEST, _FASTEST = 1e-9, 1e9  # Requests/s of all devices
_MOST_UNEQUAL = 1e3  # Largest over smallest share; it limits how far a trace is read ahead for the rarest device


@dataclass(frozen=True, kw_only=True)
class ServiceLevel:
    """Latency limits of a request, named as in vLLM and DistServe; an infinite limit is none.

    TTFT, the time to first token, counts from the arrival at the device. TPOT is the time per token after the first,
    (E2EL − TTFT) / (n − 1) for n tokens and 0 for n = 1. E2EL, the end-to-end latency, is the time to the last token.

    Parameters
    ----------
    ttft, tpot, e2el
        Limits in seconds, > 0.
    e2el_per_token
        Seconds ≥ 0 added to the limit of E2EL for each token of the answer.

    Examples
    --------
    >>> from multispin_env.physics.workload import ServiceLevel
    >>> level = ServiceLevel(e2el=0.5, e2el_per_token=0.08)
    >>> float(level.due(10.0, 100))
    18.5
    """

    ttft: float = np.inf
    tpot: float = np.inf
    e2el: float = np.inf
    e2el_per_token: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value != np.inf or name == "e2el_per_token":
                check_real(name, value, 0.0, open_low=name != "e2el_per_token")
        check_fields(self)

    def first_due(self, arrived: FloatArray | float) -> FloatArray:
        """Return the due time of the first token of requests (...), in s on the clock of the arrivals."""
        return np.asarray(arrived + self.ttft)[()]

    def due(
        self, arrived: FloatArray | float, output: IntArray | int, first: FloatArray | float | None = None
    ) -> FloatArray:
        """Return the due time (...) in s of the last of ``output`` tokens.

        ``first`` is the time of the first token in s, by default its due time. If the first token is late, so is the
        request, and the due time of that token is returned.
        """
        first_due = self.first_due(arrived)
        first = first_due if first is None else first
        after = np.maximum(np.subtract(output, 1), 0)
        paced = first + (self.tpot * after if self.tpot < np.inf else np.where(after > 0, np.inf, 0.0))
        last = np.minimum(paced, arrived + (self.e2el + self.e2el_per_token * np.asarray(output)))
        return np.where(first > first_due, first_due, last)[()]

    def met(self, ttft: FloatArray, tpot: FloatArray, e2el: FloatArray, output: IntArray) -> BoolArray:
        """Return whether requests (...) with these latencies are within all limits."""
        limit = self.e2el + self.e2el_per_token * output
        return (ttft <= self.ttft) & (tpot <= self.tpot) & (e2el <= limit)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Workload: arrivals and lengths of requests, and their service level.

    ``ValueError`` for a value out of range.

    Parameters
    ----------
    arrivals
        Arrival process, made from a name by `make_arrivals`.
    rate
        Requests/s of all devices together, > 0. A pair (low, high): drawn uniformly for each episode. None: the default
        rate of the arrivals, e.g. that of a trace.
    level
        Latency limits; default none.
    lengths
        Length law, made from a name by `make_lengths`. None: the lengths of the arrivals, e.g. those of a trace.
    shares
        Relative rates of the devices, K numbers > 0, the largest at most 1,000 times the smallest. None: equal rates.
    thins_after
        Seconds > 0 after which gaps grow: each gap of a device is doubled once more than the previous one, so that only
        about log2(T) requests arrive in T seconds. Long simulations then need little memory, and a batch that waits for
        a request still starts. Default: never. Closed loops, which have few requests, are unchanged.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> workload = ms.requests.Workload(
    ...     arrivals=ms.requests.make_arrivals("poisson"),
    ...     rate=1.5,
    ...     lengths=ms.requests.make_lengths("geometric", mean_output=40.0),
    ...     level=ms.requests.ServiceLevel(e2el=0.5, e2el_per_token=0.08),
    ... )
    >>> workload.tokens_per_second
    60.0
    >>> source = workload.open(np.random.default_rng(0), num_users=8)  # one episode
    >>> source(16).gap.shape
    (16, 8)
    """

    arrivals: Arrivals
    rate: float | tuple[float, float] | None = None
    level: ServiceLevel = checked_field(ServiceLevel(), check_instance, ServiceLevel)
    lengths: Lengths | None = None
    shares: tuple[float, ...] | None = None
    thins_after: float = np.inf

    def __post_init__(self) -> None:
        check_instance("arrivals", self.arrivals, Arrivals, "an object made by make_arrivals")
        check_fields(self)
        if self.lengths is not None:
            check_instance("lengths", self.lengths, Lengths, "an object made by make_lengths, or None")
        elif self.arrivals.own_output is None:
            raise ValueError("lengths: expected a length law, since these arrivals have no lengths, got None")
        if self.rate is not None:
            object.__setattr__(self, "rate", check_range("rate", self.rate, _SLOWEST, _FASTEST))
        elif self.arrivals.own_rate is None:
            raise ValueError("rate: expected requests/s, since these arrivals have no rate, got None")
        if self.shares is not None:
            object.__setattr__(self, "shares", _checked_shares(self.shares))
        if self.thins_after != np.inf:
            check_real("thins_after", self.thins_after, 0.0, open_low=True)

    @classmethod
    def at_load(cls, tokens_per_second: float | tuple[float, float], **parts: Any) -> Self:
        """Make a workload from the requested tokens/s of all devices together; ``rate`` is this over mean tokens.

        ``tokens_per_second`` is a number, or a pair (low, high) as for ``rate``; ``parts`` are the other fields.

        Examples
        --------
        >>> import multispin_env as ms
        >>> parts = {"arrivals": ms.requests.make_arrivals("poisson"), "lengths": ms.requests.make_lengths("geometric")}
        >>> ms.requests.Workload.at_load(120.0, **parts).rate
        2.0
        """
        workload = cls(rate=tokens_per_second, **parts)
        low, high = workload.rates
        return replace(workload, rate=(low / workload.mean_output, high / workload.mean_output))

    @property
    def closed(self) -> bool:
        """Whether the gap to the next request of a device starts when its last request ends."""
        return self.arrivals.closed

    @property
    def rates(self) -> tuple[float, float]:
        """Lowest and highest requests/s of all devices together, over episodes."""
        rate = self.rate if self.rate is not None else self.arrivals.own_rate
        low, high = rate if isinstance(rate, tuple) else (rate, rate)
        return float(low), float(high)  # type: ignore[arg-type]  # one of the rates is not None

    @property
    def mean_output(self) -> float:
        """Mean tokens of an answer."""
        mean = self.arrivals.own_output if self.lengths is None else self.lengths.mean_output
        return float(mean)  # type: ignore[arg-type]  # as above

    @property
    def tokens_per_second(self) -> float:
        """Mean requested tokens/s of all devices together; in a closed loop, for instant answers."""
        return sum(self.rates) / 2.0 * self.mean_output

    def open(self, rng: Rng, num_users: int) -> Source:
        """Return the source of one episode from a generator or a seed; ``ValueError`` for a wrong number of shares."""
        rng = check_rng("rng", rng)
        if self.shares is not None and len(self.shares) != num_users:
            raise ValueError(f"shares: expected one number for each of {num_users} devices, got {len(self.shares)}")
        low, high = self.rates
        total = low if low == high else rng.uniform(low, high)
        if self.shares is None:
            rate = np.full(num_users, total / num_users)
        else:
            shares = np.array(self.shares)
            rate = total * (shares / shares.sum())
        source = self.arrivals.open(rng, rate, self.lengths)
        thin = self.thins_after < np.inf and not self.closed
        begin = np.zeros(num_users), np.zeros(num_users, dtype=np.int64)
        return _Thinning(source, self.thins_after, *begin) if thin else source


@dataclass
class _Thinning:
    source: Source
    after: float
    last: FloatArray  # (K,) s, time of the last request without doubled gaps
    doubled: IntArray  # (K,) requests with doubled gaps

    def __call__(self, rows: int) -> Arriving:
        gap, prompt, output = self.source(rows)
        times = np.add.accumulate(np.concatenate([self.last[None], gap]), 0)
        doubled = np.add.accumulate(np.concatenate([self.doubled[None], times[1:] > self.after]), 0)
        self.last, self.doubled = times[-1], doubled[-1]
        return Arriving(np.ldexp(gap, np.minimum(doubled[:-1], 500)), prompt, output)


def check_range(field: str, value: Any, lowest: float, highest: float = np.inf) -> float | tuple[float, float]:
    """Return a number, or a pair (low, high) of two numbers; ``ValueError`` for numbers out of range."""
    if not isinstance(value, tuple | list):
        return check_real(field, value, lowest, highest)
    try:
        low, high = value
        low = check_real(field, low, lowest, highest)
        high = check_real(field, high, low, highest)
    except ValueError:
        expected = f"a number or a pair (low, high) with {lowest:g} ≤ low ≤ high ≤ {highest:g}"
        raise ValueError(f"{field}: expected {expected}, got {shown(value)}") from None
    return low if low == high else (low, high)


def _checked_shares(shares: Any) -> tuple[float, ...]:
    if not isinstance(shares, tuple | list) or not shares:
        raise ValueError(f"shares: expected a tuple of one number for each device, got {shown(shares)}")
    checked = tuple(check_real(f"shares[{k}]", share, 0.0, open_low=True) for k, share in enumerate(shares))
    if max(checked) > _MOST_UNEQUAL * min(checked):
        position = checked.index(min(checked))
        least = f"at least 1/{_MOST_UNEQUAL:.0f} of the largest, {max(checked)!r}"
        raise ValueError(f"shares[{position}]: expected {least}, got {checked[position]!r}")
    return checked
