"""``python .ci/wheel.py WHEEL``: the wheel alone, away from the checkout, in a fresh environment of each Python here.

Of the checkout it reads the guide's first example only. Versions that are not installed are left out, and training is
tried in the version that runs this program.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
START = Path(__file__).parents[1] / "docs" / "start.md"

STEP = """
import gymnasium as gym, multispin_env
for name in filter(lambda name: name.startswith("MultiSpin/"), list(gym.registry)):
    env = gym.make(name)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    print(name)
"""

PLAY = """
import multispin_agents, gymnasium as gym
for name in multispin_agents.PRETRAINED:
    agent = multispin_agents.load(name)
    env = gym.make_vec(name, num_envs=1, **agent.arguments)
    env.step(agent.act(env.reset(seed=0)[0]))
    print(name)
"""

LAB = """
import multispin_env as ms, multispin_lab
names = [task.name for task in multispin_lab.suite.tasks()]
largest = multispin_lab.capacity(ms.Scenario.preset("llama2"), tpot=0.3, states=2)
print(", ".join(names), "and", largest, "devices in time")
"""

DEVICES = "draft_time_ms,snr_db,acceptance_rate\n12,15,0.8\n20,8,0.7\n"


class Installation:
    """An environment with the wheel, and a folder with a file of devices that its commands run in."""

    def __init__(self, python: str, folder: Path, wheel: Path) -> None:
        self.folder, self.wheel, self.bin = folder, wheel, folder / "venv" / "bin"
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
        (folder / "devices.csv").write_text(DEVICES, encoding="utf-8")

    def install(self, extra: str = "") -> None:
        """Install the wheel with an extra, or with none."""
        self.run("pip", "install", "-q", "--disable-pip-version-check", f"{self.wheel}{extra}")

    def call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call a program of the environment, which sees nothing of the checkout."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(self.bin / program), *arguments]
        return subprocess.run(command, cwd=self.folder, env=bare, check=False, capture_output=True, text=True)

    def run(self, program: str, *arguments: str) -> str:
        """Call a program that must succeed; returns what it prints."""
        done = self.call(program, *arguments)
        if done.returncode:
            sys.exit(f"{program} {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def check_help(one: Installation) -> None:
    """Each command that is listed has help, or one sentence that names its extra."""
    shown = re.split(r"commands[^\n]*:\n", one.run("multispin", "--help"), maxsplit=1)[-1].partition("\n\n")[0]
    listed = re.findall(r"^  (\w+) .*?(?:\[(\w+)\])?$", shown, re.MULTILINE)
    if "solve" not in dict(listed):
        sys.exit("multispin --help: expected a list of commands")
    without = []
    for name, extra in listed:
        done = one.call("multispin", name, "--help")
        wanted = rf'multispin {name}: .*pip install "multispin_env\[{extra}\]"\n'
        if done.returncode and not (extra and re.fullmatch(wanted, done.stderr)):
            sys.exit(f"multispin {name} --help: expected help or the extra, got {done.stderr}")
        if done.returncode:
            without.append(name)
    print(f"  help of {len(listed)} commands; a sentence on the extra: {', '.join(without) or 'none'}")


def check_base(one: Installation) -> None:
    """What works without an extra."""
    print(f"  stepped: {', '.join(one.run('python', '-c', STEP).split())}")
    example = START.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")
    printed = example[2].partition("```text\n")[2].partition("```")[0]
    if (found := one.run("python", "-c", example[0])) != printed:
        sys.exit(f"docs/start.md: expected\n{printed}, got\n{found}")
    print(f"  the lab: {one.run('python', '-c', LAB).strip()}")
    check_help(one)
    one.run("multispin", "solve", "devices.csv")
    one.run("multispin", "compare", "--num-users", "2", "--episodes", "2", "--controllers", "optimal", "fixed")
    one.run("multispin", "suite")


def check_train(one: Installation) -> None:
    """Check training, and the pretrained agents beside openai-agents, whose package has the name ``agents``."""
    one.run("pip", "install", "-q", "--disable-pip-version-check", "openai-agents")
    one.run("python", "-c", "from agents import Runner; from multispin_agents import AGENTS")
    check_help(one)
    one.run("multispin", "train", "--num-users", "2", "--timesteps", "512", "--name", "mine")
    print(f"  played: {', '.join(one.run('python', '-c', PLAY).split())}")


def runs(python: str) -> bool:
    """Whether this Python is installed, and is not only the name of one that is not."""
    return shutil.which(python) is not None and not subprocess.run([python, "-c", ""], capture_output=True).returncode


def main() -> None:
    """Check the wheel; ends with the first thing that fails."""
    wheel = Path(sys.argv[1]).resolve()
    there = [name for name in PYTHONS if runs(name)]
    for python in there:
        with TemporaryDirectory() as folder:
            one = Installation(python, Path(folder), wheel)
            print(f"{python}: the wheel alone", flush=True)
            one.install()
            check_base(one)
            if python == f"python3.{sys.version_info.minor}":  # torch takes long to install
                print(f"{python}: the wheel with [train]", flush=True)
                one.install("[train]")
                check_train(one)
    if not there:
        sys.exit(f"expected one of {', '.join(PYTHONS)}")


if __name__ == "__main__":
    main()
