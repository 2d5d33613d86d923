"""Functions of this package, and their calls, in one step and in one ``gymnasium.make``, after warm-up.

Comprehensions and generator expressions count as functions in Python 3.11, and each value of a generator as a call.
"""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import gymnasium as gym

import multispin_env as ms
from benchmarks.tools import Options, Row, show

WARM_UP = 20
"""Steps before the counted one."""

SUBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "Heterogeneous": ("MultiSpin/Heterogeneous-v0", {}),
    "Continuous": ("MultiSpin/Continuous-v0", {}),
    "Continuous, plain": ("MultiSpin/Continuous-v0", {"action": "plain"}),
    "Serving": ("MultiSpin/Serving-v0", {}),
}
"""Id and arguments of each environment."""


def calls_of(function: Callable[[], object]) -> Counter[CodeType]:
    """Return the number of calls of each function of the package during a call of ``function``."""
    folder = str(Path(ms.__file__).parent)
    calls: Counter[CodeType] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            calls[frame.f_code] += 1

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def rows(users: int, most: int) -> Iterator[Row]:
    for name, (env_id, arguments) in SUBJECTS.items():
        make = partial(gym.make, env_id, num_users=users, **arguments)
        env = make()
        env.reset(seed=0)
        env.action_space.seed(0)
        action = env.action_space.sample()
        for _ in range(WARM_UP):
            env.step(action)
        for path, function in ((f"step, {name}", partial(env.step, action)), (f"gym.make, {name}", make)):
            calls = calls_of(function)
            files = len({code.co_filename for code in calls})
            often = ", ".join(f"{code.co_qualname} {count}" for code, count in calls.most_common(most))
            row = {"path": path, "files": files, "functions": len(calls), "calls": calls.total()}
            yield row | ({"most often": often} if most else {})


OPTIONS: Options = {"users": (20, "number of devices K"), "most": (0, "functions to name, the most called first")}


def run(options: Namespace) -> None:
    show(f"one call, K = {options.users}", rows(options.users, options.most))
