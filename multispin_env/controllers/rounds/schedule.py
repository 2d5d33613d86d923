"""Draft length by batch size, for a server that hosts both models (ours)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.checks import check_integer
from multispin_env.controllers.rounds.systems import colocated_round_time
from multispin_env.physics.tokens import expected_tokens
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class Span:
    """Batch sizes that are served best with one draft length."""

    first: int
    last: int
    draft_length: int  # tokens; 0 where drafting does not pay
    goodput: float  # tokens/s at the last of these sizes
    speed_up: float  # goodput over that of no drafting, at the last of these sizes


def draft_schedule(scenario: Scenario, max_batch: int) -> list[Span]:
    """Best draft length for every batch size up to a largest, as spans of sizes with the same length.

    For a batch of n requests it is argmax_L n E[N | L] / (L T_srv + T_ver(n, n (L + 1))) over L = 0..L_max, with
    E[N | L] the mean over the scenario's tasks. This is `multispin_env.colocated_goodput` for acceptance rates that
    are not known one by one.

    Parameters
    ----------
    scenario
        Law of verification, T_srv (``server_draft_time``), tasks and L_max; the number of users does not matter.
    max_batch
        Largest batch, ≥ 1.

    Raises
    ------
    ValueError
        For a bad number.

    Examples
    --------
    >>> import multispin_env as ms
    >>> from multispin_env.controllers.rounds.schedule import draft_schedule
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b")
    >>> spans = draft_schedule(scenario, max_batch=64)
    >>> (spans[0].first, spans[-1].last), spans[0].draft_length > spans[-1].draft_length
    ((1, 64), True)
    """
    check_integer("max_batch", max_batch, 1)
    lengths = np.arange(scenario.max_draft_length + 1)
    rates = np.array([task.acceptance_rate for task in scenario.tasks])
    tokens = expected_tokens(lengths, rates[:, None]).mean(0)
    sizes = range(1, max_batch + 1)
    value = np.array([size * tokens / colocated_round_time(scenario, size, lengths) for size in sizes])
    best = value.argmax(-1)
    ends = np.append(np.flatnonzero(np.diff(best)), max_batch - 1)
    firsts = np.append(0, ends[:-1] + 1)
    return [
        Span(int(a) + 1, int(b) + 1, int(best[b]), float(value[b, best[b]]), float(value[b, best[b]] / value[b, 0]))
        for a, b in zip(firsts, ends, strict=True)
    ]
