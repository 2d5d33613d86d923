"""Every folder of data in the package has a card, which names each field of its files."""

import hashlib
import json
import re
import tomllib
from importlib import resources
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

PACKAGES = [Path(str(resources.files(name))) for name in ("multispin_env", "multispin_lab")]
SUFFIXES = "npz", "toml", "json"
CROISSANTS = sorted(file for package in PACKAGES for file in (package / "data").rglob("*.croissant.json"))


def fields_of(path):
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return set(arrays)
    content = (tomllib if path.suffix == ".toml" else json).loads(path.read_text(encoding="utf-8"))
    tables = content.values() if all(isinstance(value, dict) for value in content.values()) else [content]
    return {name for table in tables for name in table}


def test_every_folder_of_data_has_its_card_and_every_array_file_metadata():
    folders = {path for package in PACKAGES for path in (package / "data").rglob("*") if path.is_dir()}
    files = {suffix: {*chain(*(package.rglob(f"*.{suffix}") for package in PACKAGES))} for suffix in SUFFIXES}
    assert folders == {path.parent for suffix in SUFFIXES for path in files[suffix]}
    arrays = {path.parent / path.name.replace(".croissant.json", ".npz") for path in CROISSANTS}
    assert arrays == files["npz"]
    for folder in folders:
        named = set(re.findall(r"`(\w+)`", (folder / "README.md").read_text(encoding="utf-8")))
        for path in {*folder.iterdir()} - {folder / "README.md", *CROISSANTS}:
            assert fields_of(path) <= named, path


@pytest.mark.parametrize("path", CROISSANTS, ids=lambda path: path.name)
def test_metadata_describe_the_file(path):
    metadata = json.loads(path.read_text(encoding="utf-8"))
    archive, *members = metadata["distribution"]
    file = path.parent / archive["name"]
    content = file.read_bytes()
    assert archive["sha256"] == hashlib.sha256(content).hexdigest()
    assert archive["contentSize"] == f"{len(content)} B"
    assert archive["contentUrl"].endswith(file.relative_to(PACKAGES[0].parent).as_posix())
    assert [member["contentUrl"] for member in members] == ZipFile(file).namelist()
    with np.load(file) as arrays:
        described = {entry["name"]: entry["field"][0] for entry in metadata["recordSet"]}
        assert set(described) == set(arrays)
        for name, field in described.items():
            assert field["arrayShape"] == str(len(arrays[name]))
            assert field["description"].endswith(f"; {arrays[name].dtype}")
            assert field["source"]["fileObject"]["@id"] == f"{name}.npy"
