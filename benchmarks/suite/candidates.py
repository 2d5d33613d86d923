"""Candidate tasks: scores without learning and of rules, the reference and its bound, and whether to freeze them.

``phones``: no barrier, and one upload in ten is sent again 8 ms later; ``power``: rounds with constant total power. A
candidate is dropped if action 0, untrained networks or the best rule of lengths alone have more than 0.8, or if the
reference has less than 0.9 of its bound. *Lengths alone* have equal shares; without the barrier the server takes all
drafts that arrived, the shortest upload first. *Ignoring it* is the reference for uploads that are never lost, or for
the paper's link. Without the barrier *of bound* compares the first episodes.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.suite.freeze import bounds_of
from benchmarks.tools import HELP, Options, Row, show
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import CERTIFICATE
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, RANDOM_ACTIONS, UNTRAINED, SuiteTask

PHONES = (  # label, share, draft time cold and under sustained load in s/token, joules (0: not measured)
    ("iphone-16-pro-gpu", 0.125, 0.02661, 0.04433, 0.0),
    ("iphone-15-pro-q8", 0.125, 0.03226, 0.03226, 0.0),
    ("iphone-13-pro-q8", 0.125, 0.03333, 0.03333, 0.0),
    ("galaxy-s25-ultra-cpu", 0.125, 0.02703, 0.05263, 0.0),
    ("galaxy-s24-ultra-q8", 0.125, 0.02778, 0.02778, 0.0),
    ("galaxy-s23-q8", 0.125, 0.03125, 0.03125, 0.0),
    ("oneplus-12-cpu", 0.125, 0.01992, 0.01992, 0.0),
    ("pixel-8-q8", 0.125, 0.0625, 0.0625, 0.0),
)
LOST = {"action": "plain", "fleet": PHONES, "upload_loss": 0.1, "repeat_time": 0.008}
POWER = {"action": "shares", "rounds": 1, "link": "power"}
SETTINGS = (("phones", 20, 5.0), ("phones", 40, 2.5), ("power", 8, 10.0), ("power", 20, 0.5))  # kind, K, B in MHz

Rules = Mapping[str, Mapping[str, Any]]  # options by the name of a controller, with a remark after a comma

TUNED: Rules = {"greedy, 8 tokens": {"draft_length": 8}, "own-pace, tuned": {"queue": 20.0, "passes": 1.0}}
LENGTHS: Mapping[str, Rules] = {"phones": {"greedy": {}, "own-pace": {}, **TUNED}, "power": {"uniform-bandwidth": {}}}
OTHERS: Mapping[str, Rules] = {
    "phones": {"prices": {}, "minedraft": {}},
    "power": {"homogeneous": {}, "algorithm1": {}},
}
EASIER: Rules = {"phones": {"upload_loss": 0.0, "repeat_time": 0.0}, "power": {"link": "density"}}

OPTIONS: Options = {"episodes": (20, HELP["episodes"]), "bounds": (4, "of these"), "states": (500, "of rounds")}


def run(options: Namespace) -> None:
    show("Candidates, qwen3.5", (_row(*setting, options) for setting in SETTINGS))


def _row(kind: str, users: int, megahertz: float, options: Namespace) -> Row:
    rounds, system = kind == "power", {"num_users": users, "total_bandwidth": 1e6 * megahertz}
    env, fields, metric, reference, size, proof = (
        ("Heterogeneous", POWER, "goodput", "optimal", options.states, {"certify": CERTIFICATE})
        if rounds
        else ("Continuous", LOST, "token_goodput", "groups", options.episodes, {})
    )
    config = EnvConfig.of(f"MultiSpin/{env}-v0", "qwen3.5", **fields, **system)  # type: ignore[arg-type]
    task = SuiteTask(f"{kind}-{users}", "", config, metric, 50_000, reference, None, 1_150_000_000, size, ({},))
    (cases,) = task.cases()
    floor, top = task.values(RANDOM_ACTIONS).mean(), task.values(config.contender(reference, **proof))[0]

    def score(contender: Any) -> float:
        return float((task.values(contender).mean() - floor) / (top.mean() - floor))

    def best(rules: Rules) -> tuple[float, str]:
        names = ((title, config.contender(title.partition(",")[0], **options)) for title, options in rules.items())
        return max((score(contender), title) for title, contender in names)

    seeds = cases.seed[: options.bounds]  # type: ignore[index]  # a tuple
    bound: Any = top if rounds else bounds_of(replace(cases, size=len(seeds), seed=seeds))
    lengths, others = best(LENGTHS[kind]), best(OTHERS[kind])
    limited = {"action 0": score(MIDDLE_ACTIONS), "untrained": score(UNTRAINED), "lengths alone": lengths[0]}
    part = float(top[: len(bound)].mean() / bound.mean())
    failed = [name for name, number in limited.items() if number > 0.8] + ["of bound"] * (part < 0.9)
    return {
        "task": task.name, "MHz": megahertz, "random": f"{floor:.1f}", "reference": f"{top.mean():.1f} {reference}",
        **{name: f"{number:.3f}" for name, number in limited.items()}, "by": lengths[1],
        "best rule": "{:.3f} {}".format(*max(lengths, others)),
        "ignoring it": f"{score(config.replace(**EASIER[kind]).contender(reference)):.3f}",
        "bound": f"{bound.mean():.1f}", "of bound": f"{part:.3f}",
        "verdict": f"dropped: {', '.join(failed)}" if failed else "conditions hold",
    }  # fmt: skip
