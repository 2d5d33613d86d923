"""Batches by what drafts are worth for the time of the server."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.controllers.continuous.background import Background
from multispin_env.controllers.continuous.goodput import device_rates, present
from multispin_env.controllers.continuous.launch import ordered_sum
from multispin_env.controllers.continuous.turbospec import TurboSpec
from multispin_env.physics.continuous.passes import serial
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.verification import batch_time
from multispin_env.scenario import Scenario

NO_TIME = 1e-300
"""Seconds, in place of 0 where time divides."""


@dataclass(frozen=True, eq=False)
class ValueDensity(TurboSpec):
    """The next batch is packed by expected tokens in time for a second of the server (ours; lengths of `TurboSpec`).

    A draft is worth the tokens that it is expected to bring, and less if its request will be late anyway and nobody
    waits behind it. First, the batch waits for the next draft to come while those that are there lose less by waiting
    than that draft would lose if it had to wait until the pass has ended. Then drafts are left for later whose worth,
    for the time that they add to the pass, is far below what the whole pass brings in a second. JITServe (arXiv
    2504.20068) composes batches for goodput by margin in a similar spirit; nothing here is taken from it.

    Greater values of ``wait`` and ``least``, up to a batch with the greatest ratio of worth and time, gain less: work
    that is left has to be done later, and its device waits meanwhile.

    Parameters
    ----------
    late
        What a token of a late request is worth, in [0, 1].
    least
        Density in [0, 0.5], as a part of that of the pass, below which a draft is left.
    wait
        How eagerly the batch waits, ≥ 0: the loss of the draft to come counts so many times.
    margin
        A request is late if so many times its predicted time is more than what is left.
    """

    late: float = 0.3
    least: float = 0.25
    wait: float = 0.15
    margin: float = 0.8

    def __post_init__(self) -> None:
        check_real("late", self.late, 0.0, 1.0)
        check_real("least", self.least, 0.0, 0.5)
        check_real("wait", self.wait, 0.0)
        check_real("margin", self.margin, 0.0)

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Lengths of `TurboSpec`; wait for some drafts, leave some others."""
        decision = super().decide(state)
        has = state.busy
        length = under_way(self.scenario, state, decision.draft_length)
        rate = device_rates(self.scenario, state, decision.draft_length[:, None], present(state))[:, 0]
        worth = self._worth(state, rate)
        work = Background.of(self.scenario, state, ~has).add(state, state.phase == Phase.FREE, length, 0)
        ends = np.where(has, serial(work.release, work.air, np.zeros(length.shape)).ends, np.inf)
        there = waited_for(self.scenario, ends, self.wait, rate * worth, length, state.demand.prompt)
        density, of_pass = densities(
            self.scenario, expected_tokens(length, state.acceptance_rate) * worth, there, length, state.demand.prompt
        )
        kept = there & (density >= self.least * of_pass[:, None])
        join = np.where(kept, Join.WAIT, np.where(there, Join.LEAVE, Join.TAKE))
        return decision.changed(join=join)

    def _worth(self, state: ContinuousState, rate: FloatArray) -> FloatArray:
        """What a token of each device is worth, (n, K)."""
        demand = state.demand
        ends = state.time[:, None] + self.margin * demand.wanted / rate
        return np.where((ends > demand.due) & (demand.queue == 0), self.late, 1.0)


def under_way(scenario: Scenario, state: ContinuousState, length: IntArray) -> IntArray:
    """Tokens (n, K) of drafts, where free devices start such of ``length``; 0 for devices without a request."""
    length = np.minimum(length, np.maximum(state.demand.wanted - 1, scenario.min_draft_length))
    return np.where(state.phase == Phase.FREE, length, state.draft_length)


def waited_for(
    scenario: Scenario, ends: FloatArray, wait: float, weight: FloatArray, length: IntArray, prompt: IntArray
) -> BoolArray:
    """Drafts (n, K) that the batch waits for: the first, and then each while that pays.

    Parameters
    ----------
    scenario
        Law of verification.
    ends
        (n, K) s, when drafts will be there; infinite for devices without one.
    wait
        So many times counts what a draft would lose.
    weight
        (n, K), what a second costs each device.
    length, prompt
        (n, K) tokens.
    """
    order = np.argsort(ends, -1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(ends.shape[-1]), -1)
    first = rank[:, None] <= np.arange(ends.shape[-1])[:, None]  # (n, K of how many more than one, K)
    passes = batch_time(scenario, length[:, None], first, prompt[:, None])
    end, own = (np.take_along_axis(array, order, -1) for array in (ends, weight))
    known = np.isfinite(end)
    longer = np.diff(np.where(known, end, 0.0), axis=-1)
    pays = wait * own[:, 1:] * passes[:, 1:] >= longer * np.add.accumulate(own, -1)[:, :-1]
    inside = np.logical_and.accumulate(known & np.concatenate([known[:, :1], pays], -1), -1)
    waited = np.empty_like(inside)
    np.put_along_axis(waited, order, inside, -1)
    return waited


def densities(
    scenario: Scenario, value: FloatArray, there: BoolArray, length: IntArray, prompt: IntArray
) -> tuple[FloatArray, FloatArray]:
    """What drafts are worth for a second that they add to the pass of those ``there``, (n, K), and the pass, (n,).

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> from multispin_env.controllers.continuous.value_density import densities
    >>> law = {"verification_fixed_time": 0.1, "verification_time_per_draft": 0.1}
    >>> scenario = ms.Scenario.preset("llama2", num_users=2, **law)
    >>> length = np.array([[4, 4]])
    >>> each, both = densities(scenario, np.array([[1.0, 2.0]]), length > 0, length, 0 * length)
    >>> each.round(3), both.round(3)
    (array([[10., 20.]]), array([10.]))
    """
    own = np.eye(length.shape[-1], dtype=np.bool_)
    with_it, without = there[:, None] | own, there[:, None] & ~own
    added = batch_time(scenario, length[:, None], with_it, prompt[:, None]) - batch_time(
        scenario, length[:, None], without, prompt[:, None]
    )
    time = batch_time(scenario, length, there, prompt)
    return value / np.maximum(added, NO_TIME), ordered_sum(value * there) / np.maximum(time, NO_TIME)
