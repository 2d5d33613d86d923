import pytest

from benchmarks.evidence.measurements import Cell, Group, read
from multispin_env.registry import SERVERS

FIELDS = "source gpu target draft k batch context length law drafts rate speed_up throughput_speed_up milliseconds note"


def cell(**values):
    defaults = {"law": "h100-8b", "k": 0, "batch": 1, "context": 300, "length": 1}
    return Cell({name: str((defaults | values).get(name, "")) for name in FIELDS.split()})


def test_a_cell_is_not_judged_by_a_law_from_it():
    law = SERVERS.load("h100-8b")
    tpot = law.pieces[0][0] + law.pieces[0][1] + 300 * law.context_time
    cells = [cell(rate=0.5 / tpot), cell(rate=0.5 / tpot, batch=2)]
    rounds = {k: 2.0 * (tpot + k * law.pieces[0][1]) + 0.003 + 0.001 * k for k in (1, 2, 4)}
    cells += [cell(draft="e", drafts="two", k=k, length=1 + 0.5 * k, rate=(1 + 0.5 * k) / t) for k, t in rounds.items()]
    rows = list(Group(cells).rows())
    ratios = {
        (row["cell"].k, row["cell"].batch, row["kind"]): [
            row[name] / row["measured"] for name in ("before", "anchored", "two lengths")
        ]
        for row in rows
    }
    assert ratios["0", "1", "tokens/s, no drafts"] == pytest.approx([2.0, float("nan"), float("nan")], nan_ok=True)
    assert ratios["0", "2", "tokens/s, no drafts"][1] == pytest.approx(1.0, rel=0.01)
    before, anchored, two = ratios["2", "1", "tokens/s, drafts"]
    assert before < anchored < two == pytest.approx(1.0, rel=1e-6)
    assert ratios["2", "1", "speed-up"][2] == pytest.approx(1.0, rel=1e-6)
    fitted = [float("nan")] * 3
    assert ratios["1", "1", "speed-up"] == pytest.approx(fitted, nan_ok=True)
    assert [ratio != ratio for ratio in ratios["4", "1", "speed-up"]] == [False, False, True]


def test_stored_cells_have_the_columns():
    cells = read(None)
    assert len(cells) > 40
    assert all(list(cell.values) == FIELDS.split() for cell in cells)
