"""``multispin schedule``: draft lengths by batch size, as configuration of a server."""

import argparse
import json
from collections.abc import Sequence

from multispin_env.apps.terminal.arguments import (
    DEFAULT_SCENARIO,
    Command,
    add_scenario_options,
    add_set_option,
    parse_settings,
    resolve_scenario,
)
from multispin_env.apps.terminal.output import provenance
from multispin_env.baselines.systems import Span, draft_schedule
from multispin_env.checks import check_name, check_real
from multispin_env.evaluation.cases import changed_settings
from multispin_env.evaluation.statistics import aligned
from multispin_env.scenario import Scenario
from multispin_env.units import MS

_DESCRIPTION = """Compute the best draft length by batch size for a server that hosts both models, with the predicted
speed-up over no drafting. The output is a table or the configuration of a server.

The result depends on the verification law (of --server, or of the scenario), the time of the draft model per token (of
the server, by batch size, or --draft-time) and the acceptance rates of the tasks."""

_HEADER = ("batch size", "draft length", "tokens/s at the largest", "speed-up there")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser)
    parser.set_defaults(scenario=DEFAULT_SCENARIO)
    draft_time = "time of the draft model per token in seconds (default: the server's, or 0.004)"
    parser.add_argument("--draft-time", type=float, metavar="S", help=draft_time)
    parser.add_argument("--max-batch", type=int, default=64, metavar="N", help="largest batch size (default 64)")
    parser.add_argument("--format", default="table", help=f"one of {', '.join(_FORMATS)} (default table)")
    add_set_option(parser)


def _table(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    times = dict.fromkeys(f"{scenario.draft_step_time(size) / MS:.4g}" for size in (1, options.max_batch))
    changed = changed_settings(parse_settings(options.set))
    print(f"{scenario.label}{changed}, draft time {' to '.join(times)} ms, at most {options.max_batch} requests\n")
    lines = [
        (f"{span.first} to {span.last}", str(span.draft_length), f"{span.goodput:.1f}", f"{span.speed_up:.2f}")
        for span in spans
    ]
    print(aligned(_HEADER, lines))


def _vllm(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    """Print the part of ``--speculative-config`` without the method and the draft model."""
    ranges = [[span.first, span.last, span.draft_length] for span in spans]
    longest = max(span.draft_length for span in spans)
    print(json.dumps({"num_speculative_tokens": longest, "num_speculative_tokens_per_batch_size": ranges}))


def _tensorrt_llm(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    """Print YAML with the largest batch size of each span; the server does not draft in larger batches.

    A last span with length 0 is left out. Between drafting spans, length 0 becomes 1: without drafts the state of the
    drafter would be stale.
    """
    drafting = [index for index, span in enumerate(spans) if span.draft_length > 0]
    listed = spans[: drafting[-1] + 1] if drafting else []
    lengths = {span.last: max(1, span.draft_length) for span in listed}
    schedule = ", ".join(f"{size}: {length}" for size, length in lengths.items())
    print(f"speculative_config:\n  max_draft_len: {max(lengths.values(), default=0)}")
    print(f"  draft_len_schedule: {{{schedule}}}")


def _sglang(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    """Print ``--speculative-adaptive-config``: the lengths from which the server selects by acceptance."""
    steps = sorted({span.draft_length for span in spans if span.draft_length > 0})
    print(json.dumps({"candidate_steps": steps}))


def _json(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    about = {"scenario": scenario.to_dict(), "max_batch": options.max_batch, **provenance(options)}
    print(json.dumps({"about": about, "spans": [vars(span) for span in spans]}, indent=2, ensure_ascii=False))


_FORMATS = {"table": _table, "vllm": _vllm, "tensorrt-llm": _tensorrt_llm, "sglang": _sglang, "json": _json}


def _run(options: argparse.Namespace) -> None:
    check_name("format", options.format, _FORMATS)
    scenario = resolve_scenario(options)
    if options.draft_time is not None:
        time = check_real("draft_time", options.draft_time, 0.0, open_low=True)
        scenario = scenario.replace(server_draft_time=time)
    _FORMATS[options.format](draft_schedule(scenario, options.max_batch), scenario, options)


COMMAND = Command(
    _DESCRIPTION,
    (
        "--scenario qwen3.5 --server a100-32b",
        "--scenario qwen3.5 --server a100-32b --draft-time 0.006 --max-batch 256 --format vllm",
        "--scenario qwen3.5 --server a100-70b --format tensorrt-llm",
    ),
    _add_options,
    _run,
)
