"""Best draft lengths by batch size of a server that hosts both models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import colocated_round_time
from multispin_env.checks import check_integer
from multispin_env.draft import expected_tokens
from multispin_env.scenario import Scenario
from multispin_env.server import fit_line
from multispin_env.units import MS


@dataclass(frozen=True)
class Span:
    """Range of batch sizes with the same best draft length."""

    first: int
    last: int
    draft_length: int  # tokens; 0 if drafting does not pay
    goodput: float  # tokens/s at the last size
    speed_up: float  # goodput relative to no drafting, at the last size


def draft_schedule(scenario: Scenario, max_batch: int, min_length: int = 0) -> list[Span]:
    """Return the best draft length for every batch size up to a maximum, as spans of sizes with equal lengths.

    For a batch of n requests it is the length with the highest `schedule_goodput`.

    Parameters
    ----------
    scenario
        Law of verification, T_srv (`Scenario.draft_step_time`), tasks and L_max; the number of users is not used.
    max_batch
        Largest batch, in 1..100,000, else ``ValueError``.
    min_length
        Least draft length in tokens, in 0..L_max, else ``ValueError``.

    Examples
    --------
    >>> import multispin_env as ms
    >>> from multispin_lab.planning.schedule import draft_schedule
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b")
    >>> spans = draft_schedule(scenario, max_batch=64)
    >>> (spans[0].first, spans[-1].last), spans[0].draft_length > spans[-1].draft_length
    ((1, 64), True)
    """
    value = schedule_goodput(scenario, max_batch)
    best = check_integer("min_length", min_length, 0, scenario.max_draft_length) + value[:, min_length:].argmax(-1)
    ends = np.append(np.flatnonzero(np.diff(best)), max_batch - 1)
    firsts = np.append(0, ends[:-1] + 1)
    return [
        Span(int(a) + 1, int(b) + 1, int(best[b]), float(value[b, best[b]]), float(value[b, best[b]] / value[b, 0]))
        for a, b in zip(firsts, ends, strict=True)
    ]


def schedule_goodput(scenario: Scenario, max_batch: int) -> FloatArray:
    """Return the goodput n E[N | L] / (L T_srv(n) + T_ver(n, n (L + 1))) for n = 1..max_batch and L = 0..L_max.

    In tokens/s, (max_batch, L_max + 1), with E[N | L] the mean over the scenario's tasks. This is
    `multispin_env.baselines.colocated_goodput` of each length, without the acceptance rate of each device.
    """
    check_integer("max_batch", max_batch, 1, 100_000)  # about a second and 0.1 GB
    lengths = np.arange(scenario.max_draft_length + 1)
    rates = np.array([task.acceptance_rate for task in scenario.tasks])
    tokens = expected_tokens(lengths, rates[:, None]).mean(0)
    sizes = range(1, max_batch + 1)
    return np.array([size * tokens / colocated_round_time(scenario, size, lengths) for size in sizes])


def measured_draft_times(scenario: Scenario, rounds: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return T_srv and the constant of a draft in s, from pairs (L, seconds of a round) measured with one request.

    A round without its pass, T_ver(1, L + 1), takes the constant and L T_srv. One length leaves the constant unknown:
    it is 0, and long drafts look too expensive. ``ValueError`` for a round that is not longer than its pass.
    """
    lengths = np.array([length for length, _ in rounds])
    drafting = np.array([seconds for _, seconds in rounds]) - scenario.law.time(1, lengths + 1)
    if drafting.min() <= 0.0:
        length, seconds = rounds[int(drafting.argmin())]
        expected = f"rounds longer than the pass of {(seconds - drafting.min()) / MS:.4g} ms"
        got = f"{seconds / MS:.4g} ms with length {length}; scale the passes with --measured-tpot"
        raise ValueError(f"draft_at: expected {expected}, got {got}")
    return fit_line(lengths.astype(np.float64), drafting)
