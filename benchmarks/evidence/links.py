"""Links: constant total power against constant power per hertz, repeated uploads and late devices.

Mean goodputs in tokens/s of random states of the paper's pairs, and of llama2 on two fast servers, with ids. The first
table plays decisions under total power, where a device has the SNR of the paper at an equal share of the band;
*best shares* are those of the paper's lengths, *most* is the largest gain in a state, and ms are CPU times of certified
decisions, with *own* for the same link as a class that has the method `rate` alone. In the second, one upload in ten is
sent again 8 ms later, or every fourth phone is 40 ms late; lengths are means, then of late phones. The third has
changes of the optimum where devices upload ids to fast servers and may draft nothing, or, in the last column, also
probabilities: with a band of 1 THz, a quarter of the band, and equal shares of it.
"""

from argparse import Namespace
from itertools import product
from time import process_time
from typing import Any

import numpy as np
from typing_extensions import override

import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_env.arrays import FloatArray
from multispin_env.physics.types import SystemState
from multispin_lab.reproduce.figure import scenario_at

SYSTEMS = (("llama2", ""), ("qwen3.5", ""), ("llama2", "a100-32b"), ("llama2", "l40s-8b"))
CHANGES: dict[str, dict[str, Any]] = {
    "losses": {"upload_loss": 0.1, "repeat_time": 0.008},
    "late": {"access_delay": (0.04,) * 5 + (0.0,) * 15},
}


class Plain(ms.Link):
    """Constant total power without closed forms."""

    @override
    def rate(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        return share * np.log1p(snr / share) / np.log(2.0)


def proven(scenario: ms.Scenario, state: SystemState) -> tuple[ms.solver.CertifiedDecision, float]:
    """Return certified decisions, and ms of the processor for each."""
    controller: Any = ms.make_controller("optimal", scenario, certify=1e-6)
    start = process_time()
    return controller(state), 1e3 * (process_time() - start) / len(state.draft_time)


def _percent(ratio: float) -> float:
    return round(100.0 * (ratio - 1.0), 3) + 0.0  # no -0


def gain(users: int, limit: float, system: tuple[str, str], states: int) -> Row:
    """Compare decisions for constant power per hertz with the optimum of constant total power."""
    density = scenario_at(system[0], 10.0, system[1], num_users=users, power_bandwidth=10e6 / users)
    power = density.replace(link="power", efficiency_limit=limit)
    state = ms.sample_state(density, 0, states)
    (paper, density_time), (best, power_time) = proven(density, state), proven(power, state)
    sharing: Any = ms.make_controller("optimal", power)
    with_best_shares = sharing.with_equal_latency(paper.draft_length, state)
    played, shared = (ms.expected_outcome(power, state, decision).goodput for decision in (paper, with_best_shares))
    return {
        "system": " ".join(system), "K": users, "cap": limit or "none", "per hertz": paper.value.mean(),
        "paper": played.mean(), "best shares": shared.mean(), "optimum": best.value.mean(),
        "gain %": _percent(best.value.mean() / played.mean()), "most %": _percent((best.value / played).max()),
        "over shares %": _percent(best.value.mean() / shared.mean()), "most": _percent((best.value / shared).max()),
        "gap": f"{best.gap.max():.0e}", "ms per hertz": density_time, "ms power": power_time,
        "ms own": "" if limit else proven(density.replace(link="plain"), state)[1],
    }  # fmt: skip


def change(name: str, system: tuple[str, str], least: int, states: int) -> Row:
    """Compare the optimum with one of `CHANGES`, and that without it."""
    free = scenario_at(system[0], 10.0, system[1], num_users=20, min_draft_length=least)
    changed = free.replace(**CHANGES[name])
    state = ms.sample_state(free, 0, states)
    (before, _), (after, _) = proven(free, state), proven(changed, state)
    late = np.broadcast_to(changed.access_delay or 0.0, 20) == max(changed.access_delay, default=0.0)
    return {
        "change": name, "system": " ".join(system), "L_min": least, "without": before.value.mean(),
        "optimum": after.value.mean(), "change %": _percent(after.value.mean() / before.value.mean()),
        "ignoring it %": _percent(ms.expected_outcome(changed, state, before).goodput.mean() / after.value.mean()),
        "length": before.draft_length.mean(), "then": after.draft_length[:, late].mean(),
        "nothing drafted %": 100.0 * float((~after.draft_length.any(-1)).mean()),
    }  # fmt: skip


def band(server: str, users: int, preset: str, states: int) -> Row:
    """Compare the optimum with those of other bands, and with the best lengths at equal shares."""
    free = scenario_at(preset, 10.0, server, num_users=users)
    state = ms.sample_state(free, 0, states)
    best, wide, narrow, sent, sent_wide = (
        proven(free.replace(**changes), state)[0].value.mean()
        for changes in (
            {},
            WIDE,
            {"total_bandwidth": 2.5e6},
            {"payload": "distributions"},
            {"payload": "distributions", **WIDE},
        )
    )
    equal: Any = ms.make_controller("uniform-bandwidth", free)
    return {
        "server": server, "pair": preset, "K": users, "optimum": best, "1 THz %": _percent(wide / best),
        "a quarter %": _percent(narrow / best),
        "equal shares %": _percent(ms.expected_outcome(free, state, equal(state)).goodput.mean() / best),
        "probabilities, 1 THz %": _percent(sent_wide / sent),
    }  # fmt: skip


WIDE = {"total_bandwidth": 1e12}

OPTIONS: Options = {"states": (200, "random states of each system")}


def run(options: Namespace) -> None:
    states = [options.states]
    ms.registry.LINKS.register("plain", Plain())
    try:
        show("constant total power", (gain(*setting) for setting in product((20, 8), (0.0, 7.4), SYSTEMS, states)))
    finally:
        ms.registry.LINKS.unregister("plain")
    show("losses and delays, 20 devices", (change(*setting) for setting in product(CHANGES, SYSTEMS, (1, 0), states)))
    settings = product(("a100-32b", "h100-32b", "l40s-8b"), (20, 60), ("llama2", "qwen3.5"), states)
    show("what the band is worth", (band(*setting) for setting in settings))
