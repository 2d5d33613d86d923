"""Cards of the agents in the package; ``python -m tools.cards`` rewrites them from the recorded scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multispin_agents.cards import CARD, LIBRARY, PLAY, Measured, cases_label, policy_card
from multispin_agents.measures import agent_label
from multispin_agents.models import ROOT, SCORE
from multispin_agents.registry import PRETRAINED
from multispin_agents.runs import CONFIG, RunConfig, load_config
from multispin_env.evaluation.statistics import Interval
from multispin_env.files import read_json, write_atomically

READ_PACKED = """\
# pip install "multispin_env[train]"
from pathlib import Path

from multispin_agents.models import read

policy = read(Path("."))  # this folder"""


def packed_card(folder: Path) -> str:
    """Return the card of the packed agent in a folder."""
    config, _ = load_config(folder)
    score = read_json(folder / SCORE)
    return policy_card(
        folder,
        config,
        _measured(config, score["score"]),
        licence="mit",
        measuring=f"`{SCORE}` has the paired differences.",
        described=CONFIG,
        origin=f"Code: commit {score['commit']}.",
        loading=READ_PACKED + PLAY,
        about_licence=f"MIT, as {LIBRARY}.",
    )


def _measured(config: RunConfig, score: Mapping[str, Any]) -> Measured:
    others = {score[name]["name"]: score[name] for name in ("best_plug_in", "reference")}
    rows = {agent_label(config): score["agent"], **others}
    intervals = {name: Interval(*(row[key] for key in Interval._fields)) for name, row in rows.items()}
    return Measured(score["metric"], cases_label(score["size"], score["cases"], score["first_seed"]), intervals)


if __name__ == "__main__":
    for name in PRETRAINED.values():
        write_atomically(ROOT / name / CARD, packed_card(ROOT / name).encode())
