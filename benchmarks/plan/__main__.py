"""Rates of annealed tables, rules and the bound: ``python -m benchmarks.plan`` (docs/evidence/continuous.md).

It prints, for each system, the bound and mean rates in a static channel of `groups`, `prices` and `plan`, which follows
the tables of ``tables.npz``, with paired standard errors. ``--tight 4`` computes the tight bound of four instances,
which takes minutes at K = 20.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from benchmarks.tools import parser_of, plus_minus
from multispin_env.apps.terminal.output import exit_status
from multispin_env.arrays import IntArray
from multispin_env.evaluation.statistics import HELD_OUT_SEED

INSTANCES = 12
NEVER = 10**6  # batches until the next one of a device that is in none
PATH = Path(__file__).with_name("tables.npz")
SYSTEMS = ["llama2 K8 B10 narrow", "qwen3.5 K8 B10 narrow", "llama2 K20 B10 wide", "qwen3.5 K20 B5 narrow"]
OPTIONS = {"systems": (SYSTEMS, "as in the tables"), "tight": (0, "instances with the tight bound")}


@dataclass(frozen=True, eq=False)
class Plan(ms.ContinuousController):
    """Controller that follows tables (P, K) of lengths, batches of a period by devices with −1 for no draft.

    There is a table for each of n environments, in a static channel. Uploads go in the order of their batches, and a
    batch starts when the server is free and its last upload has ended: for a table, no other execution is earlier.
    """

    tables: tuple[IntArray, ...]

    def decide(self, state: ms.physics.ContinuousState) -> ms.ContinuousDecision:
        """Wait for the devices of the next batch; give new drafts the length of their device's next batch."""
        batch = state.batch[:, None]
        turned = [np.roll(table, -int(turn), 0) for table, turn in zip(self.tables, state.batch, strict=True)]
        offset = np.stack([(table >= 0).argmax(0) for table in turned])  # batches until each device's next
        length = np.stack([table[ahead, np.arange(len(ahead))] for table, ahead in zip(turned, offset, strict=True)])
        offset = np.where(length < 0, NEVER, offset)
        length = np.maximum(length, self.scenario.min_draft_length)
        aim = np.where(state.phase == ms.physics.Phase.FREE, batch + offset, state.aim)
        join = np.where(aim <= batch, ms.physics.Join.WAIT, ms.physics.Join.LEAVE)
        return ms.ContinuousDecision(length, join, priority=aim.astype(np.float64), aim=aim)


def show(system: System, tight: int) -> None:
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)
    with np.load(PATH, allow_pickle=False) as stored:
        lengths = (stored[f"{system.name}, {i}"].astype(np.int64) for i in range(INSTANCES))
        tables = tuple(np.where(length == 0, -1, length) for length in lengths)
    rules = {name: ms.make_controller(name, scenario) for name in ("groups", "prices")}
    rates = {name: ms.long_run(rule, state).rate for name, rule in (rules | {"plan": Plan(scenario, tables)}).items()}
    print(f"\n{system.name}")
    for name, rate in (rates | {"bound": ms.rate_bound(scenario, state).value}).items():
        print(f"  {name:<12s} {rate.mean():7.1f}   plan over it {plus_minus(rates['plan'] / rate, '.4f')}")
    if tight:
        bound = ms.rate_bound(scenario, state[:tight], tight=True).value
        shares = {name: rates[name][:tight] / bound for name in ("groups", "prices", "plan")}
        best = np.max(list(shares.values()), 0)
        words = ", ".join(f"{name} {share.mean():.4f}" for name, share in (shares | {"best": best}).items())
        print(f"  tight bound of {tight}: {bound.mean():.1f}; of it {words}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    program = "python -m benchmarks.plan"
    options = parser_of(program, __doc__, OPTIONS).parse_args(arguments)

    def run() -> None:
        for system in [system for name in options.systems for system in chosen(name)]:
            show(system, options.tight)

    return exit_status(program, run)


if __name__ == "__main__":
    sys.exit(main())
