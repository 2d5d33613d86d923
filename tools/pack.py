"""Packing of a run as a pretrained agent with its score: ``python -m tools.pack NAME --commit HASH``.

The run is evaluated on held-out cases; its files, score and card are written to the folder that
``multispin_agents.load`` reads.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multispin_agents.cards import CARD
from multispin_agents.checkpoints import MODEL, Checkpoint, load_checkpoint, save_checkpoint
from multispin_agents.models import ROOT, SCORE, Pretrained, read
from multispin_agents.registry import PRETRAINED
from multispin_agents.runs import CONFIG, command_of, load_config, run_folder
from multispin_env.apps.terminal.output import Progress, exit_status
from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.controllers.names import ContenderName
from multispin_env.evaluation.cases import Cases, held_out, listed_contenders
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.files import read_json, write_atomically
from tools.cards import packed_card

_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""Complete hash of a commit, by SHA-1 or SHA-256."""


def measured(agent: Pretrained, cases: Cases) -> dict[str, Any]:
    """Return the score of an agent, with paired differences to the reference and the best plug-in."""
    names = listed_contenders(cases)
    with Progress(len(names) + 1) as progress:
        others = {name: cases.values(name, progress.begin(name)) for name in names}
        agent_values = cases.values(agent, progress.begin("the agent"))
    reference, plug_in = cases.reference, best_plug_in(others)

    def interval(values: FloatArray) -> dict[str, float]:
        return mean_interval(values)._asdict()

    return {
        "metric": cases.metric,
        "cases": cases.noun,
        "size": cases.size,
        "first_seed": cases.seed,
        "agent": interval(agent_values),
        "best_plug_in": {"name": plug_in, **interval(others[plug_in])},
        "minus_best_plug_in": interval(agent_values - others[plug_in]),
        "reference": {"name": reference, **interval(others[reference])},
        "minus_reference": interval(agent_values - others[reference]),
    }


def best_plug_in(values: Mapping[str, FloatArray]) -> str:
    """Return the name of the best plug-in, or of the optimum if nothing is hidden.

    Other systems are not plug-ins, since they decide nothing in this system.
    """
    names = [name for name in values if name not in SYSTEMS and name != ContenderName.parse(name).clairvoyant_name]
    return max(names, key=lambda name: float(values[name].mean()))


def pack(folder: Path, commit: str, size: int | None, out: Path) -> Path:
    """Write the configuration, network, score and card of a run; return their folder.

    ``ValueError`` if the commit is not a complete hash or the run can't be read; ``KeyError`` if `PRETRAINED` has no
    folder for its environment.
    """
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"commit: expected 40 hexadecimal digits, as git rev-parse HEAD prints them, got {commit!r}")
    config, _ = load_config(folder)
    target = out / PRETRAINED[config.env.env_id]
    checkpoint = load_checkpoint(folder, MODEL)
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / CONFIG, (folder / CONFIG).read_bytes())
    policy = {"policy": checkpoint.parameters["policy"]}
    counters = (checkpoint.num_timesteps, checkpoint.updates, checkpoint.seconds, checkpoint.score)
    save_checkpoint(target / MODEL, Checkpoint(policy, *counters))
    write_atomically(target / SCORE, b"{}")
    about = {
        "command": command_of(folder),
        "commit": commit,
        "seed": config.seed,
        "rounds_trained": checkpoint.num_timesteps,
        **config.env.to_dict(),
    }
    cases = held_out(config.env, size)
    content = {**about, "score": measured(read(target), cases)}
    write_atomically(target / SCORE, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    write_atomically(target / CARD, packed_card(target).encode())
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack a run and print its score; return the exit status."""
    parser = argparse.ArgumentParser("python -m tools.pack", description=__doc__)
    parser.add_argument("run", help="folder or name of the run")
    parser.add_argument("--commit", required=True, help="complete hash of the commit that trained the run")
    parser.add_argument("--size", type=int, help="number of held-out states or episodes (default 500 or 200)")
    parser.add_argument("--out", type=Path, default=ROOT, help="parent folder (default: in the package)")
    options = parser.parse_args(arguments)

    def run() -> None:
        target = pack(run_folder(options.run), options.commit, options.size, options.out)
        score = read_json(target / SCORE)
        print(json.dumps({name: score[name] for name in ("command", "commit", "score")}, indent=2, ensure_ascii=False))

    return exit_status(parser.prog, run)


if __name__ == "__main__":
    sys.exit(main())
