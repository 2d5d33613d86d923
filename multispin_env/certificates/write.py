"""Writer of certificates: a depth-first search for lengths that exceed the bound of a certified decision.

The goodput to exclude is known, so no incumbent is needed: the checker narrows each part, and a part is divided until
nothing is left. The search shares no code with the branch and bound that made the decision, and so examines it.
"""

from math import ceil, floor, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.certificates import check
from multispin_env.certificates.check import BITS, GRID, Part, Table
from multispin_env.checks import check_instance
from multispin_env.physics.energy import token_energy
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.problem import ROUNDING, Problem, checked_problem

MAX_ENTRIES = 20_000
_VALUE_ROUNDING = 4e-14  # Relative rounding error of the value of a decision
_SCALE = 2 ** (BITS - GRID)  # Steps of the prices, slopes and latencies of a proof in a unit of float64 tables


def certificate(
    scenario: Scenario,
    state: SystemState,
    decision: CertifiedDecision,
    *,
    weights: ArrayLike | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
    energy_price: float = 0.0,
) -> dict[str, Any]:
    """Return the proof of a certified decision as an object for ``json.dump``.

    `multispin_env.certificates.check` and ``multispin check`` verify it without the solver. The options are those with
    which ``optimal`` decided. Not in the paper; docs/evidence/certificates.md.

    Parameters
    ----------
    state
        State (K,) of one round.
    decision
        Decision of ``make_controller("optimal", scenario, certify=...)`` in this state.
    weights, fixed_length, tpot, energy_price
        As in `multispin_env.controllers.rounds.optimal.Optimal`.

    Raises
    ------
    ValueError
        If some lengths exceed the bound; the message has them. Also for decisions without a certificate, and for
        proofs and systems that take longer to check than the checker allows.
    RuntimeError
        If the proof needs more than 20,000 entries.

    Examples
    --------
    >>> import multispin_env as ms
    >>> from multispin_env.certificates.check import check
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, 0)
    >>> decision = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    >>> proof = ms.certificate(scenario, state, decision)
    >>> float(check(proof)["bound"]) == float(decision.bound)
    True
    """
    state = checked_state(scenario, state)
    check_instance("decision", decision, CertifiedDecision, "a decision of optimal")
    if state.draft_time.ndim != 1 or decision.draft_length.shape != state.draft_time.shape:
        shapes = f"{state.draft_time.shape} and {decision.draft_length.shape}"
        raise ValueError(f"decision: expected one state and decision (K,), got shapes {shapes}")
    if decision.feasible is not None and not decision.feasible:
        raise ValueError(f"decision: expected one that is in time, got one with feasible={decision.feasible}")
    problem = checked_problem(scenario, state, None if weights is None else np.asarray(weights), fixed_length, tpot)
    record: dict[str, Any] = {
        "format": check.FORMAT,
        "value": texts(decision.value * (1.0 - _VALUE_ROUNDING)),
        "bound": texts(decision.bound),
        "draft_length": decision.draft_length.tolist(),
        "system": round_system(scenario, state, problem, tpot, energy_price),
        "proof": [],
    }
    fields = check.read(record)
    table, whole = check.tabulate(fields, fields["bound"], ceil, floor)
    record["proof"] = _Search(table).proof(whole)
    check.check(record)
    return record


def round_system(
    scenario: Scenario, state: SystemState, problem: Problem, tpot: float | None = None, energy_price: float = 0.0
) -> dict[str, Any]:
    """Return the system of a certificate for a checked state (K,), its problem and options of `certificate`."""
    scenario.uplink.require_paper("for certificates")
    law = scenario.law
    return {
        "num_users": scenario.num_users,
        "low": problem.low[0].tolist(),
        "high": problem.high[0].tolist(),
        "draft_time": texts(state.draft_time),
        "spectral_efficiency": texts(state.spectral_efficiency),
        "acceptance_rate": texts(state.acceptance_rate),
        "weights": texts(problem.weights[0]),
        "token_price": texts(energy_price * token_energy(scenario, state)),
        "head_start": texts(state.head_start),
        "bandwidth": texts(scenario.total_bandwidth),
        "bits_per_token": texts(scenario.bits_per_token),
        "fixed_time": texts(law.fixed_time),
        "time_per_draft": texts(law.time_per_draft),
        "round_trip": texts(scenario.uplink.fixed_wait),
        "pieces": texts(law.lines),
        "padded": law.padded,
        "tpot": None if tpot is None else texts(tpot * (1.0 + ROUNDING)),
    }


def texts(numbers: ArrayLike) -> Any:
    """Return numbers as texts such as 0x1.8p+1, in lists like the array."""
    array = np.asarray(numbers, dtype=np.float64)
    return [texts(part) for part in array] if array.ndim else float(array).hex()


class _Hints(NamedTuple):
    """Numbers of an entry of a proof, and where to divide the part."""

    price: int
    slope: int
    excess: float  # what is left of the bound above the claim
    device: int
    length: int


class _Search:
    """Depth-first search in float64 copies of a table."""

    def __init__(self, table: Table) -> None:
        self.table, self.padded = table, table.size is max
        width = max(map(len, table.tokens))

        def floats(rows: list[list[int]]) -> FloatArray:
            return np.array([[number / 2**BITS for number in row] + [0.0] * (width - len(row)) for row in rows])

        self.tokens, self.draft, self.upload = map(floats, (table.tokens, table.draft, table.upload))
        self.server = np.array([number / 2**BITS for number in table.server])
        rises = np.zeros(1) if self.padded else np.diff(self.server, append=self.server[-1])
        slopes = {0.0, *np.quantile(rises, [0.0, 0.25, 0.5, 0.75, 1.0])}
        if table.limit:  # shorter rounds with fewer tokens, as if every token took longer
            slopes |= {factor * rises.max() for factor in (1.5, 2.0, 4.0, 8.0)}
        self.slopes = sorted(slopes)

    def proof(self, whole: Part) -> list[list[int]]:
        """Return the entries of the proof that the part holds no decision with a higher goodput."""
        entries: list[list[int]] = []
        stack = [(whole, np.inf, True)]
        while stack:
            part, before, by_device = stack.pop()
            if len(entries) == MAX_ENTRIES:
                raise RuntimeError(f"certificate: expected a proof of at most {MAX_ENTRIES} entries, got a longer one")
            hints = self.hints(part)
            entries.append([hints.price, hints.slope])
            rest = check.narrowed(self.table, part, hints.price, hints.slope)
            if rest is not None:
                if hints.excess > 0.7 * before:  # the last kind of split did not help
                    by_device = not by_device
                split = self.split(rest, by_device, hints)
                entries[-1] += split
                halves = check.divided(self.table, rest, *split)
                stack += [(half, hints.excess, by_device) for half in reversed(halves)]
        return entries

    def split(self, part: Part, by_device: bool, hints: _Hints) -> list[int]:
        """Return how to divide a part that is not empty."""
        widths = np.subtract(part.high, part.low)
        if prod((widths + 1).tolist()) <= check.MOST_LISTED:
            return [-3]
        first, last = part.first / 2**BITS, part.last / 2**BITS
        spread = self.server[part.most] - self.server[part.fewest]
        if part.most > part.fewest and ((self.table.limit and spread > last - first) or self.padded):
            return [-2, (part.fewest + part.most) // 2]
        # geometric mean of the times of rounds, since latencies may span decades
        server = self.server[part.fewest]
        middle = int((np.sqrt((first + server) * (last + server)) - server) * _SCALE)
        inside = part.first < middle << GRID < part.last
        if inside and not (by_device and widths[hints.device]):
            return [-1, middle]
        device = hints.device if widths[hints.device] else int(widths.argmax())
        return [device, min(max(hints.length, part.low[device]), part.high[device] - 1)]

    def hints(self, part: Part) -> _Hints:
        """Return the price and the slope with the smallest bound, and the first token that does not fit the band."""
        first, last = part.first / 2**BITS, part.last / 2**BITS
        length = np.arange(self.tokens.shape[1])
        room = last - self.draft
        inside = (length >= np.array(part.low)[:, None]) & (length <= np.array(part.high)[:, None])
        inside &= (room > 0.0) & (self.upload <= room) | (length == 0)
        if not inside.any(1).all():
            return _Hints(0, 0, 0.0, 0, 0)
        sending = inside & (self.upload > 0.0)
        share = np.divide(self.upload, room, out=np.zeros_like(room), where=sending)
        steepness = np.divide(share, room, out=np.zeros_like(room), where=sending)
        x = np.arange(part.fewest, part.most + 1)
        choices = []
        for slope in self.slopes:
            net = np.where(inside, self.tokens - slope * length, -np.inf)
            price, device, cut = _price(net, share, inside)
            late = net - price * share
            early = late - price * (last - first) * steepness
            rest = price - (self.server[x] - slope * x).min()
            excess = rest + max(early.max(1).sum() - first, late.max(1).sum() - last)
            choices.append(_Hints(ceil(price * _SCALE), round(slope * _SCALE), excess, device, cut))
        return min(choices, key=lambda hints: hints.excess)


def _price(net: FloatArray, share: FloatArray, inside: BoolArray) -> tuple[float, int, int]:
    """Return the price of the band at which the best lengths use all of it, and device and length of the next token.

    Tokens are taken in the order of their gain per share of the band.
    """
    both = inside[:, 1:] & inside[:, :-1]
    gain = np.subtract(net[:, 1:], net[:, :-1], out=np.zeros(both.shape), where=both)
    extra = np.where(both, share[:, 1:] - share[:, :-1], 0.0)
    least = np.where(inside, share, np.inf).min(1).sum()
    if least > 1.0:  # no decision fits
        return 2.0 * float(np.abs(net[inside]).sum()) / (least - 1.0), 0, 0
    taken = both & (gain > 0.0)
    rate = np.divide(gain, extra, out=np.where(taken, np.inf, -1.0), where=taken & (extra > 0.0)).ravel()
    order = np.argsort(-rate, kind="stable")
    used = least + np.where(rate[order] > 0.0, extra.ravel()[order], 0.0).cumsum()
    position = int(np.searchsorted(used, 1.0, side="right"))
    if position == len(order) or not 0.0 < rate[order[position]] < np.inf:
        device = int(inside.sum(1).argmax())
        return 0.0, device, int(net[device].argmax())
    device, cut = divmod(int(order[position]), both.shape[1])
    return float(rate[order[position]]), device, cut
