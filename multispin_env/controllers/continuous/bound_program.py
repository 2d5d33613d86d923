"""Linear programs over rates, and a bound on their value that is valid whatever the prices are (ours)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from scipy import sparse


class Solution(NamedTuple):
    """What the program found."""

    bound: float  # no feasible x is worth more
    prices: FloatArray  # of the rows
    amounts: FloatArray  # x of all variables
    near: BoolArray  # variables that are worth nearly what they cost


@dataclass(frozen=True, eq=False)
class Program:
    """Maximise g x over x ≥ 0 with A x ≤ b, or = b in some rows.

    It is given row by row and solved in the prices p of its rows: minimise b p over p ≥ 0 with A'p ≥ g. A feasible x
    needs x ≤ ``most`` for each variable, and for each ``group`` of variables Σ x / most ≤ 1. Then for any prices
    g x ≤ b p + Σ_groups max (g − A'p)⁺ most, which is the bound: what a variable still seems to win counts as won.
    """

    limits: list[FloatArray] = field(default_factory=list)
    free: list[BoolArray] = field(default_factory=list)
    gain: list[FloatArray] = field(default_factory=list)
    most: list[FloatArray] = field(default_factory=list)
    group: list[IntArray] = field(default_factory=list)
    entries: list[tuple[IntArray, IntArray, FloatArray]] = field(default_factory=list)

    def rows(self, *shape: int, at_most: FloatArray | float = 0.0, equal: bool = False) -> IntArray:
        """Make new rows A x ≤ b, or A x = b, and return their numbers."""
        self.limits.append(_flat(at_most, shape))
        self.free.append(np.full(shape, equal).ravel())
        return _numbers(self.limits, shape)

    def variables(
        self,
        *shape: int,
        most: FloatArray | float,
        gain: FloatArray | float = 0.0,
        group: IntArray | int | None = None,
    ) -> IntArray:
        """Make new variables, each alone in its group unless groups 0, 1, ... are given; return their numbers."""
        self.most.append(_flat(most, shape))
        self.gain.append(_flat(gain, shape))
        found = _numbers(self.most, shape)
        own = found - found.flat[0] if group is None else np.broadcast_to(group, shape)
        first = self.group[-1].max() + 1 if self.group else 0
        self.group.append(first + own.ravel())
        return found

    def put(self, row: IntArray, variable: IntArray, value: FloatArray | IntArray | float) -> None:
        """Add value · variable to a row; the three are broadcast together."""
        at, of, amount = np.broadcast_arrays(row, variable, np.asarray(value, dtype=np.float64))
        used = amount != 0.0
        self.entries.append((at[used], of[used], amount[used]))

    def solve(self, start: BoolArray | None = None) -> Solution:
        """Find prices. Only the variables ``start`` are there at first, and those that would win come in."""
        from scipy import sparse  # late, as below: most processes need no program, and this takes long

        rows, columns, values = (np.concatenate(parts) for parts in zip(*self.entries, strict=True))
        most, limits = np.concatenate(self.most), np.concatenate(self.limits)
        matrix = sparse.csr_array((values * most[columns], (columns, rows)), shape=(len(most), len(limits)))
        shares = _Shares(
            matrix, np.concatenate(self.gain) * most, limits, np.concatenate(self.free), np.concatenate(self.group)
        )
        found = shares.solve(np.ones(len(most), dtype=bool) if start is None else start.copy())
        return found._replace(amounts=found.amounts * most)


@dataclass(frozen=True, eq=False)
class _Shares:
    """The program with each variable in shares of its largest value, so that no entry is huge."""

    matrix: "sparse.csr_array"
    gain: FloatArray
    limits: FloatArray
    free: BoolArray
    group: IntArray

    def solve(self, active: BoolArray) -> Solution:
        nothing = np.zeros(len(self.limits))
        best = Solution(self._bound(nothing), nothing, np.zeros(len(self.gain)), active)
        for _ in range(60):
            found = self._prices(active)
            if found.x is None:  # the bound of the prices so far is valid
                break
            prices = np.where(self.free, found.x, np.maximum(found.x, 0.0))
            bound = self._bound(prices)
            if bound < best.bound:
                best = best._replace(bound=bound, prices=prices)
            amounts, profit = np.zeros(len(self.gain)), self._profit(prices)
            amounts[active] = -found.ineqlin.marginals
            best = best._replace(amounts=amounts, near=_largest(profit, 4 * len(prices)))
            wanted = _largest(np.where(active, 0.0, profit), 3000, 0.0)
            if best.bound - found.fun <= 3e-5 * abs(best.bound) or not wanted.any():
                break
            active = active | wanted
        return best

    def _profit(self, prices: FloatArray) -> FloatArray:
        """What a full share of each variable seems to win."""
        profit: FloatArray = self.gain - self.matrix @ prices
        return profit

    def _bound(self, prices: FloatArray) -> float:
        won = np.zeros(self.group[-1] + 1)
        np.maximum.at(won, self.group, self._profit(prices))
        return float(self.limits @ prices + won.sum())

    def _prices(self, active: BoolArray) -> Any:  # scipy's OptimizeResult
        from scipy.optimize import linprog

        bounds = np.stack([np.where(self.free, -np.inf, 0.0), np.full(len(self.free), np.inf)], -1)
        return linprog(self.limits, -self.matrix[active], -self.gain[active], bounds=bounds, method="highs-ds")


def _largest(values: FloatArray, count: int, above: float = -np.inf) -> BoolArray:
    """Where the largest values are, so many of them and those level with the last, and above a number."""
    if len(values) > count:
        above = max(above, np.nextafter(np.partition(values, -count)[-count], -np.inf))
    return values > above


def _flat(value: FloatArray | float, shape: tuple[int, ...]) -> FloatArray:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), shape).ravel()


def _numbers(parts: list[FloatArray], shape: tuple[int, ...]) -> IntArray:
    """Numbers of the last part, in the order of all parts."""
    last = sum(map(len, parts))
    return np.arange(last - len(parts[-1]), last).reshape(shape)
