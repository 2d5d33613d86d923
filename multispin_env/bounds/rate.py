"""Bound in tokens/s on every policy without the barrier, and what its time is worth (ours; docs/evidence/bound.md).

`rate_bound` solves the program of `rate_program`. Here are what it adds for some systems: a fading channel as a few
states that no policy finds worse, rows for a server whose passes take longer for every token, rows for devices that
draft ahead, and, for a tight bound in static channels, rows about the batches that a device sits out.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.bounds.rate_program import (
    Amount,
    Rates,
    Solution,
    System,
    add_set,
    add_times,
    make_rates,
    useful_sets,
)
from multispin_env.checks import check_array, check_bool, check_integer, check_name, require
from multispin_env.physics.chains import hit_probability
from multispin_env.physics.radio import full_share_token_time, spectral_efficiency
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import Batched, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import MAX_TIME, MIN_TIME, user_times

_STATES = 24  # m, states that stand for the fading law
DEEP_FADES = 1e-3  # share of cycles in the deepest fades, counted as the best of them: their mean air time is infinite
_LOOKS_BACK = 3  # batches whose idle time can lie in a window: cycles of longer gaps are one kind


def fading_states(scenario: Scenario, mean_gain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Air times u (K, m) of a token and their probabilities p (K, m), for mean gains H̄ (K,).

    The first state is u = 0. A cycle between two states counts as a share of each, so that the mean of u stays. Deeper
    fades than the last state count as that state.
    """
    levels = (1.0 - DEEP_FADES) * (1.0 - np.linspace(1.0, 0.0, _STATES)[1:] ** 2)  # P(x > x_i) of H / H̄
    ends = -np.log(levels)  # falling
    times = _token_time(scenario, mean_gain, ends)
    above, heavy = np.polynomial.laguerre.laggauss(64)
    means, masses = [_token_time(scenario, mean_gain, ends[0] + above) @ heavy], [levels[0]]  # E[u | x > x_0]
    points, weights = np.polynomial.legendre.leggauss(64)
    for low, high in zip(np.log(ends[1:]), np.log(ends[:-1]), strict=True):
        gain = np.exp(low + (high - low) * (points + 1.0) / 2.0)
        weight = weights * (high - low) / 2.0 * gain * np.exp(-gain)
        masses.append(weight.sum())
        means.append(_token_time(scenario, mean_gain, gain) @ weight / weight.sum())
    times, mass = np.insert(times, 0, 0.0, axis=1), np.array(masses)
    upper = (np.stack(means, axis=1) - times[:, :-1]) / np.diff(times) * mass
    probability = np.zeros_like(times)
    probability[:, :-1] += mass - upper
    probability[:, 1:] += upper
    probability[:, -1] += 1.0 - mass.sum()  # deeper fades
    return times, probability


def _token_time(scenario: Scenario, mean_gain: FloatArray, gain: FloatArray) -> FloatArray:
    efficiency = spectral_efficiency(scenario, mean_gain[:, None] * gain)
    with np.errstate(over="ignore", divide="ignore"):
        return np.clip(full_share_token_time(scenario, efficiency), MIN_TIME, MAX_TIME)


def add_token_times(rates: Rates, system: System) -> Rates:
    """Put the time of passes above every line of the law; tokens are counted by device and size of batch.

    They are counted once more in each batch that a device waits for.
    """
    program, users = rates.program, np.arange(system.num_users)
    passes = Amount(program.variables(len(users), most=1.0, group=0), 1.0)
    waiting = Amount(program.variables(len(users), len(users), most=1.0, group=users[:, None]), 1.0)
    most = system.lengths[-1] / system.shortest_pass
    own = program.variables(len(users), len(users), most=most)
    whole = program.variables(len(users), len(users), most=system.sizes * most)
    _token_rows(rates, system, own, whole)
    start, slope = np.moveaxis(system.token_lines, -1, 0)  # (K, J)
    line = program.rows(*start.shape)
    program.put(line, rates.batches[:, None], start)
    program.put(line, own[..., None], slope)
    program.put(line, passes.variable[:, None], -1.0)
    line = program.rows(len(users), *start.shape)
    program.put(line, rates.members[..., None], start)
    program.put(line, whole[..., None], slope)
    program.put(line, waiting.variable[..., None], -1.0)
    return replace(rates, passes=passes, waiting=waiting)


def _token_rows(rates: Rates, system: System, own: IntArray, whole: IntArray) -> None:
    """Tie the counts (K, K) by device and size to the cycles, to each other, and to batches without the device."""
    program, users, sizes = rates.program, system.num_users, system.sizes
    shortest, longest = system.lengths[[0, -1]]
    drafted = program.rows(users)
    program.put(drafted[:, None, None, None], rates.cycles, system.lengths)
    program.put(drafted[:, None], own, -1.0)
    for sign, bound in ((-1.0, shortest), (1.0, longest)):
        span = program.rows(users, users)
        program.put(span, own, sign)
        program.put(span, rates.members, -sign * bound)
    others = program.rows(users, users)
    program.put(others, own, 1.0)
    program.put(others, rates.members, (sizes - 1) * shortest)
    program.put(others, whole, -1.0)
    without = program.rows(users, users)
    program.put(without, own[:, None], 1.0)
    program.put(without, rates.batches, -sizes * longest)
    program.put(without, rates.members, sizes * longest)
    program.put(without, whole, -1.0)
    counted = program.rows(users)
    program.put(counted, own, sizes)
    program.put(counted, whole, -1.0)


def add_chains(rates: Rates, system: System, hit: FloatArray) -> IntArray:
    """Rows 3b and 3c, with h (K, L): a head start follows a hit, and hits in a row are one chain. Returns rows 3c (K,).

    The second kind of cycle is the one that begins with a head start.
    """
    program, users, miss = rates.program, system.num_users, 1.0 - hit
    begun = np.arange(2)[:, None]  # 1 with a head start
    kept, chain, counted = program.rows(users), program.rows(users, at_most=1.0), program.rows(users)
    missed = program.variables(users, users, most=1.0 / system.shortest_pass, group=np.arange(users)[:, None])
    program.put(kept[:, None, None, None], rates.cycles, begun - hit[:, None, None])
    program.put(counted[:, None, None, None], rates.cycles, miss[:, None, None])
    program.put(counted[:, None], missed, -1.0)
    for sign, share in ((-1.0, miss.min(-1)), (1.0, miss.max(-1))):
        span = program.rows(users, users)
        program.put(span, missed, sign)
        program.put(span, rates.members, -sign * share[:, None])
    own = (system.pass_time - system.pass_time[:, :1]).min(0)  # s of a pass for the tokens of one draft, at least
    drafting = system.drafting[:, :, :1] + begun * system.draft_time[:, None, None, None]
    last = miss[:, None, None] * (system.air[:, :, None] + own)
    last = last + (1 - begun - miss[:, None, None]) * system.shortest_pass[0]  # chains that end with a hit
    program.put(chain[:, None, None, None], rates.cycles, drafting + last)
    program.put(chain[:, None], missed, system.shortest_pass)
    return chain


@dataclass(frozen=True, eq=False)
class _Kinds:
    """Kinds (G,) of cycles by the batches since the device's last one; sizes of batches are in C classes."""

    sizes: BoolArray  # (C, K), which sizes a class holds
    skips: IntArray  # (G,) batches that are sat out, LOOKS_BACK for that and more
    counts: IntArray  # (C, G), how many of them are known to be of a class
    before: IntArray  # (G,) class of the last batch before the one that verifies; −1 is not known
    skipped_time: FloatArray  # W (G,) s of passes that are sat out, at most; infinite for unknown ones

    def __len__(self) -> int:
        return len(self.skips)


def make_kinds(system: System) -> _Kinds:
    """No batch between, one of any class, two of any classes, more."""
    users = system.num_users
    label = np.arange(users) * min(users, 20) // users
    number = int(label[-1]) + 1
    slowest = np.array([system.shortest_pass[label == each].max() for each in range(number)])
    first, last = (each.ravel() for each in np.indices((number, number)))
    each = np.arange(number)
    one = np.eye(number, dtype=np.int64)
    none = np.zeros((number, number), dtype=np.int64)
    return _Kinds(
        sizes=label == each[:, None],
        skips=np.repeat([0, 1, 2, _LOOKS_BACK], [number, number, number**2, 1]),
        counts=np.concatenate([none, one, one[:, first] + one[:, last], none[:, :1]], axis=1),
        before=np.concatenate([each, each, last, [-1]]),
        skipped_time=np.concatenate([0.0 * slowest, slowest, slowest[first] + slowest[last], [np.inf]]),
    )


def add_skips(rates: Rates, kinds: _Kinds) -> None:
    """Rows 6: a batch that a device sits out is sat out in one cycle only."""
    program, (users, number) = rates.program, (len(rates.members), len(kinds.sizes))
    cycles, sizes = rates.cycles[:, 0], kinds.sizes.astype(np.float64)  # (K, G, L), (C, K)
    by_class, out, next_one = program.rows(users, number), program.rows(users), program.rows(users, number)
    program.put(by_class[..., None, None], cycles[:, None], kinds.counts[..., None])
    program.put(by_class[..., None], rates.batches, -sizes)
    program.put(by_class[..., None], rates.members[:, None], sizes)
    program.put(out[:, None, None], cycles, kinds.skips[:, None])
    program.put(out[:, None], rates.batches, -1.0)
    program.put(out[:, None], rates.members, 1.0)
    program.put(next_one[..., None], cycles[:, :number], 1.0)
    program.put(next_one[..., None], rates.members[:, None], -sizes)


def add_idle(rates: Rates, system: System, kinds: _Kinds) -> IntArray:
    """Rows 7, and the idle time that rows 8 share out: what does not fit into passes takes idle time of the server."""
    program = rates.program
    idle = program.rows(system.num_users, at_most=1.0)
    needed = (system.drafting + system.air[:, :, None])[:, 0] - kinds.skipped_time[:, None]  # (K, G, L)
    program.put(idle[:, None, None], rates.cycles[:, 0], np.maximum(needed, 0.0))
    program.put(idle[:, None], rates.batches, system.shortest_pass)
    shared = program.rows(at_most=float(_LOOKS_BACK))
    slack = program.variables(len(kinds.sizes), most=float(_LOOKS_BACK))
    program.put(shared, slack, 1.0)
    program.put(shared, rates.batches, _LOOKS_BACK * system.shortest_pass)
    return slack


def _solve_with_uploads(rates: Rates, system: System, kinds: _Kinds, slack: IntArray) -> Solution:
    start = np.ones(sum(map(len, rates.program.most)), dtype=bool)
    start[rates.cycles] = False
    start[rates.cycles[:, :, kinds.skips != 2, ::3]] = True
    spare = np.maximum(kinds.skipped_time[:, None] - system.drafting[:, 0], 0.0)  # (K, G, L), d from which it counts
    found = rates.program.solve(start)
    for _ in range(12):
        cuts = [cut for each in range(len(slack)) if (cut := _broken(found, rates, system, kinds, slack, spare, each))]
        if not cuts:
            break
        for each, limit in cuts:
            _add_uploads(rates, system, kinds, slack, spare, each, limit)
        new = rates.program.solve(found.near)
        found = new._replace(bound=min(new.bound, found.bound))
    return found


def _broken(
    found: Solution, rates: Rates, system: System, kinds: _Kinds, slack: IntArray, spare: FloatArray, each: int
) -> tuple[int, float] | None:
    here = kinds.before == each
    load = (found.amounts[rates.cycles] * system.air[:, :, None])[:, 0, here].ravel()
    limits = spare[:, here].ravel()
    order = np.argsort(limits)[: int(np.isfinite(limits).sum())]
    over = load[order].cumsum() - limits[order] * found.amounts[rates.batches[kinds.sizes[each]]].sum()
    worst = int(over.argmax())
    return (each, float(limits[order][worst])) if over[worst] > found.amounts[slack[each]] + 1e-5 else None


def _add_uploads(
    rates: Rates, system: System, kinds: _Kinds, slack: IntArray, spare: FloatArray, each: int, limit: float
) -> None:
    """Row 8 of a class and d: uploads that must lie within d and idle time before a batch fit into that time."""
    row = rates.program.rows()
    counted = (kinds.before == each)[:, None] & (spare <= limit)
    rates.program.put(row, rates.cycles[:, 0], np.where(counted, system.air, 0.0))
    rates.program.put(row, rates.batches, np.where(kinds.sizes[each], -limit, 0.0))
    rates.program.put(row, slack[each], -1.0)


BOUNDED_CHANNELS = ("static", "independent")
"""Laws of channels that `rate_bound` knows. Of a correlated one, a policy can wait for the better states."""


@dataclass(frozen=True, slots=True, eq=False)
class RatePrices(Batched):
    """What no policy exceeds, and what one more second a second of each resource is worth.

    The bound is their sum: ``server + uplink + device.sum(-1)``.

    Parameters
    ----------
    bound
        Goodput of all devices that no policy exceeds, (...) tokens/s.
    server, uplink
        Worth of a second a second of the server, and of the whole uplink band, (...) tokens/s.
    device
        Worth of a second a second of a device, (..., K) tokens/s.
    """

    bound: FloatArray
    server: FloatArray
    uplink: FloatArray
    device: FloatArray


def rate_bound(
    scenario: Scenario,
    state: SystemState,
    *,
    channel: str = "static",
    mean_gain: FloatArray | None = None,
    tight: bool = False,
    barrier: bool = False,
) -> FloatArray:
    """Long-run tokens/s that no policy exceeds where the server verifies what is there and nobody waits.

    It bounds the best value of this problem, by weak duality of a linear program:

        maximise    the limit superior of (tokens gained until t) / t
        over        all policies: who drafts how much and when, who has the uplink, who is in a batch and when it starts
        where       the server verifies one batch at a time, the band is one, and a device has one draft at a time

    The bound (...) is valid to rounding, however well the program was solved. ``ValueError`` for a bad state, a channel
    that has no bound, such as a correlated one, or a system that is too large: more than 256 devices, or with fading
    fewer if drafts may be long.

    Parameters
    ----------
    scenario
        The system. Where verification costs tokens, every line of the law bounds the time of a pass; a padded pass
        counts as one that is not, which leaves the bound valid. A round trip delays the draft of each cycle. Where
        devices draft ahead, the bound is on policies that do not know what will be accepted.
    state
        Arrays (..., K).
    channel
        ``"static"``: the spectral efficiencies of the state hold for ever. ``"independent"``: each cycle of a device
        draws a gain of its own, exponential with its mean gain; the spectral efficiencies of the state are not used.
    mean_gain
        H̄ (..., K) > 0, for ``"independent"`` only.
    tight
        Whether to count also what devices miss in batches that they sit out, which is slow: only in static channels,
        and where nobody drafts ahead.
    barrier
        Whether the bound is on policies of rounds alone: every batch has a draft of each device.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> barrier = ms.upper_bound(scenario, state)  # of all decisions of rounds
    >>> bool(ms.rate_bound(scenario, state) > barrier)
    True
    """
    return rate_prices(scenario, state, channel=channel, mean_gain=mean_gain, tight=tight, barrier=barrier).bound


def rate_prices(
    scenario: Scenario,
    state: SystemState,
    *,
    channel: str = "static",
    mean_gain: FloatArray | None = None,
    tight: bool = False,
    barrier: bool = False,
) -> RatePrices:
    """Return `rate_bound` with the prices that prove it. Parameters and errors are those of `rate_bound`.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> prices = ms.rate_prices(scenario, ms.sample_state(scenario, np.random.default_rng(0)))
    >>> bool(prices.server > 10.0 * prices.uplink)  # the server is what is scarce
    True
    """
    state = checked_state(scenario, state)
    _check_question(scenario, channel, tight, barrier)
    gains = _checked_gains(mean_gain, channel, state.draft_time.shape)
    draft_time, token_time = user_times(scenario, state)
    shape, users = draft_time.shape[:-1], scenario.num_users
    flat = [array.reshape(-1, users) for array in (draft_time, token_time, state.acceptance_rate, gains)]
    priced = partial(_priced, scenario, fading=channel == "independent", tight=tight, barrier=barrier)
    found = [priced(*row) for row in zip(*flat, strict=True)]
    bound, server, uplink, device = map(np.array, zip(*found, strict=True)) if found else [np.empty(0)] * 4
    server, uplink = server.reshape(shape), uplink.reshape(shape)
    return RatePrices(bound.reshape(shape), server, uplink, device.reshape(*shape, users))


def _check_question(scenario: Scenario, channel: str, tight: bool, barrier: bool) -> None:
    check_name("channel", channel, BOUNDED_CHANNELS)
    check_bool("barrier", barrier)
    if check_bool("tight", tight) and channel != "static":
        raise ValueError(f"tight: expected False unless channels are static, got True with {channel!r}")
    if tight and scenario.draft_ahead:
        raise ValueError("tight: expected False where draft_ahead is True, got True")
    if tight and not scenario.law.flat:
        raise ValueError("tight: expected False where a pass takes longer for each of its tokens, got True")
    check_integer("num_users of rate_bound", scenario.num_users, 1, 256)  # more take many minutes
    kinds = (_STATES if channel == "independent" else 1) * (1 + scenario.draft_ahead)
    most = 2**18 // (scenario.num_users * kinds) - 1  # of more kinds of cycles the program takes over a gigabyte
    check_integer(
        f"max_draft_length of rate_bound for {scenario.num_users} devices", scenario.max_draft_length, 1, most
    )


def _checked_gains(mean_gain: FloatArray | None, channel: str, shape: tuple[int, ...]) -> FloatArray:
    if channel == "static":
        if mean_gain is not None:
            raise ValueError("mean_gain: expected None for channels that are static, got an array")
        return np.ones(shape)
    if mean_gain is None:
        raise ValueError(f"mean_gain: expected an array of {shape} for {channel!r}, got None")
    array = check_array("mean_gain", mean_gain)
    require("mean_gain", array, array > 0.0, "numbers > 0")
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"mean_gain: expected a shape that broadcasts to {shape}, got {array.shape}") from None


def _priced(
    scenario: Scenario,
    draft_time: FloatArray,
    token_time: FloatArray,
    acceptance_rate: FloatArray,
    mean_gain: FloatArray,
    *,
    fading: bool,
    tight: bool,
    barrier: bool,
) -> tuple[float, float, float, FloatArray]:
    air, probability = token_time[:, None], np.ones((len(token_time), 1))
    if fading:
        air, probability = fading_states(scenario, mean_gain)
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    least, lines = _law(scenario, lengths)
    unit = least[0, 0]
    system = System(
        delay=scenario.round_trip_time / unit,
        draft_time=draft_time / unit,
        token_time=air / unit,
        probability=probability,
        acceptance_rate=acceptance_rate,
        lengths=lengths,
        tokens=expected_tokens(lengths, acceptance_rate[:, None]),
        pass_time=least / unit,
        token_lines=lines / unit,
        hit=hit_probability(scenario, lengths, acceptance_rate[:, None]) if scenario.draft_ahead else None,
        barrier=barrier,
    )
    rates, together, found = _solved(system, tight)
    device = found.prices[rates.device] + sum(found.prices[row] * member for row, member in together)
    uplink = float(found.prices[rates.uplink])
    server = found.bound - uplink - float(device.sum())
    return found.bound / unit, server / unit, uplink / unit, device / unit


def _solved(system: System, tight: bool) -> tuple[Rates, list[tuple[int, FloatArray]], Solution]:
    kinds = make_kinds(system)
    rates = make_rates(system, len(kinds) if tight else system.drafting.shape[2])
    if system.token_lines.size:
        rates = add_token_times(rates, system)
    add_times(rates)
    together = [(int(add_set(rates, system, member)), member.astype(np.float64)) for member in useful_sets(system)]
    if system.hit is not None:
        together += zip(add_chains(rates, system, system.hit).tolist(), np.eye(system.num_users), strict=True)
    if not tight:
        return rates, together, rates.program.solve()
    add_skips(rates, kinds)
    slack = add_idle(rates, system, kinds)
    return rates, together, _solve_with_uploads(rates, system, kinds, slack)


def _law(scenario: Scenario, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
    """Least time (K, L) of a pass of 1..K drafts by the length of one, and lines (K, J, 2) by its drafted tokens.

    There are no lines where tokens cost no time: they would make the program larger and change nothing.
    """
    sizes = np.arange(1, scenario.num_users + 1)[:, None]
    least = scenario.law.time(sizes, sizes + (sizes - 1) * lengths[0] + lengths) + np.zeros(len(lengths))
    if scenario.law.flat:
        return least, np.empty((len(sizes), 0, 2))
    start, slope = np.array(scenario.law.lines).T
    starts = scenario.law.time_of_drafts(sizes) + start + sizes * slope
    return least, np.stack(np.broadcast_arrays(starts, slope), axis=-1)
