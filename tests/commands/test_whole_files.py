"""Commands write each file under another name, and put it in its place when it is whole."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, sys
from pathlib import Path

import multispin_env as ms
from agents import training
from multispin_env.commands.main import main
from multispin_env.evaluation.cases import States

opened = set()


def listen(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        opened.add(os.path.abspath(os.fsdecode(arguments[0])))


training.VALIDATIONS, States.default_size = 2, 10
sys.addaudithook(listen)
for line in sys.stdin:
    assert main(line.split()) == 0, line
ms.Scenario.preset("llama2").save("scenario.toml")
files = {str(path) for path in Path.cwd().rglob("*") if path.is_file()}
print()
print(json.dumps([[os.path.relpath(file) for file in some] for some in (files - opened, files & opened)]))
"""

COMMANDS = f"""
compare --num-users 2 --episodes 2 --controllers fixed --json compare.json --csv compare.csv
solve {Path(__file__).parents[2] / "examples" / "devices.csv"} --csv solve.csv
watch --num-users 2 --rounds 2 --out film.gif
reproduce --quick --only remark-2 --out figures
train --num-users 2 --timesteps 512 --name run
evaluate run --out again --json evaluate.json
pack run --commit {"0" * 40} --size 2 --out packed
sweep --num-users 2 --tune width=4,8 --trials 1 --timesteps 512 --out sweep
"""

IN_PLACE = {"runs/run/.lock", "sweep/study.log"}
"""Beside the log of TensorBoard: files that grow, or hold nothing."""


def test_commands_write_whole_files(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=COMMANDS.strip(),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    whole, in_place = json.loads(done.stdout.splitlines()[-1])
    assert {Path(name).suffix for name in whole} >= {".json", ".csv", ".toml", ".gif", ".png", ".svg", ".html"}
    assert {name for name in in_place if not name.startswith("runs/run/tensorboard/")} == IN_PLACE
