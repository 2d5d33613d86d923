import pytest

from multispin_lab.models.prompts import NO_TASK, read_prompts
from tests.lab.models.tiny import tiny_model


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_lines_are_prompts_and_rows_have_tasks(tmp_path):
    prompts = read_prompts(written(tmp_path, "a.txt", "\ufefffirst one\r\nsecond\u2028still second\n\n"))
    assert prompts.texts == ("first one", "second\u2028still second")
    assert (prompts.tasks, prompts.task) == ((NO_TASK,), (0, 0))
    rows = '{"prompt": "a", "task": "x"}\n{"prompt": "b\\nc", "more": 1}\n{"task": "x", "prompt": "d"}'
    prompts = read_prompts(written(tmp_path, "a.jsonl", rows))
    assert prompts.texts == ("a", "b\nc", "d")
    assert (prompts.tasks, prompts.task) == (("x", NO_TASK), (0, 1, 0))
    assert prompts.digest != read_prompts(written(tmp_path, "b.jsonl", rows + "\n")).digest


MANY = "\n".join(f'{{"prompt": "x", "task": "{i}"}}' for i in range(129))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "x", r"prompts: expected a \.txt or \.jsonl file, got"),
        ("a.txt", "\udcff\udcfe\udcfa", r"a\.txt: expected text in UTF-8, got the byte 0xff"),
        ("a.txt", " \n\n", "prompts: expected at least one prompt, got none"),
        ("a.txt", "x\n  \ny", r"a\.txt: line 2, prompt: expected a non-empty string, got '  '"),
        ("a.jsonl", '{"prompt": "x"}\n\n{"prompt": "x"}', "line 2, prompt: expected a non-empty string, got ''"),
        ("a.jsonl", '{"prompt": 7}', "line 1, prompt: expected a non-empty string, got 7"),
        ("a.jsonl", '{"prompt": "x", "task": null}', "line 1, task: expected a non-empty string, got None"),
        ("a.jsonl", '{"prompt": "x", "task": "a\\u001b[2J"}', "line 1, task: expected a text of one line"),
        ("a.jsonl", '{"promt": "x"}', r'line 1: expected a row {"prompt": TEXT}, got'),
        ("a.jsonl", "[1]", r'line 1: expected a row {"prompt": TEXT}, got'),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt', "line 2: expected a JSON object, got"),
        ("a.jsonl", "[" * 100_000, "line 1: expected a JSON object, got"),
        ("a.jsonl", MANY, "task: expected at most 128 different tasks, got 129"),
    ],
)
def test_bad_files_are_refused(name, text, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        read_prompts(written(tmp_path, name, text))
    with pytest.raises(ValueError, match=r"prompts: expected a readable \.txt file, got"):
        read_prompts(tmp_path / "none.txt")


def test_long_prompts_are_refused_with_their_line(tmp_path):
    model = tiny_model(0, context=10)
    prompts = read_prompts(written(tmp_path, "a.txt", "w2 w3\nw4 w5 w6"))
    assert prompts.encode(model, room=7) == [[2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match=r"line 2: prompt: expected at most 2 tokens, so that 8 more .* 10, got 3"):
        prompts.encode(model, room=8)
