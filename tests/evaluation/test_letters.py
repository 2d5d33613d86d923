"""Tables to the letter, from numbers that were chosen by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from multispin_env.evaluation.comparison import Row, compare_values, comparison_cells, user_cells
from multispin_env.evaluation.statistics import aligned, markdown, to_csv, to_json
from multispin_env.terminal.output import check_outputs, write_output

ROWS = [
    Row("optimal", 171.234, 170.0, 172.5, 1.0, 0.0, 0.0, 0.0),
    Row("fixed", 9.25, 9.0, 10.125, 0.05402, -161.984, -163.5, -160.0),
]

TEXT = """\
decided by  goodput (tokens/s)     95 % interval  of optimum  minus optimum       95 % interval
----------  ------------------  ----------------  ----------  -------------  ------------------
optimal                 171.23  170.00 to 172.50      1.0000          +0.00      +0.00 to +0.00
fixed                     9.25     9.00 to 10.12      0.0540        -161.98  -163.50 to -160.00
"""

MARKDOWN = """\
| decided by | goodput (tokens/s) | 95 % interval | of optimum | minus optimum | 95 % interval |
| --- | ---: | ---: | ---: | ---: | ---: |
| optimal | 171.23 | 170.00 to 172.50 | 1.0000 | +0.00 | +0.00 to +0.00 |
| fixed | 9.25 | 9.00 to 10.12 | 0.0540 | -161.98 | -163.50 to -160.00 |
"""


def test_text_and_markdown():
    cells = comparison_cells(ROWS, "goodput", "optimum")
    assert aligned(*cells) + "\n" == TEXT
    assert markdown(*cells) + "\n" == MARKDOWN
    assert markdown(("name",), [("a",)]) == "| name |\n| --- |\n| a |"


def test_json_and_csv():
    assert to_csv(ROWS).splitlines() == [
        "name,mean,low,high,share,difference,difference_low,difference_high",
        "optimal,171.234,170.0,172.5,1.0,0.0,0.0,0.0",
        "fixed,9.25,9.0,10.125,0.05402,-161.984,-163.5,-160.0",
    ]
    text = to_json([Row("α", *[1.0] * 7)], {"K": 3})
    assert "α" in text
    assert text.startswith('{\n  "about": {\n    "K": 3\n')
    assert json.loads(text) == {"about": {"K": 3}, "rows": [Row("α", *[1.0] * 7).to_dict()]}


def test_order_of_a_table():
    """The best first; the reference before those that are equal but for rounding."""
    near = 20.0 * (1.0 + 1e-13)
    values = {"a": [near, near], "middle": [20.0, 20.0], "best": [30.0, 10.0 + 2e-8], "low": [5.0, 9.0]}
    rows = compare_values({name: np.array(numbers) for name, numbers in values.items()}, "middle")
    assert [row.name for row in rows] == ["best", "middle", "a", "low"]
    low = rows[3]
    assert (low.mean, low.low, low.high) == (7.0, 5.0, 9.0)
    assert (low.share, low.difference) == (0.35, -13.0)
    assert (low.difference_low, low.difference_high) == (-15.0, -11.0)


NAMES = ("throughput", "utility", "fairness", *(f"user_throughput_{q}" for q in (5, 25, 50, 75, 95)))
EPISODES = [
    Row(*row, details=dict(zip(NAMES, details, strict=True)))
    for row, details in (
        (("best", 20.5, 19.0, 22.25, 1.0, 0.0, 0.0, 0.0), (21.0, 2.3456, 0.98765, 1.0, 2.0, 3.0, 4.0, 5.0)),
        (("half", 10.25, 9.5, 11.0, 0.5, -10.25, -11.5, -9.0), (11.0, -2.0, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5555)),
    )
]


def test_cells_of_users():
    header, lines = user_cells(EPISODES)
    assert header[:4] == ("decided by", "throughput (tokens/s)", "Σ ln throughput", "Jain's index")
    assert header[4:] == ("user's 5 %", "user's 25 %", "user's 50 %", "user's 75 %", "user's 95 %")
    assert lines == [
        ("best", "21.00", "2.346", "0.9877", "1.000", "2.000", "3.000", "4.000", "5.000"),
        ("half", "11.00", "-2.000", "0.5000", "0.100", "0.200", "0.300", "0.400", "0.555"),
    ]


def test_outputs(tmp_path, capsys):
    write_output("text\n", Path("-"))
    assert capsys.readouterr().out == "text\n"
    write_output("α\n", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == "α\n".encode()
    check_outputs(Path("-"), None, tmp_path / "b", tmp_path / "c")
    with pytest.raises(ValueError, match=r"file: expected standard output \('-'\) once, got it twice"):
        check_outputs(Path("-"), tmp_path / "b", Path("-"))
