"""Tokens/s that no policy exceeds where nobody waits for everybody, and what its time is worth (ours)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_array, check_bool, check_integer, check_name, require
from multispin_env.controllers.continuous.bound_channel import STATES, fading_states
from multispin_env.controllers.continuous.bound_program import Solution
from multispin_env.controllers.continuous.bound_rows import Rates, System, add_set, add_times, rates_of, useful_sets
from multispin_env.controllers.continuous.bound_tight import add_idle, add_skips, kinds_of, solve_with_uploads
from multispin_env.controllers.continuous.bound_tokens import with_token_times
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import Batched, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import user_times

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
) -> FloatArray:
    """Long-run tokens/s that no policy exceeds where the server verifies what is there and nobody waits.

    It bounds the best value of this problem from above, by weak duality of a linear program:

        maximise    the limit superior of (tokens gained until t) / t
        over        all policies: who drafts how much and when, who has the uplink, who is in a batch and when it starts
        where       the server verifies one batch at a time, the band is one, and a device has one draft at a time

    Parameters
    ----------
    scenario
        The system. Where verification costs tokens, every line of the law bounds the time of a pass; a padded pass
        counts as one that is not, which leaves the bound valid. A round trip delays the draft of each cycle.
    state
        Arrays (..., K).
    channel
        ``"static"``: the spectral efficiencies of the state hold for ever. ``"independent"``: each cycle of a device
        draws a gain of its own, exponential with its mean gain; the spectral efficiencies of the state are not used.
    mean_gain
        H̄ (..., K) > 0, for ``"independent"`` only.
    tight
        Whether to count also what devices miss in batches that they sit out, which is slow: static channels only.

    Returns
    -------
    FloatArray
        Bound (...) in tokens/s. It is valid to rounding, however well the program was solved.

    Raises
    ------
    ValueError
        For a bad state, a channel that has no bound, such as a correlated one, or a system that is too large: more than
        256 devices, or with fading fewer if drafts may be long.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> barrier = ms.upper_bound(scenario, state)  # of all decisions of rounds
    >>> bool(ms.rate_bound(scenario, state) > barrier)
    True
    """
    return rate_prices(scenario, state, channel=channel, mean_gain=mean_gain, tight=tight).bound


def rate_prices(
    scenario: Scenario,
    state: SystemState,
    *,
    channel: str = "static",
    mean_gain: FloatArray | None = None,
    tight: bool = False,
) -> RatePrices:
    """Return `rate_bound` with the prices that prove it: what scarce time is worth.

    Parameters and errors are those of `rate_bound`.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> prices = ms.rate_prices(scenario, ms.sample_state(scenario, np.random.default_rng(0)))
    >>> bool(prices.server > 10.0 * prices.uplink)  # the server is what is scarce
    True
    """
    state = checked_state(scenario, state)
    _check_question(scenario, channel, tight)
    gains = _checked_gains(mean_gain, channel, state.draft_time.shape)
    draft_time, token_time = user_times(scenario, state)
    shape, users = draft_time.shape[:-1], scenario.num_users
    flat = [array.reshape(-1, users) for array in (draft_time, token_time, state.acceptance_rate, gains)]
    found = [_priced(scenario, *row, fading=channel == "independent", tight=tight) for row in zip(*flat, strict=True)]
    bound, server, uplink, device = map(np.array, zip(*found, strict=True)) if found else [np.empty(0)] * 4
    server, uplink = server.reshape(shape), uplink.reshape(shape)
    return RatePrices(bound.reshape(shape), server, uplink, device.reshape(*shape, users))


def _check_question(scenario: Scenario, channel: str, tight: bool) -> None:
    """``ValueError`` for a channel without such a bound, or a program that takes too much time or memory."""
    check_name("channel", channel, BOUNDED_CHANNELS)
    if check_bool("tight", tight) and channel != "static":
        raise ValueError(f"tight: expected False unless channels are static, got True with {channel!r}")
    if tight and not scenario.law.flat:
        raise ValueError("tight: expected False where a pass takes longer for each of its tokens, got True")
    check_integer("num_users of rate_bound", scenario.num_users, 1, 256)  # more take many minutes
    states = STATES if channel == "independent" else 1
    most = 2**18 // (scenario.num_users * states) - 1  # of more kinds of cycles the program takes over a gigabyte
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
) -> tuple[float, float, float, FloatArray]:
    """Bound and prices of server, uplink and devices (K,) of one instance; times are in units of the shortest pass."""
    air, probability = token_time[:, None], np.ones((len(token_time), 1))
    if fading:
        air, probability = fading_states(scenario, mean_gain)
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    least, lines = _law(scenario)
    unit = least[0]
    system = System(
        delay=scenario.round_trip_time / unit,
        draft_time=draft_time / unit,
        token_time=air / unit,
        probability=probability,
        acceptance_rate=acceptance_rate,
        lengths=lengths,
        tokens=expected_tokens(lengths, acceptance_rate[:, None]),
        batch_time=least / unit,
        token_lines=lines / unit,
    )
    rates, together, found = _solved(system, tight)
    device = found.prices[rates.device] + sum(found.prices[row] * member for row, member in together)
    uplink = float(found.prices[rates.uplink])
    server = found.bound - uplink - float(device.sum())
    return found.bound / unit, server / unit, uplink / unit, device / unit


def _solved(system: System, tight: bool) -> tuple[Rates, list[tuple[int, FloatArray]], Solution]:
    """The program, the row and the members of each set, and the solution."""
    kinds = kinds_of(system)
    rates = rates_of(system, len(kinds) if tight else 1)
    if system.token_lines.size:
        rates = with_token_times(rates, system)
    add_times(rates)
    together = [(int(add_set(rates, system, member)), member.astype(np.float64)) for member in useful_sets(system)]
    if not tight:
        return rates, together, rates.program.solve()
    add_skips(rates, kinds)
    slack = add_idle(rates, system, kinds)
    return rates, together, solve_with_uploads(rates, system, kinds, slack)


def _law(scenario: Scenario) -> tuple[FloatArray, FloatArray]:
    """Least time (K,) of a pass of 1..K drafts, and lines (K, J, 2) by the drafted tokens in it, if they cost time."""
    sizes = range(1, scenario.num_users + 1)
    least = np.array([float(scenario.pass_time(n, n * (1 + scenario.min_draft_length))) for n in sizes])
    if scenario.law.flat:  # rows of tokens would make the program larger and change nothing
        return least, np.empty((len(sizes), 0, 2))
    start, slope = np.array(scenario.law.lines).T
    fixed = np.array([scenario.law.time_of_drafts(n) for n in sizes])
    starts = fixed[:, None] + start + np.array(sizes)[:, None] * slope
    return least, np.stack(np.broadcast_arrays(starts, slope), axis=-1)
