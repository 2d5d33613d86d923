"""Every folder of data in the package has a card, which names each field of its files."""

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(str(resources.files("multispin_env")))
CARDS = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(folder for folder in (PACKAGE / "data").rglob("*") if folder.is_dir())
}


def fields_of(path):
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return set(arrays)
    content = (tomllib if path.suffix == ".toml" else json).loads(path.read_text(encoding="utf-8"))
    tables = content.values() if all(isinstance(value, dict) for value in content.values()) else [content]
    return {name for table in tables for name in table}


@pytest.mark.parametrize("folder", CARDS)
def test_every_folder_of_data_has_its_card(folder):
    text = (CARDS[folder] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    for path in CARDS[folder].iterdir():
        if path.name != "README.md":
            assert fields_of(path) <= named, path.name


def test_the_folders_of_data_are_all_there():
    folders = {path.parent for suffix in ("npz", "toml", "json") for path in PACKAGE.rglob(f"*.{suffix}")}
    assert folders == set(CARDS.values())
