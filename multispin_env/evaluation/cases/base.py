"""Cases: states or episodes that contenders are compared on, the same for everyone."""

from collections.abc import Mapping
from typing import Any

from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.cases.states import States
from multispin_env.scenario import Scenario

Cases = States | Episodes


def listed_contenders(cases: Cases) -> dict[str, str]:
    """The reference of cases and all that is worth comparing there, each once, for their ``table``."""
    return {name: name for name in (cases.reference, *cases.contenders)}


def heading(env_id: str, arguments: Mapping[str, Any], scenario: Scenario, what: str) -> str:
    """The system that a table is about, and what it shows of it, in a line."""
    chosen = "".join(f", {name}={value}" for name, value in arguments.items())
    megahertz = scenario.total_bandwidth / 1e6
    return f"{env_id}{chosen}, {scenario.label}, K = {scenario.num_users}, B = {megahertz:g} MHz, {what}"
