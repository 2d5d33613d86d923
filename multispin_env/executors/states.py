"""Decisions for very many states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multispin_env.checks import check_integer
from multispin_env.controllers.factory import make_controller
from multispin_env.executors.base import Executor
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some of the states, and who decides."""

    name: str
    scenario: Scenario
    state: SystemState
    options: Mapping[str, Any]


def decide_chunk(chunk: Chunk) -> Decision:
    """Decide for one chunk, as executors call it."""
    return make_controller(chunk.name, chunk.scenario, **chunk.options)(chunk.state)


def decide(
    executor: Executor, name: str, scenario: Scenario, state: SystemState, *, chunk: int = 5000, **options: Any
) -> Decision:
    """Let a controller decide for many states, some of them in each task (ours).

    Parameters
    ----------
    executor
        Who does the tasks, such as ``Processes(4)``.
    name, scenario, options
        As `make_controller` takes them; a controller that draws numbers would draw the same in each task.
    state
        Arrays (n, K).
    chunk
        States of a task, ≥ 1; by default about a second for the certified optimum at K = 20.

    Returns
    -------
    Decision
        Arrays (n, K), the same as of the controller itself; a `CertifiedDecision` with ``certify``.

    Raises
    ------
    ValueError, TypeError
        As `make_controller`, for a bad chunk, or with the last line of what went wrong in a task.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> from multispin_env.executors.serial import Serial
    >>> from multispin_env.executors.states import decide
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> decide(Serial(), "optimal", scenario, state, chunk=2).draft_length.shape
    (5, 3)
    """
    check_integer("chunk", chunk, 1)
    make_controller(name, scenario, **options)  # refuses what it does not take here, not in each task
    starts = range(0, len(state.draft_time), chunk)
    tasks = [Chunk(name, scenario, state[start : start + chunk], options) for start in starts]
    found: dict[int, Decision] = {}
    for result in executor.results(decide_chunk, tasks):
        if result.error:
            raise ValueError(result.error.strip().splitlines()[-1])
        found[result.index] = result.value
    return type(found[0]).joined([found[index] for index in range(len(tasks))])
