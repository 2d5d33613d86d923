"""Requests that arrive and are due: ``python -m benchmarks.serving --only table --systems llama2``.

1. ``speed``: env-steps (the system and a rule) a second of CPU time with 8 devices and 256 copies, and seconds of CPU
   time for a simulated hour of 20 devices, as 24 copies of 150 s, on one core.
2. ``table``: tokens/s in time, with the standard error of the mean, and the share missed, of rules with and without
   deadlines at three loads of two systems; below each, what an earlier simulator gave, by single events.
3. ``rules``: tokens/s in time of rules at loads with Poisson and with bursty requests, as differences from
   ``greedy+deadlines`` on the same copies, with 95 % intervals; ``*`` marks the best of a line, and those that it
   is not clearly better than.

Everywhere: 24 copies of 45 s after 10 s, static channels, geometric answers of 60 tokens on average, due half a second
and then 80 ms (llama2) or 110 ms (qwen3.5) a token after they arrive.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import process_time

import numpy as np

import multispin_env as ms
from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.greedy import Greedy
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import aligned
from multispin_env.physics.arrivals.base import Arrivals
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.registry import CONTROLLERS

COPIES = 24


@dataclass(frozen=True)
class System:
    """A system with its service level."""

    name: str
    users: int
    megahertz: float
    full: float  # tokens/s of `groups` with endless requests, of which loads are shares
    per_token: float  # s
    earlier: dict[float, tuple[str, ...]]  # by load: in time tokens/s (missed), in the order of `RULES`

    @property
    def scenario(self) -> ms.Scenario:
        """Devices, radio and server."""
        return ms.Scenario.preset(self.name, num_users=self.users, total_bandwidth=self.megahertz * 1e6)

    def workload(self, load: float, arrivals: Arrivals) -> ms.Workload:
        """Requests of a load."""
        level = ms.ServiceLevel(e2el=0.5, e2el_per_token=self.per_token)
        lengths = ms.make_lengths("geometric", mean_output=60.0)
        return ms.Workload.at_load(load * self.full, arrivals=arrivals, lengths=lengths, level=level)

    @property
    def title(self) -> str:
        """Its name and size."""
        return f"{self.name} K{self.users} B{self.megahertz:g}"


BARRIER = "wait-for-all"

RULES = (BARRIER, "greedy", "groups", f"{BARRIER}+deadlines", "greedy+deadlines", "groups+deadlines")
"""Of the table; the first is the barrier, with a work-conserving uplink."""


class WaitForAll(Greedy):
    """Every batch waits for all devices that have a request; lengths are those of `Greedy`."""

    def decide(self, state: ms.ContinuousState) -> ms.ContinuousDecision:
        """Its order, but no draft is left behind."""
        order = super().decide(state)
        return order.changed(join=np.full(order.join.shape, ms.Join.WAIT))


CONTROLLERS.register(BARRIER, WaitForAll)

SYSTEMS = (
    System(
        "llama2", 8, 10.0, 196.0, 0.08,
        {
            0.4: ("68 (.22)", "73 (.15)", "72 (.16)", "", "", "74 (.14)"),
            0.6: ("67 (.54)", "90 (.36)", "89 (.37)", "93 (.34)", "104 (.25)", "104 (.25)"),
            0.85: ("48 (.79)", "78 (.65)", "90 (.60)", "105 (.50)", "125 (.42)", "129 (.40)"),
        },
    ),
    System(
        "qwen3.5", 20, 5.0, 350.0, 0.11,
        {
            0.4: ("99 (.36)", "124 (.15)", "120 (.20)", "", "", "124 (.16)"),
            0.6: ("97 (.61)", "163 (.27)", "147 (.35)", "", "", "162 (.28)"),
            0.85: ("64 (.85)", "183 (.49)", "145 (.61)", "122 (.71)", "215 (.39)", "180 (.49)"),
        },
    ),
)  # fmt: skip

REFERENCE = "greedy+deadlines"
RIVALS = (
    *("greedy", "load-aware", "groups+deadlines", "prices+deadlines", "earliest-deadline"),
    *("turbospec+deadlines", "tetris+deadlines", "ema-tiers+deadlines"),
    *("plus-two-minus-one+deadlines", "minedraft+deadlines"),
)
"""Compared with `REFERENCE`."""

ARRIVALS = {
    "Poisson": partial(ms.make_arrivals, "poisson"),
    "bursts": partial(ms.make_arrivals, "gamma", burstiness=0.25),
}


def played(system: System, load: float, arrivals: str, rule: str, copies: int) -> ServiceRun:
    """A run; copies have the same requests for every rule."""
    controller = ms.make_controller(rule, system.scenario)
    workload = system.workload(load, ARRIVALS[arrivals]())
    return ms.serve(controller, workload, copies=copies, channel="static", seed=HELD_OUT_SEED)


def table(systems: Sequence[System], copies: int) -> None:
    """Rules with and without deadlines."""
    lines = []
    for system in systems:
        for load, before in system.earlier.items():
            cells = [_cell(played(system, load, "Poisson", rule, copies)) for rule in RULES]
            lines += [(f"{system.title}, load {load:g}", *cells), ("  earlier", *before)]
    print(aligned(("tokens/s in time (missed)", *RULES), lines))


def _cell(run: ServiceRun) -> str:
    error = run.tokens_in_time.std(ddof=1) / len(run.time) ** 0.5
    return f"{run.tokens_in_time.mean():.1f} ± {error:.1f} ({run.share_missed.mean():.2f})"


def rules(systems: Sequence[System], copies: int, names: Sequence[str]) -> None:
    """Differences from the reference, by load and burstiness."""
    lines = []
    for system in systems:
        for arrivals in ARRIVALS:
            for load in system.earlier:
                rates = {
                    rule: played(system, load, arrivals, rule, copies).tokens_in_time for rule in (REFERENCE, *names)
                }
                lines.append((f"{system.title}, {arrivals}, load {load:g}", *compared(rates)))
    print(aligned(("tokens/s in time", REFERENCE, *names), lines))


def compared(rates: dict[str, FloatArray]) -> list[str]:
    """The mean of the first rule, and paired differences of the others with 95 % intervals; winners have a star."""
    first, *others = rates
    best = max(rates, key=lambda rule: rates[rule].mean())
    ahead = {rule: mean_interval(rates[best] - rates[rule]).low for rule in rates if rule != best}
    stars = {rule: "*" if rule == best or ahead[rule] <= 0.0 else "" for rule in rates}
    cells = [f"{rates[first].mean():.1f}{stars[first]}"]
    for rule in others:
        mean, low, high = mean_interval(rates[rule] - rates[first])
        cells.append(f"{mean:+.1f} ({low:+.1f} to {high:+.1f}){stars[rule]}")
    return cells


def speed(steps: int) -> None:
    """How long it takes."""
    llama, qwen = SYSTEMS
    for rule in (None, "greedy", "greedy+deadlines", "load-aware", "groups+deadlines"):
        rate = steps_per_second(llama, rule, 256, steps)
        print(f"{llama.title}, load .6, n = 256, {rule or 'no rule'}: {rate:,.0f} env-steps a CPU-second")
    for rule in ("greedy+deadlines", "load-aware", "groups+deadlines"):
        controller, workload = ms.make_controller(rule, qwen.scenario), qwen.workload(0.6, ms.make_arrivals("poisson"))
        begun = process_time()
        ms.serve(controller, workload, copies=COPIES, warm_up=0.0, horizon=150.0, channel="static", seed=1)
        print(f"{qwen.title}, load .6, an hour (24 copies of 150 s), {rule}: {process_time() - begun:.1f} CPU-seconds")


def steps_per_second(system: System, rule: str | None, copies: int, steps: int) -> float:
    """Of the system with a rule, or with one order for ever."""
    workload = system.workload(0.6, ms.make_arrivals("poisson"))
    core = ContinuousCore(
        ContinuousSystem.of(system.scenario.replace(channel="static"), workload=workload), copies, drawn=True
    )
    for copy in range(copies):
        core.seed(copy, np.random.default_rng(copy))
    core.reset()
    shape = core.state.phase.shape
    same = ms.ContinuousDecision(np.full(shape, 6), np.full(shape, ms.Join.TAKE))
    controller = None if rule is None else ms.make_controller(rule, system.scenario)
    for step in range(2 * steps):
        if step == steps:  # the lines are as they are in the long run
            begun = process_time()
        core.step(same if controller is None else controller(core.state))
    return copies * steps / (process_time() - begun)


PARTS = ("speed", "table", "rules")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--systems", nargs="+", choices=[system.name for system in SYSTEMS], help="default: both")
    parser.add_argument("--rules", nargs="+", default=RIVALS, help=f"of the third part (default {' '.join(RIVALS)})")
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--steps", type=int, default=300, help="of the first part (default 300)")
    options = parser.parse_args(arguments)
    systems = [system for system in SYSTEMS if options.systems is None or system.name in options.systems]
    if "speed" in options.only:
        speed(options.steps)
    if "table" in options.only:
        table(systems, options.copies)
    if "rules" in options.only:
        rules(systems, options.copies, options.rules)


if __name__ == "__main__":
    main()
