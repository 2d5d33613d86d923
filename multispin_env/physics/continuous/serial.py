"""Compiled loops of an uplink that serves one upload at a time; see `passes.serial`. Import this module late.

Uploads (n, K) are sorted by release. An upload and those served before it keep the band busy until
now ← max(now, start_j) + work_j, over these uploads in order of release. A busy period of the whole band begins with an
upload that is released when all earlier work is done, so that no earlier upload matters.
"""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.compiling import compiled, compiled_part


@compiled_part
def busy_until(start: FloatArray, work: FloatArray, position: IntArray, last: int, first: int, end: int) -> float:
    """Return when the band has done the uploads first, ..., end - 1 of one environment up to position ``last``."""
    now = 0.0
    for j in range(first, end):
        if position[j] <= last:
            now = max(now, start[j]) + work[j]
    return now


@compiled
def serial_ends(start: FloatArray, work: FloatArray, position: IntArray) -> FloatArray:
    """Return the end of each upload (n, K), with which its busy period among the uploads up to its position ends."""
    ends = start.copy()
    for env in range(start.shape[0]):
        first, busy = 0, 0.0
        for k in range(start.shape[1]):
            if busy <= start[env, k]:
                first = k
            busy = max(busy, start[env, k]) + work[env, k]
            if work[env, k] == 0.0:
                continue
            now = busy_until(start[env], work[env], position[env], position[env, k], first, k + 1)
            for j in range(k + 1, start.shape[1]):
                if now <= start[env, j]:
                    break
                if position[env, j] <= position[env, k]:
                    now += work[env, j]
            ends[env, k] = now
    return ends


@compiled
def serial_left(start: FloatArray, work: FloatArray, position: IntArray, now: FloatArray) -> FloatArray:
    """Return the work left at ``now`` (n,) of the uploads (n, K) in the busy period that began last, else 0."""
    left, order = np.zeros(start.shape), np.empty(start.shape[1], np.int64)
    for env in range(start.shape[0]):
        first, end, busy = 0, 0, 0.0
        while end < start.shape[1] and start[env, end] <= now[env]:
            if busy <= start[env, end]:
                first = end
            busy = max(busy, start[env, end]) + work[env, end]
            end += 1
        order[:] = -1  # uploads of the period by position; `np.argsort` takes a second to compile
        for k in range(first, end):
            order[position[env, k]] = k
        before = 0.0
        for upload in order:
            if upload < 0:
                continue
            until = busy_until(start[env], work[env], position[env], position[env, upload], first, end)
            waiting = max(until - now[env], 0.0)
            left[env, upload] = waiting - before
            before = waiting
    return left
