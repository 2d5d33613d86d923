"""Stored reference scores of every environment: ``python -m tools.scores [ID ...]`` plays them again."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes, listed_contenders
from multispin_env.evaluation.comparison import Row, comparison_cells
from multispin_env.evaluation.statistics import markdown, to_json
from multispin_env.registry import ENVIRONMENTS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "results" / "reference"
SCENARIO = "llama2"
EPISODES = 200
LONG = {"MultiSpin/Energy-v0": 20}
"""Numbers of episodes where these have thousands of rounds."""
FEW = 40
"""Episodes for an environment whose scores are not stored yet."""


@dataclass(frozen=True)
class Scores:
    """Scores of contenders on the same held-out episodes."""

    env: str
    scenario: str
    episodes: int
    seed: int | tuple[int, ...]
    metric: str
    reference: str
    rows: list[Row]

    def table(self) -> str:
        """Return the Markdown table."""
        return markdown(*comparison_cells(self.rows, self.metric))

    def about(self) -> dict[str, Any]:
        """Environment, scenario, episodes and metric of the scores."""
        return {name: value for name, value in vars(self).items() if name != "rows"}


def slug(env_id: str) -> str:
    """Return ``hidden-acceptance`` for ``MultiSpin/HiddenAcceptance-v0``, with the version unless it is 0."""
    name = env_id.split("/")[-1].removesuffix("-v0")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).strip("-")


def play(env_id: str, episodes: int) -> Scores:
    """Play the contenders of an environment, as ``multispin compare --env ID`` does."""
    cases = Episodes(EnvConfig.of(env_id, SCENARIO), episodes)
    rows = cases.table(listed_contenders(cases))
    return Scores(env_id, SCENARIO, episodes, cases.seed, cases.metric, cases.reference, rows)


def main() -> None:
    """Store the scores of some environments, by default of all."""
    parser = argparse.ArgumentParser("python -m tools.scores", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="default: all")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for env_id in parser.parse_args().ids or ENVIRONMENTS.names():
        episodes = LONG.get(env_id, EPISODES)
        print(f"playing {episodes} episodes of {env_id} ...", flush=True)
        scores = play(env_id, episodes)
        (FOLDER / f"{slug(env_id)}.json").write_text(to_json(scores.rows, scores.about()) + "\n", encoding="utf-8")


def scores_of(env_id: str) -> Scores:
    """Return the stored scores of an environment, or new ones on fewer episodes."""
    path = FOLDER / f"{slug(env_id)}.json"
    if not path.exists():
        return play(env_id, FEW)
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Scores(**stored["about"], rows=list(map(Row.from_dict, stored["rows"])))


if __name__ == "__main__":
    main()
