"""Time that a pass adds to a round as its drafts grow: the largest of a few lines (ours).

A pass of K drafts holds Σ L_k + K tokens, or K max L + K of them where drafts are padded. In x = Σ L_k, or x = K max L,
the line a + b n of the law is (a + b K) + b x. Lines that are nowhere the largest are left out.
"""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.scenario import Scenario
from multispin_env.server import line_time

SHORTEST, LONGEST = 1e-130, 1e130
"""Times in s outside this range are moved to its ends, so that products of a few of them stay finite."""


def server_lines(scenario: Scenario) -> FloatArray:
    """Lines (J, 2) of the law: start in s and slope in s for each x, by rising slope; one flat line for the paper's."""
    users = scenario.num_users
    lines: list[tuple[float, float]] = []
    for slope, start in sorted((_kept(slope), min(start, LONGEST)) for start, slope in scenario.law.lines):
        line = (start + users * slope, slope)
        while lines and line[0] >= lines[-1][0]:  # a steeper line that starts higher is larger everywhere
            lines.pop()
        while len(lines) > 1 and _crossing(lines[-1], line) <= _crossing(lines[-2], lines[-1]):
            lines.pop()
        lines.append(line)
    return np.array(lines)


def _kept(slope: float) -> float:
    """A slope within bounds; what is smaller counts as zero."""
    return 0.0 if slope < SHORTEST else min(slope, LONGEST)


def _crossing(flat: tuple[float, float], steep: tuple[float, float]) -> float:
    return (flat[0] - steep[0]) / (steep[1] - flat[1])


def kinks(lines: FloatArray) -> FloatArray:
    """Where each line meets the next, x (J − 1,)."""
    start, slope = lines.T
    return (start[:-1] - start[1:]) / (slope[1:] - slope[:-1])


def support(lines: FloatArray, slope: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Start (...) of the highest line of this slope (...) below all of the law between x = low and x = high (...)."""
    start: FloatArray = np.minimum(line_time(lines, low) - slope * low, line_time(lines, high) - slope * high)
    for kink in kinks(lines):
        x = np.clip(kink, low, high)
        start = np.minimum(start, line_time(lines, x) - slope * x)
    return start
