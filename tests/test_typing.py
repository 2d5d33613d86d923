"""Types that a user's type checker sees: those of a family where a configuration is of one, and any elsewhere."""

import re
import subprocess
import sys

import pytest

from tests.repository import ROOT

CODE = """
import multispin_env as ms

def one_family(rounds: ms.RoundsConfig, free: ms.ContinuousConfig) -> None:
    reveal_type(rounds.simulator(2).state)  # type is "SystemState"
    reveal_type(free.simulator(2).planned)  # type is "ContinuousState"
    reveal_type(free.actions.decode(free.actions.space.sample(), free.simulator(2).state))  # "ContinuousDecision"
    of_rounds: ms.EnvConfig[ms.SystemState, ms.Decision] = rounds
    reveal_type(of_rounds.actions)  # type is "ActionCodec[SystemState, Decision]"
    reveal_type(of_rounds.simulator(2).step)  # -> Step[Decision, Any]"
    of_rounds = free  # Incompatible types in assignment

def any_family(config: ms.EnvConfig, controller: ms.Controller) -> None:
    reveal_type(config.actions)  # type is "ActionCodec[Any, Any]"
    reveal_type(controller.decide(config.simulator(2).state))  # type is "Any"
    config.actions.length  # has no attribute "length"

scenario = ms.Scenario.preset("llama2")
any_family(ms.EnvConfig.of("MultiSpin/Serving-v0", num_users=4), ms.make_controller("optimal", scenario))
length: int = ms.make_controller("fixed", scenario, draft_length=4).draft_length
parts: list[str] = ms.make_controller("optimal+beta", scenario).parts
"""
"""Code with a part of the checker's message for each line that has one."""


@pytest.mark.slow
def test_types_in_the_code_of_a_user(tmp_path):
    file = tmp_path / "user.py"
    file.write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--strict", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout
    messages = dict(re.findall(r"user\.py:(\d+): \w+: (.*)", re.sub(r"\bmultispin_env[\w.]*\.", "", output)))
    expected = {str(row): line.split("  # ")[1] for row, line in enumerate(CODE.splitlines(), 1) if "  # " in line}
    assert messages.keys() == expected.keys(), output
    for row, part in expected.items():
        assert part in messages[row]
