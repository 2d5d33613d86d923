"""``multispin suite``: benchmark tasks with known optima, entries and their leaderboard."""

import argparse
import os
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from multispin_env.apps.executors import on_signals
from multispin_env.apps.terminal.arguments import Command, add_executor_options, executor_of
from multispin_env.apps.terminal.output import Progress, Tally, provenance
from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_integer, cut, listed, reason, shown, suggestion
from multispin_env.controllers.names import ContenderName
from multispin_env.evaluation.statistics import aligned, markdown, to_csv, to_json
from multispin_env.files import make_folder, write_atomically
from multispin_env.registry import CONTROLLERS, import_project_module, is_outside
from multispin_lab.commands.suite_box import PolicyRun, ProcessLimits, has_limits, play_policy
from multispin_lab.commands.suite_pictures import draw_pictures
from multispin_lab.suite.entries import (
    REFERENCE,
    Policies,
    SuiteEntry,
    TaskValues,
    check_files,
    check_replaced,
    check_scores,
    kinds_of,
    not_played,
    playable,
    read_curves,
    read_entry,
    read_scores,
    rule_entry,
    rule_policies,
    save_entry,
    save_values,
    scores_name,
    select,
)
from multispin_lab.suite.frozen import VERSION
from multispin_lab.suite.leaderboard import (
    LEGEND,
    READ,
    LeaderRow,
    cells_by_task,
    curve_cells,
    escaped,
    learnt_cells,
    pair_cells,
    paired_cells,
    partial_cells,
    score_cells,
    summary_cells,
)
from multispin_lab.suite.recording import PARTS, record
from multispin_lab.suite.tasks import BLIND, PUBLIC, RANDOM_ACTIONS
from multispin_lab.suite.version import task, tasks

_FRESH_SEEDS = 10**6  # number of fresh evaluation seeds from which one is drawn

_NOTE = f"{READ.strip()} all but the fresh scores are those that the entry states; --check plays the networks in it"

_MISSING = "not all policies are played, since these entries have their scores but not all networks"

_Evaluation = tuple[Path, Sequence[int], int, Policies]  # folder, seeds, evaluation seed, and policies by task

_DESCRIPTION = f"""List the tasks of the benchmark suite {VERSION}: difficulty, best known result and upper bound.

A score is 0 for uniformly random actions and 1 for the reference, both measured when the suite was frozen."""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(do=_list)
    parts = parser.add_subparsers(metavar="PART", help="run, evaluate, table or data (default: list the tasks)")
    train = parts.add_parser("run", help="train a method on the tasks and write an entry")
    agent = "agent of multispin train, or module:ATTRIBUTE such as stable_baselines3:PPO"
    train.add_argument("--agent", required=True, metavar="NAME", help=agent)
    train.add_argument(
        "--seeds", type=int, required=True, metavar="N", help="trainings per task, with seeds 0 to N - 1"
    )
    train.add_argument("--tasks", nargs="+", metavar="NAME", help="tasks to train on (default: all)")
    train.add_argument(
        "--steps", type=int, metavar="N", help="environment steps of each training (default: the budget)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="ENTRY", help="folder of the entry")
    add_executor_options(train, "trainings")
    part = "run every N-th of the trainings, starting at the I-th, as one job of a job array"
    train.add_argument("--part", metavar="I/N", help=part)
    train.set_defaults(do=lambda options: import_project_module("multispin_lab.suite.trainer").run(options))
    evaluate = parts.add_parser("evaluate", help="play the held-out episodes of every task")
    names = f"a controller, module:ATTRIBUTE, {', '.join(BLIND)}, or {REFERENCE} (the reference of each task)"
    evaluate.add_argument("entry", help=f"a folder with an entry.json, {names}")
    trust = "play the networks of an entry without limits on memory and time; needed on macOS and Windows"
    evaluate.add_argument("--trust", action="store_true", help=trust)
    evaluate.add_argument("--check", action="store_true", help="check the stored scores of the entry")
    seed = "evaluation seed, from which the held-out episodes are drawn (default 0, the public ones)"
    evaluate.add_argument("--seed", type=int, default=PUBLIC, metavar="N", help=seed)
    evaluate.add_argument("--tasks", nargs="+", metavar="NAME", help="for a controller: tasks to play (default: all)")
    evaluate.add_argument("--out", type=Path, metavar="ENTRY", help="for a controller: write an entry to this folder")
    add_executor_options(evaluate, "policies")
    evaluate.set_defaults(do=_evaluate)
    table = parts.add_parser("table", help="print the leaderboard of evaluated entries")
    table.add_argument("entries", nargs="+", type=Path, metavar="ENTRY", help="folders of entries")
    table.add_argument("--out", type=Path, metavar="FOLDER", help="folder for leaderboard.md, .csv, .json and pictures")
    fresh = "fresh evaluation seed, the same for all entries; 0: none (default: a random one)"
    table.add_argument("--seed", type=int, metavar="N", help=fresh)
    table.add_argument("--check", action="store_true", help="play all entries again and check their stored scores")
    table.add_argument("--paired", action="store_true", help="print differences of two entries in the same episodes")
    table.add_argument("--trust", action="store_true", help=trust)
    add_executor_options(table, "policies")
    table.set_defaults(do=_table, workers=os.cpu_count())
    data = parts.add_parser("data", help="write a Minari dataset of training episodes")
    data.add_argument("task", metavar="TASK", help="name of a task")
    data.add_argument("--by", required=True, metavar="NAME", help=f"controller, module:ATTRIBUTE or {RANDOM_ACTIONS}")
    data.add_argument("--episodes", type=int, required=True, metavar="N", help="number of episodes")
    data.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the first episode (default 0)")
    data.add_argument("--out", metavar="ID", help="id of the dataset (default multispin/TASK/NAME-v0)")
    data.set_defaults(do=_data)


def _list(options: argparse.Namespace) -> None:
    lines = []
    for item in tasks():
        frozen, bound = item.frozen, "-"
        if frozen.bound is not None:
            bound = f"{item.performance(frozen.bound[None]).mean_scores[0]:.3f}"
        best = f"{item.reference} {frozen.reference.mean():.3g}"
        scores = (f"{frozen.middle:.3f}", f"{frozen.untrained:.3f}", item.attainable_text, bound)
        lines.append((item.name, item.metric, f"{frozen.floor.mean():.1f}", best, *scores))
    titles = ("task", "metric", "random", "best rule", "middle", "untrained", "attainable", "bound")
    print(aligned(titles, lines))
    print("\nRandom actions have the score 0, the best rule 1. The last columns are scores: of the middle of the")
    print("range of actions, of networks before training, of the best policy (a bracket, or open), and of an")
    print("upper bound, which may know what is hidden.\n")
    for item in tasks():
        print(f"{item.name:13}  {item.hard}")


def _evaluate(options: argparse.Namespace) -> None:
    folder = Path(options.entry)
    if not folder.is_dir():
        _evaluate_name(options)
        return
    for name in ("tasks", "out"):
        if getattr(options, name):
            raise ValueError(f"{name}: expected no value for the folder of an entry, got --{name}")
    entry, eval_seed = read_entry(folder), check_integer("seed", options.seed, 0)
    policies = playable(folder, entry)
    missing = not_played(entry, policies)
    if missing:
        check_files(folder, entry)  # other files would delete scores that cannot be played
    stored = _stored(folder, entry, eval_seed) if options.check or (missing and eval_seed == PUBLIC) else None
    played = _play_one(options, (folder, entry.seeds, eval_seed, policies))
    error = None if stored is None else _check(stored, played, policies, eval_seed)
    if stored is None:
        save_entry(folder, entry)
    if error is None:
        save_values(folder / scores_name(eval_seed), played)
    _print(played, eval_seed)
    if error is not None and played:
        equality = f"up to rounding errors of {error:.1e} of the largest value" if error else "exactly"
        print(f"\nthe stored scores are reproduced {equality}")
    if missing:
        print(f"\n{missing}")


def _check(stored: TaskValues, played: TaskValues, policies: Policies, eval_seed: int) -> float:
    return check_scores(select(stored, policies) if eval_seed == PUBLIC else stored, played, eval_seed)


def _stored(folder: Path, entry: SuiteEntry, eval_seed: int) -> TaskValues:
    stored = read_scores(folder, entry, eval_seed)
    check_files(folder, entry)
    return stored


def _evaluate_name(options: argparse.Namespace) -> None:
    if options.check:
        raise ValueError(f"entry: expected a folder with scores to check, got {options.entry!r}")
    eval_seed = check_integer("seed", options.seed, 0)
    parsed = ContenderName.parse(options.entry)
    name, *_ = parsed.controller.split("+")
    names = (*CONTROLLERS.names(), *BLIND, REFERENCE, *SYSTEMS)
    if not is_outside(name) and name not in names:
        expected, got = f"a folder that exists, or one of {listed(names)}", shown(options.entry)
        raise ValueError(f"entry: expected {expected}, got {got}{suggestion(name, names)}")
    parsed.check_estimators()
    selected = tuple(task(name) for name in options.tasks) if options.tasks else tasks()
    if options.out is None:
        _print(_play_one(options, (Path(), (0,), eval_seed, rule_policies(options.entry, selected))), eval_seed)
        return
    entry = rule_entry(options.entry, selected)
    check_replaced(options.out, entry.policies)
    played = _play_one(options, (options.out, entry.seeds, eval_seed, entry.policies))
    make_folder(options.out)
    save_entry(options.out, entry)
    save_values(options.out / scores_name(eval_seed), played)
    _print(played, eval_seed)


def _play_one(options: argparse.Namespace, evaluation: _Evaluation) -> TaskValues:
    *_, number, policies = evaluation
    (played,), error = _play(options, [evaluation], number, list(policies))
    if error is None:
        return played
    if played:
        _print(played, number)
    raise error


def _play(
    options: argparse.Namespace, evaluations: Sequence[_Evaluation], fresh: int, names: Sequence[str]
) -> tuple[list[TaskValues], ValueError | None]:
    """Play evaluations, and the ends of the scores of these tasks for a ``fresh`` seed; a rule plays once.

    Returns the values of each, without those of policies that fail, and an error that names these policies.
    """
    ends = {name: [{"rule": RANDOM_ACTIONS}, {"rule": task(name).reference}] for name in names if fresh != PUBLIC}
    evaluations = [(Path(), (0, 1), fresh, ends), *evaluations]
    labels: dict[PolicyRun, str] = {}
    runs: list[tuple[int, str, PolicyRun]] = []
    for index, (folder, seeds, number, policies) in enumerate(evaluations):
        for name, by_seed in policies.items():
            for seed, policy in zip(seeds, by_seed, strict=False):
                for kind, part in policy.items():
                    run = folder.resolve() if kind == "folder" else Path(), name, number, kind, part
                    labels.setdefault(run, ", ".join(filter(None, (folder.name, name, f"seed {seed}"))))
                    runs.append((index, name, run))
    values, error = _results(options, labels)
    played: list[dict[str, list[FloatArray]]] = [{} for _ in evaluations]
    for index, name, run in runs:
        if run in values:
            played[index].setdefault(name, []).append(values[run])
    if error is None:
        for name, (floor, top) in played[0].items():
            task(name).fresh_ends[fresh] = floor, top
    return [{name: np.array(by_seed) for name, by_seed in by_task.items()} for by_task in played[1:]], error


def _results(
    options: argparse.Namespace, labels: Mapping[PolicyRun, str]
) -> tuple[dict[PolicyRun, FloatArray], ValueError | None]:
    if not labels:
        return {}, None
    if any(kind == "folder" for *_, kind, _ in labels) and not (options.trust or has_limits()):
        raise ValueError("trust: expected --trust on a system that can't limit the memory of a process, got none")
    executor = executor_of(options, ("multispin_env", "multispin_agents"))
    runs, values, errors = list(labels), dict[PolicyRun, FloatArray](), list[str]()
    with Tally(len(runs), executor.width) as tally:
        for result in executor.results(partial(play_policy, None if options.trust else ProcessLimits()), runs):
            run = runs[result.index]
            error = result.failure if result.error else result.value
            if isinstance(error, ModuleNotFoundError):  # of another machine
                raise error
            if isinstance(error, Exception | str):
                errors.append(f"{labels[run]}: {reason(error) if run[3] == 'rule' else cut(reason(error))}")
            else:
                values[run] = result.value
            tally.add(labels[run], failed=isinstance(error, Exception | str))
    others = [message.split(": ")[0] for message in errors[1:]]
    return values, ValueError(errors[0] + f"; these failed too: {listed(others)}" * bool(others)) if errors else None


def _print(played: TaskValues, eval_seed: int) -> None:
    print(aligned(*score_cells(played, eval_seed)))


def _both_scores(
    options: argparse.Namespace, entries: Sequence[tuple[Path, SuiteEntry]], fresh: int
) -> dict[tuple[Path, int], TaskValues]:
    """Return the scores by folder and evaluation seed: fresh ones are played, public ones only with ``--check``."""
    scores: dict[tuple[Path, int], TaskValues] = {}
    evaluations: list[_Evaluation] = []
    for folder, entry in entries:
        for number in dict.fromkeys((PUBLIC, fresh)):
            if number == PUBLIC or (options.check and (folder / scores_name(number)).exists()):
                scores[folder, number] = _stored(folder, entry, number)
            if options.check or number != PUBLIC:
                evaluations.append((folder, entry.seeds, number, playable(folder, entry)))
    all_played, error = _play(options, evaluations, fresh, [task.name for task in tasks()])
    for (folder, _, number, policies), played in zip(evaluations, all_played, strict=True):
        if any(len(played.get(name, ())) < sum(map(bool, policies[name])) for name in policies):
            continue  # one has failed
        if (folder, number) in scores:
            _check(scores[folder, number], played, policies, number)
        else:
            save_values(folder / scores_name(number), played)
            scores[folder, number] = played
    if error is not None:
        raise error
    return scores


def _table(options: argparse.Namespace) -> None:
    fresh = secrets.randbelow(_FRESH_SEEDS) + 1 if options.seed is None else check_integer("seed", options.seed, 0)
    entries = [(folder, read_entry(folder)) for folder in options.entries]
    methods = [entry.method for _, entry in entries]
    for method in methods:
        if methods.count(method) > 1:
            raise ValueError(f"method: expected distinct names, got {method!r} more than once")
    if options.paired and len(entries) != 2:
        raise ValueError(f"entries: expected two with --paired, got {len(entries)}")
    scores = _both_scores(options, entries, fresh)
    partial = {folder: policies for folder, entry in entries if not_played(entry, policies := playable(folder, entry))}
    rows = [
        LeaderRow(
            entry,
            scores[folder, PUBLIC],
            read_curves(folder, entry),
            None if fresh == PUBLIC else (scores[folder, fresh], fresh),
            not options.check or folder in partial,
            kinds_of(folder, entry),
            partial.get(folder),
        )
        for folder, entry in entries
    ]
    paired = [paired_cells(rows[0], rows[1])] if options.paired else []
    rows.sort(key=lambda row: (-row.budget, row.ranked_by is None, row.actions, -(row.numbers["iqm"] or 0.0)))
    missing = partial_cells(rows, fresh)
    parts = (cells_by_task(rows), learnt_cells(rows), pair_cells(rows), curve_cells(rows), *paired)
    cells = [table for table in (summary_cells(rows, fresh), missing, *parts) if table[1]]
    notes = [LEGEND, *([_NOTE] if any(row.is_read for row in rows) else [])]
    if missing[1]:
        notes.append(f"{_MISSING}: {', '.join(f'{method} ({count})' for method, count, *_ in missing[1])}")
    print(*(aligned(*table) for table in cells), *notes, sep="\n\n")
    if options.out is not None:
        make_folder(options.out)
        signed = {row.method: (row.entry.authors, row.entry.link, row.entry.repository) for row in rows}
        authors = [f"- {method}: {', '.join(filter(None, words))}" for method, words in signed.items() if any(words)]
        plain = ([tuple(map(escaped, line)) for line in (header, *lines)] for header, lines in cells)
        tables = (markdown(header, lines) for header, *lines in plain)
        page = "\n\n".join((f"# Suite {VERSION}", *tables, *map(escaped, notes), "\n".join(map(escaped, authors))))
        about = {"version": VERSION, "seed": fresh, **provenance(options)}
        numbers = [{**row.to_dict(), "rank": row.rank(rows)} for row in rows]
        for name, text in (("md", page), ("csv", to_csv(numbers)), ("json", to_json(numbers, about))):
            write_atomically(options.out / f"leaderboard.{name}", f"{text.rstrip()}\n".encode())
        draw_pictures(rows, options.out)


def _data(options: argparse.Namespace) -> None:
    recorded = task(options.task)
    with Progress(PARTS) as progress, on_signals():
        data = record(recorded, options.by, options.episodes, options.seed, options.out, progress.begin)
    about = data.storage.metadata
    print(
        f"{about['dataset_id']}: {about['total_episodes']} episodes, {about['total_steps']} steps, "
        f"in {data.storage.data_path}\n"
        f"mean return {about['mean_return']:.4g}; of random actions {about['ref_min_score']:.4g}, "
        f"of {recorded.reference} {about['ref_max_score']:.4g}"
    )


COMMAND = Command(
    _DESCRIPTION,
    (
        "",
        "run --agent stable_baselines3:PPO --seeds 5 --workers 2 --out my-entry",
        "evaluate fixed --tasks round-8 late",
        "evaluate fixed --out entries/fixed",
        "evaluate my-entry --check --workers 2",
        "evaluate my-entry --seed 7",
        "table my-entry --out leaderboard",
        "table my-entry entries/fixed --paired --seed 0",
        "data late --by optimal+quantile --episodes 100",
    ),
    _add_options,
    lambda options: options.do(options),
)
