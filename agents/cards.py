"""Cards of trained policies: a README in the form of the Hugging Face hub, which says what is known and nothing else.

``python -m agents.cards`` writes those of the package anew from their stored scores.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agents.checkpoints import MODEL, load_checkpoint
from agents.measures import TABLE, Measure, agent_label
from agents.models import ROOT, SCORE
from agents.registry import PRETRAINED
from agents.runs import CONFIG, RunConfig, load_config, own_arguments, usual_choice
from multispin_env.envs.registration import saved_arguments
from multispin_env.envs.settings import Variant
from multispin_env.evaluation.cases import heading
from multispin_env.evaluation.comparison import METRICS, Row
from multispin_env.evaluation.policy import POLICY
from multispin_env.evaluation.statistics import Interval, markdown
from multispin_env.files import MIB, read_bytes, read_json, write_atomically
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario
from multispin_env.terminal.arguments import DEFAULT_SCENARIO

CARD = "README.md"

LIBRARY = "multispin_env"

MARK = f'library_name: "{LIBRARY}"'
"""Line by which a card is known from a README that somebody wrote."""

LIMITS = (
    "The numbers hold for this system. Other systems, and other numbers of devices, which the network takes too, were "
    "not measured here. The devices, the radio and the server are simulated."
)

READ_PACKED = """\
# pip install "multispin_env[train]"
from pathlib import Path

import gymnasium as gym

from agents.models import read

policy = read(Path("."))  # this folder"""

READ_ONNX = """\
# pip install "multispin_env[onnx]"
import gymnasium as gym

from multispin_env.evaluation.policy import load_policy

policy = load_policy(".")  # this folder"""

PLAY = """
env = gym.make("{env}", scenario=policy.settings.scenario, **policy.arguments)
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(policy.act(observation))"""

READ_PROGRAM = """\
import torch

network = torch.export.load("policy.pt2").module()  # its inputs are those of policy.json, in their order"""


@dataclass(frozen=True)
class Measured:
    """What was measured of a policy on held-out cases."""

    metric: str
    cases: str  # how many, of what, from which seed
    rows: Mapping[str, Interval]  # by what decided; the policy comes first

    def table(self) -> str:
        """Means with their intervals, in Markdown."""
        of = METRICS[self.metric]
        lines = [(name, *(f"{value:.{of.digits}f}" for value in interval)) for name, interval in self.rows.items()]
        return markdown(("decided by", of.header, "95 % interval from", "to"), lines)


@dataclass(frozen=True)
class Card:
    """What a card says; `text` is all of it."""

    config: RunConfig
    command: str | None  # that trains it again; ``None`` for a system that no option names
    steps: int
    versions: Mapping[str, str | None]  # of packages that trained it
    measured: Measured | None
    licence: str  # its identifier on the hub
    about_licence: str
    origin: str  # of the files
    measuring: str  # how to measure again
    described: str  # file with every number of the system
    loading: str  # Python

    @property
    def text(self) -> str:
        """The README."""
        parts = {
            "": f"# {agent_label(self.config)} for {self.config.env}",
            "Task": self._task(),
            "Measured": self._measured(),
            "How it was made": self._made(),
            "How to load it": f"```python\n{self.loading}\n```",
            "Limits": LIMITS,
            "Licence": self.about_licence,
        }
        body = "\n\n".join(f"## {title}\n\n{part}" if title else part for title, part in parts.items())
        return f"{self._header()}{body}\n"

    def _header(self) -> str:
        """Fields that the hub reads: YAML, of which JSON is a part."""
        entries: dict[str, Any] = {
            "license": self.licence,
            "library_name": LIBRARY,
            "tags": ["reinforcement-learning", "gymnasium", "speculative-decoding", self.config.env],
        }
        if self.measured is not None:
            entries |= {"metrics": [self.measured.metric], "model-index": [self._index(self.measured)]}
        lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items()]
        return "\n".join(["---", *lines, "---", "", ""])

    def _index(self, measured: Measured) -> dict[str, Any]:
        own = next(iter(measured.rows.values()))
        name = f"{METRICS[measured.metric].header}, 95 % interval {own.low:.6g} to {own.high:.6g}, {measured.cases}"
        return {
            "name": agent_label(self.config),
            "results": [
                {
                    "task": {"type": "reinforcement-learning", "name": self.config.env},
                    "dataset": {"type": self.config.env, "name": f"{self.config.env}, {self.config.scenario.label}"},
                    "metrics": [{"type": measured.metric, "value": float(f"{own.mean:.6g}"), "name": name}],
                }
            ],
        }

    def _task(self) -> str:
        config = self.config
        saved = saved_arguments(ENVIRONMENTS.load(config.env), config.arguments)
        chosen = {name: saved[name] for name in config.settings.chosen_arguments}
        system = heading(config.env, chosen, config.scenario, f"{config.action} actions")
        return f"{system}; `{self.described}` has every number of the system."

    def _measured(self) -> str:
        if self.measured is None:
            return f"Not measured. {self.measuring}"
        return f"On {self.measured.cases}:\n\n{self.measured.table()}\n\n{self.measuring}"

    def _made(self) -> str:
        command = "By a command that names a system of its own." if self.command is None else f"`{self.command}`"
        versions = [f"{name} {version}" for name, version in self.versions.items() if version]
        facts = [f"{self.steps:,} environment steps", f"seed {self.config.seed}", *versions]
        return f"{command}\n\n{', '.join(facts)}. {self.origin}"


def packed_card(folder: Path) -> str:
    """Card of a packed agent, by its folder."""
    config, _ = load_config(folder)
    score = read_json(folder / SCORE)
    return Card(
        **_of_training(folder, config),
        measured=_of_score(config, score["score"]),
        licence="mit",
        about_licence=f"MIT, that of {LIBRARY}.",
        origin=f"The code was that of the commit {score['commit']}.",
        measuring=f"By `multispin pack`; `{SCORE}` has the differences in the same cases.",
        described=CONFIG,
        loading=READ_PACKED + PLAY.format(env=config.env),
    ).text


def exported_card(folder: Path, onnx: bool) -> str:
    """Card of the export of a run, by the run's folder; ``onnx`` if there is that file to load."""
    config, _ = load_config(folder)
    measured = _of_table(folder, config)
    again = "`multispin evaluate RUN --out RUN` measures it, and the next export has the numbers."
    return Card(
        **_of_training(folder, config),
        measured=measured,
        licence="unknown",
        about_licence=f"Not chosen yet: who exported the policy says it here and above. {LIBRARY} itself is MIT.",
        origin="Exported by `multispin export`.",
        measuring=f"Before the export; the `{TABLE}` of the run has all contenders." if measured else again,
        described=POLICY,
        loading=READ_ONNX + PLAY.format(env=config.env) if onnx else READ_PROGRAM,
    ).text


def is_foreign(path: Path) -> bool:
    """Whether there is a README that is no card."""
    return path.exists() and MARK not in read_bytes(path, MIB).decode(errors="replace").splitlines()


def _of_training(folder: Path, config: RunConfig) -> dict[str, Any]:
    try:
        command = command_of(folder)
    except ValueError:  # of a preset that nobody knows
        command = None
    steps = load_checkpoint(folder, MODEL).num_timesteps
    versions = read_json(folder / CONFIG).get("versions")
    known = versions if isinstance(versions, dict) else {}  # a stranger may have written anything there
    return {"config": config, "command": command, "steps": steps, "versions": known}


def _of_score(config: RunConfig, score: Mapping[str, Any]) -> Measured:
    """What ``multispin pack`` measured."""
    others = {score[name]["name"]: score[name] for name in ("best_plug_in", "reference")}
    rows = {agent_label(config): score["agent"], **others}
    intervals = {name: Interval(*(row[key] for key in Interval._fields)) for name, row in rows.items()}
    return Measured(score["metric"], _held_out(score["size"], score["cases"], score["first_seed"]), intervals)


def _of_table(folder: Path, config: RunConfig) -> Measured | None:
    """What the table of a run says of its best model; ``None`` if it has none, or one of something else."""
    measure = Measure(config.env, config.settings)
    cases = measure.compared()
    about = measure.about(cases, load_checkpoint(folder, MODEL).num_timesteps)
    try:
        table = read_json(folder / TABLE)
        if table["about"] != json.loads(json.dumps(about)):
            return None
        rows = {row.name: Interval(row.mean, row.low, row.high) for row in map(Row.from_dict, table["rows"])}
        shown = {name: rows[name] for name in (agent_label(config), cases.reference)}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Measured(cases.metric, _held_out(cases.size, cases.noun, cases.seed), shown)


def _held_out(size: int, noun: str, seed: int) -> str:
    return f"{size} held-out {noun} from seed {seed} on"


def command_of(folder: Path) -> str:
    """The command that trains a run like this one; ``ValueError`` for a scenario that is no preset."""
    config, limits = load_config(folder)
    usual = usual_choice(config.env)
    given = {name: getattr(config, name) for name, value in usual.items() if getattr(config, name) != value}
    preset = Scenario.preset(config.scenario.name).replace(**ENVIRONMENTS.load(config.env).scenario_defaults)
    if config.scenario.server:
        preset = preset.replace(server=config.scenario.server)
    own = {name: getattr(config.scenario, name) for name in Scenario.field_names()}
    others = {name: value for name, value in own.items() if value != getattr(preset, name)}
    given |= {name: others.pop(name) for name in ("num_users", "total_bandwidth") if name in others}
    if config.scenario.name != DEFAULT_SCENARIO:
        given["scenario"] = config.scenario.name
    if config.scenario.server:
        given["server"] = config.scenario.server
    given |= {name: value for name, value in vars(limits).items() if value is not None}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    changed = [*changed_arguments(config), *(f"{name}={value}" for name, value in others.items())]
    return shlex.join(["python", "train.py", *words, *(["--set", *changed] if changed else [])])


def changed_arguments(config: RunConfig) -> list[str]:
    """Arguments of its environment that are not what training takes if it is told none, in the words of ``--set``."""
    variant: type[Variant] = ENVIRONMENTS.load(config.env)
    usual = {field.name: field.default for field in fields(variant)} | own_arguments(variant)
    saved = saved_arguments(variant, config.arguments)  # files by the names that they have beside the configuration
    return [f"{name}={value}" for name, value in saved.items() if value != usual[name]]


if __name__ == "__main__":
    for name in PRETRAINED.values():
        write_atomically(ROOT / name / CARD, packed_card(ROOT / name).encode())
