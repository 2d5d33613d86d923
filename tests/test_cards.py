"""Every folder of data in the package has a card, which names each field of its files."""

import hashlib
import json
import re
import tomllib
from importlib import resources
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

PACKAGE = Path(str(resources.files("multispin_env")))
CARDS = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(folder for folder in (PACKAGE / "data").rglob("*") if folder.is_dir())
}


CROISSANTS = sorted((PACKAGE / "data").rglob("*.croissant.json"))


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
        if path.name != "README.md" and path not in CROISSANTS:
            assert fields_of(path) <= named, path.name


def test_every_array_file_has_metadata():
    assert {path.parent / path.name.replace(".croissant.json", ".npz") for path in CROISSANTS} == set(
        PACKAGE.rglob("*.npz")
    )


@pytest.mark.parametrize("path", CROISSANTS, ids=lambda path: path.name)
def test_metadata_describe_the_file(path):
    metadata = json.loads(path.read_text(encoding="utf-8"))
    archive, *members = metadata["distribution"]
    file = path.parent / archive["name"]
    content = file.read_bytes()
    assert archive["sha256"] == hashlib.sha256(content).hexdigest()
    assert archive["contentSize"] == f"{len(content)} B"
    assert archive["contentUrl"].endswith(file.relative_to(PACKAGE.parent).as_posix())
    assert [member["contentUrl"] for member in members] == ZipFile(file).namelist()
    with np.load(file) as arrays:
        described = {entry["name"]: entry["field"][0] for entry in metadata["recordSet"]}
        assert set(described) == set(arrays)
        for name, field in described.items():
            assert field["arrayShape"] == str(len(arrays[name]))
            assert field["description"].endswith(f"; {arrays[name].dtype}")
            assert field["source"]["fileObject"]["@id"] == f"{name}.npy"


def test_the_folders_of_data_are_all_there():
    folders = {path.parent for suffix in ("npz", "toml", "json") for path in PACKAGE.rglob(f"*.{suffix}")}
    assert folders == set(CARDS.values())
