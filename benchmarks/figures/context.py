"""Figure of long contexts: gain of devices that draft over the server alone, with and without the draft's cache."""

from operator import itemgetter
from typing import NamedTuple

import numpy as np

from benchmarks.draft_models import MODELS, QuantizedModel
from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.drawing import BLACK, BLUE, ORANGE
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.scenario import Scenario
from multispin_lab.drawing import Series, Sweep
from multispin_lab.reproduce.figure import FigureSpec, Row, Scale

CONTEXTS = (1024, 8192, 32_768, 131_072)
SERVERS = ("h100-32b", "l40s-8b", "b200-70b", "a100-8b")
BITS = 4.5  # of a weight in 4 bits, with the scale of each block of 32
DRAFTS = ("no cache", "Llama-3.2-1B", "Qwen3-0.6B")


class Gain(NamedTuple):
    """Means over states with the optimum of each round."""

    alone: float  # tokens/s of the server alone
    gain: float  # of the optimum over it
    length: float  # mean draft length
    loss: float  # of tokens/s, if draft times are planned without their growth


def gain(server: str, draft: str, context: int, states: int, seed: int = 0, num_users: int = 60) -> Gain:
    """Return the gain of devices with a draft time of 10 ms in ``qwen3.5``, by the estimate of c."""
    fields = {"server": server, "num_users": num_users, "min_draft_length": 0, "payload": "ids", "context": context}
    short = Scenario.preset("qwen3.5", **fields)
    added = QuantizedModel(draft, BITS).context_time(short.mean_draft_time) if draft in MODELS else 0.0
    scenario = short.replace(draft_context_time=added)
    state, planned = (sample_state(system, np.random.default_rng(seed), states) for system in (scenario, short))
    oracle = make_controller("optimal", scenario)
    decision = oracle(state)
    best, other = (expected_outcome(scenario, state, played).goodput for played in (decision, oracle(planned)))
    alone = scenario.autoregressive_goodput
    values = best.mean() / alone, decision.draft_length.mean(), 1.0 - other.mean() / best.mean()
    return Gain(alone, *map(float, values))


def context_rows(scale: Scale, context: int) -> list[Row]:
    """Return the gains after a context."""
    states, users = scale.pick((100, 60), (2, 4))
    return [
        {
            "panel": server,
            "line": draft,
            "context": context,
            **gain(server, draft, context, states, scale.seed, users)._asdict(),
        }
        for server in SERVERS
        for draft in DRAFTS
    ]


CONTEXT = FigureSpec(
    title="Long contexts",
    caption="Tokens/s of 60 devices that draft (qwen3.5, 10 ms a token, ids at 10 MHz, optimum of each round) over "
    "those of the server alone. Lines: cache of the draft model that each drafted token reads.",
    settings=lambda scale: list(scale.pick(CONTEXTS, CONTEXTS[::3])),
    rows=context_rows,
    draw=Sweep(
        "context",
        "tokens of context",
        [
            Series(draft, (colour, marker, "-"), "gain", {"line": draft})
            for draft, colour, marker in zip(DRAFTS, (BLACK, BLUE, ORANGE), "osD", strict=True)
        ],
        "over the server alone",
        heading=itemgetter("panel"),
        ticks=(1024, 8192, 131_072),
    ).draw,
    seconds=20.0,
)
