"""Tables for the scheduler ``plan``, and what they earn: ``python -m benchmarks.plans``.

Makes the tables of the package, ``multispin_env/controllers/continuous/plans.npz``, for the instances below; those that
are there are kept, so it can be stopped and goes on. Then prints, for each system, the mean rates of `groups`, `prices`
and `plan` in a static channel beside the bound, with paired standard errors; ``--tight 4`` takes the tight bound on so
many instances, which takes minutes at K = 20.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

import multispin_env as ms
from benchmarks.bound import instance
from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.annealing import Annealing
from multispin_env.controllers.continuous.schedule import Tables
from multispin_env.controllers.continuous.stored import FILE, key_of

SYSTEMS = (
    ("llama2", 8, 10.0, "narrow"),
    ("qwen3.5", 8, 10.0, "narrow"),
    ("llama2", 20, 10.0, "wide"),
    ("qwen3.5", 20, 5.0, "narrow"),
)
"""Preset, devices, MHz, and spread of the draft times as in `benchmarks.bound`."""

SEARCHES = {8: Annealing(moves=2000, chains=32), 20: Annealing(moves=4000, chains=64)}
"""By the number of devices."""

PATH = Path(ms.__file__).parent / "controllers" / "continuous" / FILE


def stored() -> dict[str, IntArray]:
    """What is in the package's file."""
    if not PATH.exists():
        return {}
    with np.load(PATH, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def make(instances: int) -> None:
    """Search for the tables that are missing."""
    tables = stored()
    for system in SYSTEMS:
        for seed in range(instances):
            scenario, state, _ = instance(*system, seed)
            name = key_of(scenario, state).hex()
            if name in tables:
                continue
            begin = perf_counter()
            (table,) = SEARCHES[system[1]].search(scenario, state[None], np.random.default_rng(0))
            tables[name] = table.astype(np.int8)
            np.savez_compressed(PATH, **tables)  # type: ignore[arg-type]
            rate = float(Tables.of(scenario, state[None]).rate(table[None])[0])
            seconds = perf_counter() - begin
            print(f"{system} {seed}: {rate:.2f} tokens/s, {len(table)} batches, {seconds:.0f} s", flush=True)


def rates(system: tuple[str, int, float, str], instances: int) -> Iterator[tuple[str, FloatArray]]:
    """Rates (instances,) of schedulers, and the bound."""
    drawn = [instance(*system, seed) for seed in range(instances)]
    scenario = drawn[0][0]
    state = ms.SystemState(
        *(np.stack([getattr(own, name) for _, own, _ in drawn]) for name in ms.SystemState.__slots__)
    )
    for name in ("synchronous", "groups", "prices", "plan"):
        yield name, ms.long_run_rate(ms.make_scheduler(name, scenario), state)
    yield "bound", ms.rate_bound(scenario, state)


def show(instances: int, tight: int) -> None:
    """Print a line for each system."""
    for system in SYSTEMS:
        found = dict(rates(system, instances))
        print("\n{} K = {} {:g} MHz {}".format(*system))
        for name, rate in found.items():
            ratio = found["plan"] / rate
            error = ratio.std(ddof=1) / np.sqrt(instances)
            print(f"  {name:<12s} {rate.mean():7.1f}   plan over it {ratio.mean():.4f} ± {error:.4f}")
        if tight:
            bound = np.array([_tight(system, seed) for seed in range(tight)])
            best = np.max([found[name][:tight] for name in ("groups", "prices", "plan")], 0)
            shares = {name: (found[name][:tight] / bound).mean() for name in ("groups", "prices", "plan")}
            words = ", ".join(f"{name} {share:.4f}" for name, share in shares.items())
            print(f"  tight bound  {bound.mean():7.1f}   of it: {words}, best {(best / bound).mean():.4f}")


def _tight(system: tuple[str, int, float, str], seed: int) -> float:
    scenario, state, _ = instance(*system, seed)
    return float(ms.rate_bound(scenario, state, tight=True))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=12)
    parser.add_argument("--tight", type=int, default=0, help="instances with the tight bound (default none)")
    options = parser.parse_args()
    make(options.instances)
    show(options.instances, options.tight)


if __name__ == "__main__":
    main()
