"""``multispin live``: real models draft and verify for emulated devices, predicted beside realised."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from multispin_env.apps.commands.model_options import (
    add_model_options,
    add_out_option,
    add_prompt_options,
    check_model_options,
    load_pair,
    out_files,
)
from multispin_env.apps.models.contender import (
    LiveContender,
    LiveRound,
    draw_conditions,
    live_plug_in,
    make_assumptions,
)
from multispin_env.apps.models.prompts import Prompts, read_prompts
from multispin_env.apps.models.verdict import (
    block_length,
    hit_cells,
    hit_lines,
    save_timeline,
    verdict_cells,
    verdict_lines,
)
from multispin_env.apps.reproduce.drawing import check_matplotlib
from multispin_env.apps.terminal.arguments import Command, add_scenario_options, add_set_option, chosen_scenario
from multispin_env.apps.terminal.output import Progress, made_by, write_output
from multispin_env.arrays import IntArray
from multispin_env.checks import check_integer
from multispin_env.controllers.names import OWN_CONTROLLER
from multispin_env.evaluation.statistics import aligned, to_csv, to_json
from multispin_env.scenario import Scenario
from multispin_env.units import MS

if TYPE_CHECKING:
    from multispin_env.apps.models.network import Pair

_DESCRIPTION = """Real models draft and verify for emulated devices: what was predicted beside what was realised.

In a round the controller decides from what a server sees; each device really drafts so many tokens, the server
really verifies all drafts in one batch, and both models keep and trim their caches. The clocks of devices and uplink
are those of the scenario; the server's pass is timed on this machine. Both contenders take turns, round by round, with
the same requests, devices and channels. Prompts are read between rounds, and that is not counted. With --draft-ahead
devices draft on while their drafts are sent and verified: by the scenario's clock, a token every draft time.
"""

_SUFFIXES = (".json", ".csv", ".png")

_FEWEST = 2  # rounds that say anything about a spread


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser)
    parser.set_defaults(scenario="llama2")
    parser.add_argument("--num-users", type=int, metavar="K", help="K, number of devices (default: the scenario's)")
    add_set_option(parser)
    add_model_options(parser)
    add_prompt_options(parser)
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each contender (default 60)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens after which a request ends (default 64)")
    parser.add_argument(
        "--controller",
        default="optimal+filter",
        metavar="NAME",
        help=f"a controller, or {OWN_CONTROLLER}, with estimators or without; then it knows the mean acceptance of "
        "a task (default optimal+filter)",
    )
    parser.add_argument("--beside", default="fixed", metavar="NAME", help="another one (default fixed)")
    parser.add_argument(
        "--draft-ahead",
        nargs="?",
        const="",
        metavar="GUESS",
        help="devices draft ahead, with this guess at the server's token: greedy at temperature 0, else shared-seed "
        "(both are defaults) or independent",
    )
    add_out_option(parser, ", ".join(_SUFFIXES))


def _live_scenario(options: argparse.Namespace) -> Scenario:
    scenario = chosen_scenario(options)
    fitting = ["shared-seed", "independent"] if options.temperature else ["greedy"]
    if options.draft_ahead is not None:
        guess = options.draft_ahead or (scenario.guess if scenario.guess in fitting else fitting[0])
        scenario = scenario.replace(draft_ahead=True, guess=guess)
    if scenario.draft_ahead and scenario.guess not in fitting:
        raise ValueError(f"guess: expected one of {fitting} at this temperature, got {scenario.guess!r}")
    return scenario


def _task_indices(scenario: Scenario, prompts: Prompts) -> IntArray:
    """Index among the scenario's tasks of each prompt's, (P,); a scenario with one task has it for all prompts."""
    names = [task.name for task in scenario.tasks]
    if len(names) == 1:
        return np.zeros(len(prompts.texts), dtype=np.int64)
    for index, name in enumerate(prompts.tasks):
        if name not in names:
            line = prompts.task.index(index) + 1
            raise ValueError(f"{prompts.file}, line {line}, task: expected one of the scenario's {names}, got {name!r}")
    return np.array([names.index(prompts.tasks[task]) for task in prompts.task])


def _live_contenders(
    names: Sequence[str], scenario: Scenario, pair: "Pair", prompts: Prompts, options: argparse.Namespace
) -> list[LiveContender]:
    """Make contenders, which have the same requests, devices, channels and random numbers."""
    from multispin_env.apps.models.ahead import ChainPlayer
    from multispin_env.apps.models.rounds import EmulatedDevices, Player, PromptOrder

    users = scenario.num_users
    longest = scenario.max_draft_length * (2 if scenario.draft_ahead else 1)  # a chain goes on behind a draft
    encoded = prompts.encode(pair.target, longest + 1, options.raw, pair.context)
    task, order = _task_indices(scenario, prompts), PromptOrder(len(encoded), users, options.seed)
    conditions = draw_conditions(scenario, options.rounds, np.random.default_rng([options.seed, 0]))
    found = []
    for name in names:
        devices = EmulatedDevices(pair, encoded, task, order, users, options.tokens, longest)
        given = devices, options.temperature, options.seed
        play = ChainPlayer(*given, scenario.guess) if scenario.draft_ahead else Player(*given)
        found.append(LiveContender(name, scenario, conditions, devices, play))
    return found


def _play_in_turns(contenders: Sequence[LiveContender], rounds: int) -> BaseException | None:
    """Play in turns; returns what ended it early, as Ctrl-C or a model that fails, after `_FEWEST` rounds of each."""
    try:
        with Progress(1) as progress:
            report = progress.begin(" beside ".join(one.name for one in contenders))
            for number in range(rounds):
                for contender in contenders:
                    contender.step()
                report(number + 1, rounds)
    except (KeyboardInterrupt, MemoryError, ValueError) as error:
        complete = min(len(one.rounds) for one in contenders)
        if complete < _FEWEST:
            raise
        for contender in contenders:
            del contender.rounds[complete:]
        return error
    return None


@dataclass(frozen=True, eq=False)
class _RoundRecord:
    """A row of the file of rounds: lists of the devices are divided by spaces, times are in seconds."""

    contender: str
    number: int
    played: LiveRound

    def to_dict(self) -> dict[str, Any]:
        one = self.played
        lists = {
            "request": (one.request, ""),
            "age": (one.age, ""),
            "draft_length": (one.draft_length, ""),
            "bandwidth_hz": (one.bandwidth, ".1f"),
            "accepted": (one.played.accepted, ""),
            "tokens": (one.played.gained, ""),
            "predicted_tokens": (one.predicted, ".4f"),
            "draft_time": (one.drafting, ".6f"),
            "upload_time": (one.uploading, ".6f"),
        }
        if one.chains is not None:
            lists |= {"head_start": (one.chains.head_start, ".4f"), "hit": (one.chains.hit.astype(int), "")}
        return {
            "contender": self.contender,
            "round": self.number,
            **{name: " ".join(format(one, form) for one in values.tolist()) for name, (values, form) in lists.items()},
            "access_time": one.access,
            "predicted_pass": one.predicted_pass,
            "measured_pass": one.played.pass_time,
            "predicted_round": one.predicted_time,
            "measured_round": one.measured_time,
            "accepting_time": one.played.accepting_time,
            "drafting_here": one.played.drafting_time,
            "prompts_here": one.played.prompt_time,
            "decide_time": one.deciding,
        }


def _run(options: argparse.Namespace) -> None:
    check_integer("rounds", options.rounds, _FEWEST)
    check_integer("tokens", options.tokens, 1)
    check_model_options(options)
    scenario = _live_scenario(options)
    names = [options.controller, options.beside]
    if names[0] == names[1]:
        raise ValueError(f"beside: expected another one than the controller, got {names[1]!r}")
    for name in names:
        live_plug_in(name, scenario, make_assumptions(scenario))
    prompts = read_prompts(options.prompts)
    _task_indices(scenario, prompts)
    files = out_files(options.out, _SUFFIXES)
    check_matplotlib()
    pair = load_pair(options)
    contenders = _live_contenders(names, scenario, pair, prompts, options)
    ended = _play_in_turns(contenders, options.rounds)
    _write_files(contenders, files, options, pair)
    if ended is not None:
        played = len(contenders[0].rounds)
        print(f"stopped after {played} of {options.rounds} rounds; they are in {options.out}.*", file=sys.stderr)
        raise ended


def _write_files(
    contenders: Sequence[LiveContender], files: Sequence[Path], options: argparse.Namespace, pair: "Pair"
) -> None:
    lines, hits, scenario = verdict_lines(contenders), hit_lines(contenders), contenders[0].scenario
    as_json, as_csv, _ = files
    deciding = {one.name: median(row.deciding for row in one.rounds) / MS for one in contenders}
    about = {
        "target": pair.target.name,
        "draft": pair.draft.name,
        "prompts": str(options.prompts),
        "temperature": options.temperature,
        "seed": options.seed,
        "tokens": options.tokens,
        "rounds": len(contenders[0].rounds),
        "rounds_of_a_block": block_length(contenders),
        "decide_ms": deciding,
        **({"hits": [asdict(one) for one in hits]} if hits else {}),
        "scenario": scenario.to_dict(),
        **made_by(options, "torch", "transformers"),
    }
    write_output(f"{to_json(lines, about)}\n", as_json)
    rounds = [_RoundRecord(one.name, *played) for one in contenders for played in enumerate(one.rounds, start=1)]
    write_output(to_csv(rounds), as_csv)
    small, large = (Path(model.name).name for model in (pair.draft, pair.target))  # paths are long
    title = f"{small} drafts for {large}: {scenario.name}, K = {scenario.num_users}"
    save_timeline(contenders, options.out, title)
    print(f"{title}, {len(contenders[0].rounds)} rounds, temperature {options.temperature:g}\n")
    print(aligned(*verdict_cells(lines)))
    if hits:
        print(f"\nhits, guess {scenario.guess}: the draft is accepted whole and the chain stays\n")
        print(aligned(*hit_cells(hits)))
    requests = ", ".join(f"{one.name} {int((one.rounds[-1].request + 1).sum())}" for one in contenders)
    decided = ", ".join(f"{name} {time:.2f} ms" for name, time in deciding.items())
    print(f"\nrequests begun: {requests}\ndecide, median of processor time: {decided}")
    print(f"intervals: 95 %, blocks of {block_length(contenders)} rounds")


COMMAND = Command(
    _DESCRIPTION,
    (
        "--scenario mine.toml --draft small --target large --prompts examples/prompts.jsonl --num-users 4 --out live",
        "--scenario mine.toml --target model.gguf --draft-bits 4 --prompts mine.txt --controller optimal+beta "
        "--beside homogeneous --rounds 200 --out live",
    ),
    _add_options,
    _run,
)
