"""``multispin`` as a user meets it: help, wrong use, missing parts, pipes, whole files."""

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from multispin_env.apps.commands import main as entry
from multispin_env.apps.terminal.arguments import RESERVED, separate_settings
from multispin_env.checks import UNITS
from multispin_lab.reproduce import FIGURES

ROOT = Path(__file__).parents[3]

DEVICES = ROOT / "examples" / "devices.csv"
ALIASES = {name: command.alias for name, command in entry.COMMANDS.items() if command.alias}


@pytest.fixture(params=entry.COMMANDS)
def name(request):
    return request.param


def without(packages, *arguments, code="sys.exit(main(arguments))"):
    """Run without packages, separated by spaces."""
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in {packages.split()!r}:
            raise ModuleNotFoundError(name, name=package)

sys.meta_path.insert(0, Missing())
from multispin_env.apps.commands.main import COMMANDS, main
arguments = {list(arguments)!r}
{code}
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_console_script_runs_this_function(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["multispin"])
    module, _, name = project()["scripts"]["multispin"].partition(":")
    assert getattr(import_module(module), name)() == entry.main([])


INTERRUPTED = """
import os, signal, sys
import multispin
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
multispin.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_an_interrupt_of_the_imports_is_one_line():
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "multispin: stopped by SIGINT\n")


def project():
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


def test_help_needs_no_extra():
    extras = project()["optional-dependencies"]
    packages = {re.split(r"[^\w-]", line)[0] for name in EXTRAS for line in extras[name]} - {"multispin_env"}
    modules = {name.removesuffix("-ce").removesuffix("-core").replace("-", "_") for name in packages} | {"PIL"}
    done = without(" ".join(modules), code=ALL_HELP)
    assert (done.returncode, done.stderr) == (0, "")


EXTRAS = ("render", "train", "onnx", "export", "suite", "app", "models", "tables")
ALL_HELP = """
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as over:
        assert over.code == 0, name
    else:
        raise AssertionError(name)
"""


def ended(capsys, *arguments):
    try:
        status = entry.main(arguments)
    except SystemExit as over:
        status = over.code
    return status, capsys.readouterr()


def test_help_names_every_command_with_its_extra_and_shows_examples(capsys):
    status, printed = ended(capsys, "--help")
    assert (status, printed.err) == (0, "")
    for name, command in entry.COMMANDS.items():
        extra = f" [{command.extra}]" if command.extra else ""
        assert re.search(rf"^  {name} +{re.escape(command.summary + extra)}$", printed.out, re.MULTILINE)
    assert "examples:\n  multispin solve --scenario llama2 examples/devices.csv\n" in printed.out
    assert {line.split()[0] for line, _ in WRONG} == entry.COMMANDS.keys()
    assert ended(capsys) == (2, ("", printed.out))
    assert ended(capsys, "--version")[1].out == f"multispin_env {metadata.version('multispin_env')}\n"


def test_the_page_has_the_extra_and_the_alias_of_each_command():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    row = r"^\| `multispin (\w+)[^|]*\|[^|]*\| (?:`\[(\w+)\]`)? *\| (?:`([^`]+?)(?: NAME)?`)? *\|$"
    rows = {name: (extra, alias) for name, extra, alias in re.findall(row, page, re.MULTILINE)}
    assert rows == {name: (command.extra, command.alias) for name, command in entry.COMMANDS.items()}
    assert {extra for extra, _ in rows.values()} - {""} <= project()["optional-dependencies"].keys()


PAGES = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))


def test_parsers_show_units_and_take_the_examples_of_help_and_pages(name):
    command, units = entry.load_command(name), {"seconds": "S", "Hz": "HZ", "percent": "PERCENT"}
    for option in command.parser(name)._actions:
        if option.dest in UNITS:
            assert (option.metavar or option.dest.upper()) == units[UNITS[option.dest].name]
    shown = re.findall(rf"^multispin {name}\b((?:.*\\\n)*.*)", PAGES, re.MULTILINE)
    for line in (*command.examples, *(re.sub(r"\\\n *", "", line) for line in shown)):
        words = re.split(r"  | <", line)[0].split()  # without a comment
        command.parser(name).parse_args(separate_settings(words))


def test_every_command_has_help_with_examples_and_refuses_unknown_options(name, capsys):
    status, printed = ended(capsys, name, "--help")
    assert (status, printed.err) == (0, "")
    assert printed.out.startswith(f"usage: multispin {name} ")
    assert f"\nexamples:\n  multispin {name}" in printed.out
    status, printed = ended(capsys, name, "--no-such-option")
    assert (status, printed.out) == (2, "")
    assert re.fullmatch(rf"multispin {name}: .*expected .*, got (none|'no-such-option'.*)\n", printed.err)


WRONG = (
    ("train --num-users 0", "num_users: expected"),
    ("evaluate nowhere", "nowhere"),
    (
        "testbed --scenario llama2 --target large --prompts none.txt --out run --rounds 5",
        "rounds: expected an integer ≥ 6",
    ),
    ("join --connect nowhere --draft small --dtype int8", "dtype: expected one of ['float32', 'bfloat16', 'float16']"),
    ("compare --episodes 1", "episodes: expected"),
    ("compare --json nowhere/table.json", "file: expected a file in a folder that exists, got 'nowhere/table.json'"),
    ("compare --workers 0", "workers: expected an integer ≥ 1, got 0"),
    ("compare --num-users 3 --set num_users=3", "set: expected 'num_users' once, got --num-users too"),
    ("compare --total-bandwidth 5e6 --set total_bandwidth=5e6", "once, got --total-bandwidth too"),
    ("compare --set scenario=llama2", f"set: expected a name other than {list(RESERVED)}, got 'scenario'"),
    ("compare --set num_users=1 num_users=2", "set: expected 'num_users' once, got it twice"),
    ("compare --set a", "set: expected NAME=VALUE, got 'a'"),
    ("suite evaluate no/where", "entry: expected a folder that exists"),
    ("suite evaluate nodir", "entry: expected a folder that exists, or one of ['fixed', "),
    ("suite evaluate optimal+filtr", "got 'filtr'; did you mean 'filter'?"),
    ("suite evaluate optmal", "got 'optmal'; did you mean 'optimal'?"),
    ("suite run --agent ppo", "seeds, out: expected --seeds N (trainings per task, with seeds 0 to N - 1) and "),
    ("suite data late --by fixed", "episodes: expected --episodes N (number of episodes), got none"),
    ("suite data late --by fixed --episodes 2 --sed 3", "got 'sed'; did you mean 'seed'?"),
    ("suite table", "entries: expected ENTRY (folders of entries), got none"),
    ("suite tabel", "PART: expected one of ['run', 'evaluate', 'table', 'data'], got 'tabel'; did you mean 'table'?"),
    ("solve", "file: expected file (devices as CSV or JSON; - reads standard input), got none"),
    ("solve x.csv y.csv", "arguments: expected no more, got 'y.csv'"),
    ("solve x.csv --certfy=0.1", "got 'certfy'; did you mean 'certify'?"),
    ("solve x.csv --certify", "certify: expected one argument, got none"),
    ("solve x.csv --total-bandwidth 5MHz", "total_bandwidth: expected a number, got '5MHz'"),
    ("solve x.csv --fleet=", "fleet: expected a text, got ''"),
    ("compare --workers 2 --ray", "ray: expected none with --workers, got one"),
    ("compare --episodes 2.5", "episodes: expected an integer, got '2.5'"),
    ("suite evaluate groups --out out", "rule: expected one that sees only what hidden shows, got 'groups'"),
    ("suite evaluate os:getcwd --out out", "rule: expected the name of a rule of the package"),
    ("suite evaluate fixed --out out --tasks lat", "did you mean 'late'"),
    ("suite evaluate fixed --out out --workers 0", "workers: expected"),
    ("reproduce --only bandwith", "did you mean 'bandwidth'"),
    ("reproduce --only users nothing", f"figure: expected one of {list(FIGURES.names())}, got 'nothing'"),
    ("reproduce --seed -1", "seed: expected an integer ≥ 0, got -1"),
    ("watch --out film.gif --rounds 0", "rounds: expected an integer ≥ 1, got 0"),
    ("watch --out film.gif --fps 0", "fps: expected a finite number in [1, 60], got 0.0"),
    ("watch --set render_mode=human", "'rounds', 'render_mode'], got 'render_mode'"),
    ("watch --versus-set rounds=3", "'rounds', 'render_mode'], got 'rounds'"),
    ("watch --env MultiSpin/Serving-v0 --set max_episode_steps=9", "; use horizon for the length of an episode"),
    ("watch --out film.avi", "out: expected one of ['.gif', '.mp4'], got '.avi'"),
    ("watch --out nowhere/film.gif", "out: expected a file in a folder that exists, got 'nowhere/film.gif'"),
    ("watch --versus-set drift=1", "an argument of MultiSpin/Heterogeneous-v0 or a field of the scenario, got 'drift'"),
    ("watch --versus-set draft=1", "draft: expected one of"),
    ("watch --versus-set draft_ahead", "versus-set: expected NAME=VALUE, got 'draft_ahead'"),
    ("explore --port -1", "port: expected"),
    ("explore --port 0 --scenario nowhere.toml", "nowhere.toml"),
    ("explore --port 0 --host no.such.host.invalid", "host and port: expected a free address"),
    ("explore --print /nowhere", "view: expected one of"),
    ("explore --print /landscape?num_users=0", "num_users: expected an integer in 1..40, got 0"),
    ("solve nowhere.csv", "file: expected a CSV or JSON file, got 'nowhere.csv' (No such file"),
    ("solve .", "file: expected a CSV or JSON file, got '.' (Is a directory"),
    (f"solve {DEVICES} --controller optimal+filter", "got 'optimal+filter'"),
    (f"solve {DEVICES} --certify 2", "certify: expected a finite number in [1e-10, 1), got 2.0"),
    (f"solve {DEVICES} --certify 0.1 --controller homogeneous", "one of ['optimal'], which have the option certify"),
    (f"solve {DEVICES} --set num_users=3", "fields other than num_users, the number of rows (6), got 'num_users'"),
    (f"solve {DEVICES} --csv - --json", "file: expected standard output ('-') once, got it twice"),
    ("capacity --ttft 0", "ttft: expected"),
    ("drafts --profiles eagle-4", "did you mean 'eagle-3'"),
    (f"solve {DEVICES} --certificate proof.json", "certify: expected a relative gap with --certificate"),
    (f"solve {DEVICES} --certify 0.1 --controller fixed --certificate x", "['optimal'], which have the option certify"),
    (f"solve {DEVICES} --certify 0.1 --certificate none/x", "file: expected a file in a folder that exists"),
    (
        f"solve {DEVICES} --certify 0.1 --json --certificate -",
        "file: expected standard output ('-') once, got it twice",
    ),
    ("check nowhere.json", "file: expected a certificate, got 'nowhere.json' ("),
    (f"check {DEVICES}", "file: expected a certificate, got"),
    (f"check {ROOT / 'docs/results/tune_estimators.json'}", "format: expected one of ['multispin certificate 1', "),
    ("schedule --max-batch 0", "max_batch: expected an integer"),
    ("schedule --draft-time -1", "draft_time: expected a finite number"),
    ("schedule --format vlm", "did you mean 'vllm'"),
    ("schedule --server a100-32", "did you mean 'a100-32b'"),
    ("profile --target nowhere --repeats 0 --out mine", "repeats: expected"),
    ("record --out m", "--from-counts, --counters, --acceptance-length and --read, got none"),
    ("record --prompts x.txt --target x --from-counts y.csv --out m", "got --prompts and --from-counts"),
    ("record --counters x --acceptance-length 2 --out m", "got --counters and --acceptance-length"),
    ("record --counters x.txt --out m", "counters: expected a readable text file, got 'x.txt'"),
    ("record --counters x.txt --drafted 0 --out m", "drafted: expected an integer ≥ 1, got 0"),
    ("record --acceptance-length 2 --drafted 4", "out: expected a name for the files to write, got none"),
    ("record --acceptance-length 2 --out m", "drafted: expected an integer ≥ 1, got None"),
    ("record --acceptance-length 5.1 --drafted 4 --out m", "acceptance_length: expected a finite number in"),
    ("record --acceptance-length 0.9 --drafted 4 --out m", "in [1, 5], got 0.9"),
    ("record --acceptance-length nan --drafted 4 --out m", "in [1, 5], got nan"),
    ("record --prompts x.txt --out m", "target: expected a model, got none"),
    ("record --prompts x.txt --target x", "out: expected a name for the files to write, got none"),
    ("record --prompts x.txt --target x --out ..", "out: expected a name for the files to write, got '..'"),
    ("record --prompts x.txt --target x --out none/m", "file: expected a file in a folder that exists"),
    ("record --prompts x.txt --target x --out m --tokens 7", "tokens: expected an integer ≥ 8, got 7"),
    ("record --prompts x.txt --target x --out m --temperature -1", "temperature: expected a finite number in [0, inf)"),
    ("record --prompts x.txt --target x --out m --dtype float23", "did you mean 'float32'"),
    ("record --prompts x.txt --target x --out m", "prompts: expected a readable .txt file, got 'x.txt'"),
    ("live --target nowhere --prompts nowhere.txt --out live", "nowhere.txt"),
    ("export nowhere", "nowhere"),
)


@pytest.mark.parametrize(("line", "words"), WRONG, ids=[line for line, _ in WRONG])
def test_bad_values_are_one_sentence_and_status_2(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert entry.main(line.split()) == 2
    printed = capsys.readouterr()
    message = printed.err.splitlines()[-1]
    assert printed.out == ""
    assert re.fullmatch(rf"multispin {line.split()[0]}: .*expected .*, got .*", message)
    assert words in message
    assert len(message) < 800
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "alias"), ALIASES.items())
def test_the_other_name_of_a_command_is_the_one_in_its_messages(name, alias, monkeypatch, capsys):
    *_, last = program = alias.split()[1:]
    file = find_spec(last).origin if "-m" in program else last
    monkeypatch.chdir(ROOT)
    wrong = ["--num-users", "0"] if name == "train" else ["nowhere"]
    for arguments, status in ((["--help"], 0), (wrong, 2)):
        monkeypatch.setattr("sys.argv", [last, *arguments])
        with pytest.raises(SystemExit) as over:
            runpy.run_path(file, run_name="__main__")
        printed = capsys.readouterr()
        assert over.value.code == status
        if status == 0:
            assert re.match(rf"usage: {alias} .*\nexamples:\n  {alias}", printed.out, re.DOTALL)
        else:
            assert re.fullmatch(f"{alias}: .*\n", printed.err)


def test_unknown_command_suggests_the_nearest(capsys):
    status, printed = ended(capsys, "slove")
    assert (status, printed.out) == (2, "")
    assert re.fullmatch(r"multispin: command: expected one of .*, got 'slove'; did you mean 'solve'\?\n", printed.err)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "torch evaluate nowhere",
        "tensorboard train",
        "matplotlib reproduce --quick --out results/none",
        "pygame watch --out none.gif",
        "safetensors export nowhere",
        "torch profile --target nowhere --out none",
        "starlette explore --port 0 --no-browser",
    ],
)
def test_a_missing_package_is_one_sentence_with_the_extra_of_the_table(line):
    package, name, *arguments = line.split()
    done = without(package, name, *arguments)
    remedy = f'install it with: pip install "multispin_env[{entry.COMMANDS[name].extra}]"'
    assert done.returncode == 2
    assert done.stderr == f"multispin {name}: the package {package!r} is missing; {remedy}\n"


def test_a_module_of_ours_that_is_missing_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(entry.COMMANDS, "export", entry._Entry("multispin_agents.nowhere", ""))
    assert entry.main(["export"]) == 2
    words = "multispin export: the module 'multispin_agents.nowhere' is missing; install multispin_env again\n"
    assert capsys.readouterr().err == words


def test_commands_without_an_extra_print_json_or_numbers_alone(tmp_path):
    (tmp_path / "log.csv").write_text("request,task,drafted,accepted\n1,x,4,4\n2,x,4,1\n", encoding="utf-8")
    lines = (
        "compare --num-users 3 --episodes 2 --set rounds=2 --json -",
        "explore --print /one-round?num_users=2",
        f"record --from-counts {tmp_path / 'log.csv'} --out {tmp_path / 'mine'}",
    )
    done = without("starlette torch", *lines, code="assert not any(main(line.split()) for line in arguments)")
    assert done.returncode == 0, done.stderr
    table, end = json.JSONDecoder().raw_decode(done.stdout)
    assert table["about"]["command"].startswith("multispin compare --num-users 3")
    assert "'optimal': " in done.stdout[end:]
    assert "4 of 9, optimal\n" in done.stderr
    assert list(tmp_path.glob("mine*"))


def test_a_closed_pipe_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "multispin_env", "--help"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=ROOT, env=buffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


SCRIPT = """
import json, os, sys
from pathlib import Path
import multispin_env as ms
from multispin_agents import training
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.cases import StateCases
opened = set()
def listen(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        opened.add(os.path.abspath(os.fsdecode(arguments[0])))
training.VALIDATIONS, StateCases.default_size = 2, 10
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
solve {DEVICES} --csv solve.csv
watch --num-users 2 --rounds 2 --out film.gif
reproduce --quick --only remark-2 --out figures
train --num-users 2 --timesteps 512 --name run
evaluate run --out again --json evaluate.json
"""


@pytest.mark.slow
def test_commands_write_whole_files(tmp_path):
    """They write each file under another name and rename it at the end."""
    command, lines = [sys.executable, "-c", SCRIPT], COMMANDS.strip()
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole, in_place = json.loads(done.stdout.splitlines()[-1])
    assert {Path(name).suffix for name in whole} >= {".json", ".csv", ".toml", ".gif", ".png", ".svg", ".html"}
    assert {name for name in in_place if not name.startswith("runs/run/tensorboard/")} == {"runs/run/.lock"}
