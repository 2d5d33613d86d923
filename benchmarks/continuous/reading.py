"""Requests in time if devices read the prompts, on the server ``l40s-8b`` with one kind of device.

Devices have the draft times of a ``snapdragon-8-elite-gen-5-npu`` and send ids, or no draft. Prompts and answers have
recorded lengths; a request is in time with at most 40 ms a token after the first. ``autoregressive`` is the server
alone. Cells are the share in time ± its standard error over the copies, and quantiles of 50 and 95 % of TPOT in ms.
"""

from argparse import Namespace
from functools import partial
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_lab.planning.at_server import autoregressive

DEVICE, RULES = "snapdragon-8-elite-gen-5-npu", ["groups", "prices", "greedy", "own-pace", "load-aware", "synchronous"]


def row(rule: str, rates: list[float], load: float, copies: int) -> Row:
    measured = ms.registry.DEVICES.load(DEVICE).numbers[:5]
    fields = {"server": "l40s-8b", "payload": "ids", "min_draft_length": 0, "fleet": [["", 1.0, *measured]]}
    scenario = ms.Scenario.preset("qwen3.5", num_users=32, **fields)
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals("poisson"),
        lengths=ms.requests.make_lengths("trace"),
        rate=load,
        level=ms.requests.ServiceLevel(tpot=0.04),
    )
    cells: dict[str, Any] = {"rule": rule}
    for rate in rates:
        reading = scenario.replace(prompt_rate=rate)
        make = partial(ms.make_controller, rule) if rule in RULES else lambda scenario: autoregressive(scenario)[0]
        run = ms.serve(make(reading), workload, copies=copies, warm_up=8.0, horizon=16.0)
        share, (median, slow, *_) = 1.0 - run.share_missed, 1e3 * run.pooled.tpot
        error = share.std(ddof=1) / np.sqrt(copies)
        cells[f"{rate:g} tokens/s"] = f"{share.mean():.3f}±{error:.3f} {median:.0f}/{slow:.0f}"
    return cells


OPTIONS: Options = {
    "rules": ([*RULES, "autoregressive"], "controllers"),
    "rates": ([0.0, 260.0, 1500.0, 4232.0], "tokens/s that a device reads of a prompt, 0: reading takes no time"),
    "load": (3.0, "requests/s of all devices"),
    "copies": 6,
}


def run(options: Namespace) -> None:
    show("requests in time", (row(rule, options.rates, options.load, options.copies) for rule in options.rules))
