"""Measure how often the target model accepts tokens of the draft model.

At each position of a text of the target model, the draft model proposes one token; its acceptance probability and the
outcome are recorded. The record does not depend on a draft length.

Writes STEM.npz, the record for RecordedAcceptance-v0 (--set records=STEM.npz), STEM.toml, a scenario with the recorded
tasks, STEM.json with all numbers, and STEM.png. To resume a stopped run, repeat the command.

Without models, acceptance rates are written but no record: --from-counts reads a log of drafted and accepted tokens,
--counters reads metrics pages or benchmark results of vLLM or SGLang, one per task, and --acceptance-length gives one
rate for all tasks.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from multispin_env.apps.terminal.arguments import DEFAULT_SCENARIO, Command, add_scenario_options
from multispin_env.apps.terminal.output import Progress, provenance
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_real
from multispin_env.evaluation.statistics import BOOTSTRAP_SEED, aligned, table, to_json
from multispin_env.files import write_atomically
from multispin_env.physics.records import MAX_POSITIONS, MIN_POSITIONS, Records, load_records
from multispin_env.registry import SCENARIOS
from multispin_env.scenario import Scenario, Task
from multispin_env.server import with_law
from multispin_lab.commands.model_options import (
    add_model_options,
    add_out_option,
    add_prompt_options,
    check_model_options,
    load_pair,
    out_file,
    out_files,
)
from multispin_lab.models.counters import GLOSSARY, EngineCounts, read_counters
from multispin_lab.models.counts import (
    ALL,
    RecordedTexts,
    confidence_cells,
    draw_summary,
    estimate,
    make_tasks,
    parse_texts,
    read_counts,
    round_cells,
    summarise,
    task_cells,
)
from multispin_lab.models.passes import Journal
from multispin_lab.models.prompts import Prompts, read_prompts
from multispin_lab.models.record_files import CONFIDENCES, EXTRAS, load_extras, record_file

if TYPE_CHECKING:
    from multispin_lab.models.engine import Pair

_RATE_KINDS, _RECORD_KINDS = (".toml", ".json"), (".npz", ".toml", ".json", ".png")
"""Suffixes of the files with rates, and of those with a record."""

_IF_EQUAL = "95 % if all are equal"  # column

_PACKAGED = "packaged"  # file name for the record of the package

_RATE_SOURCES = ("from_counts", "counters", "acceptance_length")
"""Options that give acceptance rates and no record."""

_SOURCES = ("prompts", *_RATE_SOURCES, "read")
"""Options of which exactly one is required."""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser, required=False)
    add_prompt_options(parser, required=False)
    tokens = f"maximum tokens of a text, at least {MIN_POSITIONS} (default 64)"
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help=tokens)
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="prompts in a batch (default 8)")
    log = "instead of models: .csv with the columns request, task, drafted and accepted, and a row per round"
    parser.add_argument("--from-counts", type=Path, metavar="FILE", help=log)
    pages = (
        "instead of models: metrics pages or benchmark results of vLLM or SGLang, one file per task, named like it; "
        "--target NAME selects a model of the page"
    )
    parser.add_argument("--counters", type=Path, nargs="+", metavar="FILE", help=pages)
    length = "instead of models: mean number of tokens per step, with --drafted"
    parser.add_argument("--acceptance-length", type=float, metavar="N", help=length)
    parser.add_argument("--drafted", type=int, metavar="L", help="tokens of a draft, if the engine does not report it")
    read = f"instead of models: show a record, .npz or '{_PACKAGED}', with task names from the file of --scenario"
    parser.add_argument("--read", metavar="FILE", help=read)
    add_scenario_options(parser, draft=False)
    add_out_option(parser, ".npz, .toml, .json and .png", required=False)


def _scenario(options: argparse.Namespace) -> Scenario:
    fields = {name: vars(options)[name] for name in ("total_bandwidth", "server") if vars(options)[name] is not None}
    scenario = Scenario.resolve(options.scenario or DEFAULT_SCENARIO).replace(**fields)
    law = with_law({"server": options.server})
    if "server_draft_time" not in law:
        return scenario
    return scenario.replace(
        mean_draft_time=law["server_draft_time"],
        draft_context_time=law["server_draft_context_time"],
        draft_context=law["server_draft_context"],
    )


def _check(options: argparse.Namespace) -> None:
    sources = [name for name in _SOURCES if vars(options)[name] is not None]
    if len(sources) != 1:
        *names, last = (f"--{name.replace('_', '-')}" for name in _SOURCES)
        got = " and ".join(f"--{name.replace('_', '-')}" for name in sources) or "none"
        raise ValueError(f"prompts: expected exactly one of {', '.join(names)} and {last}, got {got}")
    if options.prompts is not None and options.target is None:
        raise ValueError("target: expected a model, got none")
    if options.out is None and options.read is None:
        raise ValueError("out: expected a name for the files to write, got none")
    check_model_options(options)
    check_integer("tokens", options.tokens, MIN_POSITIONS)
    check_integer("batch", options.batch, 1)
    if options.drafted is not None or options.acceptance_length is not None:
        check_integer("drafted", options.drafted, 1)
    if options.acceptance_length is not None:
        check_real("acceptance_length", options.acceptance_length, 1.0, options.drafted + 1.0)
    if options.out is not None:
        out_files(options.out, _RATE_KINDS if sources[0] in _RATE_SOURCES else _RECORD_KINDS)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    scenario = _scenario(options)
    if options.prompts is not None:
        _record(options, scenario)
    elif options.from_counts is not None:
        _count(options, scenario)
    elif options.read is not None:
        path = None if options.read == _PACKAGED else Path(options.read)
        records = load_records(path)
        _show(options, scenario, records, load_extras(path, records), _names(options, scenario, records))
    else:
        _count_engines(options, scenario)
    if options.prompts is None and options.read is None:
        time = f"draft time of {1e3 * scenario.mean_draft_time:g} ms"
        print(f"\nvocabulary of {scenario.vocabulary_size} tokens and {time}: those of {scenario.label}")


def _names(options: argparse.Namespace, scenario: Scenario, records: Records) -> Sequence[str]:
    if options.scenario is not None and options.scenario not in SCENARIOS.names():
        names = [task.name for task in scenario.tasks]
        check_integer("tasks of the scenario", len(names), records.num_tasks, records.num_tasks)
        return names
    if options.read == _PACKAGED:
        return "code", "math", "chat", "reading"
    return [f"task {index}" for index in range(records.num_tasks)]


def _record(options: argparse.Namespace, scenario: Scenario) -> None:
    prompts = read_prompts(options.prompts)
    count = len(prompts.texts)
    if count * options.tokens > MAX_POSITIONS:
        most = MAX_POSITIONS // count
        raise ValueError(
            f"tokens: expected at most {most} for {count} prompts, since a record has at most {MAX_POSITIONS} "
            "positions, "
            f"got {options.tokens}"
        )
    groups = -(-count // options.batch)
    journal = Journal(out_file(options.out, ".part"), "record", _settings(options, prompts), parse_texts)
    try:
        pair = load_pair(options)
        encoded = prompts.encode(pair.target, MIN_POSITIONS, options.raw, pair.context)
        _record_groups(pair, encoded, options, journal, groups)
    except KeyboardInterrupt:
        done = len(journal.parts)
        saved = f"{done} of {groups} groups are saved in {str(journal.path)!r}; repeat the command to resume"
        print(f"\n{saved if done else 'nothing is saved yet'}", file=sys.stderr)
        raise
    finally:
        if not journal.parts:
            journal.path.unlink()
    texts = RecordedTexts(*map(np.concatenate, zip(*journal.parts, strict=True)))
    if len(texts.length) != count:
        raise ValueError(f"{journal.path}: expected texts of {count} prompts, got {len(texts.length)}; delete the file")
    records, extras = _long_texts(prompts, texts)
    named = scenario.replace(
        name=options.out.name,
        vocabulary_size=pair.vocabulary_size,
        kept_probabilities=min(scenario.kept_probabilities, pair.vocabulary_size),
        target_model=Path(pair.target.name).name,
        acceptance_shifts=texts.shifts,
    )
    _show(options, named, records, extras, prompts.tasks)
    shifts = ", ".join(f"{count}: {shift:+.3f}" for count, shift in texts.shifts)
    print(f"\nshift of the acceptance in logits by uploaded probabilities (1: ids), for a sampling target: {shifts}")
    journal.path.unlink()


def _settings(options: argparse.Namespace, prompts: Prompts) -> dict[str, Any]:
    names = (
        "target",
        "draft",
        "draft_bits",
        "engine",
        "device",
        "dtype",
        "raw",
        "temperature",
        "tokens",
        "batch",
        "seed",
    )
    return {name: vars(options)[name] for name in names} | {"prompts": prompts.digest, "format": 3}


def _record_groups(
    pair: "Pair",
    encoded: Sequence[Sequence[int]],
    options: argparse.Namespace,
    journal: Journal[RecordedTexts],
    groups: int,
) -> None:
    from multispin_lab.models.rounds import record_texts

    done = len(journal.parts)
    if done:
        print(f"{done} of {groups} groups are already done", file=sys.stderr)
    times: list[float] = []  # the start, the first and the second token of the first group

    def report(length: int) -> None:
        if len(times) < 3:
            times.append(monotonic())
            if len(times) == 3:
                start, token = np.diff(times)
                seconds = (groups - done) * (start + (options.tokens - 1) * token)
                prompts = len(encoded) - done * options.batch
                text = f"about {seconds:.0f} s for {prompts} prompts, less if texts end before {options.tokens} tokens"
                progress.say(text, sys.stderr)
        progress(length, options.tokens)

    with Progress(groups - done) as progress:
        times.append(monotonic())
        for first in range(done * options.batch, len(encoded), options.batch):
            progress.begin(f"prompts from number {first + 1}")
            texts = record_texts(
                pair,
                encoded[first : first + options.batch],
                first,
                options.tokens,
                options.temperature,
                options.seed,
                report,
            )
            length = np.array([len(text.token) for text in texts])
            _, beta, accepted, *more = map(np.concatenate, zip(*texts, strict=True))
            half: list[Any] = [array.ravel().astype(np.float16) for array in (beta, *more)]
            journal.add(RecordedTexts(length, half[0], accepted, *half[1:]).line())


def _long_texts(prompts: Prompts, texts: RecordedTexts) -> tuple[Records, dict[str, FloatArray]]:
    """Return the record of the texts that are long enough to be replayed, and its extras; print how many are not."""
    long = texts.length >= MIN_POSITIONS
    task = np.array(prompts.task)
    for index, name in enumerate(prompts.tasks):
        if not long[task == index].any():
            raise ValueError(
                f"prompts: expected a text of at least {MIN_POSITIONS} tokens for task {name!r}, "
                f"got at most {int(texts.length[task == index].max())}"
            )
    if not long.all():
        print(f"left out, shorter than {MIN_POSITIONS} tokens: {int((~long).sum())} of {len(long)} texts\n")
    selected = np.repeat(long, texts.length)
    records = Records(task[long], texts.length[long], texts.probability[selected], texts.accepted[selected])
    extras = (texts.overlap, *texts.confidence.reshape(-1, len(CONFIDENCES)).T)
    return records, {name: array[selected].astype(np.float64) for name, array in zip(EXTRAS, extras, strict=True)}


def _finish(
    options: argparse.Namespace, scenario: Scenario, rows: Sequence[Mapping[str, Any]], text: str, kinds: Sequence[str]
) -> None:
    """Print a table; with ``--out``, also write the scenario and the rows, and print all files that were written."""
    if options.out is not None:
        scenario.save(out_file(options.out, ".toml"))
        content = f"{to_json(rows, {'scenario': scenario.to_dict(), **provenance(options)})}\n"
        write_atomically(out_file(options.out, ".json"), content.encode())
        text += f"\n\n{', '.join(str(out_file(options.out, kind)) for kind in kinds)}"
    print(text)


def _show(
    options: argparse.Namespace,
    scenario: Scenario,
    records: Records,
    extras: Mapping[str, FloatArray],
    names: Sequence[str],
) -> None:
    rows = summarise(records, extras, names)
    if options.out is not None:
        write_atomically(out_file(options.out, ".npz"), record_file(records, extras))
        draw_summary(rows, records, options.out)
    about = "tokens per round along the record, and the relative error of E[N | L] at the prompts' α"
    text = f"{aligned(*task_cells(rows))}\n\n{about}:\n\n{aligned(*round_cells(rows))}"
    if rows[0].explained:
        about = "ρ, the share of the variance of β that the draft model's confidence explains at other prompts"
        text += f"\n\n{about}:\n\n{aligned(*confidence_cells(rows))}"
    _finish(options, scenario.replace(tasks=make_tasks(rows)), [row.to_dict() for row in rows], text, _RECORD_KINDS)


def _count(options: argparse.Namespace, scenario: Scenario) -> None:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    estimates = [(counts, estimate(counts, rng)) for counts in read_counts(options.from_counts)]
    tasks, rows = [], []
    for counts, rate in estimates:
        tasks.append(Task(name=counts.task, acceptance_rate=rate.rate, acceptance_std=rate.std_over_requests))
        numbers = {"requests": len(counts.hits), "rounds": counts.rounds, "drafted": counts.drafted}
        rows.append({"task": counts.task, **numbers, **rate._asdict()})
    cells = table(
        estimates,
        {
            "task": lambda pair: pair[0].task,
            "requests": lambda pair: str(len(pair[0].hits)),
            "rounds": lambda pair: str(pair[0].rounds),
            "drafted": lambda pair: str(pair[0].drafted),
            "accepted": lambda pair: str(pair[0].hits.sum()),
            "α": lambda pair: f"{pair[1].rate:.4f}",
            _IF_EQUAL: lambda pair: f"{pair[1].low:.4f} to {pair[1].high:.4f}",
            "95 % over requests": lambda pair: f"{pair[1].low_over_requests:.4f} to {pair[1].high_over_requests:.4f}",
            "mean over requests": lambda pair: f"{pair[1].mean_over_requests:.4f}",
            "± requests": lambda pair: f"{pair[1].std_over_requests:.4f}",
        },
    )
    named = scenario.replace(name=options.out.name, tasks=tuple(tasks))
    _finish(options, named, rows, aligned(*cells), _RATE_KINDS)


def _count_engines(options: argparse.Namespace, scenario: Scenario) -> None:
    if options.counters is None:
        counts = [EngineCounts(ALL, options.acceptance_length, options.drafted)]
    else:
        counts = [read_counters(path, options.target, options.drafted) for path in options.counters]
    names = [task.task for task in counts]
    if len(set(names)) < len(names):
        raise ValueError(f"counters: expected files with different names, which name the tasks, got {names}")
    cells = table(
        counts,
        {
            "task": lambda task: task.task,
            "drafts": lambda task: str(task.drafts or ""),
            "tokens drafted": lambda task: f"{task.drafted:.2f}",
            "acceptance length": lambda task: f"{task.length:.4f}",
            "draft acceptance rate": lambda task: f"{(task.length - 1.0) / task.drafted:.4f}",
            "acceptance rate": lambda task: f"{task.rate:.4f}",
            _IF_EQUAL: lambda task: " to ".join(f"{end:.4f}" for end in task.interval or ()),
        },
    )
    parts = [aligned(*cells)]
    parts += [f"{task.task}, by position:\n\n{aligned(*task.position_cells())}" for task in counts if task.accepted]
    parts.append("\n".join(f"{term}: {meaning}" for term, meaning in GLOSSARY.items()))
    if remarks := [remark for task in counts for remark in task.remarks]:
        parts.append("\n".join(remarks))
    tasks = tuple(Task(name=task.task, acceptance_rate=task.rate) for task in counts)
    rows = [asdict(task) | {"rate": task.rate, "interval": task.interval} for task in counts]
    _finish(options, scenario.replace(name=options.out.name, tasks=tasks), rows, "\n\n".join(parts), _RATE_KINDS)


COMMAND = Command(
    __doc__,
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
