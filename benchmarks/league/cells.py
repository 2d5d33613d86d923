"""Cells of the league: one trained run in one contest, and what it is compared with.

Each is a task that leaves nothing behind but what it returns; whoever asked for it writes its files.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

import agents
from agents.base import tuning_for
from agents.checkpoints import MODEL
from agents.measures import CURVE
from agents.models import load_run_model
from agents.pack import changed_arguments
from agents.policies import policy_of
from agents.registry import AGENTS, admit, file_name
from agents.runs import CONFIG, Limits, RunConfig, own_arguments, with_start
from agents.training import train
from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import ContenderName
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases import Cases, Episodes, bounds_of, held_out, listed_contenders
from multispin_env.evaluation.comparison import best_plug_in
from multispin_env.executors import Stopped
from multispin_env.files import make_folder, read_json, write_atomically
from multispin_env.registry import ENVIRONMENTS
from multispin_env.terminal.arguments import parse_settings

ENCODINGS = {
    "MultiSpin/DelayedChannel-v0": "residual",
    "MultiSpin/Continuous-v0": "tuned",
    "MultiSpin/Serving-v0": "tuned",
}
"""Action encodings of agents, where they are not ``lengths``."""

SCHEMA = 2
"""Version of the files of references; others are made anew."""

BOUND = "bound"
"""The reference where no policy is one."""

Content = dict[str, Any]


@dataclass(frozen=True)
class Played:
    """What came of a task: content of its JSON file, and the files of its run by name."""

    content: Content
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Contest:
    """An environment with a preset and a number of users.

    Parameters
    ----------
    env, preset, num_users
        What is played.
    chosen
        Other arguments of the environment, such as the server, in the words of ``--set``; empty for the usual ones.
    action
        Action encoding; empty for the usual one.
    """

    env: str
    preset: str
    num_users: int
    chosen: str = ""
    action: str = ""

    @property
    def stem(self) -> str:
        """Beginning of its files' names."""
        words = (self.env.split("/")[-1].split("-")[0].lower(), self.preset, f"k{self.num_users}", *self._others)
        return "-".join(re.sub(r"[^\w.-]+", "-", word) for word in words)

    @property
    def title(self) -> str:
        """What a table of it is called."""
        return ", ".join((self.env, self.preset, f"K = {self.num_users}", *self._others))

    @property
    def _others(self) -> list[str]:
        return [*([self.action] if self.action else []), *shlex.split(self.chosen)]

    @cached_property
    def settings(self) -> Settings:
        """As ``train.py`` makes it; `TypeError` or `ValueError` for bad arguments."""
        variant = ENVIRONMENTS.load(self.env)
        chosen = {
            "action": self.action or ENCODINGS.get(self.env, "lengths"),
            "reward": variant().learning.rewards[0],
            "optimum": False,
        }
        others = own_arguments(variant) | {"num_users": self.num_users} | parse_settings(shlex.split(self.chosen))
        return with_start(self.env, Settings.make(self.env, variant, self.preset, chosen, others))

    def cases(self, size: int | None) -> Cases:
        """Held-out cases; as many as tables have unless told otherwise."""
        return held_out(self.env, self.settings, size)


@dataclass(frozen=True)
class Cell:
    """One run of an agent in a contest.

    Parameters
    ----------
    contest, agent, seed
        What is trained.
    timesteps
        Budget in rounds; ``None`` for the agent's own.
    size
        Held-out cases; ``None`` for as many as tables have.
    pretrained
        The agent that ships with the package, instead of a run.
    """

    contest: Contest
    agent: str
    seed: int
    timesteps: int | None = None
    size: int | None = None
    pretrained: bool = False

    @property
    def label(self) -> str:
        """Name of the agent in tables; pretrained ones stand alone, as their seed was not drawn for the league."""
        return f"{self.agent}, pretrained" if self.pretrained else self.agent

    @property
    def rounds(self) -> int:
        """Budget."""
        return AGENTS.load(self.agent).timesteps if self.timesteps is None else self.timesteps

    @property
    def stem(self) -> str:
        """Name of its file."""
        kind = "pretrained" if self.pretrained else f"r{self.rounds}"
        return f"{self.contest.stem}-{file_name(self.agent)}-s{self.seed}-{kind}"

    @property
    def path(self) -> Path:
        """Of its file, in the folder of the league."""
        return Path("cells", f"{self.stem}.json")

    @property
    def spec(self) -> Content:
        """What its file holds for."""
        return {**asdict(self), "arguments": self.contest.settings.arguments, "rounds": self.rounds}

    def play(self) -> Played:
        """Train it, or load what ships with the package, and measure it."""
        return self._of_shipped() if self.pretrained else self._of_run()

    def _of_shipped(self) -> Played:
        agent = agents.load(self.contest.env)
        values = self.contest.cases(self.size).values(agent)
        about = {"commit": agent.score["commit"], "command": agent.score["command"]}
        return Played(about | _content(agent.config, agent.score["rounds_trained"], values))

    def _of_run(self) -> Played:
        admit(self.agent)  # which the user named, but to another process
        contest, settings = self.contest, self.contest.settings
        config = RunConfig(contest.env, settings.scenario, self.agent, settings.action, self.seed, settings.arguments)
        with TemporaryDirectory() as name:
            run = Path(name)
            stopped = train(config, run, Limits(self.rounds), False, "cpu", Console(stderr=True, quiet=True))
            if stopped is not None:
                raise Stopped(stopped)
            model = load_run_model(run, contest.env, settings)
            files = {path.name: path.read_bytes() for path in (run / CONFIG, run / CURVE, run / MODEL)}
        return Played(_content(config, self.rounds, contest.cases(self.size).values(policy_of(model, settings))), files)


def commit() -> str:
    """Commit of the code, with a plus sign where files differ from it; empty outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def obstacle(cell: Cell) -> str:
    """Why an agent can't learn in a contest, or nothing."""
    try:
        AGENTS.load(cell.agent).check(cell.contest.settings)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def shipped(size: int | None) -> Iterator[Cell]:
    """Cells of the pretrained agents, each in the contest it was trained in."""
    for env_id in agents.PRETRAINED:
        config = agents.load(env_id).config
        chosen = shlex.join(changed_arguments(config))
        contest = Contest(env_id, config.scenario.name, config.scenario.num_users, chosen)
        yield Cell(contest, config.agent, config.seed, None, size, pretrained=True)


@dataclass(frozen=True)
class Others:
    """All that agents are compared with in a contest; size as of a `Cell`."""

    contest: Contest
    size: int | None

    @property
    def path(self) -> Path:
        """Of its file, in the folder of the league."""
        return Path("references", f"{self.contest.stem}.json")

    @property
    def spec(self) -> Content:
        """What its file holds for."""
        cases = self.contest.cases(self.size)
        about = {"schema": SCHEMA, "size": cases.size, "seed": cases.seed}
        return {**asdict(self.contest), "arguments": self.contest.settings.arguments, **about}

    def play(self) -> Played:
        """Measure all of them."""
        cases = self.contest.cases(self.size)
        values = {name: cases.values(name) for name in listed_contenders(cases)}
        bounds = bounds_of(cases) if isinstance(cases, Episodes) else None
        known = values if bounds is None else values | {BOUND: bounds}
        baseline = self.contest.settings.variant.comparison.baseline  # where something is hidden, with an estimator
        content = {
            "metric": cases.metric,
            "cases": cases.noun,
            "reference": cases.reference if bounds is None else BOUND,
            "validated_by": cases.reference,
            "plug_in": best_plug_in(values),
            "floor": next(name for name in values if ContenderName.parse(name).controller == baseline),
            "values": {name: array.tolist() for name, array in known.items()},
        }
        return Played(content)


Task = Cell | Others


def saved(task: Task, folder: Path) -> Content | None:
    """What the file of a task holds, if it is there and was made for the same."""
    path = folder / task.path
    if not path.is_file():
        return None
    content: Content = read_json(path)
    return content if content["spec"] == json.loads(json.dumps(task.spec)) else None  # which makes lists of tuples


def save(task: Task, played: Played, folder: Path) -> Content:
    """Write what came of a task; returns the content of its file."""
    content = {"spec": task.spec, "commit": commit(), **played.content}
    if played.files:
        run = folder / "runs" / task.path.stem
        make_folder(run)
        for name, file in played.files.items():
            write_atomically(run / name, file)
    path = folder / task.path
    make_folder(path.parent)
    write_atomically(path, json.dumps(content, ensure_ascii=False).encode())
    return content


def _content(config: RunConfig, rounds: int, values: FloatArray) -> Content:
    settings: Any = AGENTS.load(config.agent)
    return {
        "action": config.action,
        "arguments": dict(config.arguments),
        "rounds_trained": rounds,
        "hyperparameters": {**asdict(settings), **asdict(tuning_for(config.settings))},
        "values": values.tolist(),
    }
