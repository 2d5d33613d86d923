"""Agents for the page of ``multispin explore``: those of the package, and of one folder of runs."""

from functools import lru_cache
from pathlib import Path

import agents
from agents.checkpoints import MODEL
from agents.models import load_run_model
from agents.policies.network import policy_of
from agents.runs import CONFIG, load_config
from multispin_env.evaluation.policy import Policy
from multispin_env.files import beside
from multispin_env.scenario import Scenario

KEPT = 16
"""Networks that stay in memory."""

LoadedPolicy = tuple[str, Policy, tuple[str, str]]
"""The environment's id, the agent on a scenario, and Python: a line that imports, and what makes the agent then."""


def pretrained() -> tuple[str, ...]:
    """Names of the package's agents: the ids of their environments."""
    return tuple(agents.PRETRAINED)


def of_package(env_id: str, scenario: Scenario) -> LoadedPolicy:
    """Return an agent of the package; ``ValueError`` for an unknown id, or a scenario that does not suit it."""
    agent = _package(env_id)
    return env_id, agent.on(scenario), ("import agents", f"agents.load({env_id!r}).on(scenario)")


def of_run(folder: Path, scenario: Scenario) -> LoadedPolicy:
    """Return the agent of a run.

    Raises
    ------
    ValueError
        For a folder that is none of a run, has a link to another folder, or whose agent does not suit the scenario.
    """
    for name in (CONFIG, MODEL):
        if beside(folder, name) is None:
            raise ValueError(f"run: expected a folder with the files {CONFIG} and {MODEL}, got {str(folder)!r}")
    env_id = load_config(folder)[0].env
    return (
        env_id,
        load_run(folder, scenario),
        (f"from {__name__} import load_run", f"load_run({str(folder)!r}, scenario)"),
    )


def load_run(folder: str | Path, scenario: Scenario) -> Policy:
    """Load the agent of a run for a scenario, with any number of devices.

    Parameters
    ----------
    folder
        Of the run.
    scenario
        Where it decides.

    Raises
    ------
    ValueError
        For a folder that is none of a run, or a scenario with other tasks where the agent sees them.
    """
    path = Path(folder)
    return _run(path, scenario, (path / MODEL).stat().st_mtime_ns if (path / MODEL).is_file() else 0)


_package = lru_cache(KEPT)(agents.load)


@lru_cache(KEPT)
def _run(folder: Path, scenario: Scenario, changed: int) -> Policy:
    config, _ = load_config(folder)
    settings = config.settings
    return policy_of(load_run_model(folder, config.env, settings), settings).on(scenario)
