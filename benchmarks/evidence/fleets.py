"""Headlines by fleet: who wins with the paper's devices and with measured ones, with and without lost uploads.

If uploads are *lost*, one in ten is sent again 8 ms later. *ms* is the mean measured time of a drafted token, before
its growth with the context. The first table has mean tokens/s of random static systems: the server alone, one that
drafts for all, and devices that draft in rounds, without the barrier, or ahead (in rounds or not, as is better; if
uploads are lost, not). *Over server* is the paired mean ratio of the best of the last three to the server that drafts,
with its standard error. `groups` has its defaults, and no policy without drafting ahead exceeds *bound*. The second
table has the least K with which devices exceed the server that drafts, on the servers of ``benchmarks.figures --only
does-it-pay``; the third the most devices of llama2 that get a token in time, with ids. *Over server* is there rounds
over server drafts, and *formula* what Lyu et al. (arXiv 2606.25091) expect of it, 1 + L T_srv / T_ver with the server's
best length L, from the server's time alone.
"""

from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

import multispin_env as ms
import multispin_lab
from benchmarks.figures.pays import PAY, five_rates, pay_scenario, winner_of
from benchmarks.tools import HELP, Options, Row, plus_minus, show
from multispin_env.baselines.systems import colocated_round_time
from multispin_env.draft import expected_tokens
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.physics.types import SystemState
from multispin_lab.planning.capacity import nested_states
from multispin_lab.reproduce.figure import Scale

LOST: dict[str, dict[str, Any]] = {"": {}, "lost": {"upload_loss": 0.1, "repeat_time": 0.008}}
PAPER, DISTRIBUTIONS = "paper", "paper, distributions"
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    DISTRIBUTIONS: ("", {"min_draft_length": 1}),
    PAPER: ("", {"payload": "ids"}),
    "a100-32b": ("a100-32b", {}),
    "h100-32b": ("h100-32b", {}),
}
DRAFTING = ("rounds", "no barrier", "drafting ahead")
LEVELS = (("l40s-8b", 0.03), ("l40s-8b", 0.05), ("l40s-8b", 0.1), ("l40s-32b", 0.05))
"""Server, and seconds of a token."""


def of_fleet(fleet: str) -> dict[str, Any]:
    """Return fields of a scenario: a fleet, `PAPER`, or a mean draft time in ms."""
    return {"mean_draft_time": float(fleet) / 1e3} if fleet[0].isdigit() else {"fleet": fleet.removeprefix(PAPER)}


def by_fleet(system: tuple[str, str, int], lost: str, fleet: str, states: int) -> Row:
    """Return rates of the five systems, and who wins, for a name in `SERVERS`, a pair and K."""
    name, preset, users = system
    server, fields = SERVERS[name]
    scenario = pay_scenario(preset, server, num_users=users, **fields, **LOST[lost], **of_fleet(fleet))
    state = ms.sample_state(scenario, 0, states)
    rates = five_rates(scenario, state)
    means = {system: float(rate.mean()) for system, rate in rates.items()}
    over = rates[max(DRAFTING, key=means.__getitem__)] / rates["server drafts"]
    return {
        "server": name, "pair": preset, "K": users, "uploads": lost, "fleet": fleet,
        "ms": f"{1e3 * scenario.mean_draft_time:.3g}", **{of: f"{mean:.0f}" for of, mean in means.items()},
        "groups, bound": groups_and_bound(scenario, state) if name == DISTRIBUTIONS else "",
        "over server": plus_minus(over, ".3f"), "wins": winner_of(means),
    }  # fmt: skip


def groups_and_bound(scenario: ms.Scenario, state: SystemState) -> str:
    """Return the rate of `groups` with its defaults, and the bound."""
    rate = ms.long_run(ms.make_controller("groups", scenario), state, warm_up=3.0, horizon=15.0).rate
    return f"{rate.mean():.0f} of {ms.rate_bound(scenario, state).value.mean():.0f}"


def least(fleets: list[str], users: list[int], states: int) -> Iterator[Row]:
    """Yield the least of some K with which devices exceed the server that drafts for all, or -."""
    for preset, server in dict.fromkeys(setting[:2] for setting in PAY.settings(Scale())):
        row: dict[str, Any] = {"pair": preset, "server": server or "own law"}
        for fleet in fleets:
            sizes = (K for K in users if _pays(pay_scenario(preset, server, num_users=K, **of_fleet(fleet)), states))
            row[fleet] = next(sizes, "-")
        yield row


def _pays(scenario: ms.Scenario, states: int) -> bool:
    rates = five_rates(scenario, ms.sample_state(scenario, HELD_OUT_SEED, states))
    return bool(max(rates[system].mean() for system in DRAFTING) > rates["server drafts"].mean())


def in_time(server: str, tpot: float, fleet: str, states: int) -> Row:
    """Return how many devices get a token each ``tpot`` seconds."""
    scenario = pay_scenario("llama2", server, **of_fleet(fleet))
    systems = {"no drafts": "autoregressive", "server drafts": "colocated", "rounds": "multi-spin"}
    found = {
        name: multispin_lab.capacity(scenario, tpot=tpot, system=of, states=states) for name, of in systems.items()
    }
    lost = multispin_lab.capacity(scenario.replace(**LOST["lost"]), tpot=tpot, states=states)
    return {
        "server": server, "ms a token": f"{1e3 * tpot:g}", "fleet": fleet, **found, "rounds, lost": lost,
        "over server": f"{found['rounds'] / found['server drafts']:.2f}",
        "formula": f"{time_of_server(scenario, found['server drafts'], states):.2f}",
    }  # fmt: skip


def time_of_server(scenario: ms.Scenario, users: int, states: int) -> float:
    """Return 1 + L T_srv / T_ver, the time of a server that drafts over that of one that only verifies."""
    scenario, lengths = scenario.replace(num_users=users), np.arange(scenario.max_draft_length + 1)
    rates = nested_states(scenario, states, 0)(users).acceptance_rate
    rounds = colocated_round_time(scenario, users, lengths)
    length = int((expected_tokens(lengths, rates[..., None]).min(-2) / rounds).mean(0).argmax())
    return float(rounds[length]) / float(scenario.law.time(users, users * (length + 1)))


FLEETS = [PAPER, "phones", "household", "boards"]
OPTIONS: Options = {
    "fleets": (FLEETS, 'fleets, "paper", or mean draft times in ms, of the first table'),
    "users": ([60], HELP["users"]),
    "states": (20, "systems of a mean"),
    "map": (FLEETS[:2], "as fleets, of the second table"),
    "sizes": ([20, 60, 120, 240], "numbers of devices of the second table, whose means are of 5 systems"),
    "counts": ([*FLEETS, "24", "40"], "as fleets, of the third table"),
}


def run(options: Namespace) -> None:
    others = product(list(SERVERS)[1:], ["qwen3.5"], options.users)
    systems = [(DISTRIBUTIONS, "llama2", 20), *others]
    rows = product(systems, LOST, options.fleets)
    show("by fleet", (by_fleet(system, lost, fleet, options.states) for system, lost, fleet in rows))
    if options.map:
        show("least K with which devices that draft win", least(options.map, options.sizes, 5))
    show("devices in time", (in_time(*level, fleet, 50) for level in LEVELS for fleet in options.counts))
