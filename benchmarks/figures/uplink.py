"""Figures of the uplink: goodput against the loss of uploads, and shares of the band under two links."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np

from benchmarks.figures.pays import WARM_UP
from multispin_env.bounds.rate import rate_bound
from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.drawing import BLACK, BLUE, ORANGE, RED
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.simulation.long_run import long_run
from multispin_lab.drawing import Series, Sweep
from multispin_lab.reproduce.figure import PRESETS, FigureSpec, Row, Scale, scenario_at

_STYLES = {"rounds": (RED, "v", "-"), "no barrier": (BLUE, "o", "-"), "bound": (BLACK, "", "--")}
_LINKS = {"constant power per hertz": (BLUE, "o", ""), "constant total power": (ORANGE, "D", "")}
_RULES = ("greedy", "own-pace", "groups", "prices")


def point(panel: str, line: str, x: float, value: float, rule: str = "optimal") -> Row:
    """Return a point of a line in the panel of a server or pair: tokens/s, or per cent of the band, over ``x``."""
    return {"panel": panel, "line": line, "x": x, "value": value, "rule": rule}


def loss_rows(scale: Scale, setting: tuple[str, float]) -> list[Row]:
    """Return the mean rates of the proven rounds, of the best rule without the barrier, and of the bound."""
    server, loss = setting
    users, states, horizon, rules = scale.pick((20, 12, 80, _RULES), (4, 2, 5, _RULES[:2]))
    scenario = scenario_at("llama2", 10.0, server, num_users=users, upload_loss=loss, repeat_time=0.008)
    state = sample_state(scenario, scale.seed, states)
    rounds = expected_outcome(scenario, state, make_controller("optimal", scenario, certify=1e-6)(state))
    times = {"warm_up": WARM_UP * rounds.round_latency.mean(), "horizon": horizon * rounds.round_latency.mean()}
    free = {rule: long_run(make_controller(rule, scenario), state, **times).rate.mean() for rule in rules}
    best = max(rules, key=free.__getitem__)
    rates = rounds.goodput.mean(), free[best], rate_bound(scenario, state).value.mean()
    values = zip(_STYLES, rates, ("optimal", best, ""), strict=True)
    return [point(server or "paper", line, loss, float(rate), rule) for line, rate, rule in values]


def share_rows(scale: Scale, setting: tuple[str, str]) -> list[Row]:
    """Return the shares of the proven optimum in a state of a pair, under one of `_LINKS`."""
    preset, line = setting
    scenario = scenario_at(preset, 10.0, num_users=20, link="density" if "hertz" in line else "power")
    state = sample_state(scenario, scale.seed)
    decision = make_controller("optimal", scenario, certify=1e-6)(state)
    shares = 1e2 * decision.bandwidth / scenario.total_bandwidth
    return [point(preset, line, *pair) for pair in np.stack([state.spectral_efficiency, shares], -1).tolist()]


def _sweep(label: str, y: str, styles: Mapping[str, tuple[str, str, str]]) -> Callable[[Sequence[Any], Any], None]:
    series = [Series(line, style, "value", {"line": line}) for line, style in styles.items()]
    return Sweep("x", label, series, y, heading=itemgetter("panel")).draw


LOSSES = FigureSpec(
    title="Uploads that are lost",
    caption="Goodput of llama2 with 20 devices at 10 MHz if uploads are lost with a probability and sent again after 8 "
    "ms: the proven optimum of rounds, the best rule without the barrier, and the bound on every policy without it; on "
    "the paper's server, and on a100-32b with ids. Means over static devices.",
    settings=lambda scale: list(product(("", "a100-32b"), scale.pick((0.0, 0.05, 0.1, 0.2, 0.3), (0.0, 0.3)))),
    rows=loss_rows,
    draw=_sweep("probability that an upload is lost", "tokens/s", _STYLES),
    seconds=75.0,
)

SHARES = FigureSpec(
    title="Shares of the band",
    caption="Shares of the band of 20 devices in one state, under constant power per hertz and constant total power.",
    settings=lambda scale: list(product(PRESETS, _LINKS)),
    rows=share_rows,
    draw=_sweep("spectral efficiency at an equal share (bit/s/Hz)", "share of the band (%)", _LINKS),
)
