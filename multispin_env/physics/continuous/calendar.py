"""From one end of a verification to the next, for all copies at once (ours; docs/continuous.md).

Between the two nothing is decided, so everything follows from the decision: when drafts end, when uploads end on
the uplink, when the batch may start, and how long it takes. No events are played.
"""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.continuous.uplink import UplinkDiscipline
from multispin_env.physics.rounds import largest
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.verification import batch_time
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Course:
    """What happens until the next verification ends; times count from the end of the last one."""

    begun: ContinuousState  # (n, K) the drafts under way, the new ones too
    uploaded_at: FloatArray  # (n, K) s, when uploads end; perhaps later than all the rest
    verified: BoolArray  # (n, K) who is in the batch
    start: FloatArray  # (n,) s
    verification_time: FloatArray  # (n,) s
    duration: FloatArray  # (n,) s until the verification ends
    air_left: FloatArray  # (n, K) s of the whole band that uploads then still need


def started(
    scenario: Scenario,
    state: ContinuousState,
    decision: ContinuousDecision,
    wait: FloatArray | None = None,
    longest: IntArray | None = None,
) -> ContinuousState:
    """State (n, K) in which free devices have begun the drafts that a decision (n, K) names for them.

    Parameters
    ----------
    scenario
        Payload, bandwidth and round trip.
    state
        With free devices, and idle ones.
    decision
        Checked; its draft length is read for these devices alone.
    wait
        (n, K) s until idle devices have a request and start, so that their drafts have a negative age until then.
        ``None``: nobody is idle.
    longest
        (n, K), tokens beyond which a draft is of no use to the request; ``None``: no limit.
    """
    starts = (state.phase == Phase.FREE) | (state.phase == Phase.IDLE)
    length = decision.draft_length
    if longest is not None:
        length = np.minimum(length, np.maximum(longest, scenario.min_draft_length))
    length = np.where(starts, length, state.draft_length)
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    aim = state.batch[:, None] if decision.aim is None else decision.aim
    ends = scenario.round_trip_time + length * state.draft_time
    return ContinuousState(
        state.draft_time,
        state.spectral_efficiency,
        state.acceptance_rate,
        np.where(starts, Phase.DRAFTING, state.phase),
        length,
        np.where(starts, ends if wait is None else wait + ends, state.drafting_left),
        np.where(starts, length * token_air, state.air_left),
        np.where(starts, 0.0 if wait is None else -wait, state.age),
        np.where(starts, aim, state.aim),
        state.batch,
        state.time,
        state.demand,
    )


def course(
    scenario: Scenario,
    discipline: UplinkDiscipline,
    state: ContinuousState,
    decision: ContinuousDecision,
    prompt: IntArray | None = None,
) -> Course:
    """What a decision (n, K) leads to, in a state (n, K) where no device is free.

    The batch starts when those that it waits for are there, and as many as it needs, or when its patience ends; in any
    case with one device at least.

    Parameters
    ----------
    scenario
        Law of verification.
    discipline
        Of the uplink; it gets the decision's priorities, or its shares.
    state
        As `started` gives it.
    decision
        Checked.
    prompt
        (n, K) tokens that the verification of each draft holds besides; ``None``: none.
    """
    key = decision.priority if decision.share is None else decision.share
    assert key is not None  # a checked decision has one of them
    uploads = discipline(state.drafting_left, state.air_left, key)
    start = _batch_start(uploads.ends, decision)
    verified = (decision.join >= Join.TAKE) & (uploads.ends <= start[:, None])
    time = batch_time(scenario, state.draft_length, verified, prompt)
    end = start + time
    left = uploads.left_at(np.where(np.isfinite(end), end, 0.0))  # one without an end is refused
    return Course(state, uploads.ends, verified, start, time, end, left)


def _batch_start(ends: FloatArray, decision: ContinuousDecision) -> FloatArray:
    """When the batch starts, (n,) s; infinite where it never does."""
    there = np.where(decision.join >= Join.TAKE, ends, np.inf)
    first = -largest(-there)
    start = np.maximum(largest(np.where(decision.join == Join.WAIT, ends, 0.0)), first)
    if decision.least_batch is not None:
        fewest = np.clip(decision.least_batch, 1, (decision.join >= Join.TAKE).sum(-1).clip(1))
        nth = np.take_along_axis(np.sort(there, -1), (fewest - 1)[:, None], -1)[:, 0]
        start = np.maximum(start, nth)
    if decision.patience is not None:
        start = np.minimum(start, np.maximum(decision.patience, first))
    return start


def after(course: Course) -> ContinuousState:
    """State (n, K) at the end of the verification: the batch is free, the others have gone on.

    Channels and acceptance of free devices are still those of the cycle that ended, and so is their age.
    """
    begun, span = course.begun, course.duration[:, None]
    going = ~course.verified
    drafting = np.maximum(begun.drafting_left - span, 0.0)
    uploading = np.where(course.uploaded_at > span, Phase.UPLOADING, Phase.READY)
    return ContinuousState(
        begun.draft_time,
        begun.spectral_efficiency,
        begun.acceptance_rate,
        np.where(course.verified, Phase.FREE, np.where(drafting > 0.0, Phase.DRAFTING, uploading)),
        begun.draft_length * going,
        drafting * going,
        course.air_left * going,
        begun.age + span,
        begun.aim,
        begun.batch + 1,
        begun.time + course.duration,
        begun.demand,
    )
