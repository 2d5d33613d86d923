"""Gains of rules without the barrier from drafting ahead: long-run rates, and with ``--load`` tokens in time.

Channels are static, the spread of draft times is narrow and drafts may have length 0. Servers are the paper's at 10
MHz, and a100-32b with the payload of ids. Gains are means over common instances, with the standard error of paired
differences. Under load, requests are as in `serving`; limits and loads are relative to the rate of `groups` without
drafting ahead.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import multispin_env as ms
from benchmarks.continuous.serving import LOADS, Service
from benchmarks.continuous_systems import System, ahead_scenario, make_rule
from benchmarks.tools import PAIRS, Options, Row, gain, plus_minus, show
from multispin_env.arrays import FloatArray
from multispin_env.units import MHZ

SEED, WARM_UP, HORIZON = 330, 5.0, 20.0
RULES = ("greedy", "own-pace", "synchronous", "groups 2", "groups 3", "prices")


@dataclass(frozen=True)
class AheadSystem(System):
    """System with a server."""

    server: str
    draft_ahead: bool = False

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.preset} {self.server} K{self.users}"

    @property
    def scenario(self) -> ms.Scenario:
        """Return the scenario."""
        fields = {"num_users": self.users, "total_bandwidth": self.megahertz * MHZ, "draft_ahead": self.draft_ahead}
        return ahead_scenario(self.preset, self.server, **fields)

    def rates(self, rule: str, instances: int) -> FloatArray:
        """Return tokens/s (instances,) of one of `RULES`."""
        state = self.states(SEED, instances)
        return ms.long_run(make_rule(rule, self.scenario), state, warm_up=WARM_UP, horizon=HORIZON).rate


def rate_rows(options: argparse.Namespace) -> Iterator[Row]:
    for server, preset, users in product(options.servers, options.presets, options.users):
        system = AheadSystem(preset, users, 10, False, server)
        pairs = {}
        for rule in RULES:
            count = options.synchronous if rule == "synchronous" else options.instances
            pairs[rule] = tuple(replace(system, draft_ahead=ahead).rates(rule, count) for ahead in (True, False))
        cells = {rule: f"{ahead.mean():.0f} ({gain(ahead, plain)})" for rule, (ahead, plain) in pairs.items()}
        same = {rule: [rates[: options.synchronous].mean() for rates in pair] for rule, pair in pairs.items()}
        ahead, plain = (max(pair[i] for pair in same.values()) for i in (0, 1))
        best = f"{ahead:.0f} / {plain:.0f} = {ahead / plain:.2f}"
        yield {"system": system.name} | cells | {"best with / without": best}


def load_rows(options: argparse.Namespace) -> Iterator[Row]:
    for server, (preset, users, megahertz, per_token) in product(
        options.servers, (("llama2", 8, 10, 0.08), ("qwen3.5", 20, 5, 0.11))
    ):
        if preset not in options.presets:
            continue
        system = AheadSystem(preset, users, megahertz, False, server)
        full = max(system.rates(rule, 4).mean() for rule in ("groups 2", "groups 3"))
        level = per_token if system.server == "paper" else 2.0 * users / full  # as tight as on the paper's server
        for load in LOADS:
            cells: dict[str, Any] = {"system": f"{system.name}, load {load:g}"}
            for rule in options.rules:
                with_it, without = (
                    Service(replace(system, draft_ahead=ahead), full, level).played(rule, load, 1.0, options.copies)
                    for ahead in (True, False)
                )
                more = with_it.tokens_in_time - without.tokens_in_time
                missed = f"missed {without.share_missed.mean():.2f} -> {with_it.share_missed.mean():.2f}"
                cells[rule] = f"{without.tokens_in_time.mean():.1f} {plus_minus(more, '+.1f')}, {missed}"
            yield cells


OPTIONS: Options = {
    "servers": ["a100-32b", "paper"],
    "presets": PAIRS,
    "users": [8, 20],
    "instances": 6,
    "synchronous": (2, "instances of it, slow"),
    "copies": (24, "under load"),
    "rules": (["load-aware", "greedy+deadlines"], "under load"),
    "load": (False, "tokens in time of requests with deadlines instead"),
}


def run(options: argparse.Namespace) -> None:
    if options.load:
        show("tokens/s in time without drafting ahead, and gain of drafting ahead ± standard error", load_rows(options))
    else:
        show("tokens/s with drafting ahead (gain over the same rule without)", rate_rows(options))
