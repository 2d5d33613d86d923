"""Run real models for emulated devices and compare predicted and realised tokens and times.

In each round the controller decides from the observations of the server. The draft model drafts for each device, the
target model verifies all drafts in one batch, and both keep and trim their caches. Draft and upload times come from
the scenario; the verification pass, acceptance and sampling are timed on this machine. Devices draft from the
probabilities that they upload. The contenders take turns, round by round, with the same requests, devices and
channels. The time to read prompts between rounds is not included. With --draft-ahead, devices continue to draft while
their drafts are uploaded and verified, one token per draft time of the scenario.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from multispin_env.apps.terminal.arguments import Command, add_scenario_options, add_set_option, resolve_scenario
from multispin_env.apps.terminal.output import Progress, provenance, write_output
from multispin_env.arrays import IntArray
from multispin_env.checks import check_integer
from multispin_env.controllers.names import CUSTOM_CONTROLLER
from multispin_env.evaluation.statistics import aligned, to_csv, to_json
from multispin_env.scenario import Scenario
from multispin_env.units import MS
from multispin_lab.commands.model_options import (
    add_model_options,
    add_out_option,
    add_prompt_options,
    check_model_options,
    load_pair,
    out_files,
)
from multispin_lab.models.contender import (
    LiveContender,
    LiveRound,
    draw_conditions,
    live_plug_in,
    make_assumptions,
)
from multispin_lab.models.prompts import Prompts, read_prompts
from multispin_lab.models.verdict import (
    MIN_ROUNDS,
    block_length,
    hit_cells,
    hit_lines,
    save_timeline,
    verdict_cells,
    verdict_lines,
)

if TYPE_CHECKING:
    from multispin_lab.models.engine import Model, Pair
    from multispin_lab.models.rounds import RoundResult

_SUFFIXES = (".json", ".csv", ".png")


def add_run_options(parser: argparse.ArgumentParser, seed: int | None = 0) -> None:
    """Add the options of a run, except of its models; ``seed`` is the default."""
    add_scenario_options(parser, draft=False)
    parser.add_argument("--num-users", type=int, metavar="K", help="number of devices (default: the scenario's)")
    add_set_option(parser)
    add_prompt_options(parser, seed=seed)
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each contender (default 60)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each request (default 64)")
    name = (
        f"a controller or {CUSTOM_CONTROLLER}, with or without estimators; without an estimator the controller gets "
        "the mean acceptance rate of each task (default optimal+filter)"
    )
    parser.add_argument("--controller", default="optimal+filter", metavar="NAME", help=name)
    versus = "controllers to compare with (default fixed)"
    parser.add_argument("--versus", nargs="+", default=["fixed"], metavar="NAME", help=versus)
    add_out_option(parser, ", ".join(_SUFFIXES))


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add_run_options(parser)
    guess = (
        "devices draft ahead with this guess of the server's token: greedy at temperature 0, else shared-seed "
        "(default) or independent"
    )
    parser.add_argument("--draft-ahead", nargs="?", const=True, metavar="GUESS", help=guess)


class Run(NamedTuple):
    """Checked options of a run, before models are loaded."""

    scenario: Scenario
    names: list[str]  # of the contenders
    prompts: Prompts
    task: IntArray  # of each prompt, (P,)
    files: tuple[Path, ...]


def check_run(options: argparse.Namespace) -> Run:
    """Return the checked options; ``ValueError`` or ``OSError`` for wrong ones."""
    check_integer("rounds", options.rounds, MIN_ROUNDS)
    check_integer("tokens", options.tokens, 1)
    check_model_options(options)
    scenario = _live_scenario(options)
    names = [options.controller, *options.versus]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ValueError(f"versus: expected different controllers, other than --controller, got {name!r}")
        live_plug_in(name, scenario, make_assumptions(scenario))
    prompts = read_prompts(options.prompts)
    return Run(scenario, names, prompts, prompts.task_indices(scenario), out_files(options.out, _SUFFIXES))


def _live_scenario(options: argparse.Namespace) -> Scenario:
    scenario = resolve_scenario(options)
    guesses = ["shared-seed", "independent"] if options.temperature else ["greedy"]
    if options.draft_ahead is not None:
        default = scenario.guess if scenario.guess in guesses else guesses[0]
        guess = default if options.draft_ahead is True else options.draft_ahead
        scenario = scenario.replace(draft_ahead=True, guess=guess)
    if scenario.draft_ahead and scenario.guess not in guesses:
        raise ValueError(f"guess: expected one of {guesses} at this temperature, got {scenario.guess!r}")
    target = "sampling" if options.temperature else "greedy"
    if scenario.target not in ("", target):
        raise ValueError(f"target: expected {target!r} at this temperature, got {scenario.target!r}")
    check_integer("bits_per_probability", scenario.bits_per_probability, 1, 16)
    return scenario.replace(target=target)


def _live_contenders(run: Run, pair: "Pair", options: argparse.Namespace) -> list[LiveContender]:
    """Make contenders with the same requests, devices, channels and random numbers."""
    from multispin_lab.models.ahead import ChainDrafter, ChainVerifier, play_chains
    from multispin_lab.models.halves import Drafter, Requests, Verifier, draft_seed
    from multispin_lab.models.rounds import begin_requests, play_round

    scenario = run.scenario
    users, size = scenario.num_users, pair.vocabulary_size
    longest = scenario.max_draft_length * (2 if scenario.draft_ahead else 1)  # a chain continues after a draft
    encoded = run.prompts.encode(pair.target, longest + 1, options.raw, pair.context)
    requests = Requests(encoded, run.task, options.tokens, pair.context - longest)
    room = requests.longest_text + longest
    air = draw_conditions(scenario, options.rounds, np.random.default_rng([options.seed, 0]))
    seeds = [draft_seed(options.seed, device) for device in range(users)]
    sent = scenario.sent_probabilities, scenario.bits_per_probability
    contenders = []
    for name in run.names:
        small, large = (model.sequences(users, size, room) for model in (pair.draft, pair.target))
        device = small, options.temperature, *sent
        server = large, options.temperature, options.seed, requests
        play: Callable[..., RoundResult]
        drafter: Drafter
        verifier: Verifier
        if scenario.draft_ahead:
            drafter = chains = ChainDrafter(*device, options.seed)
            verifier = ChainVerifier(*server, scenario.guess)
            play = partial(play_chains, chains, verifier, seeds)
        else:
            drafter, verifier = Drafter(*device), Verifier(*server)
            play = partial(play_round, drafter, verifier, seeds)
        begin_requests(drafter, verifier, np.arange(users))
        contenders.append(LiveContender(name, scenario, air, verifier, play))
    return contenders


def _play_in_turns(contenders: Sequence[LiveContender], rounds: int) -> BaseException | None:
    """Play in turns; return the error or Ctrl-C that ended it early, if each has played `MIN_ROUNDS`."""
    try:
        with Progress(1) as progress:
            report = progress.begin(" and ".join(contender.name for contender in contenders))
            for number in range(rounds):
                for contender in contenders:
                    contender.step()
                report(number + 1, rounds)
    except (KeyboardInterrupt, MemoryError, ValueError) as error:
        complete = min(len(contender.rounds) for contender in contenders)
        if complete < MIN_ROUNDS:
            raise
        for contender in contenders:
            del contender.rounds[complete:]
        return error
    return None


def _round_row(contender: str, number: int, row: LiveRound) -> dict[str, Any]:
    """Return the row of the file of rounds; values of devices are separated by spaces, times are in seconds."""
    lists = {
        "request": (row.request, ""),
        "age": (row.age, ""),
        "draft_length": (row.draft_length, ""),
        "bandwidth_hz": (row.bandwidth, ".1f"),
        "accepted": (row.played.accepted, ""),
        "tokens": (row.played.gained, ""),
        "predicted_tokens": (row.predicted, ".4f"),
        "draft_time": (row.drafting, ".6f"),
        "upload_time": (row.uploading, ".6f"),
    }
    lists |= row.more
    return {
        "contender": contender,
        "round": number,
        **{name: " ".join(format(value, form) for value in array.tolist()) for name, (array, form) in lists.items()},
        "access_time": row.access,
        "predicted_pass": row.predicted_pass,
        "measured_pass": row.played.verification_time,
        "predicted_round": row.predicted_time,
        "measured_round": row.measured_time,
        "accepting_time": row.played.accepting_time,
        "drafting_here": row.played.drafting_time,
        "prompts_here": row.played.prompt_time,
        "decide_time": row.deciding,
    }


def _run(options: argparse.Namespace) -> None:
    run = check_run(options)
    pair = load_pair(options)
    play_and_write(_live_contenders(run, pair, options), run, options, pair.draft.name, pair.target)


def play_and_write(
    contenders: Sequence[LiveContender],
    run: Run,
    options: argparse.Namespace,
    draft: str,
    target: "Model",
    more: Callable[[], tuple[dict[str, Any], str]] = lambda: ({}, ""),
) -> None:
    """Play all rounds, write the files and print the tables; ``more`` returns further content of both."""
    ended = _play_in_turns(contenders, options.rounds)
    _write_files(contenders, run.files, options, draft, target, *more())
    if ended is not None:
        played = len(contenders[0].rounds)
        print(f"stopped after {played} of {options.rounds} rounds, saved in {options.out}.*", file=sys.stderr)
        raise ended


def _write_files(
    contenders: Sequence[LiveContender],
    files: Sequence[Path],
    options: argparse.Namespace,
    draft: str,
    target: "Model",
    about_more: Mapping[str, Any],
    text_more: str,
) -> None:
    lines, hits, scenario = verdict_lines(contenders), hit_lines(contenders), contenders[0].scenario
    as_json, as_csv, _ = files
    deciding = {contender.name: median(row.deciding for row in contender.rounds) / MS for contender in contenders}
    accepting = {
        contender.name: mean(row.played.accepting_time for row in contender.rounds) / MS for contender in contenders
    }
    about = {
        "target": target.name,
        "draft": draft,
        "prompts": str(options.prompts),
        "temperature": options.temperature,
        "seed": options.seed,
        "tokens": options.tokens,
        "rounds": len(contenders[0].rounds),
        "rounds_of_a_block": block_length(contenders),
        "accepting_ms": accepting,
        "decide_ms": deciding,
        **({"hits": [asdict(line) for line in hits]} if hits else {}),
        **about_more,
        "scenario": scenario.to_dict(),
        **provenance(options, *target.packages),
    }
    write_output(f"{to_json(lines, about)}\n", as_json)
    rounds = [_round_row(player.name, *played) for player in contenders for played in enumerate(player.rounds, 1)]
    write_output(to_csv(rounds), as_csv)
    small, large = Path(draft).name, Path(target.name).name
    title = f"{small} drafts for {large}: {scenario.name}, K = {scenario.num_users}"
    save_timeline(contenders, options.out, title)
    print(f"{title}, {len(contenders[0].rounds)} rounds, temperature {options.temperature:g}\n")
    print(aligned(*verdict_cells(lines)))
    if hits:
        print(f"\nhits with the guess {scenario.guess}: the whole draft is accepted and the chain stays valid\n")
        print(aligned(*hit_cells(hits)))
    requests = ", ".join(f"{player.name} {int((player.rounds[-1].request + 1).sum())}" for player in contenders)
    inside, times = (
        ", ".join(f"{name} {time:.2f} ms" for name, time in part.items()) for part in (accepting, deciding)
    )
    print(f"\nacceptance and sampling, in the realised but not in the predicted round: {inside}")
    print(f"requests started: {requests}\nmedian processor time of a decision: {times}")
    print(f"intervals: 95 %, blocks of {block_length(contenders)} rounds{text_more}")


COMMAND = Command(
    __doc__,
    (
        "--scenario mine.toml --draft small --target large --prompts examples/prompts.jsonl --num-users 4 --out live",
        "--scenario mine.toml --target model.gguf --draft-bits 4 --prompts mine.txt --controller optimal+beta "
        "--versus homogeneous fixed --rounds 200 --out live",
    ),
    _add_options,
    _run,
)
