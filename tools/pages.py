"""Pages written from the code: one for each environment, and the API."""

import contextlib
import inspect
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

import multispin_env as ms
import multispin_lab
from multispin_env.apps.commands.main import main
from multispin_env.controllers.names import ContenderName
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.defaults import span_of
from multispin_env.registry import Registry
from tools.scores import SCENARIO, scores_of, slug

ROUNDS = 8
SECONDS = 8
USERS = 8
NAMED = re.compile(r"`(MultiSpin/\w+-v\d+)`")


@dataclass(frozen=True)
class Page:
    """Page of the site."""

    path: str  # relative to its root
    title: str
    text: str
    summary: str = ""


def environment_pages(stage: Path, animations: bool) -> list[Page]:
    """Write a page for each environment, optionally with its animation."""
    return [_environment(env_id, stage, animations) for env_id in ms.registry.ENVIRONMENTS.names()]


def list_of_environments(pages: list[Page]) -> str:
    """Return the Markdown table of the pages, for the overview."""
    lines = [f"| [{page.title}]({page.path}) | {page.summary} |" for page in pages]
    return "\n".join(["One page each:", "", "| environment | |", "| --- | --- |", *lines])


def _environment(env_id: str, stage: Path, animations: bool) -> Page:
    config = ms.EnvConfig.of(env_id)
    page = inspect.getdoc(load_env_creator(str(gym.spec(env_id).entry_point))) or ""
    summary, _, rest = page.partition("\n")
    picture = ""
    if animations:
        name = f"{slug(env_id)}.gif"
        folder = stage / "environments" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        command = animate(env_id, folder / name)
        length = f"{ROUNDS} rounds" if config.family == "rounds" else f"{SECONDS} s"
        picture = (
            f"![{length} of {env_id}](images/{name})\n\n"
            f"The best known contender and another, on the same {length}; [watching](../reference/watch.md) explains "
            f"the picture.\n\n```bash\n{command}\n```"
        )
    scores, span = scores_of(env_id), span_of(config)
    users = config.scenario_defaults.get("num_users", 20)
    text = f"""# {env_id}

{summary}

```python
import gymnasium as gym, multispin_env

env = gym.make("{env_id}", scenario="llama2", num_users=20)
envs = gym.make_vec("{env_id}", num_envs=256)  # its native vector
```

{picture}

{_linked(rest.strip(), env_id)}

## Reference scores

`{scores.scenario}`, {users} devices, 10 MHz, {scores.episodes} held-out episodes of {span}, means with 95 %
bootstrap intervals; differences from `{scores.reference}` are paired, episode by episode.

{scores.table()}

`multispin compare --env {env_id} --episodes {scores.episodes}` plays them again;
`multispin evaluate NAME` compares a trained agent with its references.
"""
    title = env_id.split("/")[-1].rsplit("-v", 1)[0]
    return Page(f"environments/{slug(env_id)}.md", title, text, summary)


def _linked(text: str, env_id: str) -> str:

    def link(match: re.Match[str]) -> str:
        known = match[1] in ms.registry.ENVIRONMENTS.names() and match[1] != env_id
        return f"[{match[0]}]({slug(match[1])}.md)" if known else match[0]

    return NAMED.sub(link, text)


def animate(env_id: str, path: Path) -> str:
    """Film the best known contender and the next; return the command without its file."""
    episodes = Episodes(ms.EnvConfig.of(env_id, SCENARIO), 2)
    reference = episodes.reference
    other = next(name for name in episodes.contenders if ContenderName.parse(name) != ContenderName.parse(reference))
    options = ["--env", env_id, "--controller", reference, "--versus", other]
    options += ["--num-users", str(USERS)]
    if ms.registry.ENVIRONMENTS.load(env_id).family == "rounds":
        options += ["--rounds", str(ROUNDS), "--set", "reward=sampled"]
    else:
        options += ["--set", "reward=sampled", f"horizon={SECONDS}"]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        if main(["watch", *options, "--out", str(path)]):
            raise SystemExit(errors.getvalue())
    return shlex.join(["multispin", "watch", *options])


TABLES = {f"registry.{name}": table for name, table in vars(ms.registry).items() if isinstance(table, Registry)}

MODULES = tuple(name for name in dir(ms) if inspect.ismodule(getattr(ms, name)) and name != "registry")
"""Documented modules of the package, whose names are not at its top."""


DOORS = ("wrappers.flat_vector", "wrappers.by_device", "parallel.parallel_env")
"""Public functions that are imported at first use."""


def api_page() -> Page:
    """Return the page of all public names of the package, by module and kind."""
    lines = [f"| `{name}` | {', '.join(f'`{entry}`' for entry in table.names())} |" for name, table in TABLES.items()]
    parts = [
        "# API",
        "All public names of `multispin_env` and `multispin_lab`; other names may change without notice.",
        *_entries(ms, "##", "Functions", "Classes"),
        *(part for name in MODULES for part in _module(getattr(ms, name))),
        *_module(multispin_lab),
        *_module(multispin_lab.suite),
        "## For other libraries",
        *(f"::: multispin_env.{name}" for name in DOORS),
        "## Tables of names",
        "`register(name, target)` adds a custom part, `unregister(name)` removes it, `names()` lists them, "
        "`load(name)` returns the object.",
        "\n".join(["| table | names |", "| --- | --- |", *lines]),
        "::: multispin_env.registry.Registry",
    ]
    return Page("api.md", "API", "\n\n".join(parts) + "\n")


def public_names() -> dict[str, Any]:
    """Return all public names, with their modules, and their values."""
    modules = (ms, *(getattr(ms, name) for name in MODULES), multispin_lab, multispin_lab.suite)
    return {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__}


def _module(module: ModuleType) -> list[str]:
    return [f"## `{module.__name__}`", str(module.__doc__).strip(), *_entries(module, "###")]


def _entries(module: ModuleType, level: str, *headings: str) -> list[str]:
    values = {name: getattr(module, name) for name in module.__all__}
    kinds = (inspect.isfunction, inspect.isclass)
    lists = [[f"::: {module.__name__}.{name}" for name, value in values.items() if kind(value)] for kind in kinds]
    if not headings:
        return [*lists[0], *lists[1]]
    return [line for heading, names in zip(headings, lists, strict=True) for line in (f"{level} {heading}", *names)]
