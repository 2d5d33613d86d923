"""System with requests against queueing theory: one device as an M/G/1 queue, and latency by load.

One device with a fixed draft length, a static channel and Poisson requests is an M/G/1 queue: a request is served alone
until its last token has come. Its mean waiting time is λ E[S²] / (2 (1 − λ E[S])) (Pollaczek and Khinchine), and the
moments of the service time S follow from the geometric law of outputs and the law of tokens. Many devices share a
server: with Little's law the latency of a fixed length is about C1 / (1 − λ C2) (arXiv 2605.15051).
"""

import argparse
from collections.abc import Iterator
from itertools import product, starmap

import numpy as np

import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_env.arrays import FloatArray
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem

MEAN_OUTPUT = 20.0
"""Mean tokens of a request; the law is cut off at forty times as many."""


def service_moments(scenario: ms.Scenario, state: ms.SystemState, length: int) -> tuple[float, float, float]:
    """Return E[S], E[S²] and the mean time of a request's first cycle for one device (1, 1), by remaining tokens."""
    alpha = float(state.acceptance_rate[0, 0])
    token = float(state.draft_time[0, 0] + scenario.uplink.token_time(state.spectral_efficiency)[0, 0])
    most = int(40 * MEAN_OUTPUT)
    mean, square, cycle = np.zeros(most + 1), np.zeros(most + 1), np.zeros(most + 1)
    for remaining in range(1, most + 1):
        drafted = max(min(length, remaining - 1), scenario.min_draft_length)
        time = scenario.uplink.fixed_wait + drafted * token + float(scenario.law.time(1, drafted + 1))
        gained = np.arange(1, drafted + 2)
        chance = np.where(gained <= drafted, (1.0 - alpha) * alpha ** (gained - 1), alpha**drafted)
        left = np.maximum(remaining - gained, 0)
        cycle[remaining], mean[remaining] = time, time + chance @ mean[left]
        square[remaining] = time**2 + chance @ (2.0 * time * mean[left] + square[left])
    tokens = np.arange(1, most + 1)
    share = (1.0 - 1.0 / MEAN_OUTPUT) ** (tokens - 1)
    share /= share.sum()
    return float(share @ mean[1:]), float(share @ square[1:]), float(share @ cycle[1:])


def simulated(
    scenario: ms.Scenario, state: ms.SystemState, length: int, rate: float, begin: float, end: float
) -> tuple[FloatArray, FloatArray]:
    """Return mean TTFT and E2EL (2,) of requests that finish between two times, and standard errors over copies.

    Devices (n, K) are greedy with a fixed length.
    """
    copies = len(state.draft_time)
    lengths = ms.requests.make_lengths("geometric", mean_output=MEAN_OUTPUT)
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals("poisson"), lengths=lengths, rate=rate, level=ms.requests.ServiceLevel()
    )
    system = ContinuousSystem.of(scenario.replace(channel="static"), workload=workload)
    core = seeded_core(system, copies, 0, drawn=True)
    core.hold(state)
    rule = ms.make_controller("greedy", scenario, draft_length=length)
    count, total = np.zeros(copies), np.zeros((2, copies))
    while (core.state.time < end).any():
        served = core.step(rule(core.state)).served
        assert served is not None  # with a workload
        counted = (core.state.time >= begin) & (core.state.time < end)
        count += counted * served.finished.sum(-1)
        total += counted * np.stack([served.ttft.sum(-1), served.e2el.sum(-1)])
    mean = total.sum(-1) / count.sum()
    return mean, (total - mean[:, None] * count).std(-1, ddof=1) / count.mean() / np.sqrt(copies)


def one_device(length: int, load: float, copies: int, services: float) -> Row:
    """Compare the formula of Pollaczek and Khinchine at a load λ E[S] with a simulation."""
    scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=0)
    state = ms.sample_state(scenario, np.random.default_rng(3), 1)
    first, second, begin = service_moments(scenario, state, length)
    rate, end = load / first, services * first
    wait = rate * second / (2.0 * (1.0 - load))
    mean, error = simulated(scenario, state[np.zeros(copies, dtype=np.int64)], length, rate, 0.1 * end, end)
    return {
        "draft length, load": f"{length}, {load:g}",
        "TTFT (s), theory": f"{wait + begin:.3f}",
        "simulated": f"{mean[0]:.3f} ± {error[0]:.3f}",
        "E2EL (s), theory": f"{wait + first:.3f}",
        "simulated E2EL": f"{mean[1]:.3f} ± {error[1]:.3f}",
    }


def latency_law(length: int, rates: FloatArray, copies: int, horizon: float) -> Iterator[Row]:
    """Compare mean end-to-end latencies of 40 devices at rates in requests/s with a fitted C1 / (1 − λ C2)."""
    scenario = ms.Scenario.preset("llama2", num_users=40, min_draft_length=0, total_bandwidth=20e6)
    state = ms.sample_state(scenario, np.random.default_rng(0), copies)
    latencies = np.array([simulated(scenario, state, length, rate, 0.2 * horizon, horizon)[0][1] for rate in rates])
    slope, start = np.polyfit(rates, 1.0 / latencies, 1)
    for rate, latency in zip(rates, latencies, strict=True):
        law = 1.0 / (start + slope * rate)
        yield {"requests/s": rate, "mean E2EL (s), simulated": latency, "C1 / (1 - rate C2)": law}


OPTIONS: Options = {
    "copies": (64, "half of them for the law"),
    "lengths": ([0, 4, 8], "draft lengths"),
    "loads": [0.3, 0.6, 0.8],
    "services": (1000.0, "simulated time in services"),
}


def run(options: argparse.Namespace) -> None:
    settings = product(options.lengths, options.loads, [options.copies], [options.services])
    show("one device, llama2", starmap(one_device, settings))
    for length, rates in ((0, np.arange(0.5, 3.5, 0.5)), (4, np.arange(1.0, 8.0))):
        rows = latency_law(length, rates, options.copies // 2, 0.06 * options.services)
        show(f"40 devices, llama2, 20 MHz, L = {length}", rows)
