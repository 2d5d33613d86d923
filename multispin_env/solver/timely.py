"""Fast rule where every device must get its tokens in time (ours).

Where the lengths that are best without a TPOT are late, the best in time lie at an end of what is feasible, and the
goodput there changes by jumps. Branch and bound (`search`) finds them as soon as any other method that was tried. It
starts from the lengths with the shortest time per output token and ends after a few rounds, or when its gap is small.
"""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.moves import improve
from multispin_env.solver.pace import in_time, least_pace
from multispin_env.solver.problem import Problem
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.search import branch_and_bound

CLOSE = 5e-4  # Relative gap at which the rule is content
ROUNDS = 32  # Most rounds of the search


def timely_lengths(problem: Problem, length: FloatArray, relaxed: Relaxed) -> FloatArray:
    """Very good lengths that are in time, (n, K); where none are, those of the shortest time per output token.

    ``length`` (n, K), good without the TPOT, stays where it is in time; ``relaxed`` knows no TPOT.
    """
    late = np.flatnonzero(~in_time(problem, length))
    if not len(late):
        return length
    length, part = length.copy(), problem.rows(late)
    length[late] = least_pace(part, problem.tpot).length
    rows = late[in_time(part, length[late])]
    if len(rows):
        part = problem.rows(rows)
        start = improve(part, length[rows], part.latency(length[rows][:, None]))
        relaxed = Relaxed(*(array[rows] for array in relaxed))
        length[rows] = branch_and_bound(part, start, relaxed, CLOSE, ROUNDS).lengths
    return length
