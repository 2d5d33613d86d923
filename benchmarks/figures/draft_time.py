"""Figure of the goodput of five systems against the draft time of a token, with the measured devices."""

from collections.abc import Sequence
from itertools import product
from operator import itemgetter
from typing import Any

from benchmarks.figures.pays import FIVE, five_rates, pay_scenario
from benchmarks.figures.uplink import point
from multispin_env.evaluation.drawing import BLACK, BLUE, ORANGE, PURPLE, RED
from multispin_env.physics.rounds import sample_state
from multispin_env.registry import DEVICES
from multispin_lab.drawing import Series, Sweep
from multispin_lab.reproduce.figure import FigureSpec, Row, Scale

_LOOKS = ((BLACK, "", "--"), (ORANGE, "", "-"), (BLUE, "o", "-"), (PURPLE, "s", "-"), (RED, "D", "-"))
_NAMED = (
    *("mac-m4-max-gpu", "rtx-4050-laptop", "snapdragon-8-elite-npu"),
    *("iphone-16-pro-gpu", "pixel-8-q8", "raspberry-pi-5-cpu"),
)
_MILLISECONDS = (2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0)


def time_rows(scale: Scale, setting: tuple[str, float]) -> list[Row]:
    """Return the mean rates of the five systems on a server (empty: the paper's) at a draft time in ms."""
    server, milliseconds = setting
    users, states = scale.pick((60, 5), (4, 2))
    fields = {"num_users": users, "mean_draft_time": milliseconds / 1e3}
    scenario = pay_scenario("qwen3.5", server, payload="ids", **fields)
    rates = five_rates(scenario, sample_state(scenario, scale.seed, states))
    return [point(server or "paper", name, milliseconds, float(rate.mean()), "") for name, rate in rates.items()]


def _draw(rows: Sequence[Row], figure: Any) -> None:
    series = [Series(name, look, "value", {"line": name}) for name, look in zip(FIVE, _LOOKS, strict=True)]
    label = "draft time of a token (ms); marks: measured devices"
    Sweep("x", label, series, "tokens/s", itemgetter("panel"), _MILLISECONDS).draw(rows, figure)
    devices = {name: 1e3 * DEVICES.load(name).draft_time for name in DEVICES.names()}
    for axes in figure.axes:
        axes.plot(list(devices.values()), [0.0] * len(devices), "k|", markersize=16)
        top = axes.secondary_xaxis("top")
        top.set_xticks([devices[name] for name in _NAMED], _NAMED, rotation=30, ha="left", fontsize="x-small")
        top.minorticks_off()


DRAFT_TIME = FigureSpec(
    title="Draft time of a token",
    caption="Goodput of qwen3.5 with 60 devices at 10 MHz against their mean draft time, give or take 15 %, with ids, "
    "on the paper's server and on a100-32b: the server alone, one that drafts for all, and devices that draft in "
    "rounds, without the barrier, or ahead (in rounds or not). Means over static devices.",
    settings=lambda scale: list(product(("", "a100-32b"), scale.pick(_MILLISECONDS, (5.0, 100.0)))),
    rows=time_rows,
    draw=_draw,
    size=(10.0, 4.8),
    seconds=60.0,
)
