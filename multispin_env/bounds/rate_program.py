"""Linear program of the bound on rates, with a bound that is valid for any prices (not in the paper).

`Program` is the solver. `make_rates` and the `add_...` functions give the rows that the rates of every policy satisfy,
for the server, uplink, devices, batches, channel and sets of devices; docs/evidence/bound.md numbers them.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from scipy import sparse


class Solution(NamedTuple):
    """Solution of a program."""

    bound: float  # upper bound on g x of every feasible x
    prices: FloatArray  # of the rows
    profits: FloatArray  # that the variables of each group still have, and that the bound includes
    amounts: FloatArray  # x of all variables
    near: BoolArray  # variables whose cost is close to their gain


@dataclass(frozen=True, eq=False)
class Program:
    """Linear program: maximise g x over x ≥ 0 with A x ≤ b, or A x = b in some rows.

    It is built row by row, and its dual is solved: minimise b p over prices p ≥ 0 of the rows with A'p ≥ g. Every
    feasible x satisfies x ≤ ``most`` for each variable, and Σ x / most ≤ 1 for each ``group`` of variables. Then for
    any prices g x ≤ b p + Σ_groups max (g − A'p)⁺ most. The bound is this sum, in which g − A'p is the profit that
    variables still have.
    """

    limits: list[FloatArray] = field(default_factory=list)
    free: list[BoolArray] = field(default_factory=list)
    gain: list[FloatArray] = field(default_factory=list)
    most: list[FloatArray] = field(default_factory=list)
    group: list[IntArray] = field(default_factory=list)
    entries: list[tuple[IntArray, IntArray, FloatArray]] = field(default_factory=list)

    def rows(self, *shape: int, at_most: FloatArray | float = 0.0, equal: bool = False) -> IntArray:
        """Add rows A x ≤ b, or A x = b, and return their indices."""
        self.limits.append(_flat(at_most, shape))
        self.free.append(np.full(shape, equal).ravel())
        return _indices(self.limits, shape)

    def variables(
        self,
        *shape: int,
        most: FloatArray | float,
        gain: FloatArray | float = 0.0,
        group: IntArray | int | None = None,
    ) -> IntArray:
        """Add variables, with groups 0, 1, ... or each in a group of its own; return their indices."""
        self.most.append(_flat(most, shape))
        self.gain.append(_flat(gain, shape))
        index = _indices(self.most, shape)
        groups = index - index.flat[0] if group is None else np.broadcast_to(group, shape)
        first = self.group[-1].max() + 1 if self.group else 0
        self.group.append(first + groups.ravel())
        return index

    def put(self, row: IntArray, variable: IntArray, value: FloatArray | IntArray | float) -> None:
        """Add value · variable to a row; arguments are broadcast together."""
        rows, columns, values = np.broadcast_arrays(row, variable, np.asarray(value, dtype=np.float64))
        used = values != 0.0
        self.entries.append((rows[used], columns[used], values[used]))

    def solve(self, start: BoolArray | None = None) -> Solution:
        """Solve for the prices, first with the variables ``start``; others enter while they have a profit."""
        from scipy import sparse  # late, here and below: the import is slow, and most processes need no program

        rows, columns, values = (np.concatenate(parts) for parts in zip(*self.entries, strict=True))
        most, limits = np.concatenate(self.most), np.concatenate(self.limits)
        matrix = sparse.csr_array((values * most[columns], (columns, rows)), shape=(len(most), len(limits)))
        shares = _Shares(
            matrix, np.concatenate(self.gain) * most, limits, np.concatenate(self.free), np.concatenate(self.group)
        )
        solution = shares.solve(np.ones(len(most), dtype=bool) if start is None else start.copy())
        return solution._replace(amounts=solution.amounts * most)


@dataclass(frozen=True, eq=False)
class _Shares:
    matrix: "sparse.csr_array"
    gain: FloatArray
    limits: FloatArray
    free: BoolArray
    group: IntArray

    def solve(self, active: BoolArray) -> Solution:
        from scipy.optimize import linprog

        bounds = np.stack([np.where(self.free, -np.inf, 0.0), np.full(len(self.free), np.inf)], -1)
        nothing = np.zeros(len(self.limits))
        best = Solution(*self._bound(nothing), np.zeros(len(self.gain)), active)
        for _ in range(60):
            rows, gain = -self.matrix[active], -self.gain[active]
            result: Any = linprog(self.limits, rows, gain, bounds=bounds, method="highs-ds")
            if result.x is None:  # the bound at the last prices remains valid
                break
            prices = np.where(self.free, result.x, np.maximum(result.x, 0.0))
            bound, _, profits = self._bound(prices)
            if bound < best.bound:
                best = best._replace(bound=bound, prices=prices, profits=profits)
            amounts, profit = np.zeros(len(self.gain)), self._profit(prices)
            amounts[active] = -result.ineqlin.marginals
            best = best._replace(amounts=amounts, near=_largest(profit, 4 * len(prices)))
            entering = _largest(np.where(active, 0.0, profit), 3000, 0.0)
            if best.bound - result.fun <= 3e-5 * abs(best.bound) or not entering.any():
                break
            active = active | entering
        return best

    def _profit(self, prices: FloatArray) -> FloatArray:
        return np.asarray(self.gain - self.matrix @ prices)

    def _bound(self, prices: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        profits = np.zeros(self.group[-1] + 1)
        np.maximum.at(profits, self.group, self._profit(prices))
        return float(self.limits @ prices + profits.sum()), prices, profits


def _largest(values: FloatArray, count: int, above: float = -np.inf) -> BoolArray:
    if len(values) > count:
        above = max(above, np.nextafter(np.partition(values, -count)[-count], -np.inf))
    return values > above


def _flat(value: FloatArray | float, shape: tuple[int, ...]) -> FloatArray:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), shape).ravel()


def _indices(parts: list[FloatArray], shape: tuple[int, ...]) -> IntArray:
    last = sum(map(len, parts))
    return np.arange(last - len(parts[-1]), last).reshape(shape)


@dataclass(frozen=True, eq=False)
class System:
    """Instance of the bound: K devices, whose channels have m states."""

    delay: FloatArray  # (K, L) s of a cycle of l tokens besides drafting: round trip, and access where l > 0
    repeats: FloatArray  # (L,) s by which a draft of l tokens arrives after its upload, on average
    draft_time: FloatArray  # T (K,) s/token
    token_time: FloatArray  # u (K, m) s/token with the whole band
    probability: FloatArray  # p (K, m), each row sums to 1
    acceptance_rate: FloatArray  # α (K,)
    lengths: IntArray  # l (L,), possible draft lengths
    tokens: FloatArray  # E[N | l] (K, L)
    verification_time: FloatArray  # V (K, L) s, least time of a pass of 1..K drafts, one of them of l tokens
    token_lines: FloatArray  # (K, J, 2) lines of a pass of 1..K drafts: s, and s per drafted token; J may be 0
    hit: FloatArray | None  # h (K, L), probability that a chain is kept; None: no drafting ahead
    barrier: bool  # whether every batch has a draft of each device

    @property
    def num_users(self) -> int:
        """Number of devices K."""
        return len(self.draft_time)

    @property
    def shortest_pass(self) -> FloatArray:
        """Least time V (K,) in s of a pass of 1..K drafts."""
        return self.verification_time[:, 0]

    @property
    def drafting(self) -> FloatArray:
        """Least seconds from the start of a cycle to the end of its draft, (K, 1, G, L): l T and the delay.

        G is 1, or 2 with drafting ahead: the second kind of cycle begins with a head start and needs no drafting time.
        """
        delay = self.delay[:, None, None]
        whole = delay + (self.draft_time[:, None] * self.lengths)[:, None, None]
        return whole if self.hit is None else np.concatenate([whole, delay], axis=2)

    @property
    def air(self) -> FloatArray:
        """Upload times w = l u (K, m, L) in s with the whole band."""
        return self.token_time[..., None] * self.lengths

    @property
    def sizes(self) -> IntArray:
        """Batch sizes 1..K."""
        return np.arange(1, self.num_users + 1)


_Seconds = tuple[IntArray, FloatArray | float]  # variables, and the seconds of each of them


@dataclass(frozen=True, eq=False)
class Rates:
    """Linear program, with the variables and rows that further rows refer to."""

    program: Program
    batches: IntArray  # z (K,), batches/s of sizes 1..K
    members: IntArray  # y (K, K), cycles/s of each device in batches of each size
    cycles: IntArray  # x (K, m, G, L), cycles/s of each device by channel, kind and length
    server: IntArray  # row
    uplink: IntArray  # row
    device: IntArray  # rows (K,)
    passes: _Seconds  # seconds (K,) of the server by size of batch
    waiting: _Seconds  # seconds (K, K) in which a device waits for its own pass, by size of batch


def make_rates(system: System, kinds: int = 1) -> Rates:
    """Return a program with rows 1 to 4, without the times of passes; further rows may distinguish kinds of cycles."""
    program, users = Program(), np.arange(system.num_users)
    drafting, air = system.drafting, system.air[:, :, None]  # (K, 1, 1 or G, L), (K, m, 1, L)
    shape = (*system.token_time.shape, kinds, len(system.lengths))
    least = system.shortest_pass
    fewest = system.num_users if system.barrier else 1
    batches = program.variables(system.num_users, most=(system.sizes >= fewest) / least, group=0)
    members = program.variables(system.num_users, system.num_users, most=1.0 / least, group=users[:, None])
    cycles = program.variables(
        *shape,
        most=1.0 / (drafting + air + least[0]),
        gain=system.tokens[:, None, None],
        group=users[:, None, None, None],
    )
    rates = Rates(
        program=program,
        batches=batches,
        members=members,
        cycles=cycles,
        server=program.rows(at_most=1.0),
        uplink=program.rows(at_most=1.0),
        device=program.rows(system.num_users, at_most=1.0),
        passes=(batches, least),
        waiting=(members, least),
    )
    program.put(rates.uplink, cycles, air)
    program.put(rates.device[:, None, None, None], cycles, drafting + air + system.repeats)
    _batch_rows(rates, system)
    return rates


def _batch_rows(rates: Rates, system: System) -> None:
    program, users = rates.program, system.num_users
    once = program.rows(users, users)
    program.put(once, rates.members, 1.0)
    program.put(once, rates.batches, -1.0)
    filled = program.rows(users, equal=True)
    program.put(filled, rates.members, 1.0)
    program.put(filled, rates.batches, -system.sizes)
    channel = program.rows(*system.token_time.shape, equal=True)
    program.put(channel[..., None, None], rates.cycles, 1.0)
    program.put(channel[..., None], rates.members[:, None], -system.probability[..., None])


def add_times(rates: Rates) -> None:
    """Add rows 1 and 3: seconds of the server, and of each device in its own passes."""
    rates.program.put(rates.server, *rates.passes)
    rates.program.put(rates.device[:, None], *rates.waiting)


def add_set(rates: Rates, system: System, member: BoolArray) -> IntArray:
    """Add rows 5 for a set (K,) of devices: the first to upload waits for the others.

    Return the row of the time of the set, and those of the places in a batch.
    """
    program, size = rates.program, int(member.sum())
    positions, knots = system.sizes[:size], _knots(system)
    together = program.rows(at_most=float(size))
    position, knot = program.rows(size), program.rows(len(knots))
    seconds = knots[:, None] * positions
    most = 2.0 / (system.shortest_pass[0] + seconds / size)  # twice the limit by its batches and by row `together`
    uploads = program.variables(len(knots), size, most=most, group=np.arange(size))
    program.put(position, uploads, 1.0)
    program.put(position[:, None], rates.batches, np.where(system.sizes >= positions[:, None], -1.0, 0.0))
    program.put(knot[:, None], uploads, -1.0)
    program.put(together, uploads, seconds)
    cycles = rates.cycles[member]
    times = np.minimum(system.air[member], knots[-1])
    below = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(knots) - 2)
    share = (times - knots[below]) / (knots[below + 1] - knots[below])
    program.put(knot[below][:, :, None], cycles, 1.0 - share[:, :, None])
    program.put(knot[below + 1][:, :, None], cycles, share[:, :, None])
    program.put(together, cycles, system.drafting[member])
    variables, waiting = np.broadcast_arrays(*rates.waiting)
    program.put(together, variables[member], waiting[member])
    return np.append(together, position)


def _knots(system: System) -> FloatArray:
    """Return upload times between which positions in a batch are interpolated; longer uploads may count as the last."""
    longest = 2.0 * (system.shortest_pass[-1] + system.drafting.max())
    last = min(float(system.air.max()), longest)
    return np.concatenate([[0.0], last * np.logspace(-3.0, 0.0, 47)])


def useful_sets(system: System) -> list[BoolArray]:
    """Return all devices, those with α above each of a few levels, and the faster half if T differs much."""
    alpha, time = system.acceptance_rate, system.draft_time
    levels = np.unique(alpha)[1:]
    if len(levels) > 4:
        levels = levels[np.linspace(0, len(levels) - 1, 4).round().astype(int)]
    sets = [np.ones(len(alpha), dtype=bool), *(alpha >= level for level in levels)]
    return [*sets, time <= np.median(time)] if time.max() > 2.0 * time.min() else sets
