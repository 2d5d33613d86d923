"""Estimates for the search of a capacity, by formulas: lengths of requests, memory, tokens in time."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.controllers.base import Controller
from multispin_env.controllers.continuous.greedy import estimated_rates
from multispin_env.physics.continuous.core import free_state
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.workload import Workload
from multispin_lab.planning.at_server import AtServer


def request_lengths(workload: Workload) -> tuple[IntArray, IntArray]:
    """Return tokens of the prompts and answers of many requests of a workload, (n,)."""
    _, prompt, output = replace(workload, shares=None).open(np.random.default_rng(0), 1)(2**16)
    return prompt[:, 0], output[:, 0]


def share_within_memory(workload: Workload, run: ServiceRun, kv_tokens: float) -> float:
    """Return the share of the time in which the contexts of all requests have at most ``kv_tokens`` tokens.

    The context of a request with p and o tokens is p for the median TTFT of the run, then grows by a token each median
    TPOT. Requests of independent users come as a Poisson process, so that mean and variance of the sum of contexts are
    the rate times the integrals of the context and of its square; the sum is assumed to be normal.
    """
    seconds = float(run.time.sum())
    if kv_tokens == np.inf or not run.finished.any():
        return 1.0
    prompt, output = request_lengths(workload)
    rate, ttft, tpot = float(run.finished.sum()) / seconds, run.pooled.ttft[0], run.pooled.tpot[0]
    mean = rate * float((ttft * prompt + tpot * output * (prompt + output / 2.0)).mean())
    square = ttft * prompt**2 + tpot * output * (prompt**2 + prompt * output + output**2 / 3.0)
    return NormalDist(mean, float(np.sqrt(rate * square.mean()))).cdf(kv_tokens)


def estimated_tokens(controller: Controller, workload: Workload, kv_tokens: float = np.inf) -> float:
    """Estimate the tokens/s of requests in time: `estimated_rates` at the largest number of requests in time.

    The limits are TPOT, E2EL for an answer of mean length, and the memory for contexts. Prompts take time of the
    server; waiting times in queues are neglected.
    """
    scenario, level = controller.scenario, workload.level
    pace = min(level.tpot, level.e2el / workload.mean_output + level.e2el_per_token)
    prompt, output = request_lengths(workload)
    context = float(((prompt + output / 2.0) * output).mean() / output.mean())  # mean over the time of the answers
    scenario = scenario.replace(context=round(context))
    busy = np.geomspace(min(1.0, scenario.num_users / 2.0), scenario.num_users, 12)
    state = free_state(sample_state(scenario, np.random.default_rng(0), len(busy)))
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1, 2)
    if isinstance(controller, AtServer):
        lengths = np.array([controller.draft_length])
    weight = np.repeat(busy[:, None] / scenario.num_users, scenario.num_users, -1)
    rates = estimated_rates(scenario, state, lengths, weight).max(-1)
    reading = float(scenario.law.time(1, 1.0 + float(prompt.mean())) - scenario.law.time(1, 1))  # s per request
    rates = np.maximum.accumulate(rates / (1.0 + rates * reading / workload.mean_output))
    in_time = np.interp(np.log(pace), np.log(np.maximum.accumulate(busy / rates)), np.log(rates))
    fitting = np.interp(np.log(kv_tokens / max(context, 1.0)), np.log(busy), np.log(rates))
    return float(np.exp(min(in_time, fitting)))
