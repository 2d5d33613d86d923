"""Agents of other modules: trained, resumed, measured and in the suite; imported only if the user names them."""

import json
import sys

import pytest

from multispin_agents import AGENTS
from multispin_agents.registry import admit
from multispin_env.apps.commands.main import main

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from stable_baselines3 import A2C
from multispin_agents.base import BaseSettings

(Path(__file__).parent / "imported").touch()


@dataclass(frozen=True)
class Plain(BaseSettings):
    num_envs: int = 4
    timesteps: int = 64

    def build(self, env, remaining, seed, device):
        return A2C("MultiInputPolicy", env, gamma=0.0, n_steps=8, seed=seed, device=device)


AGENT, KIND, NUMBER = Plain(), Plain, 3
"""

NAME = "mine.learner:AGENT"
TINY = ["--num-users", "2", "--timesteps", "64"]


def forget():
    for name in ("mine", "mine.learner"):
        sys.modules.pop(name, None)
    if NAME in AGENTS.names():
        AGENTS.unregister(NAME)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "learner.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "mine"
    forget()


@pytest.mark.slow
def test_an_agent_of_a_module_trains_goes_on_and_is_measured(module, capsys, refused):
    assert main(["train", "--agent", NAME, *TINY]) == 0
    (run,) = (module.parent / "runs").iterdir()
    assert run.name == "heterogeneous-llama2-k2-mine.learner-AGENT-residual-1"
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["agent"] == NAME
    printed = capsys.readouterr().out
    assert f"{NAME} (residual)" in printed
    assert main(["train", "--resume", str(run), "--agent", NAME, "--timesteps", "128"]) == 0
    assert main(["evaluate", str(run), "--agent", NAME, "--states", "4"]) == 0
    assert f"{NAME} (residual)" in capsys.readouterr().out
    assert "agent: expected 'mine.learner:AGENT', the agent of the run, got 'ppo'" in refused(
        "evaluate", [str(run), "--agent", "ppo"]
    )
    options = ["--agent", NAME, "--tasks", "round-8", "--seeds", "1", "--steps", "128", "--out", "out"]
    assert main(["suite", "run", *options, "--workers", "1"]) == 0  # in another process
    assert (module.parent / "out" / "round-8-0" / "policy.onnx").is_file()


def test_a_run_imports_nothing_unasked(module, refused):
    assert main(["train", "--agent", NAME, *TINY, "--name", "run"]) == 0
    forget()
    (module / "imported").unlink()
    for command in (["evaluate", "runs/run"], ["train", "--resume", "runs/run"], ["export", "runs/run"]):
        assert f"agent: expected --agent {NAME} too, since runs cannot import modules, got no such option" in refused(
            command[0], command[1:]
        )
    assert not (module / "imported").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.learner:AGNT", "got 'mine.learner:AGNT' (module 'mine.learner' has no attribute 'AGNT')"),
        ("mine.learner:NUMBER", "with num_envs, timesteps, check, for_environment, build, got 3"),
        ("mine.learner:KIND", "an object that implements AgentSettings, got <class 'mine.learner.Plain'>"),
    ],
)
def test_what_is_no_agent_is_refused(module, name, words):
    with pytest.raises(ValueError, match=r"^agent: expected ") as refusal:
        admit(name)
    assert str(refusal.value).endswith(words)
    assert name not in AGENTS.names()
