import io
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from multispin_env import files
from multispin_env.files import (
    DEEPEST_JSON,
    DEEPEST_KEY,
    lock_folder,
    make_folder,
    parse_json,
    parse_toml,
    read_bytes,
    read_json,
    read_limited,
    sibling_file,
    write_atomically,
    write_text,
)


def nested(depth):
    return "[" * depth + "]" * depth


class Endless(io.RawIOBase):
    def read(self, size=-1):
        assert 0 <= size <= 101, "more was read than the limit allows"
        return b"\0" * size


def test_no_more_is_read_than_the_limit_and_only_of_regular_files(tmp_path):
    assert read_limited(io.BytesIO(b"ab"), 2) == b"ab"
    with pytest.raises(ValueError, match="size: expected at most 100 bytes, got more"):
        read_limited(Endless(), 100)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            read_bytes(path, 100)


def test_json_is_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes('{"ä": [1, 2.5, null, Infinity]}'.encode())
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5, None, float("inf")]}
    assert parse_json(nested(DEEPEST_JSON)) == eval(nested(DEEPEST_JSON))
    assert isinstance(parse_json("[7]", parse_int=float)[0], float)
    monkeypatch.setattr(files, "LARGEST_JSON", 10)
    monkeypatch.setattr(files.json, "loads", lambda *_, **__: pytest.fail("it was read"))
    for read, argument, got in ((read_json, tmp_path / "a.json", "bytes, got more"), (parse_json, "[1,2,3,4,5]", "11")):
        with pytest.raises(ValueError, match=f"size: expected at most 10 .*{got}"):
            read(argument)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(DEEPEST_JSON + 1), "JSON: expected lists and objects nested at most 32 deep, got deeper ones"),
        (nested(900), "nested at most 32 deep, got deeper ones"),  # Python reads it, and fails where it is shown
        ("[" * 200_000, "nested at most 32 deep, got deeper ones"),
        ('{"a":' * 100_000, "nested at most 32 deep, got deeper ones"),
        (b'"\xff"', "JSON: expected text in UTF-8, got the byte 0xff"),
        ("[1", "Expecting ',' delimiter"),
        ("\0", "Expecting value"),
        ("9" * 5000, "Exceeds the limit"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bad_json_is_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 300


LINES = ("{} = 1", "[{}]", "[[{}]]", "x = [{{y = 1, {} = 1}}]", 'x = [{{y = """\n\' """, {} = 1}}] # \'')


@pytest.mark.parametrize("line", [*LINES, '" \\" " = 1\n{} = 1'])
@pytest.mark.parametrize(
    ("part", "dot"), [("a", "."), ("a-0", " .\t"), ('"a"', "."), ("' a,'", "."), (r'"=\" a"', " . "), ('""', ".")]
)
def test_keys_of_toml_have_few_parts(line, part, dot):
    """Python's own reader takes a time and a memory that grow with the square of their number."""
    assert parse_toml(line.format(dot.join([part] * DEEPEST_KEY)))
    with pytest.raises(ValueError, match=r"TOML: expected dotted keys and words of at most 8 parts, got a longer one"):
        parse_toml(line.format(dot.join([part] * (DEEPEST_KEY + 1))))


@pytest.mark.parametrize("part", ['\\"', '"', "'", "a", "a ", "a.", '"\\', "a.b.c.d.e.f.g.h "])
def test_a_long_text_is_searched_in_one_go(part):
    begun = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011  (what is wrong differs)
        parse_toml('x = "' + part * (2**17 // len(part)))
    assert time.process_time() - begun < 5.0  # a search that begins anew at each letter takes hours


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    for path in (folder / "file", folder / "inner" / "file", tmp_path / "outside"):
        path.write_text("text", encoding="utf-8")
    links = {"link": "file", "out": tmp_path / "outside", "hop": "out", "circle": "circle", "zero": "/dev/zero"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("../outside", "..", ".", "", "./file", "inner/file", "inner", "/etc/passwd", "missing"),
        *("out", "hop", "circle", "zero", "pipe", "fi\0le", "x" * 300, "x" * 5000, 3, None, ["file"]),
    ],
    ids=lambda name: repr(name)[:20],
)
def test_only_a_file_in_the_folder_may_be_named(folder, name):
    assert sibling_file(folder, name) is None
    for good in ("file", "link"):
        assert sibling_file(folder, good) == folder / good
        assert sibling_file(folder / ".." / "folder", good).read_text(encoding="utf-8") == "text"


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"never")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["mine.json"]
    monkeypatch.undo()
    (tmp_path / "link").symlink_to("mine.json")  # a link is replaced, and what it leads to stays
    write_atomically(tmp_path / "link", b"other")
    assert path.read_bytes() == b"new"
    assert not (tmp_path / "link").is_symlink()


def test_many_that_write_one_file_leave_it_whole(tmp_path):
    path, contents = tmp_path / "mine", [bytes([letter]) * 100_000 for letter in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            list(pool.map(lambda content: write_atomically(path, content), contents))
            assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["mine"]


def test_a_file_of_the_user_keeps_its_link_and_others_are_written_to(tmp_path):
    (tmp_path / "link").symlink_to("mine")
    write_text(tmp_path / "link", "α\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "mine").read_bytes() == "α\n".encode()
    reading, writing = os.pipe()
    write_text(f"/dev/fd/{writing}", "text")
    assert os.read(reading, 10) == b"text"
    os.close(reading)
    with pytest.raises(BrokenPipeError):  # which ends a command without a word
        write_text(f"/dev/fd/{writing}", "text")
    os.close(writing)


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path):
    path = tmp_path / "mine"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"^file: expected a file that can be written, got '.*mine' \(.*\)$"):
            write_text(path, "0123456789 and more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["mine"]
    path.chmod(0o400)
    cases = {tmp_path / "none" / "mine": "No such file or directory", "/dev/full": "No space left on device"}
    if os.geteuid() != 0:  # root writes everything
        cases[path] = "Permission denied"
    for name, reason in cases.items():
        with pytest.raises(OSError, match=rf"got '{name}' \({reason}\)"):
            write_text(name, "text")


def test_a_folder_is_of_one_process_until_it_ends(tmp_path):
    code = f"""
import sys, pathlib
from multispin_env.files import lock_folder
with lock_folder(pathlib.Path({str(tmp_path)!r})):
    print(flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match="folder: expected a folder that no other"):
            lock_folder(tmp_path).__enter__()
        other.kill()
    for _ in range(2):
        lock_folder(tmp_path).__enter__()


def test_a_folder_is_made_or_refused(tmp_path):
    make_folder(tmp_path / "outer" / "inner")
    assert list((tmp_path / "outer" / "inner").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"folder: expected a folder that can be written, got '.*file'"):
        make_folder(tmp_path / "file")
