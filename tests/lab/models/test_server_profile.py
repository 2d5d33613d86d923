import numpy as np
import pytest

from multispin_lab.models.passes import VERIFY, PassCell, Passes
from multispin_lab.models.profile import (
    DRAFT_CELL,
    LONG_DRAFT_CELL,
    make_profile,
    pass_contexts,
    table_lines,
)

SETTING = {"target": "large", "draft": "small", "device": "cpu with 1 thread", "dtype": "float32", "context": 128}
CELLS = [PassCell(VERIFY, batch, length) for batch in (1, 2, 4, 8) for length in (0, 1, 4, 8, 16)]


def law(cell):
    return 0.0005 * cell.batch + max(0.020, 0.005 + 0.0005 * cell.tokens)


def profile_of(tmp_path, passes_of, setting=SETTING, cells=CELLS, longest=200, long_drafts=()):
    passes = Passes(tmp_path / "mine.csv", setting)
    for cell in cells:
        for seconds in passes_of(cell):
            passes.add(cell, seconds)
    for seconds in (0.08, 0.016, 0.024):
        passes.add(DRAFT_CELL, seconds)
    for seconds in long_drafts:
        passes.add(LONG_DRAFT_CELL, seconds)
    return make_profile("mine", cells, passes, setting, pass_contexts(128, longest))


@pytest.fixture
def profile(tmp_path):
    return profile_of(tmp_path, lambda cell: (9.0, law(cell), 0.9 * law(cell)))


def test_the_server_is_the_law(profile):
    server = profile.server
    assert server.name == "mine"
    assert (server.fixed_time, server.time_per_draft) == (0.0, pytest.approx(0.0005, rel=1e-4))
    np.testing.assert_allclose(server.pieces, [[0.020, 0.0], [0.005, 0.0005]], rtol=1e-4, atol=1e-9)
    assert server.padded
    assert server.draft_time == 0.003
    assert server.model == "large in float32, drafts by small"
    assert (
        "cpu with 1 thread, after 128 tokens: 20 cells of batch and length, 3 passes each, within 0.0%" in server.source
    )


@pytest.mark.parametrize(
    ("longest", "longer", "long_drafts", "added"),
    [
        (8192, 128 + 4096, (0.9, 0.032, 0.030), 0.008 / 8 / 4096),
        (1032, 1024, (0.032,), 0.008 / 8 / 896),  # as far as the model reads
        (264, 256, (0.023,), 0.0),  # faster: noise
        (263, None, (), 0.0),  # too short a model
    ],
)
def test_the_growth_of_drafts_is_that_between_two_contexts(longest, longer, long_drafts, added, tmp_path):
    profile = profile_of(tmp_path, lambda cell: (law(cell),), longest=longest, long_drafts=long_drafts)
    server, is_measured = profile.server, longer is not None
    assert pass_contexts(128, longest).get("long-draft") == longer
    assert (server.draft_time, server.draft_context) == (0.003, 128)
    assert server.draft_context_time == pytest.approx(added, rel=1e-4, abs=0.0)
    assert (f", drafts also after {longer} tokens" in server.source) == is_measured
    assert (f"Each token of context beyond 128 adds {1e9 * added:.4g} ns." in profile.describe()) == is_measured


def test_table_and_words(profile):
    lines = table_lines(profile)
    assert len(lines) == 20
    assert lines[8] == ("2", "8", "18", "21.00", "18.90 to 9000.00", "21.00", "+0.0%")
    words = profile.describe()
    assert "takes 0.5 ms K + the larger of 20 ms + 0 ms n and of 5 ms + 0.5 ms n.\n" in words
    factor = np.median([9.0 / (0.9 * law(cell)) for cell in CELLS])
    assert f" {factor:.2f} times the shortest (median over cells); the machine was busy" in words


def test_errors_are_those_of_the_written_law(tmp_path):
    rng = np.random.default_rng(0)
    noise = {cell: np.exp(0.1 * rng.normal()) for cell in CELLS}
    profile = profile_of(tmp_path, lambda cell: (law(cell) * noise[cell],), SETTING | {"draft": "large"})
    server = profile.server
    assert len(server.pieces) == 1
    assert server.model == "large in float32, drafts by itself"
    (start, slope), per_draft = server.pieces[0], server.time_per_draft
    fitted = np.array([cell.batch * per_draft + start + slope * cell.tokens for cell in CELLS])
    errors = fitted / [law(cell) * noise[cell] for cell in CELLS] - 1.0
    np.testing.assert_allclose(profile.errors, errors, rtol=1e-6, atol=1e-6)
    words = profile.describe()
    assert f"at most {np.abs(errors).max():.1%} (median {np.median(np.abs(errors)):.1%})" in words
    assert "takes 1.00 times the shortest (median over cells).\n" in words
    assert table_lines(profile)[3][-1] == f"{errors[3]:+.1%}"
