"""Rates of annealed tables, rules and the bound: ``python -m benchmarks.plan`` (docs/evidence/continuous.md).

It searches for the tables that ``tables.npz`` lacks, and resumes after an interruption. Then it prints, for each
system, the bound and mean rates in a static channel of `groups`, `prices` and `plan`, which follows the tables, with
paired standard errors. ``--tight 4`` computes the tight bound of four instances, which takes minutes at K = 20.
"""

import argparse
from pathlib import Path

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from benchmarks.plan.annealing import search
from benchmarks.plan.table import Plan
from multispin_env.arrays import IntArray
from multispin_env.evaluation.statistics import HELD_OUT_SEED

SYSTEMS = ("llama2 K8 B10 narrow", "qwen3.5 K8 B10 narrow", "llama2 K20 B10 wide", "qwen3.5 K20 B5 narrow")
INSTANCES = 12
SEARCHES = {8: (800, 32), 20: (2500, 48)}  # moves and chains, by the number of devices
PATH = Path(__file__).with_name("tables.npz")


def tables_of(system: System) -> tuple[IntArray, ...]:
    """Return the tables of the instances of a system; search for missing ones and store them."""
    with np.load(PATH, allow_pickle=False) as arrays:
        tables = dict(arrays)
    states, names = system.states(HELD_OUT_SEED, INSTANCES), [f"{system.name}, {i}" for i in range(INSTANCES)]
    for number, name in enumerate(names):
        if name not in tables:
            print(f"searching for {name}", flush=True)
            state = states[number : number + 1]
            tables[name] = search(system.scenario, state, *SEARCHES[system.users]).astype(np.int8)
            np.savez_compressed(PATH, **tables)  # type: ignore[arg-type]
    return tuple(tables[name].astype(np.int64) for name in names)


def show(system: System, tight: int) -> None:
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)
    rules = {name: ms.make_controller(name, scenario) for name in ("groups", "prices")}
    rates = {name: ms.long_run(rule, state).rate for name, rule in rules.items()}
    rates["plan"] = ms.long_run(Plan(scenario, tables_of(system)), state).rate
    print(f"\n{system.name}")
    for name, rate in (rates | {"bound": ms.rate_bound(scenario, state).value}).items():
        ratio = rates["plan"] / rate
        error = ratio.std(ddof=1) / np.sqrt(INSTANCES)
        print(f"  {name:<12s} {rate.mean():7.1f}   plan over it {ratio.mean():.4f} ± {error:.4f}")
    if tight:
        bound = ms.rate_bound(scenario, state[:tight], tight=True).value
        shares = {name: rates[name][:tight] / bound for name in ("groups", "prices", "plan")}
        best = np.max(list(shares.values()), 0)
        words = ", ".join(f"{name} {share.mean():.4f}" for name, share in (shares | {"best": best}).items())
        print(f"  tight bound of {tight}: {bound.mean():.1f}; of it {words}", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), metavar="NAME", help="as in the tables")
    parser.add_argument("--tight", type=int, default=0, help="instances with the tight bound (default none)")
    options = parser.parse_args(argv)
    for system in [system for name in options.systems for system in chosen(name)]:
        show(system, options.tight)


if __name__ == "__main__":
    main()
