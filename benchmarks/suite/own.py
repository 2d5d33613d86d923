"""Store the scores of action 0 and of untrained networks in the action encodings of this project's agents."""

import json
from argparse import Namespace

from benchmarks.tools import show
from multispin_env.files import write_atomically
from multispin_lab.suite.frozen import DATA, own_content
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, OWN, UNTRAINED
from multispin_lab.suite.version import task


def run(options: Namespace) -> None:
    """Play the public episodes of all tasks; the encodings stay as they are."""
    content = own_content()
    for name, own in content.items():
        for key, contender in (("middle", MIDDLE_ACTIONS), ("untrained", UNTRAINED)):
            own[key] = task(name).score(OWN + contender).score.mean
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(own)}" for name, own in content.items())
    write_atomically(DATA / "own.json", f"{{\n{lines}\n}}\n".encode())
    show("Scores without learning", ({"task": name, **own} for name, own in content.items()))
