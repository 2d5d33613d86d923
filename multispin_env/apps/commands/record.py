"""``multispin record``: how often the target model accepts what the draft model proposes, along its own texts."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multispin_env.apps.commands.model_options import (
    add_model_options,
    add_out_option,
    add_prompt_options,
    check_model_options,
    load_pair,
    out_file,
    out_files,
)
from multispin_env.apps.executors import Stopped, on_signals, stop
from multispin_env.apps.models.counters import EngineCounts, read_counters
from multispin_env.apps.models.counts import (
    ALL,
    RateEstimate,
    RecordedTexts,
    TaskCounts,
    draw_summary,
    estimate,
    make_tasks,
    parse_texts,
    read_counts,
    round_cells,
    summarise,
    task_cells,
)
from multispin_env.apps.models.passes import Journal
from multispin_env.apps.models.prompts import Prompts, read_prompts
from multispin_env.apps.reproduce.drawing import check_matplotlib
from multispin_env.apps.terminal.arguments import DEFAULT_SCENARIO, Command, add_scenario_options
from multispin_env.apps.terminal.output import Progress, made_by
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_real
from multispin_env.evaluation.statistics import BOOTSTRAP_SEED, Cells, aligned
from multispin_env.files import write_atomically
from multispin_env.physics.records import (
    MIN_PLACES,
    MOST_PLACES,
    Records,
    load_overlap,
    load_records,
    record_file,
)
from multispin_env.registry import SCENARIOS
from multispin_env.scenario import Scenario, Task
from multispin_env.server import with_law

if TYPE_CHECKING:
    from multispin_env.apps.models.network import Pair

_DESCRIPTION = """How often the target model accepts what the draft model proposes: at each place of the target's own
texts one token of the draft model, its probability of acceptance and the outcome. No draft length enters, so the record
serves them all.

Writes STEM.npz, the record for RecordedAcceptance-v0 (--set records=STEM.npz); STEM.toml, a scenario with the record's
tasks; STEM.json, all numbers; STEM.png. A run that was stopped goes on with the same command.

Without models there are rates and no record: with --from-counts of each task, from a log of drafted and accepted
tokens; with --counters from metrics pages of vLLM or SGLang, one a task; with --acceptance-length one for all."""

_PACKAGED = "packaged"  # name of the package's record, where the name of a file may stand

_SOURCES = ("prompts", "from_counts", "counters", "acceptance_length", "read")
"""Options of which one says where the rates come from."""

RATES = ("from_counts", "counters", "acceptance_length")  # those of them that make no record


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser, required=False)
    add_prompt_options(parser, required=False)
    parser.add_argument(
        "--tokens",
        type=int,
        default=64,
        metavar="N",
        help=f"most of a text, at least {MIN_PLACES} (default 64)",
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="prompts that are read at a time (default 8)")
    parser.add_argument(
        "--from-counts",
        type=Path,
        metavar="FILE",
        help="instead of models: .csv with the columns request, task, drafted and accepted, a row for each round",
    )
    parser.add_argument(
        "--counters",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="instead of models: text of the metrics page of vLLM or SGLang, a file for each task, which gets its "
        "name; --target NAME chooses among a page's models",
    )
    parser.add_argument(
        "--acceptance-length", type=float, metavar="N", help="instead of models: mean tokens a step, with --drafted"
    )
    parser.add_argument("--drafted", type=int, metavar="L", help="tokens of a draft, where an engine does not say it")
    parser.add_argument(
        "--read",
        metavar="FILE",
        help=f"instead of models: show a record, .npz or '{_PACKAGED}', with the tasks' names of a file of --scenario",
    )
    add_scenario_options(parser)
    add_out_option(parser, ".npz, .toml, .json and .png", required=False)


def _scenario(options: argparse.Namespace) -> Scenario:
    chosen = {"total_bandwidth": options.total_bandwidth, "server": options.server}
    given = {name: value for name, value in chosen.items() if value is not None}
    scenario = Scenario.resolve(options.scenario or DEFAULT_SCENARIO).replace(**given)
    draft_time = with_law({"server": options.server}).get("server_draft_time")
    return scenario if draft_time is None else scenario.replace(mean_draft_time=draft_time)


def _check(options: argparse.Namespace) -> None:
    given = [name for name in _SOURCES if vars(options)[name] is not None]
    if len(given) != 1:
        *most, last = (f"--{name.replace('_', '-')}" for name in _SOURCES)
        got = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none"
        raise ValueError(f"prompts: expected one of {', '.join(most)} and {last}, got {got}")
    if options.prompts is not None and options.target is None:
        raise ValueError("target: expected a model, got none")
    if options.out is None and options.read is None:
        raise ValueError("out: expected a name for the files to write, got none")
    check_model_options(options)
    check_integer("tokens", options.tokens, MIN_PLACES)
    check_integer("batch", options.batch, 1)
    if options.drafted is not None or options.acceptance_length is not None:
        check_integer("drafted", options.drafted, 1)
    if options.acceptance_length is not None:
        check_real("acceptance_length", options.acceptance_length, 1.0, options.drafted + 1.0)
    if options.out is not None:
        rates = given[0] in RATES
        out_files(options.out, (".toml", ".json") if rates else (".npz", ".toml", ".json", ".png"))
        if not rates:
            check_matplotlib()


def _run(options: argparse.Namespace) -> int | None:
    _check(options)
    scenario = _scenario(options)
    if options.prompts is not None:
        return _record(options, scenario)
    if options.from_counts is not None:
        _count(options, scenario)
    elif options.read is not None:
        path = None if options.read == _PACKAGED else Path(options.read)
        records = load_records(path)
        _show(options, scenario, records, load_overlap(path, records), _names(options, scenario, records))
    else:
        _count_engines(options, scenario)
    return None


def _names(options: argparse.Namespace, scenario: Scenario, records: Records) -> Sequence[str]:
    if options.scenario is not None and options.scenario not in SCENARIOS.names():
        names = [task.name for task in scenario.tasks]
        check_integer("tasks of the scenario", len(names), records.num_tasks, records.num_tasks)
        return names
    if options.read == _PACKAGED:
        return "code", "math", "chat", "reading"
    return [f"task {index}" for index in range(records.num_tasks)]


def _record(options: argparse.Namespace, scenario: Scenario) -> int | None:
    prompts = read_prompts(options.prompts)
    count = len(prompts.texts)
    if count * options.tokens > MOST_PLACES:
        most = MOST_PLACES // count
        raise ValueError(
            f"tokens: expected at most {most} for {count} prompts, as a record has {MOST_PLACES} places at most, "
            f"got {options.tokens}"
        )
    groups = -(-count // options.batch)
    journal = Journal(out_file(options.out, ".part"), "record", _settings(options, prompts), parse_texts)
    try:
        with on_signals(stop):
            pair = load_pair(options)
            encoded = prompts.encode(pair.target, MIN_PLACES, options.raw, pair.context)
            _record_groups(pair, encoded, options, journal, groups)
    except Stopped as stopped:
        done = len(journal.parts)
        kept = f"{done} of {groups} groups are kept in {str(journal.path)!r}, and the same command goes on"
        print(f"\n{options.program}: interrupted; {kept if done else 'nothing is done yet'}", file=sys.stderr)
        return 128 + stopped.number
    finally:
        if not journal.parts:
            journal.path.unlink()
    texts = RecordedTexts(*map(np.concatenate, zip(*journal.parts, strict=True)))
    if len(texts.length) != count:
        raise ValueError(f"{journal.path}: expected texts of {count} prompts, got {len(texts.length)}; delete the file")
    records, overlap = _kept(prompts, texts)
    named = scenario.replace(name=options.out.name, vocabulary_size=pair.vocabulary_size)
    _show(options, named, records, overlap, prompts.tasks)
    journal.path.unlink()
    return None


def _settings(options: argparse.Namespace, prompts: Prompts) -> dict[str, Any]:
    """All that the texts follow from."""
    names = ("target", "draft", "draft_bits", "device", "dtype", "raw", "temperature", "tokens", "batch", "seed")
    return {name: vars(options)[name] for name in names} | {"prompts": prompts.digest, "format": 1}


def _record_groups(
    pair: "Pair",
    encoded: Sequence[Sequence[int]],
    options: argparse.Namespace,
    journal: Journal[RecordedTexts],
    groups: int,
) -> None:
    from multispin_env.apps.models.rounds import record_texts

    done = len(journal.parts)
    if done:
        print(f"{done} of {groups} groups are done already", file=sys.stderr)
    with Progress(groups - done) as progress:
        for first in range(done * options.batch, len(encoded), options.batch):
            progress.begin(f"prompts from {first + 1} on")
            texts = record_texts(
                pair,
                encoded[first : first + options.batch],
                first,
                options.tokens,
                options.temperature,
                options.seed,
                lambda done: progress(done, options.tokens),
            )
            beta, accepted, overlap = (
                np.concatenate([getattr(text, name) for text in texts])
                for name in ("probability", "accepted", "overlap")
            )
            length = np.array([len(text.token) for text in texts])
            found = RecordedTexts(length, beta.astype(np.float16), accepted, overlap.astype(np.float16))
            journal.add(found.line())


def _kept(prompts: Prompts, places: RecordedTexts) -> tuple[Records, FloatArray]:
    """The record of the texts that are long enough to be replayed, and its overlap; says how many are left out."""
    long = places.length >= MIN_PLACES
    task = np.array(prompts.task)
    for index, name in enumerate(prompts.tasks):
        if not long[task == index].any():
            raise ValueError(
                f"prompts: expected a text of at least {MIN_PLACES} tokens for task {name!r}, "
                f"got {int(places.length[task == index].max())} in the longest"
            )
    if not long.all():
        print(f"left out, as they have fewer than {MIN_PLACES} tokens: {int((~long).sum())} of {len(long)} texts\n")
    chosen = np.repeat(long, places.length)
    records = Records(task[long], places.length[long], places.probability[chosen], places.accepted[chosen])
    return records, places.overlap[chosen].astype(np.float64)


def _write(options: argparse.Namespace, scenario: Scenario, rows: list[dict[str, Any]]) -> None:
    scenario.save(out_file(options.out, ".toml"))
    content = {"about": {"scenario": scenario.to_dict(), **made_by(options)}, "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(out_file(options.out, ".json"), f"{text}\n".encode())


def _show(
    options: argparse.Namespace,
    scenario: Scenario,
    records: Records,
    overlap: FloatArray | None,
    names: Sequence[str],
) -> None:
    rows = summarise(records, overlap, names)
    if options.out is not None:
        write_atomically(out_file(options.out, ".npz"), record_file(records, overlap))
        _write(options, scenario.replace(tasks=make_tasks(rows)), [row.to_dict() for row in rows])
        draw_summary(rows, records, options.out)
    print(aligned(*task_cells(rows)))
    print("\ntokens a round along the record, and how far E[N | L] at the prompts' α is off:\n")
    print(aligned(*round_cells(rows)))
    if options.out is not None:
        print(f"\n{', '.join(str(out_file(options.out, kind)) for kind in ('.npz', '.toml', '.json', '.png'))}")


def _count(options: argparse.Namespace, scenario: Scenario) -> None:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    found = [(counts, estimate(counts, rng)) for counts in read_counts(options.from_counts)]
    tasks = tuple(
        Task(name=one.task, acceptance_rate=rate.rate, acceptance_std=rate.std_over_requests) for one, rate in found
    )
    rows = [
        {"task": one.task, "requests": len(one.hits), "rounds": one.rounds, "drafted": one.drafted} | rate._asdict()
        for one, rate in found
    ]
    _write(options, scenario.replace(name=options.out.name, tasks=tasks), rows)
    header = (
        *("task", "requests", "rounds", "drafted", "accepted", "α", "95 % if all are equal", "95 % over requests"),
        *("mean over requests", "± requests"),
    )
    print(aligned(header, [_count_line(*pair) for pair in found]))
    print(f"\n{out_file(options.out, '.toml')}, {out_file(options.out, '.json')}")


def _count_line(counts: TaskCounts, rate: RateEstimate) -> Cells:
    numbers = len(counts.hits), counts.rounds, counts.drafted, int(counts.hits.sum())
    plain, over_requests = f"{rate.low:.4f} to {rate.high:.4f}", (rate.low_over_requests, rate.high_over_requests)
    spread = f"{rate.mean_over_requests:.4f}", f"{rate.std_over_requests:.4f}"
    ends = " to ".join(f"{end:.4f}" for end in over_requests)
    return counts.task, *map(str, numbers), f"{rate.rate:.4f}", plain, ends, *spread


def _count_engines(options: argparse.Namespace, scenario: Scenario) -> None:
    if options.counters is None:
        found = [EngineCounts(ALL, options.acceptance_length, options.drafted)]
    else:
        found = [read_counters(path, options.target, options.drafted) for path in options.counters]
    names = [one.task for one in found]
    if len(set(names)) < len(names):
        raise ValueError(f"counters: expected files of different names, which become the tasks', got {names}")
    tasks = tuple(Task(name=one.task, acceptance_rate=one.rate) for one in found)
    rows = [asdict(one) | {"rate": one.rate, "interval": one.interval} for one in found]
    _write(options, scenario.replace(name=options.out.name, tasks=tasks), rows)
    header = ("task", "drafts", "tokens drafted", "tokens a step", "α", "95 % if all are equal")
    lines = [
        (
            *(one.task, str(one.drafts) if one.drafts else "", f"{one.drafted:.2f}", f"{one.length:.4f}"),
            *(f"{one.rate:.4f}", "" if one.interval is None else " to ".join(f"{end:.4f}" for end in one.interval)),
        )
        for one in found
    ]
    print(aligned(header, lines))
    for one in found:
        if one.accepted:
            print(f"\n{one.task}, by position:\n\n{aligned(*one.position_cells())}")
    remarks = [remark for one in found for remark in one.remarks]
    if remarks:
        print("", *remarks, sep="\n")
    print(f"\n{out_file(options.out, '.toml')}, {out_file(options.out, '.json')}")


COMMAND = Command(
    _DESCRIPTION,
    (
        "--target big --draft small --prompts examples/prompts.jsonl --out mine",
        "--target big.gguf --draft-bits 4 --prompts prompts.txt --server mine-server.toml --out mine",
        "--from-counts log.csv --scenario qwen3.5 --out mine",
        "--counters code.txt chat.txt --out mine",
        "--acceptance-length 2.9 --drafted 4 --out mine",
        f"--read {_PACKAGED}",
    ),
    _add_options,
    _run,
)
