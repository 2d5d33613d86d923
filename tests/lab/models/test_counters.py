"""Rates from what engines report, against known rates and planted pages."""

from pathlib import Path

import numpy as np
import pytest

from multispin_env.draft import expected_tokens
from multispin_lab.models.counters import LARGEST_COUNT, MIN_P_VALUE, EngineCounts, read_counters

PAGES = Path(__file__).parent / "pages"
VLLM = (PAGES / "vllm.txt").read_text(encoding="utf-8")
SGLANG = (PAGES / "sglang.txt").read_text(encoding="utf-8")
RESULT = (PAGES / "vllm-bench.txt").read_text(encoding="utf-8")


def read(tmp_path, text, *more):
    path = tmp_path / "page.txt"
    path.write_text(text, "utf-8", "surrogateescape")
    return read_counters(path, *more)


def page(rng, rates, drafts, lengths):
    """Metrics of vLLM for drafts of these lengths (drafts,) and a rate for each position (positions,)."""
    taken = (rng.random((drafts, len(rates))) < rates) & (np.arange(len(rates)) < np.reshape(lengths, (-1, 1)))
    runs = np.cumprod(taken, axis=1)
    drafted = int(np.broadcast_to(lengths, drafts).sum())
    lines = [
        f"vllm:spec_decode_num_drafts_total {drafts}",
        f"vllm:spec_decode_num_draft_tokens_total {drafted}",
        f"vllm:spec_decode_num_accepted_tokens_total {runs.sum()}",
        *(
            f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{position="{position}"}} {count}'
            for position, count in enumerate(runs.sum(0))
        ),
    ]
    return "\n".join(lines)


def test_engines_of_a_model_are_added_up_and_a_mean_of_busy_engines_has_no_interval():
    result = read_counters(PAGES / "vllm.txt")
    assert result == EngineCounts("vllm", 1.0 + 15_240 / 10_000, 3.0, 10_000, (7000, 4870, 3370))
    assert expected_tokens(3, np.array(result.rate)) == pytest.approx(2.524)
    result = read_counters(PAGES / "sglang.txt")
    assert (result.task, result.length, result.drafted) == ("sglang", pytest.approx(2.6), 3.0)
    assert expected_tokens(3, np.array(result.rate)) == pytest.approx(2.6)
    assert (result.interval, len(result.remarks)) == (None, 1)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.77, 1.0])
@pytest.mark.parametrize("drafted", [1, 4, 16, 2.5])
def test_the_rate_is_that_of_the_mean_length(rate, drafted):
    length = float(expected_tokens(drafted, np.array(rate)))
    assert EngineCounts("x", length, drafted).rate == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize(("rate", "drafted"), [(0.5, 3), pytest.param(0.9, 8, marks=pytest.mark.slow)])
def test_intervals_cover_and_geometric_pages_are_not_warned_of(tmp_path, rate, drafted):
    pages = [page(np.random.default_rng(seed), np.full(drafted, rate), 400, drafted) for seed in range(300)]
    results = [read(tmp_path, text) for text in pages]
    assert 270 <= sum(result.interval[0] <= rate <= result.interval[1] for result in results) <= 297
    assert sum(result.p_value < MIN_P_VALUE for result in results) <= 9


@pytest.mark.parametrize(("accepted", "ends"), [(0, (0.0, 0.3)), (40, (0.9, 1.0))])
def test_few_drafts_that_agree_leave_the_rate_open(accepted, ends):
    result = EngineCounts("x", 1.0 + accepted / 10, 4.0, 10, (accepted // 4,) * 4)
    low, high = result.interval
    assert (low, high)[accepted > 0] == pytest.approx(ends[accepted > 0], abs=0.08)
    assert (low, high)[accepted == 0] == ends[accepted == 0] or high - low > 0.02


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_most_drafts_leave_an_interval_as_narrow_as_the_rate_is_exact(rate):
    drafts = int(LARGEST_COUNT)
    low, high = EngineCounts("x", 1.0 + rate, 1.0, drafts, (int(rate * drafts),)).interval
    assert rate - 1e-7 <= low <= high <= rate + 1e-7


def test_rates_that_do_not_fall_geometrically_are_told(tmp_path):
    rng = np.random.default_rng(0)
    result = read(tmp_path, page(rng, np.array([0.6, 0.75, 0.85, 0.9]), 5000, 4))
    assert result.p_value < 1e-6
    assert len(result.remarks) == 1
    header, lines = result.position_cells()
    assert [int(line[header.index("accepted")]) for line in lines] == list(result.accepted)
    off = [float(line[header.index("formula error")].rstrip(" %")) for line in lines]
    assert off[0] > 5.0  # the first position accepts less than α
    assert off[-1] == 0.0
    assert read(tmp_path, page(rng, np.full(4, 0.75), 5000, 4)).remarks == []
    result = read(tmp_path, page(rng, np.full(4, 0.8), 20_000, rng.integers(1, 5, 20_000)))  # not tested
    assert result.p_value < 1e-6
    assert ["drafts of the mean length" in remark for remark in result.remarks] == [True]
    assert 0.7 < result.rate < 0.8


SAVED = (
    '{"completed": 880, "spec_decode_num_drafts": 10000, "spec_decode_draft_tokens": 30000, '
    '"spec_decode_accepted_tokens": 15240, "spec_decode_per_position_acceptance_rates": [0.7, 0.487, 0.337]}'
)


def test_benchmark_results_equal_the_metrics_of_their_requests(tmp_path):
    counts = read(tmp_path, VLLM)
    assert read(tmp_path, RESULT) == counts
    assert read(tmp_path, SAVED) == counts
    printed = "Backend:                  sglang    \nAccept length:                           2.60      \n"
    for text in (printed, '{"backend": "sglang", "accept_length": 2.6}\n'):
        assert read(tmp_path, text, None, 3) == EngineCounts("page", 2.6, 3.0)


OTHER = VLLM.replace("Qwen/Qwen3-8B", "other")
BOTH = VLLM + OTHER.replace(" 6000.0", " 9000.0").replace(" 18000.0", " 27000.0")


def test_one_of_several_models_is_chosen(tmp_path):
    assert read(tmp_path, BOTH, "Qwen/Qwen3-8B").drafts == 10_000
    assert read(tmp_path, BOTH, "other").drafts == 13_000
    assert read(tmp_path, SGLANG, None, 3) == read(tmp_path, SGLANG)
    assert read(tmp_path, OLD, None, 3).drafted == 3.0


OLD = "\n".join(line for line in SGLANG.splitlines() if "num_steps" not in line)


def without(name):
    return "\n".join(line for line in VLLM.splitlines() if not line.startswith(name))


@pytest.mark.parametrize(
    "case",
    [
        (BOTH, r"--target to name one of the page's models \['Qwen/Qwen3-8B', 'other'\]"),
        (BOTH, "target: expected one of", "Qwen/Qwen3"),
        (VLLM, "no --drafted", None, 4),
        (SGLANG, r"one draft length, .* got 3, 4", None, 4),
        (OLD, "draft length, from sglang:spec_num_steps or --drafted, got none"),
        ("", "expected a metrics page or benchmark result with vllm:spec_decode_num_drafts"),
        ("<html>vllm:spec_decode_num_drafts</html>\n", "expected a metrics page"),
        (VLLM.splitlines()[2], "expected a metrics page"),
        (without("vllm:spec_decode_num_draft_tokens"), "the counter vllm:spec_decode_num_draft_tokens, got none"),
        (without("vllm:spec_decode_num_accepted_tokens_per"), "_per_pos, got none"),
        (VLLM.replace(" 6000.0", " 0").replace(" 4000.0", " 0"), r"num_drafts: expected .* in \[1, inf\), got 0.0"),
        (VLLM.replace(" 9200.0", " 92000.0"), "num_accepted_tokens: expected .* got 98040.0"),
        (VLLM.replace(" 18000.0", " 1e15"), r"num_draft_tokens: expected .* in \[1, 30000\]"),
        (VLLM.replace(" 2930.0", " 5930.0"), "non-increasing counts"),
        (VLLM.replace('position="1"', 'position="7"'), "the positions 0, 1"),
        (VLLM.replace(" 6000.0", " NaN"), r"line 6: expected a number in \[0, 9\.0072e\+15\], got 'NaN'"),
        (VLLM.replace(" 6000.0", " -1"), r"line 6: expected a number in \[0, 9\.0072e\+15\], got '-1'"),
        (VLLM.replace(" 6000.0", " 1e300"), r"line 6: expected a number in \[0, 9\.0072e\+15\], got '1e300'"),
        (VLLM.replace(" 6000.0", " many of them"), "line 6: expected NAME"),
        (SGLANG.replace("} 2.5", "} 4.5").replace("} 2.7", "} 4.7"), r"spec_accept_length: expected .* \[1, 4\]"),
        (SGLANG.replace("} 2.5", "} 0.0").replace("} 2.7", "} 0.0"), r"spec_accept_length: .* got 0.0"),
        (RESULT.replace("33.70", "many"), "expected numbers in the benchmark result, got text .* 'many'"),
        (RESULT + RESULT, "expected one benchmark result, got several"),
        (RESULT.replace("33.70", "13.70"), "a sum of 15240 accepted tokens, got 13240"),
        (SAVED + "\n" + SAVED, "expected one benchmark result in JSON, got Extra data: line 2"),
        (SAVED.replace("10000", "null"), "the counter vllm:spec_decode_num_drafts, got none"),
        (SAVED.replace("0.487", '"x"'), r"_acceptance_rates\[1\]: expected a finite number"),
        ('{"accept_length": null}', "spec_decode_num_drafts .* or accept_length .* in the result, got neither"),
        ("sglang:spec_num_steps 3\n", "the gauge sglang:spec_accept_length, got none"),
    ],
)
def test_impossible_pages_are_refused(tmp_path, case):
    text, sentence, *arguments = case
    with pytest.raises(ValueError, match=f"^counters, .*page.txt': .*{sentence}"):
        read(tmp_path, text, *arguments)
    with pytest.raises(ValueError, match=r"^counters: expected a readable text file"):
        read_counters(tmp_path / "none.txt")
    with pytest.raises(ValueError, match=r"^counters, .*: expected text in UTF-8, got the byte 0xff"):
        read(tmp_path, "\udcff\udcfe")
