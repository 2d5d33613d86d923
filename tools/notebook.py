"""A notebook with its stored outputs as a page."""

import base64
import json
import re
from pathlib import Path
from typing import Any

HOSTED = re.compile(r"\(https://github\.com/\w+/multispin_env/blob/main/docs/")
"""Links of notebooks to our pages, absolute since relative links do not work in hosted notebooks."""

BADGE = re.compile(r"!\[([^]]*)\]\(https://[^)]*\)")
"""External pictures, which the site does not load."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook file."""
    listed: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return listed


def text_of(lines: str | list[str]) -> str:
    """Return the text that a notebook stores as a string or as lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def to_markdown(notebook: Path, folder: Path) -> str:
    """Return the Markdown of a notebook, and write its pictures into the folder of the page."""
    parts: list[str] = []
    for cell in cells(notebook):
        source = text_of(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(HOSTED.sub("(../", BADGE.sub(r"\1", source)))
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [_output(output, notebook.stem, folder, len(parts)) for output in cell["outputs"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: dict[str, Any], stem: str, folder: Path, number: int) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{number}.png"
        (folder / name).write_bytes(base64.b64decode(text_of(data["image/png"])))
        return f"![Picture of the cell above]({name})"
    text = text_of(output.get("text", data.get("text/plain", "")))
    return f"```text\n{COLOUR.sub('', text).rstrip()}\n```" if text.strip() else ""
