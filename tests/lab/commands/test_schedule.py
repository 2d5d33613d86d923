import itertools
import json
import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.draft import expected_tokens
from multispin_lab.models.counters import EngineCounts
from multispin_lab.planning.schedule import draft_schedule, schedule_goodput
from tests.repository import ROOT

QWEN = ["--scenario", "qwen3.5", "--server", "a100-32b", "--max-batch", "200"]
SCENARIO = ms.Scenario.preset("qwen3.5", server="a100-32b")
BY_BATCH = {"server_draft_pieces": ((0.004, 0.0), (0.001, 0.0003))}


def best(scenario, size, least=0):
    """Return draft length, goodput and speed-up of one batch size by trying every length from the least."""
    values = []
    for length in range(scenario.max_draft_length + 1):
        tokens = np.mean([(1 - t.acceptance_rate ** (length + 1)) / (1 - t.acceptance_rate) for t in scenario.tasks])
        pieces = scenario.server_draft_pieces or ((scenario.server_draft_time, 0.0),)
        drafting = max(start + slope * size for start, slope in pieces)
        time = length * drafting + scenario.law.time(size, size * (length + 1))
        values.append(size * tokens / time)
    length = least + int(np.argmax(values[least:]))
    return length, values[length], values[length] / values[0]


@pytest.mark.parametrize("least", [0, 1, 25])
@pytest.mark.parametrize("fields", [{}, {"server": "a100-7b-gemm"}, {"server_draft_time": 0.03}, BY_BATCH], ids=str)
def test_spans_equal_trying_every_length(fields, least):
    scenario = SCENARIO.replace(**fields)
    spans = draft_schedule(scenario, 150, least)
    assert [span.first for span in spans] == [1, *(span.last + 1 for span in spans[:-1])]
    assert spans[-1].last == 150
    for span in spans:
        assert {best(scenario, size, least)[0] for size in range(span.first, span.last + 1)} == {span.draft_length}
        _, goodput, speed_up = best(scenario, span.last, least)
        assert (span.goodput, span.speed_up) == pytest.approx((goodput, speed_up), rel=1e-12)
    assert all(span.draft_length != after.draft_length for span, after in itertools.pairwise(spans))


def printed(capsys, *arguments):
    assert main(["schedule", *QWEN, *arguments]) == 0
    return capsys.readouterr().out


def test_json_configurations(capsys):
    spans = [[span.first, span.last, span.draft_length] for span in draft_schedule(SCENARIO, 200)]
    assert json.loads(printed(capsys, "--format", "vllm", "--method", "mtp", "--draft-time", "0.004")) == {
        "method": "mtp",
        "num_speculative_tokens": spans[0][2],
        "num_speculative_tokens_per_batch_size": spans,
    }
    by_batch = json.loads(printed(capsys, "--format", "sglang", "--method", "eagle3", "--draft-time", "0.004"))
    assert by_batch == {str(first): {"candidate_steps": [length]} for first, _, length in spans}


def test_a_warning_of_length_0(capsys):
    scenario = ms.Scenario.preset("llama2", server="h100-32b")
    arguments = ["schedule", "--server", "h100-32b", "--max-batch", "256", "--format", "vllm"]
    assert main(arguments) == 0
    text = capsys.readouterr()
    first, _, length = json.loads(text.out)["num_speculative_tokens_per_batch_size"][-1]
    assert length == 0
    losses = [1 - best(scenario, size, 1)[1] / best(scenario, size)[1] for size in range(first, 257)]
    assert f"optimum from {first} requests, but vLLM" in text.err
    assert all(f"/issues/{issue}" in text.err for issue in (49548, 51575))
    assert f"loses at most {100 * max(losses):.1f} % " in text.err
    assert main([*arguments, "--min-length", "1"]) == 0
    text = capsys.readouterr()
    assert "draft length 0" not in text.err
    assert json.loads(text.out)["num_speculative_tokens_per_batch_size"][-1][1:] == [256, 1]


@pytest.mark.parametrize(
    ("options", "warnings", "untested"),
    [
        ("--format vllm", 1, True),
        ("--format vllm --method mtp --draft-time 0.004", 1, True),
        ("--format vllm --method eagle --draft-time 0.004", 1, False),
        ("--format vllm --max-batch 1", 0, False),  # the only length is that of every batch
        ("--format tensorrt-llm", 0, False),
        ("", 0, False),
    ],
)
def test_a_warning_that_vllm_may_not_follow_the_schedule(capsys, options, warnings, untested):
    assert main(["schedule", *QWEN, *options.split(), "--min-length", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warnings
    assert all("docs/servers.md#vllm" in line and len(line) < 230 for line in lines)
    assert ("not tested" in "".join(lines)) == untested


def test_the_page_of_that_warning_has_the_known_problems():
    page = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    assert "\n### vLLM\n" in page
    assert all(f"/issues/{issue}" in page for issue in (51510, 47014, 48494, 49986))


GROWS = ["--set", "server_draft_context_time=1e-7", "--set", "server_draft_context=1024"]


@pytest.mark.parametrize(
    ("options", "context", "warned"),
    [("--set context=8192", 8192, 0), ("--set context=8193", 8193, 8193), ("--contexts 9000 1", 1024, 9000)],
)
@pytest.mark.parametrize("grows", [[], GROWS])
def test_a_warning_of_a_context_whose_cost_for_the_draft_is_unknown(capsys, options, context, warned, grows):
    assert main(["schedule", *QWEN, *options.split(), *grows, "--min-length", "1", "--format", "json"]) == 0
    text = capsys.readouterr()
    warns = bool(warned) and not grows
    assert json.loads(text.out)["about"]["scenario"]["context"] == context
    assert (f"the draft's own context of {warned} tokens" in text.err) == warns
    assert text.err.count("\n") == warns


CONTEXTS = ["--contexts", "1024", "32768", "131072", *GROWS, "--set", "context_time=2e-8"]


def at(context):
    fields = {"server_draft_context_time": 1e-7, "server_draft_context": 1024, "context_time": 2e-8}
    return SCENARIO.replace(**fields, context=context)


def by_hand(context, size):
    """Goodput of every length by formulas of this test."""
    values = []
    for length in range(SCENARIO.max_draft_length + 1):
        tokens = np.mean([(1 - t.acceptance_rate ** (length + 1)) / (1 - t.acceptance_rate) for t in SCENARIO.tasks])
        step = 0.004 + size * 1e-7 * max(context - 1024, 0)
        time = length * step + SCENARIO.law.time(size, size * (length + 1)) + size * 2e-8 * context
        values.append(size * tokens / float(time))
    return np.array(values)


def test_a_schedule_for_each_context(capsys):
    rows = json.loads(printed(capsys, *CONTEXTS, "--format", "json"))["contexts"]
    assert [row["context"] for row in rows] == [1024, 32768, 131072]
    for row in rows:
        assert row["spans"] == [vars(span) for span in draft_schedule(at(row["context"]), 200)]
        for span in row["spans"]:
            values = by_hand(row["context"], span["last"])
            assert (span["draft_length"], span["goodput"]) == (values.argmax(), pytest.approx(values.max(), rel=1e-12))
    assert rows[-1]["spans"] != rows[0]["spans"]
    text = printed(capsys, *CONTEXTS)
    assert re.findall(r"([\d,]+) tokens of context, draft time", text) == ["1,024", "32,768", "131,072"]
    assert text.count("batch size") == 3


def test_a_warning_of_length_0_at_each_context(capsys):
    assert main(["schedule", *QWEN, *CONTEXTS, "--max-batch", "256"]) == 0
    text = capsys.readouterr()
    zeros = re.findall(r"^(\d+) to 256 +0 ", text.out, re.M)
    assert (len(zeros), text.out.count("draft time")) == (2, 3)
    for line, first, context in zip(text.err.splitlines(), zeros, ("32,768", "131,072"), strict=True):
        assert f"is the optimum from {first} requests at {context} tokens of context; " in line
        values = [by_hand(int(context.replace(",", "")), size) for size in range(1, 257)]
        loss = 1.0 - min(goodput[1:].max() / goodput.max() for goodput in values)
        assert f"loses at most {100.0 * loss:.1f} % " in line


def test_a_server_that_knows_batch_sizes_only_gets_one_schedule(capsys):
    assert (
        main(["schedule", *QWEN, *CONTEXTS, "--format", "sglang", "--method", "eagle3", "--draft-time", "0.004"]) == 0
    )
    assert main(["schedule", *QWEN, *CONTEXTS, "--format", "vllm"]) == 0
    text = capsys.readouterr()
    losses = []
    for context in (1024, 32768, 131072):
        shares = []
        for first, last, length in json.loads(text.out.splitlines()[-1])["num_speculative_tokens_per_batch_size"]:
            for values in (by_hand(context, size) for size in range(first, last + 1)):
                shares.append(values[length] / values.max())
        losses.append(f"{100 * (1 - min(shares)):.1f} % at {context:,}")
    assert f"loses at most {', '.join(losses)} tokens" in text.err
    assert losses[0].startswith("0.0 ")
    assert not losses[-1].startswith("0.0 ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "--format vllm --set server_draft_time=1",
            "format: expected a batch size at which drafting pays for vllm, got none",
        ),
        ("--format sglang --method ngram --draft-time 1e-5", r"method: expected one of \['eagle', .* got 'ngram'"),
        ("--method eagle", "draft_time: expected the time per drafted token with method eagle, got none"),
        ("--min-length 26", r"min_length: expected an integer in 0..25, got 26"),
        ("--max-batch 1000000000", r"max_batch: expected an integer in 1..100000, got 1000000000"),
    ],
)
def test_bad_options_are_refused(refused, options, sentence):
    assert re.search(sentence, refused("schedule", [*QWEN, *options.split()]))


def yaml_of(text):
    head = r"speculative_config:\n  decoding_type: DraftTarget\n  max_draft_len: (\d+)\n"
    shape = head + r"  draft_len_schedule: \{((?:\d+: \d+(?:, )?)*)\}\n"
    longest, schedule = re.fullmatch(shape, text).groups()
    return int(longest), {int(key): int(value) for key, value in re.findall(r"(\d+): (\d+)", schedule)}


def test_tensorrt_llm(capsys):
    longest, schedule = yaml_of(printed(capsys, "--format", "tensorrt-llm"))
    assert list(schedule) == sorted(schedule)
    assert min(schedule.values()) >= 1
    assert longest == max(schedule.values())
    for size in (1, 10, 60, 120):
        length = next((schedule[last] for last in schedule if size <= last), 0)
        assert length == best(SCENARIO, size)[0]


def test_json_and_table(capsys):
    content = json.loads(printed(capsys, "--format", "json", "--draft-time", "0.006", "--set", "max_draft_length=7"))
    assert content["about"]["scenario"]["server_draft_time"] == pytest.approx(0.006)
    assert content["about"]["command"].startswith("multispin schedule --scenario qwen3.5 --server a100-32b")
    scenario = ms.Scenario.from_dict(content["about"]["scenario"])
    assert content["spans"] == [vars(span) for span in draft_schedule(scenario, 200)]
    text = printed(capsys)
    span = draft_schedule(SCENARIO, 200)[0]
    assert text.startswith("qwen3.5 on a100-32b, draft time 4 ms, at most 200 requests\n\nbatch size")
    assert re.search(rf"^1 to {span.last} +{span.draft_length} +{span.goodput:.1f} +{span.speed_up:.2f}$", text, re.M)


@pytest.mark.parametrize("server", ["a100-70b", "b200-70b", "h100-70b"])
def test_lengths_are_near_those_of_a_measured_ladder(server):
    """Lengths 6, 4 and 3 up to 8, 32 and 128 requests, with acceptance lengths 4.45 at 6 and 3.79 at 4.

    From https://github.com/vllm-project/vllm/issues/48494: GLM-5.3 with MTP on four MI355X. No law of that server is
    known, so those of 70B models with a draft model stand in.
    """
    rate = EngineCounts("x", 4.45, 6.0).rate
    assert expected_tokens(4, np.array(rate)) == pytest.approx(3.79, rel=0.05)
    scenario = SCENARIO.replace(server=server, tasks=(ms.Task(name="x", acceptance_rate=rate),))
    for size, length in ((3, 6), (17, 4), (65, 3)):  # geometric means of the ends
        assert 1 / 1.5 <= best(scenario, size)[0] / length <= 1.5


def test_drafting_stops_paying_near_a_measured_load():
    """3 tokens of EAGLE-3 pay up to 4 to 8 requests/s, and cut TPOT from 13.2 to 9.7 ms at 1 request/s.

    From https://github.com/llm-d/llm-d/pull/2074: Qwen3-32B on two H200; prompts of 2,048 and answers of 256 tokens,
    166 ms to the first token. The law is that of tables (`multispin profile --table h200_sxm`, a draft model of 0.6B),
    the acceptance length the lowest of the guide. The prompts saturate the server at 6 requests/s, so that the load is
    a weak test of the batch size, 51.
    """
    law = {"verification_pieces": ((0.010672, 2.4297e-05), (0.0032186, 5.6363e-05)), "context_time": 2.8285e-08}
    drafts = {"server_draft_pieces": ((0.0016193, 7.3655e-06), (0.0014319, 5.4206e-05))}
    tasks = (ms.Task(name="x", acceptance_rate=EngineCounts("x", 2.1, 3.0).rate),)
    goodput = schedule_goodput(SCENARIO.replace(**law, **drafts, context=2048, tasks=tasks), 512)
    gain = goodput[:, 3] / goodput[:, 0]
    assert gain[2] == pytest.approx(13.2 / 9.7, rel=0.1)  # 1 request/s keeps 3 requests busy
    size = int(np.flatnonzero(gain > 1.0)[-1]) + 1
    load = 1.0 / (256 / goodput[size - 1, 0] + 0.166)
    assert 4 / 1.5 <= load <= 8 * 1.5


ONE = ["--set", "max_draft_length=8", "--format", "json", "--method", "eagle3"]


def test_the_server_is_anchored_at_a_measured_tpot(capsys):
    words = ["schedule", *QWEN, "--measured-tpot", "0.055", "--at", "4"]
    assert main([*words, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    scenario = ms.Scenario.from_dict(json.loads(out)["about"]["scenario"])
    assert float(scenario.law.time(4, 4)) == pytest.approx(0.055)
    scale = 0.055 / float(SCENARIO.law.time(4, 4))
    assert scenario.server_draft_time == pytest.approx(scale * SCENARIO.server_draft_time)
    assert f"qwen3.5 on a100-32b; anchored at TPOT 55 ms with 4 requests after 1024 tokens: times x {scale:.4g}" in err
    assert main([*words, "--format", "json", "--set", "server_draft_time=0.003"]) == 0  # measured, too
    assert json.loads(capsys.readouterr().out)["about"]["scenario"]["server_draft_time"] == 0.003


def test_two_lengths_give_the_constant_of_a_draft(capsys):
    law, rates = SCENARIO.law, np.array([task.acceptance_rate for task in SCENARIO.tasks])
    rounds = {length: float(law.time(1, length + 1)) + 0.004 + 0.0015 * length for length in (2, 6)}
    tokens = float(expected_tokens(2, rates).mean())
    words = [f"2:{rounds[2] / tokens!r}", f"6:{rounds[6] / 3.0!r}:3"]
    about = json.loads(printed(capsys, *ONE, "--draft-at", *words))["about"]["scenario"]
    assert about["server_draft_time"] == pytest.approx(0.0015)
    assert about["server_draft_round_time"] == pytest.approx(0.004)
    assert main(["schedule", *QWEN, *ONE, "--draft-at", words[1]]) == 0
    out, err = capsys.readouterr()
    about = json.loads(out)["about"]["scenario"]
    assert about["server_draft_time"] == pytest.approx(0.0015 + 0.004 / 6)
    assert "server_draft_round_time" not in about
    assert "the constant time of a draft is unknown" in err
    assert "long drafts look too expensive" in err
    assert "1.5 ms and 4 ms a draft" in printed(capsys, "--method", "mtp", "--draft-at", *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", r"draft_at: expected K:TPOT or K:TPOT:TOKENS, got '2'"),
        ("two:0.02", "draft_at: expected K:TPOT or K:TPOT:TOKENS"),
        ("0:0.02", "draft_at: K: expected"),
        ("2:20", "draft_at: measured_tpot: expected seconds, at most 5, got 20; did you mean 0.02"),
        ("2:0.02:4", "tokens: expected"),
        ("2:0.001:3", "draft_at: expected rounds longer than the pass of .* scale the passes with --measured-tpot"),
    ],
)
def test_bad_rounds(refused, text, message):
    assert re.search(message, refused("schedule", [*QWEN, *ONE, "--draft-at", text]))
