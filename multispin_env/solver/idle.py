"""Instances in which drafting does not pay at all (ours).

φ(L) is homogeneous of degree 1 and E is concave, so that no draft is the best if and only if the first tokens of no mix
of devices earn what they cost: max_L Σ g_k L_k / φ(L) ≤ G with g_k = ω α |ln α| / (1 − α) − G b, G = Σ ω / T_ver(0). In
shares s_k of the budget a device drafts s_k / (c_k + s_k T_k) tokens a second. That is concave in s_k, so the best
shares leave g c / (c + s T)² = λ to all that have one: λ follows from Σ s = 1 for the first of the devices in order of
g / c, for as many of them as get a share.
"""

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.solver.problem import TINY, Problem


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for absurd numbers
def idle(problem: Problem) -> BoolArray:
    """Which of the instances (n,) have their relaxed optimum, and so their best decision, where nobody drafts."""
    free: BoolArray = np.asarray((problem.low == 0).all(-1))
    if not free.any():
        return free
    start, slope = problem.lines[0]  # the highest at x = 0
    value = problem.weights.sum(-1) / (problem.verification_time + start)
    charge = value * slope
    decay = problem.decay
    gain = problem.weights * (decay / -np.expm1(-decay)) * np.exp(-decay) - charge[:, None]
    return free & (_fastest_earnings(np.where(problem.high > 0, gain, 0.0), problem) <= value)


def _fastest_earnings(gain: FloatArray, problem: Problem) -> FloatArray:
    """Largest Σ g s / (c + s T) over shares (n,)."""
    gain = np.maximum(gain, 0.0)
    order = np.argsort(-gain / problem.token_time, -1, kind="stable")
    g, c, t = (np.take_along_axis(array, order, -1) for array in (gain, problem.token_time, problem.draft_time))
    # with the first j devices Σ (√(g c / λ) − c) / T = 1
    root_price = (np.sqrt(g * c) / t).cumsum(-1) / (1.0 + (c / t).cumsum(-1))
    served = (root_price * np.sqrt(c) < np.sqrt(g)).sum(-1, keepdims=True)
    last = np.maximum(served - 1, 0)
    price = np.maximum(np.take_along_axis(root_price, last, -1), TINY)
    shares = np.maximum(np.sqrt(g * c) / price - c, 0.0) / t
    return (g * shares / (c + shares * t)).sum(-1)
