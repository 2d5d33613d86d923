"""Play floor, reference and bound of tasks that have none yet, and store them with the package.

Stored values never change: to play a task again, delete its line of the file first.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.tools import Options, cpu_seconds, show
from multispin_env.arrays import FloatArray
from multispin_env.bounds.energy import energy_bound
from multispin_env.bounds.rate import BOUNDED_CHANNELS, rate_bound
from multispin_env.envs.continuous.endless import Continuous
from multispin_env.evaluation.cases import CERTIFICATE, Episodes
from multispin_env.evaluation.contenders import native
from multispin_env.files import write_atomically
from multispin_lab.suite.frozen import DATA, FROZEN_VALUES, VERSION, frozen_content
from multispin_lab.suite.statistics import Performance
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, RANDOM_ACTIONS, UNTRAINED, SuiteTask
from multispin_lab.suite.version import task, tasks
from tools.hashes import steps_hash

Content = dict[str, Any]

FILE = DATA / f"{VERSION}.json"


OPTIONS: Options = {"tasks": (None, "names (default: all)", {"nargs": "*"})}


def run(options: Namespace) -> None:
    """Play missing tasks; write the file after each."""
    selected = [task(name) for name in options.tasks] or tasks()
    show("Frozen just now", (_frozen(entry) for entry in selected if entry.name not in frozen_content()))


def _frozen(entry: SuiteTask) -> Mapping[str, Any]:
    played: Content = {}
    seconds = cpu_seconds(lambda: played.update(_played(entry)))
    content = frozen_content()
    content[entry.name] = played
    write_atomically(FILE, _text({item.name: content[item.name] for item in tasks() if item.name in content}).encode())
    means = {name: "-" if played[name] is None else float(np.mean(played[name])) for name in FROZEN_VALUES}
    return {"task": entry.name, **means, "middle": played["middle"], "untrained": played["untrained"], "CPU s": seconds}


def _text(content: Mapping[str, Content]) -> str:
    """Return JSON with a line for each part of the values of a task, with exact numbers."""
    lines = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
        for name, values in content.items()
    ]
    return "{\n" + "\n},\n".join(lines) + "\n}}\n"


def _played(entry: SuiteTask) -> Content:
    floor = entry.values(RANDOM_ACTIONS)
    reference = _proven(entry, entry.reference) if entry.bound == "reference" else entry.values(entry.reference)
    bound = _bound(entry, reference)
    lists = (None if values is None else values.tolist() for values in (floor, reference, bound))
    scores = {
        key: float(Performance(entry.values(name)[None], floor, reference).mean_scores[0])
        for key, name in (("middle", MIDDLE_ACTIONS), ("untrained", UNTRAINED))
    }
    steps = steps_hash(entry.config.make_vec(2), entry.seed)
    return dict(zip(FROZEN_VALUES, lists, strict=True)) | scores | {"steps": steps}


def _proven(entry: SuiteTask, name: str) -> FloatArray:
    """Return values (parts, n) of the certified optimum of each round."""
    proven = ((part, part.config.contender(name, certify=CERTIFICATE)) for part in entry.cases())
    return np.array([part.values(contender, metric=entry.metric) for part, contender in proven])


def _bound(entry: SuiteTask, reference: FloatArray) -> FloatArray | None:
    if entry.bound is None:
        return None
    if entry.bound == "reference":
        return reference
    if entry.bound == "rate_bound":
        return np.array([_rate_bound(part) for part in entry.cases()])
    if entry.bound == "energy_bound":
        return np.full(entry.shape, energy_bound(entry.config.scenario, size=4000).rate)  # of all devices together
    return _proven(entry, entry.bound)


def bounds_of(episodes: Episodes) -> FloatArray | None:
    """Return `rate_bound` (n,) in tokens/s of the system of each episode; ``None`` if it does not apply.

    Single short episodes may exceed it by chance; means over many do not.
    """
    config = episodes.config.for_any_decision
    channel = config.scenario.channel
    if channel not in BOUNDED_CHANNELS or not (type(config) is Continuous and config.acceptance_visible):
        return None
    env = episodes.env(config.replace(channel_report="old"))  # the same devices, with mean gains
    env.reset(seed=episodes.seed)  # type: ignore[arg-type]  # or a list of seeds
    base = native(env)
    gain = base.observed.system.mean_gain if channel == "independent" else None
    return rate_bound(base.scenario, base.state.system, channel=channel, mean_gain=gain).value


def _rate_bound(part: Episodes) -> FloatArray:
    known = bounds_of(part)
    if known is not None:
        return known
    env: Any = native(part.env())
    env.reset(seed=part.seed)
    gain = env._simulator.users.mean_gain  # not observed
    return rate_bound(env.scenario, env.state, channel=env.scenario.channel, mean_gain=gain, barrier=True).value
