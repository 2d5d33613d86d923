"""Cards of trained policies: READMEs in the format of the Hugging Face hub, which state only known facts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from multispin_agents.checkpoints import MODEL, load_checkpoint
from multispin_agents.measures import TABLE, Measure, agent_label
from multispin_agents.runs import CONFIG, RunConfig, command_of, load_config
from multispin_env.evaluation.cases import heading
from multispin_env.evaluation.comparison import METRICS, Row
from multispin_env.evaluation.policy import POLICY
from multispin_env.evaluation.statistics import Interval, markdown
from multispin_env.files import MIB, read_bytes, read_json

CARD = "README.md"

LIBRARY = "multispin_env"

_MARK = f'library_name: "{LIBRARY}"'
"""Line that distinguishes a card from a user's README."""

_READ_ONNX = """\
# pip install "multispin_env[onnx]"
from multispin_env.evaluation.policy import load_policy

policy = load_policy(".")  # this folder"""

PLAY = """
env = policy.config.make()
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(policy.act(observation))"""

TEXT = """\
---
{header}
---

# {label} for {env}

## Task

{system}. All parameters of the system are in `{described}`.

## Measured

{measured}

## Training

{command}

{facts}. {origin}

## Loading

```python
{loading}
```

## Limitations

The numbers are for this system. The network accepts other numbers of devices, but neither these nor other systems \
were measured. The devices, the radio and the server are simulated.

## Licence

{about_licence}
"""


class Measured(NamedTuple):
    """Measurement of a policy on held-out cases."""

    metric: str
    cases: str  # number, kind and first seed
    rows: Mapping[str, Interval]  # by name of the contender; the policy comes first


def policy_card(
    folder: Path, config: RunConfig, measured: Measured | None, licence: str, measuring: str, **words: str
) -> str:
    """Return the card of the policy in the folder of a run or packed agent; ``words`` are other fields of `TEXT`."""
    versions = read_json(folder / CONFIG).get("versions")
    if not isinstance(versions, dict):  # in a damaged or foreign file
        versions = {}
    steps = load_checkpoint(folder, MODEL).num_timesteps
    packages = [f"{name} {version}" for name, version in versions.items() if version]
    facts = [f"{steps:,} environment steps", f"seed {config.seed}", *packages]
    try:
        command = f"`{command_of(folder)}`"
    except ValueError:  # the system is not a preset
        command = "With a command for a custom system."
    if measured is not None:
        metric = METRICS[measured.metric]
        rows = [(name, *(f"{bound:.{metric.digits}f}" for bound in bounds)) for name, bounds in measured.rows.items()]
        table = markdown(("decided by", metric.header, "95 % interval from", "to"), rows)
        measuring = f"On {measured.cases}:\n\n{table}\n\n{measuring}"
    return TEXT.format(
        header=_header(config, licence, measured),
        label=agent_label(config),
        env=config.env.env_id,
        system=heading(config.env, f"{config.env.action} actions"),
        measured=measuring,
        command=command,
        facts=", ".join(facts),
        **words,
    )


def _header(config: RunConfig, licence: str, measured: Measured | None) -> str:
    # YAML fields that the hub reads, written as JSON
    entries: dict[str, Any] = {
        "license": licence,
        "library_name": LIBRARY,
        "tags": ["reinforcement-learning", "gymnasium", "speculative-decoding", config.env.env_id],
    }
    if measured is not None:
        policy = next(iter(measured.rows.values()))
        interval = f"95 % interval {policy.low:.6g} to {policy.high:.6g}"
        name = f"{METRICS[measured.metric].header}, {interval}, {measured.cases}"
        result = {
            "task": {"type": "reinforcement-learning", "name": config.env.env_id},
            "dataset": {"type": config.env.env_id, "name": f"{config.env.env_id}, {config.env.scenario.label}"},
            "metrics": [{"type": measured.metric, "value": float(f"{policy.mean:.6g}"), "name": name}],
        }
        index = {"name": agent_label(config), "results": [result]}
        entries |= {"metrics": [measured.metric], "model-index": [index]}
    return "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items())


def exported_card(folder: Path) -> str:
    """Return the card for an export of the run in ``folder``."""
    config, _ = load_config(folder)
    measured = _read_measured(folder, config)
    hint = "Not measured. Run `multispin evaluate RUN --out RUN` to measure it; the next export shows the result."
    return policy_card(
        folder,
        config,
        measured,
        licence="unknown",
        measuring=f"Measured before the export; `{TABLE}` of the run has all contenders." if measured else hint,
        described=POLICY,
        origin="Exported by `multispin export`.",
        loading=_READ_ONNX + PLAY,
        about_licence=f"Not chosen yet: state it here and in the header. {LIBRARY} itself is MIT.",
    )


def is_foreign(path: Path) -> bool:
    """Whether ``path`` exists and is not a card."""
    return path.exists() and _MARK not in read_bytes(path, MIB).decode(errors="replace").splitlines()


def _read_measured(folder: Path, config: RunConfig) -> Measured | None:
    measure = Measure(config.env)
    cases = measure.compared()
    about = measure.about(cases, load_checkpoint(folder, MODEL).num_timesteps)
    try:
        table = read_json(folder / TABLE)
        if table["about"] != json.loads(json.dumps(about)):
            return None
        rows = {row.name: Interval(row.mean, row.low, row.high) for row in map(Row.from_dict, table["rows"])}
        rows = {name: rows[name] for name in (agent_label(config), cases.reference)}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Measured(cases.metric, cases_label(cases.size, cases.noun, cases.seed), rows)


def cases_label(size: int, noun: str, seed: int | tuple[int, ...]) -> str:
    """Return a description of held-out cases."""
    return f"{size} held-out {noun} from seed {seed} on"
