"""Tokens in time of rules with and without the barrier, with and without deadlines.

Tokens/s of requests in time with the standard error of the mean, and the share missed. Everywhere: static channels,
copies of 45 s after 10 s, geometric answers of 60 tokens on average. Requests are due half a second after their
arrival, and 80 ms (llama2) or 110 ms (qwen3.5) later per token.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System
from benchmarks.tools import Options, plus_minus, show
from multispin_env.controllers.continuous.greedy import Greedy
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.registry import CONTROLLERS

LOADS = (0.4, 0.6, 0.85)
BURSTS = 0.25
"""Shape of the gamma law of gaps; 1 is Poisson."""


@dataclass(frozen=True)
class Service:
    """System with its service level."""

    system: System
    full: float  # tokens/s of `groups` with endless requests, of which loads are shares
    per_token: float  # s

    def title(self, load: float, burstiness: float = 1.0) -> str:
        """Name in tables."""
        bursts = "" if burstiness == 1.0 else ", bursts"
        return f"{self.system.preset} K{self.system.users} B{self.system.megahertz}, load {load:g}{bursts}"

    def played(
        self, rule: str, load: float, burstiness: float, copies: int, seed: int = HELD_OUT_SEED, **options: Any
    ) -> ServiceRun:
        """Simulate a rule; requests of a seed are the same for every rule."""
        gaps = {} if burstiness == 1.0 else {"burstiness": burstiness}
        workload = ms.requests.Workload.at_load(
            load * self.full,
            arrivals=ms.requests.make_arrivals("poisson" if burstiness == 1.0 else "gamma", **gaps),
            lengths=ms.requests.make_lengths("geometric", mean_output=60.0),
            level=ms.requests.ServiceLevel(e2el=0.5, e2el_per_token=self.per_token),
        )
        controller = ms.make_controller(rule, self.system.scenario, **options)
        return ms.serve(controller, workload, copies=copies, channel="static", seed=seed)


SERVICES = (
    Service(System("llama2", 8, 10, wide=False), 196.0, 0.08),
    Service(System("qwen3.5", 20, 5, wide=False), 350.0, 0.11),
)

BARRIER = "wait-for-all"


class WaitForAll(Greedy):
    """Rule with the lengths of `Greedy` in which each batch waits for all devices with a request."""

    def decide(self, state: ms.physics.ContinuousState) -> ms.ContinuousDecision:
        """Keep its order, without leaving drafts out."""
        order = super().decide(state)
        return order.changed(join=np.full(order.join.shape, ms.physics.Join.WAIT))


CONTROLLERS.register(BARRIER, WaitForAll)

RULES = (BARRIER, "greedy", "groups", f"{BARRIER}+deadlines", "greedy+deadlines", "groups+deadlines")


def service_options(rules: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of a table of rules under load."""
    names = [service.system.preset for service in SERVICES]
    return {"systems": (names, "", {"choices": names}), "loads": list(LOADS), "rules": list(rules), "copies": 24}


OPTIONS: Options = service_options(RULES)


def _cell(run: ServiceRun) -> str:
    return f"{plus_minus(run.tokens_in_time)} ({run.share_missed.mean():.2f})"


def run(options: argparse.Namespace) -> None:
    show(
        "tokens/s in time ± standard error (missed)",
        (
            {"load": service.title(load)}
            | {rule: _cell(service.played(rule, load, 1.0, options.copies)) for rule in options.rules}
            for service in SERVICES
            if service.system.preset in options.systems
            for load in options.loads
        ),
    )
