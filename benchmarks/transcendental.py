"""Numbers that go through exp, log, power and the like: ``python -m benchmarks.transcendental``.

They take most of the time where NumPy has no AVX-512 kernels (`benchmarks.plain`). The table has calls, and numbers
(entries of the result), of an env-step with its restarts, of a decision of the fast rule and of a certified one.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.subjects import DEFAULT_ID, ENCODINGS, PERIOD, PLAYED, native
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.dynamics import sample_state
from multispin_env.scenario import Scenario

SLOW = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "power", "float_power", "sqrt", "cbrt"),
    *("sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "arctan2"),
    *("arcsinh", "arccosh", "arctanh"),
)
"""Functions that are counted, where they are called by these names of ``numpy``; ``x ** y`` is not seen."""


class Counted:
    """Calls and numbers of every function of `SLOW`, while inside ``with``."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.numbers: Counter[str] = Counter()
        self._usual = {name: getattr(np, name) for name in SLOW}

    def __enter__(self) -> "Counted":
        for name, function in self._usual.items():
            setattr(np, name, self._counting(name, function))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._usual.items():
            setattr(np, name, function)

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **keywords: Any) -> Any:
            result = function(*args, **keywords)
            self.calls[name] += 1
            self.numbers[name] += np.size(result)
            return result

        return counting


def counts(play: Callable[[], object], times: int) -> tuple[float, dict[str, float]]:
    """Calls, and numbers by function, of one of ``times`` things that ``play`` does."""
    with Counted() as counted:
        play()
    return sum(counted.calls.values()) / times, {name: n / times for name, n in counted.numbers.most_common()}


def show(label: str, found: tuple[float, dict[str, float]]) -> None:
    """Print one line."""
    calls, numbers = found
    parts = ", ".join(f"{name} {number:.1f}" for name, number in numbers.items())
    print(f"{label:56}{calls:9.2f}{sum(numbers.values()):10.1f}   {parts}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-users", type=int, default=20, help="K")
    parser.add_argument("--copies", type=int, default=64, help="copies of a vector, and states of a batch")
    options = parser.parse_args()
    users, copies = options.num_users, options.copies
    print(f"{'K = ' + str(users):56}{'calls':>9}{'numbers':>10}")
    for env_id, action in [*((DEFAULT_ID, action) for action in ENCODINGS), *PLAYED.items()]:
        play = native(env_id, action, copies, users).play
        play(PERIOD)
        show(f"env-step, {env_id}, {action}", counts(lambda play=play: play(PERIOD), PERIOD * copies))  # type: ignore[misc]
    scenario = Scenario.preset("llama2", num_users=users)
    state = sample_state(scenario, np.random.default_rng(0), copies)
    for label, certify in (("rule", None), ("certificate 1e-6", 1e-6)):
        controller = make_controller("optimal", scenario, certify=certify)
        controller(state)
        show(f"decision, {label}, in a batch of {copies}", counts(lambda c=controller: c(state), copies))  # type: ignore[misc]
        show(f"decision, {label}, alone", counts(lambda c=controller: [c(state[i]) for i in range(copies)], copies))  # type: ignore[misc]


if __name__ == "__main__":
    main()
