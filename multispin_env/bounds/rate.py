"""Bound in tokens/s on every policy without the barrier, and shadow prices (not in the paper; docs/evidence/bound.md).

`rate_bound` solves the program of `rate_program`. This module adds what only some systems need: a few channel states
that replace fading and are no worse for any policy, rows for a server whose passes take longer for every token, rows
for devices that draft ahead, and, for a tight bound in static channels, rows about the batches that a device skips.
"""

from dataclasses import dataclass, replace

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.bounds.rate_program import Rates, Solution, System, add_set, add_times, make_rates, useful_sets
from multispin_env.checks import broadcast, check_array, check_bool, check_integer, check_name, require
from multispin_env.draft import expected_tokens
from multispin_env.pairs import check_pairs
from multispin_env.physics.chains import hit_probability
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.types import Batched, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import MAX_TIME, MIN_TIME
from multispin_env.solver.problem import user_times

_STATES = 24  # m, number of channel states that replace the fading law
DEEP_FADES = 1e-3  # share of cycles in deep fades; all count as the mildest one, since the mean air time is infinite
_LOOKS_BACK = 3  # cycles that skip this many batches or more are one kind


def fading_states(scenario: Scenario, mean_gain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return air times u (K, m) of a token and their probabilities p (K, m), for mean gains H̄ (K,).

    The first state is u = 0. A cycle between two states counts as a fraction of each, which preserves the mean of u.
    Fades deeper than the last state count as that state.
    """
    levels = (1.0 - DEEP_FADES) * (1.0 - np.linspace(1.0, 0.0, _STATES)[1:] ** 2)  # P(x > x_i) of H / H̄
    ends = -np.log(levels)  # decreasing
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
        return np.clip(scenario.uplink.token_time(efficiency), MIN_TIME, MAX_TIME)


def add_token_times(rates: Rates, system: System) -> Rates:
    """Require pass times on or above every line of the law, with drafted tokens counted by device and batch size.

    They are counted both for the server and for each device that waits for a batch with its draft.
    """
    program, users = rates.program, np.arange(system.num_users)
    passes = program.variables(len(users), most=1.0, group=0)
    waiting = program.variables(len(users), len(users), most=1.0, group=users[:, None])
    most = system.lengths[-1] / system.shortest_pass
    tokens = program.variables(len(users), len(users), most=most)
    batch_tokens = program.variables(len(users), len(users), most=system.sizes * most)
    _token_rows(rates, system, tokens, batch_tokens)
    start, slope = np.moveaxis(system.token_lines, -1, 0)  # (K, J)
    line = program.rows(*start.shape)
    program.put(line, rates.batches[:, None], start)
    program.put(line, tokens[..., None], slope)
    program.put(line, passes[:, None], -1.0)
    line = program.rows(len(users), *start.shape)
    program.put(line, rates.members[..., None], start)
    program.put(line, batch_tokens[..., None], slope)
    program.put(line, waiting[..., None], -1.0)
    return replace(rates, passes=(passes, 1.0), waiting=(waiting, 1.0))


def _token_rows(rates: Rates, system: System, tokens: IntArray, batch_tokens: IntArray) -> None:
    program, users, sizes = rates.program, system.num_users, system.sizes
    shortest, longest = system.lengths[[0, -1]]
    drafted = program.rows(users)
    program.put(drafted[:, None, None, None], rates.cycles, system.lengths)
    program.put(drafted[:, None], tokens, -1.0)
    for sign, bound in ((-1.0, shortest), (1.0, longest)):
        span = program.rows(users, users)
        program.put(span, tokens, sign)
        program.put(span, rates.members, -sign * bound)
    others = program.rows(users, users)
    program.put(others, tokens, 1.0)
    program.put(others, rates.members, (sizes - 1) * shortest)
    program.put(others, batch_tokens, -1.0)
    without = program.rows(users, users)
    program.put(without, tokens[:, None], 1.0)
    program.put(without, rates.batches, -sizes * longest)
    program.put(without, rates.members, sizes * longest)
    program.put(without, batch_tokens, -1.0)
    counted = program.rows(users)
    program.put(counted, tokens, sizes)
    program.put(counted, batch_tokens, -1.0)


def add_chains(rates: Rates, system: System, hit: FloatArray) -> IntArray:
    """Add rows 3b and 3c with hit probabilities h (K, L): head starts follow hits, and successive hits are one chain.

    Cycles of the second kind begin with a head start. Returns rows 3c (K,).
    """
    program, users, miss = rates.program, system.num_users, 1.0 - hit
    begun = np.arange(2)[:, None]  # 1 with a head start
    continued, chain, counted = program.rows(users), program.rows(users, at_most=1.0), program.rows(users)
    missed = program.variables(users, users, most=1.0 / system.shortest_pass, group=np.arange(users)[:, None])
    program.put(continued[:, None, None, None], rates.cycles, begun - hit[:, None, None])
    program.put(counted[:, None, None, None], rates.cycles, miss[:, None, None])
    program.put(counted[:, None], missed, -1.0)
    for sign, share in ((-1.0, miss.min(-1)), (1.0, miss.max(-1))):
        span = program.rows(users, users)
        program.put(span, missed, sign)
        program.put(span, rates.members, -sign * share[:, None])
    verification = system.verification_time
    token_pass = (verification - verification[:, :1]).min(0)  # s by which one draft lengthens a pass, at least
    drafting = system.drafting[:, :, :1] + begun * system.draft_time[:, None, None, None]
    last = miss[:, None, None] * (system.air[:, :, None] + token_pass)
    last = last + (1 - begun - miss[:, None, None]) * system.shortest_pass[0]  # chains that end with a hit
    program.put(chain[:, None, None, None], rates.cycles, drafting + last)
    program.put(chain[:, None], missed, system.shortest_pass)
    return chain


@dataclass(frozen=True, eq=False)
class _Kinds:
    """Kinds (G,) of cycles by the batches that the device skips in them; C classes of batch sizes are distinguished."""

    sizes: BoolArray  # (C, K) whether a class holds a size
    skips: IntArray  # (G,) number of skipped batches, `_LOOKS_BACK` for this many or more
    counts: IntArray  # (C, G) number of skipped batches that are known to be of a class
    before: IntArray  # (G,) class of the last batch before that of the device; −1: unknown
    skipped_time: FloatArray  # W (G,) s, upper bound on the time of skipped passes; infinite if unknown


def make_kinds(system: System) -> _Kinds:
    """Return the kinds of cycles that skip no batch, one of any class, two of any classes, and more."""
    users = system.num_users
    label = np.arange(users) * min(users, 20) // users
    num_classes = int(label[-1]) + 1
    slowest = np.array([system.shortest_pass[label == index].max() for index in range(num_classes)])
    first, last = (index.ravel() for index in np.indices((num_classes, num_classes)))
    classes = np.arange(num_classes)
    single = np.eye(num_classes, dtype=np.int64)
    none = np.zeros((num_classes, num_classes), dtype=np.int64)
    return _Kinds(
        sizes=label == classes[:, None],
        skips=np.repeat([0, 1, 2, _LOOKS_BACK], [num_classes, num_classes, num_classes**2, 1]),
        counts=np.concatenate([none, single, single[:, first] + single[:, last], none[:, :1]], axis=1),
        before=np.concatenate([classes, classes, last, [-1]]),
        skipped_time=np.concatenate([0.0 * slowest, slowest, slowest[first] + slowest[last], [np.inf]]),
    )


def add_skips(rates: Rates, kinds: _Kinds) -> None:
    """Add rows 6: a device skips a batch in one cycle only."""
    program, (users, number) = rates.program, (len(rates.members), len(kinds.sizes))
    cycles, sizes = rates.cycles[:, 0], kinds.sizes.astype(np.float64)  # (K, G, L), (C, K)
    by_class, skipped, following = program.rows(users, number), program.rows(users), program.rows(users, number)
    program.put(by_class[..., None, None], cycles[:, None], kinds.counts[..., None])
    program.put(by_class[..., None], rates.batches, -sizes)
    program.put(by_class[..., None], rates.members[:, None], sizes)
    program.put(skipped[:, None, None], cycles, kinds.skips[:, None])
    program.put(skipped[:, None], rates.batches, -1.0)
    program.put(skipped[:, None], rates.members, 1.0)
    program.put(following[..., None], cycles[:, :number], 1.0)
    program.put(following[..., None], rates.members[:, None], -sizes)


def add_idle(rates: Rates, system: System, kinds: _Kinds) -> IntArray:
    """Add rows 7: work beyond the skipped passes needs idle time. Return the idle time before batches, by class."""
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
    spare = np.maximum(kinds.skipped_time[:, None] - system.drafting[:, 0], 0.0)  # (K, G, L), least d that counts it
    solution = rates.program.solve(start)
    for _ in range(12):
        violated = (_violated(solution, rates, system, kinds, slack, spare, index) for index in range(len(slack)))
        cuts = [cut for cut in violated if cut]
        if not cuts:
            break
        for index, limit in cuts:
            _add_uploads(rates, system, kinds, slack, spare, index, limit)
        new = rates.program.solve(solution.near)
        solution = new._replace(bound=min(new.bound, solution.bound))
    return solution


def _violated(
    solution: Solution, rates: Rates, system: System, kinds: _Kinds, slack: IntArray, spare: FloatArray, index: int
) -> tuple[int, float] | None:
    here = kinds.before == index
    load = (solution.amounts[rates.cycles] * system.air[:, :, None])[:, 0, here].ravel()
    limits = spare[:, here].ravel()
    order = np.argsort(limits)[: int(np.isfinite(limits).sum())]
    over = load[order].cumsum() - limits[order] * solution.amounts[rates.batches[kinds.sizes[index]]].sum()
    worst = int(over.argmax())
    return (index, float(limits[order][worst])) if over[worst] > solution.amounts[slack[index]] + 1e-5 else None


def _add_uploads(
    rates: Rates, system: System, kinds: _Kinds, slack: IntArray, spare: FloatArray, index: int, limit: float
) -> None:
    """Add row 8 for a class and d: uploads limited to d take at most d s per batch and the idle time before it."""
    row = rates.program.rows()
    counted = (kinds.before == index)[:, None] & (spare <= limit)
    rates.program.put(row, rates.cycles[:, 0], np.where(counted, system.air, 0.0))
    rates.program.put(row, rates.batches, np.where(kinds.sizes[index], -limit, 0.0))
    rates.program.put(row, slack[index], -1.0)


BOUNDED_CHANNELS = ("static", "independent")
"""Channel laws of `rate_bound`. In a correlated channel, a policy can wait for better states."""


@dataclass(frozen=True, slots=True, eq=False)
class RateBound(Batched):
    """Upper bound on the goodput of every policy, and shadow prices of the resources, which prove it.

    The bound is the sum of the prices: ``server + uplink + device.sum(-1)``.

    Parameters
    ----------
    value
        Upper bound on the goodput of all devices, (...) tokens/s.
    server, uplink
        Price of one more second per second of the server, and of the whole uplink band, (...) tokens/s.
    device
        Price of one more second per second of a device, (..., K) tokens/s.
    """

    value: FloatArray
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
) -> RateBound:
    """Return an upper bound in tokens/s on the long-run goodput without the barrier, by default for constant gains.

    The channel is that of ``channel``, whatever the scenario's. The bound holds for every policy: it bounds the best
    value of this problem, by weak duality of a linear program:

        maximise    the limit superior of (tokens gained until t) / t
        over        all policies: drafts and their times, shares of the uplink, batches and their starts
        where       the server verifies one batch at a time, all share one band, a device has one draft at a time

    The bound (...) is valid to rounding, even if the solver of the program stops early. ``ValueError`` for a bad state,
    a channel without a bound, such as a correlated one, or a system that is too large: more than 256 devices, or too
    many combinations of device, draft length and channel state.

    Parameters
    ----------
    scenario
        The system. If the time of a pass depends on its tokens, every line of the law bounds it from below. Padding is
        ignored, which keeps the bound valid. A round trip delays the draft of each cycle, and access delays and the
        mean of repeated uploads delay those with tokens. If devices draft ahead, the bound holds for policies that do
        not know in advance which tokens are accepted, and with ``upload_loss`` which uploads are repeated.
    state
        Arrays (..., K).
    channel
        ``"static"``: the spectral efficiencies of the state are constant. ``"independent"``: each cycle of a device has
        an independent exponential gain with mean H̄; the spectral efficiencies of the state are not used.
        ``"scenario"``: that of the scenario; ``ValueError`` if it has no bound, such as ``"gauss-markov"``.
    mean_gain
        H̄ (..., K) > 0, for ``"independent"`` only.
    tight
        Whether to add rows for the batches that devices skip, which is slow: only in static channels, and without
        drafting ahead.
    barrier
        Whether to bound only policies of rounds, in which every batch has a draft of each device.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> bound = ms.rate_bound(scenario, state)
    >>> bool(bound.value > ms.upper_bound(scenario, state))  # the second is over all decisions of rounds
    True
    >>> bool(bound.server > 10.0 * bound.uplink)  # the server is the bottleneck
    True
    """
    state = checked_state(scenario, state)
    systems, unit = make_systems(scenario, state, channel, mean_gain, tight, barrier)
    results = [_priced(system, tight) for system in systems]
    values = np.array(results).reshape(*state.draft_time.shape[:-1], 3 + scenario.num_users) / unit
    return RateBound(values[..., 0], values[..., 1], values[..., 2], values[..., 3:])


def make_systems(
    scenario: Scenario,
    state: SystemState,
    channel: str,
    mean_gain: FloatArray | None,
    tight: bool,
    barrier: bool,
) -> tuple[list[System], float]:
    """Return the instances of a checked state, with times in units of the shortest pass, and that unit in s.

    ``ValueError`` for options of `rate_bound` that do not go together.
    """
    scenario.uplink.require_paper("without the barrier", "link")
    channel = _checked_channel(channel, scenario)
    _check_options(scenario, channel, tight, barrier)
    gains = _checked_gains(mean_gain, channel, state.draft_time.shape)
    draft_time, token_time = user_times(scenario, state)
    flat = [array.reshape(-1, scenario.num_users) for array in (draft_time, token_time, state.acceptance_rate, gains)]
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    least, lines = _law(scenario, lengths)
    unit = float(least[0, 0])
    drafts = (lengths > 0).astype(np.float64)
    trips = np.full((len(lengths), scenario.num_users), scenario.uplink.fixed_wait)
    delay = scenario.uplink.with_access(trips, lengths[:, None]).T
    systems = []
    for times, air, rates, means in zip(*flat, strict=True):
        states = air[:, None], np.ones((len(air), 1))
        token_times, probability = fading_states(scenario, means) if channel == "independent" else states
        system = System(
            delay=delay / unit,
            repeats=scenario.uplink.mean_repeats * drafts / unit,
            draft_time=times / unit,
            token_time=token_times / unit,
            probability=probability,
            acceptance_rate=rates,
            lengths=lengths,
            tokens=expected_tokens(lengths, rates[:, None]),
            verification_time=least / unit,
            token_lines=lines / unit,
            hit=hit_probability(scenario, lengths, rates[:, None]) if scenario.draft_ahead else None,
            barrier=barrier,
        )
        systems.append(system)
    return systems, unit


def _checked_channel(channel: str, scenario: Scenario) -> str:
    check_name("channel", channel, (*BOUNDED_CHANNELS, "scenario"))
    if channel == "scenario" and scenario.channel not in BOUNDED_CHANNELS:
        expected = f"a scenario with one of the channels {[*BOUNDED_CHANNELS]}, which have a bound"
        raise ValueError(f"channel: expected {expected}, got {scenario.channel!r}")
    return scenario.channel if channel == "scenario" else channel


def _check_options(scenario: Scenario, channel: str, tight: bool, barrier: bool) -> None:
    check_bool("barrier", barrier)
    if check_bool("tight", tight) and channel != "static":
        raise ValueError(f"tight: expected False in channels that are not static, got True with {channel!r}")
    check_pairs("tight", vars(scenario), tight=tight, time_by_tokens=not scenario.law.flat)
    check_integer("num_users of rate_bound", scenario.num_users, 1, 256)  # more devices take many minutes
    kinds = (_STATES if channel == "independent" else 1) * (1 + scenario.draft_ahead)
    most = 2**18 // (scenario.num_users * kinds) - 1  # a larger program takes more than a gigabyte
    check_integer(
        f"max_draft_length of rate_bound for {scenario.num_users} devices", scenario.max_draft_length, 1, most
    )


def _checked_gains(mean_gain: FloatArray | None, channel: str, shape: tuple[int, ...]) -> FloatArray:
    if channel == "static":
        if mean_gain is not None:
            raise ValueError("mean_gain: expected None in static channels, got an array")
        return np.ones(shape)
    if mean_gain is None:
        raise ValueError(f"mean_gain: expected an array of shape {shape} for channel {channel!r}, got None")
    array = check_array("mean_gain", mean_gain)
    require("mean_gain", array, array > 0.0, "numbers > 0")
    return broadcast("mean_gain", array, shape)


def _priced(system: System, tight: bool) -> FloatArray:
    rates, sets, solution = solved(system, tight)
    device = solution.prices[rates.device]
    for member, rows in sets:
        device = device + solution.prices[rows[0]] * member
    uplink = float(solution.prices[rates.uplink])
    server = solution.bound - uplink - float(device.sum())
    return np.array([solution.bound, server, uplink, *device])


def solved(system: System, tight: bool = False) -> tuple[Rates, list[tuple[BoolArray, IntArray]], Solution]:
    """Return program, sets of devices with the rows of their time and of their places, and the solution."""
    kinds = make_kinds(system)
    rates = make_rates(system, len(kinds.skips) if tight else system.drafting.shape[2])
    if system.token_lines.size:
        rates = add_token_times(rates, system)
    add_times(rates)
    sets = [(member, add_set(rates, system, member)) for member in useful_sets(system)]
    if system.hit is not None:
        chains = add_chains(rates, system, system.hit)
        sets += zip(np.eye(system.num_users, dtype=bool), chains[:, None], strict=True)
    if not tight:
        return rates, sets, rates.program.solve()
    add_skips(rates, kinds)
    slack = add_idle(rates, system, kinds)
    return rates, sets, _solve_with_uploads(rates, system, kinds, slack)


def _law(scenario: Scenario, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the least time (K, L) of a pass of 1..K drafts by the length of one draft, and the lines (K, J, 2)."""
    sizes = np.arange(1, scenario.num_users + 1)[:, None]
    least = scenario.law.time(sizes, sizes + (sizes - 1) * lengths[0] + lengths) + np.zeros(len(lengths))
    if scenario.law.flat:
        return least, np.empty((len(sizes), 0, 2))  # lines would make the program larger without effect
    start, slope = np.array(scenario.law.lines).T
    starts = scenario.law.time_of_drafts(sizes) + start + sizes * slope
    return least, np.stack(np.broadcast_arrays(starts, slope), axis=-1)
