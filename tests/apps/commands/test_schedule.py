import itertools
import json
import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.baselines.systems import draft_schedule

QWEN = ["--scenario", "qwen3.5", "--server", "a100-32b", "--max-batch", "200"]
SCENARIO = ms.Scenario.preset("qwen3.5", server="a100-32b")
BY_BATCH = {"server_draft_pieces": ((0.004, 0.0), (0.001, 0.0003))}


def best(scenario, size):
    """Return draft length, goodput and speed-up of one batch size by trying every length."""
    values = []
    for length in range(scenario.max_draft_length + 1):
        tokens = np.mean([(1 - t.acceptance_rate ** (length + 1)) / (1 - t.acceptance_rate) for t in scenario.tasks])
        pieces = scenario.server_draft_pieces or ((scenario.server_draft_time, 0.0),)
        drafting = max(start + slope * size for start, slope in pieces)
        time = length * drafting + scenario.pass_time(size, size * (length + 1))
        values.append(size * tokens / time)
    return int(np.argmax(values)), max(values), max(values) / values[0]


@pytest.mark.parametrize("fields", [{}, {"server": "a100-7b-gemm"}, {"server_draft_time": 0.03}, BY_BATCH], ids=str)
def test_spans_equal_trying_every_length(fields):
    scenario = SCENARIO.replace(**fields)
    spans = draft_schedule(scenario, 150)
    assert [span.first for span in spans] == [1, *(span.last + 1 for span in spans[:-1])]
    assert spans[-1].last == 150
    for span in spans:
        assert {best(scenario, size)[0] for size in range(span.first, span.last + 1)} == {span.draft_length}
        _, goodput, speed_up = best(scenario, span.last)
        assert (span.goodput, span.speed_up) == pytest.approx((goodput, speed_up), rel=1e-12)
    assert all(span.draft_length != after.draft_length for span, after in itertools.pairwise(spans))


def printed(capsys, *arguments):
    assert main(["schedule", *QWEN, *arguments]) == 0
    return capsys.readouterr().out


def test_json_configurations(capsys):
    spans = [[span.first, span.last, span.draft_length] for span in draft_schedule(SCENARIO, 200)]
    lengths = sorted({length for _, _, length in spans})
    assert json.loads(printed(capsys, "--format", "vllm")) == {
        "num_speculative_tokens": lengths[-1],
        "num_speculative_tokens_per_batch_size": spans,
    }
    assert json.loads(printed(capsys, "--format", "sglang")) == {"candidate_steps": lengths}
    never = printed(capsys, "--format", "sglang", "--set", "server_draft_time=10")
    assert json.loads(never) == {"candidate_steps": []}


def yaml_of(text):
    shape = r"speculative_config:\n  max_draft_len: (\d+)\n  draft_len_schedule: \{((?:\d+: \d+(?:, )?)*)\}\n"
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
    assert yaml_of(printed(capsys, "--format", "tensorrt-llm", "--set", "server_draft_time=10")) == (0, {})


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
