"""Users of a server at a service level: rules without the barrier over the barrier.

    python -m benchmarks.service_levels [--preset llama2] [--arrivals poisson] [--rules barrier load-aware]

Each user asks once in two minutes. 90 % of the requests have to be within the limits of TTFT and TPOT. Poisson requests
have answers of 60 tokens in the mean; ``trace`` is an hour of recorded chat with its own lengths, thinned to the users
and stretched in time to their rate. Capacities in devices at 10 MHz, with 95 % intervals; a search ends at 512 devices.
"""

import argparse

import multispin_env as ms
from multispin_env.controllers.capacity import MOST_USERS, Capacity, capacity

LEVELS = ((0.5, 0.06), (1.0, 0.1), (2.0, 0.15))
"""Limits of TTFT in seconds and of TPOT in seconds a token."""

RULES = ("optimal", "groups+deadlines", "prices+deadlines", "greedy+deadlines", "load-aware")

PERCENT, EVERY, START, COPIES = 90.0, 120.0, 16, 8


def workload(arrivals: str, level: ms.ServiceLevel) -> ms.Workload:
    """Of the devices that a search starts with."""
    recorded = arrivals == "trace"
    return ms.Workload(
        arrivals=ms.make_arrivals(arrivals),
        lengths=None if recorded else ms.make_lengths("geometric", mean_output=60.0),
        rate=START / EVERY,
        level=level,
    )


def users(rule: str, preset: str, arrivals: str, ttft: float, tpot: float) -> Capacity:
    """The most users of a rule."""
    scenario = ms.Scenario.preset(preset, num_users=START)
    asked = workload(arrivals, ms.ServiceLevel(ttft=ttft, tpot=tpot))
    return capacity(scenario, workload=asked, controller=rule, by="users", percent=PERCENT, copies=COPIES)


def shown(found: Capacity) -> str:
    """Devices, with the interval."""
    more = " or more" if found.value >= MOST_USERS else f" ({found.low:.0f} to {found.high:.0f})"
    return f"{found.value:.0f}{more}"


def main() -> None:
    """Print a line for each service level."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", nargs="+", default=["llama2", "qwen3.5"])
    parser.add_argument("--arrivals", nargs="+", default=["poisson", "trace"])
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    options = parser.parse_args()
    for preset in options.preset:
        for arrivals in options.arrivals:
            for ttft, tpot in LEVELS:
                found = {rule: users(rule, preset, arrivals, ttft, tpot) for rule in options.rules}
                cells = ", ".join(f"{rule} {shown(one)}" for rule, one in found.items())
                print(f"{preset}, {arrivals}, TTFT {ttft:g} s, TPOT {1e3 * tpot:g} ms: {cells}", flush=True)


if __name__ == "__main__":
    main()
