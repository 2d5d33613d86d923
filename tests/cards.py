import contextlib
import json
import re


def card_of(text):
    _, header, _ = text.split("---\n", 2)
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in header.splitlines())}


def check_card(text, folder):
    assert set(card_of(text)) >= {"license", "library_name", "tags"}
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    with contextlib.chdir(folder):
        exec(code, names)
    return names
