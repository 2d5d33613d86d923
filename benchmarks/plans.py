"""Tables for the controller ``plan``, and what they earn: ``python -m benchmarks.plans``.

Makes the tables of the package, ``multispin_env/controllers/continuous/plans.npz``, for the instances below; those that
are there are kept, so it can be stopped and goes on. Then prints, for each system, the mean rates of `groups`, `prices`
and `plan` in a static channel beside the bound, with paired standard errors; ``--tight 4`` takes the tight bound on so
many instances, which takes minutes at K = 20.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from multispin_env.arrays import IntArray
from multispin_env.controllers.continuous.annealing import Annealing
from multispin_env.controllers.continuous.schedule import Tables
from multispin_env.controllers.continuous.stored import FILE, key_of
from multispin_env.evaluation.seeds import HELD_OUT_SEED

SYSTEMS = ("llama2 K8 B10 narrow", "qwen3.5 K8 B10 narrow", "llama2 K20 B10 wide", "qwen3.5 K20 B5 narrow")
"""As in `benchmarks.continuous_systems`, on the same instances as the other benchmarks."""

INSTANCES = 12

SEARCHES = {8: Annealing(moves=800, chains=32), 20: Annealing(moves=2500, chains=48)}
"""By the number of devices."""

RULES = ("groups", "prices", "plan")

PATH = Path(ms.__file__).parent / "controllers" / "continuous" / FILE


def stored() -> dict[str, IntArray]:
    """What is in the package's file."""
    if not PATH.exists():
        return {}
    with np.load(PATH, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def make(systems: list[System]) -> None:
    """Search for the tables that are missing."""
    tables = stored()
    for system in systems:
        scenario, states = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)
        for number in range(INSTANCES):
            state = states[number : number + 1]
            name = key_of(scenario, state[0]).hex()
            if name in tables:
                continue
            begin = perf_counter()
            (table,) = SEARCHES[system.users].search(scenario, state, np.random.default_rng(0))
            tables[name] = table.astype(np.int8)
            np.savez_compressed(PATH, **tables)  # type: ignore[arg-type]
            rate, seconds = float(Tables.of(scenario, state).rate(table[None])[0]), perf_counter() - begin
            words = f"{rate:.2f} tokens/s, {len(table)} batches, {seconds:.0f} s"
            print(f"{system.name}, instance {number}: {words}", flush=True)


def show(system: System, tight: int) -> None:
    """Print mean rates of a system, and `plan` over them."""
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)
    rates = {name: ms.long_run_rate(ms.make_controller(name, scenario), state) for name in ("synchronous", *RULES)}
    print(f"\n{system.name}")
    for name, rate in (rates | {"bound": ms.rate_bound(scenario, state)}).items():
        ratio = rates["plan"] / rate
        error = ratio.std(ddof=1) / np.sqrt(INSTANCES)
        print(f"  {name:<12s} {rate.mean():7.1f}   plan over it {ratio.mean():.4f} ± {error:.4f}")
    if tight:
        bound = ms.rate_bound(scenario, state[:tight], tight=True)
        shares = {name: rates[name][:tight] / bound for name in RULES}
        best = np.max(list(shares.values()), 0)
        words = ", ".join(f"{name} {share.mean():.4f}" for name, share in (shares | {"best": best}).items())
        print(f"  tight bound of {tight}: {bound.mean():.1f}; of it {words}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), metavar="NAME", help="as in the tables")
    parser.add_argument("--tight", type=int, default=0, help="instances with the tight bound (default none)")
    options = parser.parse_args()
    systems = [system for name in options.systems for system in chosen(name)]
    make(systems)
    for system in systems:
        show(system, options.tight)


if __name__ == "__main__":
    main()
