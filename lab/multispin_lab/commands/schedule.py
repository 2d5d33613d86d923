"""Compute the best draft length by batch size for a server that hosts both models.

The output, with the predicted speed-up over no drafting, is a table or the configuration of a server.

The result depends on the verification law (of --server, or of the scenario), the time of the draft model per token (of
the server, by batch size, or --draft-time) and the acceptance rates of the tasks.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from multispin_env.apps.terminal.arguments import (
    Command,
    add_anchor_options,
    add_scenario_options,
    add_set_option,
    parse_settings,
    resolve_scenario,
)
from multispin_env.apps.terminal.output import provenance, warn
from multispin_env.checks import check_integer, check_name, check_plausible, check_real
from multispin_env.draft import DraftProfile, expected_tokens
from multispin_env.evaluation.cases import changed_settings
from multispin_env.evaluation.statistics import aligned, table
from multispin_env.scenario import Scenario, Task
from multispin_env.units import MS
from multispin_lab.planning.schedule import Span, draft_schedule, measured_draft_times, schedule_goodput

_METHODS = {
    "vllm": {"draft-model": "draft_model", "eagle": "eagle", "eagle3": "eagle3", "mtp": "mtp", "ngram": "ngram"},
    "tensorrt-llm": {"draft-model": "DraftTarget", "eagle3": "Eagle3", "mtp": "MTP", "ngram": "NGram"},
    "sglang": {"eagle": "EAGLE", "eagle3": "EAGLE3", "mtp": "EAGLE"},
}
"""Methods of each server whose draft length can vary, with the server's names."""

_ISSUES = "https://github.com/vllm-project/vllm/issues"

_ZERO = {
    "vllm": f", but vLLM can collapse where batches cross into it ({_ISSUES}/49548, open in August 2026; a schedule of "
    f"zeros cost 7 to 22 % of TPOT in 0.27.1, {_ISSUES}/51575)",
    "tensorrt-llm": ", but TensorRT-LLM then stops updating the drafter, whose acceptance stays low afterwards "
    "(https://github.com/NVIDIA/TensorRT-LLM/pull/16888, open in July 2026)",
    "sglang": ", but SGLang reads 0 only since 0.5.14",
}
"""Known problems of servers with draft length 0."""

_LONG_CONTEXT = 8192  # tokens above which the command warns

_Schedules = Sequence[tuple[Scenario, Sequence[Span]]]  # one for each context, with the scenario there


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser, draft=False)
    add_anchor_options(parser)
    draft = "draft profile whose acceptance and, where the server drafts, times replace the scenario's"
    parser.add_argument("--draft", metavar="NAME", help=draft)
    draft_time = "time of the draft model per token in seconds (default: the server's, or 0.004)"
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--draft-time", type=float, metavar="S", help=draft_time)
    draft_at = (
        "instead, TPOT in seconds of one request with drafts of K tokens, for two K; acceptance length TOKENS if "
    )
    draft_at += "it is not that of the tasks"
    times.add_argument("--draft-at", nargs="+", metavar="K:TPOT[:TOKENS]", help=draft_at)
    parser.add_argument("--max-batch", type=int, default=64, metavar="N", help="largest batch size (default 64)")
    contexts = "print a schedule for each of these tokens of context (default: that of the scenario)"
    parser.add_argument("--contexts", type=int, nargs="+", metavar="C", help=contexts)
    parser.add_argument("--min-length", type=int, default=0, metavar="L", help="least draft length (default 0)")
    bits = "bits of the values in the caches, which in profiles from tables have 16 (default 16)"
    parser.add_argument("--kv-bits", type=int, default=16, metavar="N", help=bits)
    method = f"one of {', '.join(_METHODS['vllm'])} (default draft-model); the others need --draft-time or --draft-at"
    parser.add_argument("--method", default="draft-model", metavar="NAME", help=method)
    parser.add_argument("--format", default="table", help=f"one of {', '.join(_FORMATS)} (default table)")
    add_set_option(parser)


def _drafting_at(options: argparse.Namespace, scenario: Scenario) -> Scenario:
    """Return the scenario with draft times of the server from K:TPOT[:TOKENS]."""
    rounds, rates = [], np.array([task.acceptance_rate for task in scenario.tasks])
    for text in options.draft_at:
        length, *rest = text.split(":")
        try:
            drafted, tpot, *tokens = int(length), *map(float, rest)
        except ValueError:
            raise ValueError(f"draft_at: expected K:TPOT or K:TPOT:TOKENS, got {text!r}") from None
        check_integer("draft_at: K", drafted, 1)
        check_plausible({"measured_tpot": check_real("tpot", tpot, 0.0, open_low=True)}, "draft_at: ")
        tokens = tokens or [float(expected_tokens(drafted, rates).mean())]
        rounds.append((drafted, tpot * check_real("tokens", tokens[0], 1.0, drafted + 1.0)))
    time, constant = measured_draft_times(scenario, rounds)
    if not constant:
        text = "the constant time of a draft is unknown without two different lengths, and counted in each token"
        warn(options, f"{text}: long drafts look too expensive; add a longer one to --draft-at")
    return scenario.replace(server_draft_time=time, server_draft_round_time=constant)


def _table(schedules: _Schedules, scenario: Scenario, options: argparse.Namespace) -> None:
    columns: dict[str, Callable[[Span], str]] = {
        "batch size": lambda span: f"{span.first} to {span.last}",
        "draft length": lambda span: str(span.draft_length),
        "tokens/s at the largest": lambda span: f"{span.goodput:.1f}",
        "speed-up there": lambda span: f"{span.speed_up:.2f}",
    }
    texts = []
    for other, spans in schedules:
        times = dict.fromkeys(f"{other.draft_step_time(size) / MS:.4g}" for size in (1, options.max_batch))
        changed = changed_settings(parse_settings(options.set))
        changed += f", {other.context:,} tokens of context" * (options.contexts is not None)
        constant = f" and {other.server_draft_round_time / MS:.4g} ms a draft" * (other.server_draft_round_time > 0.0)
        drafting = f"draft time {' to '.join(times)} ms{constant}"
        title = f"{other.label}{changed}, {drafting}, at most {options.max_batch} requests"
        fitting = other.memory.requests(other.context, drafts=True)
        fits = {"fits": partial(_fits, fitting)} if fitting < options.max_batch else {}
        texts.append(f"{title}\n\n{aligned(*table(spans, columns | fits))}")
    print("\n\n".join(texts))


def _fits(fitting: float, span: Span) -> str:
    return "yes" if span.last <= fitting else f"to {fitting:.0f}" if span.first <= fitting else "no"


def _vllm(schedules: _Schedules, scenario: Scenario, options: argparse.Namespace) -> None:
    """Print ``--speculative-config`` without the draft model, and warn of known problems."""
    ((_, spans),) = schedules
    if len(spans) > 1:
        tested = options.method in ("eagle", "eagle3")  # and DFlash, says vLLM's documentation
        untested = "" if tested else f", and has not tested it with {options.method}"
        text = f"vLLM 0.25 to 0.31 may draft the longest length in all batches of such a schedule, or fail{untested}"
        warn(options, f"{text}: compare it with no drafts (docs/servers.md#vllm)")
    ranges = [[span.first, span.last, span.draft_length] for span in spans]
    longest = max(span.draft_length for span in spans)
    method = _METHODS["vllm"][options.method]
    content = {"method": method, "num_speculative_tokens": longest, "num_speculative_tokens_per_batch_size": ranges}
    print(json.dumps(content))


def _tensorrt_llm(schedules: _Schedules, scenario: Scenario, options: argparse.Namespace) -> None:
    """Print YAML with the largest batch size of each span; the server does not draft in larger batches.

    A last span with length 0 is left out. Between drafting spans, length 0 becomes 1: without drafts the state of the
    drafter would be stale.
    """
    ((_, spans),) = schedules
    last = max(index for index, span in enumerate(spans) if span.draft_length > 0)
    lengths = {span.last: max(1, span.draft_length) for span in spans[: last + 1]}
    schedule = ", ".join(f"{size}: {length}" for size, length in lengths.items())
    print(f"speculative_config:\n  decoding_type: {_METHODS['tensorrt-llm'][options.method]}")
    print(f"  max_draft_len: {max(lengths.values())}\n  draft_len_schedule: {{{schedule}}}")


def _sglang(schedules: _Schedules, scenario: Scenario, options: argparse.Namespace) -> None:
    """Print ``--speculative-adaptive-config``: the only candidate from each batch size on."""
    ((_, spans),) = schedules
    print(json.dumps({str(span.first): {"candidate_steps": [span.draft_length]} for span in spans}))


def _json(schedules: _Schedules, scenario: Scenario, options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for other, spans in schedules:
        fitting = other.memory.requests(other.context, drafts=True)
        fits = {"fitting": int(fitting)} if fitting < options.max_batch else {}
        rows.append({"context": other.context, "spans": [vars(span) for span in spans], **fits})
    content = {"contexts": rows} if options.contexts else {name: rows[0][name] for name in rows[0] if name != "context"}
    about = {"scenario": scenario.to_dict(), "max_batch": options.max_batch, **provenance(options)}
    print(json.dumps({"about": about, **content}, indent=2, ensure_ascii=False))


_FORMATS = {"table": _table, "vllm": _vllm, "tensorrt-llm": _tensorrt_llm, "sglang": _sglang, "json": _json}


def _by_context(scenario: Scenario, options: argparse.Namespace) -> _Schedules:
    """Compute the schedule of each of ``--contexts``, or for a server that of the scenario's context alone."""
    contexts = [scenario.context] if options.format in _METHODS else options.contexts or [scenario.context]
    others = [scenario.replace(context=context) for context in contexts]
    return [(other, draft_schedule(other, options.max_batch, options.min_length)) for other in others]


def _warn_of_contexts(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    """Say what the schedule of one context loses at the others, for a server that knows batch sizes only."""
    sizes = np.arange(options.max_batch)
    lengths = np.repeat([span.draft_length for span in spans], [span.last - span.first + 1 for span in spans])
    losses = []
    for context in options.contexts:
        goodput = schedule_goodput(scenario.replace(context=context), options.max_batch)
        loss = 1.0 - (goodput[sizes, lengths] / goodput.max(-1)).min()
        losses.append(f"{100.0 * loss:.1f} % at {context:,}")
    warn(
        options,
        f"{options.format} knows batch sizes only: this is the schedule after {scenario.context:,} tokens of context "
        f"(--set context=C for another), which loses at most {', '.join(losses)} tokens of the predicted tokens/s",
    )


def _check_zero(spans: Sequence[Span], scenario: Scenario, options: argparse.Namespace) -> None:
    """Warn of draft length 0; ``ValueError`` if no batch size drafts, which is not a configuration of a server."""
    zeros = [span.first for span in spans if span.draft_length == 0]
    if len(zeros) == len(spans) and options.format in _METHODS:
        raise ValueError(
            f"format: expected a batch size at which drafting pays for {options.format}, got none up to "
            f"{options.max_batch}; run the server without drafts"
        )
    if zeros:
        goodput = schedule_goodput(scenario, options.max_batch)
        loss = 1.0 - (goodput[:, 1:].max(-1) / goodput.max(-1)).min()
        known = _ZERO.get(options.format, "")
        at = f" at {scenario.context:,} tokens of context" * (options.contexts is not None)
        warn(
            options,
            f"draft length 0 is the optimum from {zeros[0]} requests{at}{known}; "
            f"--min-length 1 avoids it and loses at most {100.0 * loss:.1f} % of the predicted tokens/s",
        )


def _run(options: argparse.Namespace) -> None:
    check_name("format", options.format, _FORMATS)
    check_name("method", options.method, _METHODS.get(options.format, _METHODS["vllm"]))
    scenario = resolve_scenario(options)
    times: tuple[tuple[float, float], ...] = ()  # of the profile, on the server
    if options.draft is not None:
        profile = DraftProfile.resolve(options.draft)
        if profile.one_pass or profile.draft_passes:
            raise ValueError(f"draft: expected a profile with a time per token, got {options.draft!r}")
        times = profile.draft_pieces
        tasks = tuple(Task(name=task, acceptance_rate=rate) for task, rate in profile.rates)
        growth = {f"server_{name}": getattr(profile, name) for name in ("draft_context_time", "draft_context")}
        scenario = scenario.replace(tasks=tasks, **({"server_draft_pieces": times, **growth} if times else {}))
    if options.draft_time is not None:
        time = check_real("draft_time", options.draft_time, 0.0, open_low=True)
        scenario = scenario.replace(server_draft_time=time)
    elif options.draft_at is not None:
        scenario = _drafting_at(options, scenario)
    elif options.method != "draft-model" and not times:
        raise ValueError(f"draft_time: expected the time per drafted token with method {options.method}, got none")
    tokens = scenario.kv_tokens * 16 // check_integer("kv_bits", options.kv_bits, 1, 64)
    draft_model = options.method == "draft-model"  # others take less than that of the profile
    scenario = scenario.replace(kv_tokens=tokens, draft_kv_factor=scenario.draft_kv_factor * draft_model)
    longest = max(options.contexts or (scenario.context,))
    if longest > _LONG_CONTEXT and not scenario.server_draft_context_time:
        warn(
            options,
            f"how the draft's own context of {longest} tokens slows it is unknown (server_draft_context_time is 0), so "
            f"that the schedule promises too much; users of vLLM report losses ({_ISSUES}/54691, {_ISSUES}/47602)",
        )
    schedules = _by_context(scenario, options)
    for other, spans in schedules:
        _check_zero(spans, other, options)
    if options.format in _METHODS and options.contexts is not None:
        _warn_of_contexts(schedules[0][1], scenario, options)
    _FORMATS[options.format](schedules, scenario, options)
    excesses = (other.memory.excess(options.max_batch, other.context, drafts=True) for other, _ in schedules)
    if texts := [*filter(None, excesses)]:
        warn(options, "; ".join(texts))


COMMAND = Command(
    __doc__,
    (
        "--scenario qwen3.5 --server a100-32b",
        "--scenario qwen3.5 --server h100-32b --method eagle3 --draft-time 0.0005 --max-batch 128 --format vllm",
        "--scenario qwen3.5 --server a100-70b --format tensorrt-llm",
        "--scenario qwen3.5 --server h100-32b --contexts 1024 8192 32768",
        "--server h100-32b --method eagle3 --draft-time 0.0005 --max-batch 256 --min-length 1 --format sglang",
    ),
    _add_options,
    _run,
)
