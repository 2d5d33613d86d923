"""Cards of trained policies: READMEs in the form of the Hugging Face hub, which hold what is known and nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents.checkpoints import MODEL, load_checkpoint
from agents.measures import TABLE, Measure, agent_label
from agents.runs import CONFIG, RunConfig, command_of, load_config
from multispin_env.evaluation.cases import heading
from multispin_env.evaluation.comparison import METRICS, Row
from multispin_env.evaluation.policy import POLICY
from multispin_env.evaluation.statistics import Interval, markdown
from multispin_env.files import MIB, read_bytes, read_json

CARD = "README.md"

LIBRARY = "multispin_env"

_MARK = f'library_name: "{LIBRARY}"'
"""Line by which a card is known from a README that somebody wrote."""

_READ_ONNX = """\
# pip install "multispin_env[onnx]"
from multispin_env.evaluation.policy import load_policy

policy = load_policy(".")  # this folder"""

PLAY = """
env = policy.config.make()
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(policy.act(observation))"""

_READ_PROGRAM = """\
import torch

network = torch.export.load("policy.pt2").module()  # its inputs are those of policy.json, in their order"""

TEXT = """\
---
{header}
---

# {label} for {env}

## Task

{system}; `{described}` has every number of the system.

## Measured

{measured}

## How it was made

{command}

{facts}. {origin}

## How to load it

```python
{loading}
```

## Limits

The numbers hold for this system. Other systems, and other numbers of devices, which the network takes too, were \
not measured here. The devices, the radio and the server are simulated.

## Licence

{about_licence}
"""


class Measured(NamedTuple):
    """Measurement of a policy on held-out cases."""

    metric: str
    cases: str  # how many, of what, from which seed
    rows: Mapping[str, Interval]  # by what decided; the policy comes first


def policy_card(
    folder: Path, config: RunConfig, measured: Measured | None, licence: str, measuring: str, **words: str
) -> str:
    """Card of a policy of a run or a packed agent, by its folder; the words are those of `TEXT`."""
    versions = read_json(folder / CONFIG).get("versions")
    known = versions if isinstance(versions, dict) else {}  # a stranger may have written anything there
    steps = load_checkpoint(folder, MODEL).num_timesteps
    packages = [f"{name} {version}" for name, version in known.items() if version]
    facts = [f"{steps:,} environment steps", f"seed {config.seed}", *packages]
    return TEXT.format(
        header=_header(config, licence, measured),
        label=agent_label(config),
        env=config.env.env_id,
        system=heading(config.env, f"{config.env.action} actions"),
        measured=f"Not measured. {measuring}" if measured is None else f"{_table(measured)}\n\n{measuring}",
        command=_command(folder),
        facts=", ".join(facts),
        **words,
    )


def _header(config: RunConfig, licence: str, measured: Measured | None) -> str:
    """Fields that the hub reads: YAML, of which JSON is a part."""
    entries: dict[str, Any] = {
        "license": licence,
        "library_name": LIBRARY,
        "tags": ["reinforcement-learning", "gymnasium", "speculative-decoding", config.env.env_id],
    }
    if measured is not None:
        own = next(iter(measured.rows.values()))
        interval = f"95 % interval {own.low:.6g} to {own.high:.6g}"
        name = f"{METRICS[measured.metric].header}, {interval}, {measured.cases}"
        result = {
            "task": {"type": "reinforcement-learning", "name": config.env.env_id},
            "dataset": {"type": config.env.env_id, "name": f"{config.env.env_id}, {config.env.scenario.label}"},
            "metrics": [{"type": measured.metric, "value": float(f"{own.mean:.6g}"), "name": name}],
        }
        index = {"name": agent_label(config), "results": [result]}
        entries |= {"metrics": [measured.metric], "model-index": [index]}
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items())


def _table(measured: Measured) -> str:
    of = METRICS[measured.metric]
    lines = [(name, *(f"{value:.{of.digits}f}" for value in interval)) for name, interval in measured.rows.items()]
    return f"On {measured.cases}:\n\n{markdown(('decided by', of.header, '95 % interval from', 'to'), lines)}"


def _command(folder: Path) -> str:
    try:
        return f"`{command_of(folder)}`"
    except ValueError:  # of a preset that nobody knows
        return "By a command that names a system of its own."


def exported_card(folder: Path, onnx: bool) -> str:
    """Card of the export of a run, by the run's folder; ``onnx`` if there is that file to load."""
    config, _ = load_config(folder)
    measured = _of_table(folder, config)
    again = "`multispin evaluate RUN --out RUN` measures it, and the next export has the numbers."
    return policy_card(
        folder,
        config,
        measured,
        licence="unknown",
        measuring=f"Before the export; the `{TABLE}` of the run has all contenders." if measured else again,
        described=POLICY,
        origin="Exported by `multispin export`.",
        loading=_READ_ONNX + PLAY if onnx else _READ_PROGRAM,
        about_licence=f"Not chosen yet: who exported the policy says it here and above. {LIBRARY} itself is MIT.",
    )


def is_foreign(path: Path) -> bool:
    """Whether there is a README that is no card."""
    return path.exists() and _MARK not in read_bytes(path, MIB).decode(errors="replace").splitlines()


def _of_table(folder: Path, config: RunConfig) -> Measured | None:
    measure = Measure(config.env)
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
    return Measured(cases.metric, cases_label(cases.size, cases.noun, cases.seed), shown)


def cases_label(size: int, noun: str, seed: int) -> str:
    """Held-out cases as text."""
    return f"{size} held-out {noun} from seed {seed} on"
