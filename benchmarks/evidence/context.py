"""Long contexts: gain of devices that draft, and loss of planning with draft times that do not grow."""

from argparse import Namespace
from collections.abc import Iterator

from benchmarks.draft_models import MODELS, QuantizedModel
from benchmarks.figures.context import BITS, CONTEXTS, DRAFTS, SERVERS, gain
from benchmarks.tools import Options, Row, show


def models() -> Iterator[Row]:
    """Return the configurations, and the context after which a draft takes twice as long."""
    for model in (QuantizedModel(name, BITS) for name in MODELS):
        yield {
            "model": model.name,
            "bytes of a token": f"{model.cache:,}",
            "weights (GB)": f"{model.weights / 1e9:.3f}",
            "draft time doubles after": f"{1.0 / model.context_time(1.0):,.0f}",
        }


def gains(options: Namespace) -> Iterator[Row]:
    """Return gains over the server alone with each draft model; in brackets the loss of planning without growth."""
    for server in options.servers:
        for context in options.contexts:
            results = {draft: gain(server, draft, context, options.states, num_users=options.users) for draft in DRAFTS}
            columns = {
                draft: f"{result.gain:.2f} (L {result.length:.1f}, lost {100.0 * result.loss:.1f} %)"
                for draft, result in results.items()
            }
            yield {"server": server, "context": context, "alone": f"{results['no cache'].alone:.0f}", **columns}


OPTIONS: Options = {
    "servers": (list(SERVERS), "servers from tables"),
    "contexts": (list(CONTEXTS), "tokens of context"),
    "users": (60, "number of devices K"),
    "states": (100, "states of each setting"),
}


def run(options: Namespace) -> None:
    show(f"draft models, weights of {BITS} bits", models())
    show("gain over the server alone", gains(options))
