"""Draft profiles, and acceptance that depends on payload and target."""

import csv
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.registry import DRAFTS
from multispin_lab.commands.drafts import compare_drafts

LLAMA = ms.Scenario.preset("llama2", num_users=4)
QWEN = ms.Scenario.preset("qwen3.5", server="a100-32b", payload="ids", min_draft_length=0)
TEXT = {"name": "mine", "model": "small", "target_model": "large", "source": "measured", "licence": "MIT"}
OWN = ms.draft.DraftProfile(
    **TEXT,
    acceptance=(("code", 0.9), ("chat", 0.7)),
    draft_length=4,
    draft_time=0.006,
    payload="distributions",
    kept_probabilities=64,
    target="sampling",
    joules_per_token=0.5,
)
HEADS = ms.draft.DraftProfile(**TEXT, acceptance=0.8, draft_pieces=((0.002, 0.0), (0.001, 1e-4)), one_pass=True)


def test_the_default_table_is_that_of_the_measurement():
    task = ms.Task(name="all", acceptance_rate=0.733)
    sampling = LLAMA.replace(tasks=(task,), target="sampling")
    measured = {1024: 0.733, 64: 0.721, 16: 0.702, 4: 0.659, 1: 0.520}
    for kept, rate in measured.items():
        scenario = sampling.replace(kept_probabilities=kept)
        assert ms.sample_state(scenario, 0).acceptance_rate == pytest.approx(rate, abs=6e-4)
        assert ms.make_controller("optimal+filter", scenario) is not None
    ids = sampling.replace(payload="ids")
    assert ms.sample_state(ids, 0).acceptance_rate == pytest.approx(0.520, abs=6e-4)
    assert 0.659 < sampling.replace(kept_probabilities=8).received_acceptance([0.733])[0] < 0.702
    for same in (ids.replace(target="greedy"), ids.replace(target=""), sampling.replace(kept_probabilities=32_000)):
        assert (ms.sample_state(same, 0).acceptance_rate == 0.733).all()
    whole = sampling.replace(kept_probabilities=16, vocabulary_size=16)
    assert whole.acceptance_shift == 0.0
    assert sampling.replace(kept_probabilities=1).received_acceptance([0.0, 1.0]).tolist() == [0.0, 1.0]


def test_a_measured_table_replaces_the_default():
    scenario = LLAMA.replace(acceptance_shifts=[[1, -2.0], [100, -0.5]])
    assert scenario.replace(kept_probabilities=10).acceptance_shift == pytest.approx(-1.25)
    assert scenario.replace(kept_probabilities=5000).acceptance_shift == -0.5
    assert hash(scenario) == hash(ms.Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))))


def test_every_model_of_acceptance_knows_the_payload():
    few = LLAMA.replace(kept_probabilities=1)
    logit = np.log([task.acceptance_rate / (1.0 - task.acceptance_rate) for task in few.tasks]) - 0.93
    expected = 1.0 / (1.0 + np.exp(-logit))
    for acceptance in ("by-task", "by-request"):
        prior = ms.registry.ACCEPTANCES.load(acceptance).prior(few)
        assert prior.mean == pytest.approx(expected)
        assert ms.controllers.Assumptions.of(few.replace(acceptance=acceptance)).acceptance_mean == pytest.approx(
            expected
        )
    state = ms.sample_state(few, 0, 200)
    assert np.unique(state.acceptance_rate) == pytest.approx(np.sort(expected))
    with pytest.raises(ValueError, match=r"kept_probabilities: expected the upload of all probabilities .*, got 1"):
        ms.EnvConfig.of("MultiSpin/RecordedAcceptance-v0", few).make().reset(seed=0)


@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
def test_fewer_probabilities_and_ids_of_a_sampling_target_cost_acceptance(preset):
    def optimum(scenario):
        state = ms.sample_state(scenario, 0, 8)
        return ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput.mean()

    scenario = ms.Scenario.preset(preset)
    free = scenario.replace(acceptance_shifts=((1, 0.0),))
    values, before = (
        [optimum(base.replace(kept_probabilities=kept)) for kept in (1024, 64, 16, 1)] for base in (scenario, free)
    )
    assert values[0] == before[0]
    assert all(value < other for value, other in zip(values[1:], before[1:], strict=True))
    greedy, sampling = (optimum(QWEN.replace(target=target)) for target in ("greedy", "sampling"))
    assert greedy == optimum(QWEN)
    assert 0.13 < 1.0 - sampling / greedy < 0.16


@pytest.mark.parametrize("name", DRAFTS.names())
def test_shipped_profiles_are_what_they_are_called(name):
    profile = DRAFTS.load(name)
    assert profile.name == name
    assert all((profile.model, profile.target_model, profile.source, profile.licence))
    assert profile.target == "greedy"
    if profile.on_server:
        with pytest.raises(ValueError, match=f"draft: expected a profile whose devices draft; .*, got '{name}'"):
            LLAMA.replace(draft=name)
    else:
        scenario = LLAMA.replace(draft=name)
        assert scenario.draft == name
        assert scenario.mean_draft_time == (profile.draft_time or LLAMA.mean_draft_time)
        assert f"{name} (acceptance assumed), ids for a greedy target" in scenario.label
        assert "assumed" not in scenario.replace(target_model=profile.target_model).label


def test_fits_of_draftbench_are_those_of_the_readme():
    alone, results = (16.82, 33.63), {"qwen2.5-0.5b-q4": (56.7, 96.23, 0.7339, 0.7157)}
    for name, (large, small, *ratios) in results.items():
        slope, shift = np.polyfit(1.0 / np.array(alone), 1.0 / np.array([large, small]), 1)
        tokens = 1.0 / slope
        drafted = (tokens - 1.0) / np.mean(ratios)
        profile = DRAFTS.load(name)
        assert profile.acceptance == pytest.approx(1.0 - slope, abs=6e-4)
        assert profile.draft_time == pytest.approx(shift * tokens / drafted, rel=2e-3)


def test_a_draft_sets_its_fields_and_loses_its_name_where_they_change():
    scenario = QWEN.replace(draft="qwen2.5-0.5b-q4")
    assert (scenario.tasks[0].acceptance_rate, scenario.mean_draft_time, scenario.target) == (0.756, 0.00301, "greedy")
    assert scenario.replace(num_users=3).draft == scenario.replace(payload="distributions").draft == scenario.draft
    assert scenario.replace(payload="distributions").replace(num_users=3).payload == "distributions"
    assert scenario.replace(mean_draft_time=0.02).draft == scenario.replace(tasks=QWEN.tasks).draft == ""
    assert scenario.replace(draft="").tasks == scenario.tasks
    other = scenario.replace(draft="vicuna-68m")
    assert (other.tasks[0].acceptance_rate, other.mean_draft_time) == (0.543, 0.00301)
    assert QWEN.replace(draft="qwen2.5-0.5b-q4", target="sampling", kept_probabilities=8).target == "sampling"
    assert ms.Scenario.preset("llama2", draft="qwen2.5-3b-q8").draft == "qwen2.5-3b-q8"
    with pytest.raises(ValueError, match=r"draft: expected the tasks, time and energy of 'vicuna-68m'.*replace"):
        ms.Scenario(**{name: getattr(LLAMA, name) for name in ms.Scenario.field_names()} | {"draft": "vicuna-68m"})


def test_scenarios_with_a_draft_survive_dicts_and_files(tmp_path):
    scenario = QWEN.replace(draft="qwen2.5-1.5b-q4", num_users=3)
    assert ms.Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    assert hash(scenario) != hash(QWEN)
    for ending in ("toml", "json"):
        scenario.save(tmp_path / f"mine.{ending}")
        assert ms.Scenario.load(tmp_path / f"mine.{ending}") == scenario
    changed = scenario.to_dict() | {"mean_draft_time": 0.5}  # the profile had another time then
    assert (ms.Scenario.from_dict(changed).draft, ms.Scenario.from_dict(changed).mean_draft_time) == ("", 0.5)
    (tmp_path / "by.toml").write_text('preset = "llama2"\ndraft = "drafts.toml"\n', encoding="utf-8")
    OWN.save(tmp_path / "drafts.toml")
    loaded = ms.Scenario.load(tmp_path / "by.toml")
    assert (loaded.draft, loaded.mean_draft_time, loaded.kept_probabilities) == ("", 0.006, 64)
    assert loaded.draft_energy == loaded.replace(num_users=3).draft_energy == 0.5
    assert LLAMA.replace(draft=str(tmp_path / "drafts.toml"), draft_energy=0.3).draft_energy == 0.3
    assert [(task.name, task.acceptance_rate) for task in loaded.tasks] == list(OWN.acceptance)
    (tmp_path / "by.toml").write_text('preset = "llama2"\ndraft = "../drafts.toml"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"by\.toml, line 2: draft: expected a profile name or a file in the"):
        ms.Scenario.load(tmp_path / "by.toml")


@pytest.mark.parametrize("profile", [OWN, HEADS, replace(OWN, acceptance=(0.9, 0.8))], ids=["full", "heads", "places"])
@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_profile_is_read_as_it_was_written(profile, ending, tmp_path):
    profile.save(tmp_path / f"mine.{ending}")
    assert ms.draft.DraftProfile.load(tmp_path / f"mine.{ending}") == profile


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("acceptance = 1.2", r"acceptance: expected a finite number in \[0, 1\], got 1.2"),
        ("acceptance = [0.9, -0.1]", r"acceptance\[1\]: expected a finite number in \[0, 1\], got -0.1"),
        ('acceptance = [["a", 0.9], 0.1]', "acceptance: expected a rate, rates by position or pairs"),
        ("acceptance = []", "acceptance: expected a rate, rates by position or pairs"),
        ("joules_per_token = 1.0", "acceptance: expected a value unless there is an acceptance_length, got None"),
        ("acceptance_length = 2.5", "draft_length: expected the length that was measured, got None"),
        (
            "acceptance_length = 5.5\ndraft_length = 4",
            r"acceptance_length: expected a finite number in \[1, 5\], got 5.5",
        ),
        ("acceptance = 0.5\ndraft_time = 0.0", "draft_time: expected"),
        ("acceptance = 0.5\ndraft_time = 0.1\ndraft_passes = 1.0", "draft_passes: expected no time besides draft_time"),
        ("acceptance = 0.5\ndraft_passes = 1.0", "draft_length: expected"),
        ("acceptance = 0.5\ndraft_pieces = [[0.0, 0.0]]", "draft_pieces: expected"),
        ("acceptance = 0.5\nverified_tokens = 60", "verified_tokens: expected 0 without draft_passes, got 60"),
        ('acceptance = 0.5\npayload = "id"', "payload: expected one of .*did you mean 'ids'"),
        ("acceptance = 0.5\nkept_probabilities = 0", "kept_probabilities: expected an integer"),
    ],
)
def test_bad_files_are_one_sentence_with_file_and_field(line, sentence, tmp_path):
    file = tmp_path / "bad.toml"
    text = "".join(f'{name} = "{value}"\n' for name, value in TEXT.items())
    file.write_text(text + line, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"bad\.toml.*: .*{sentence}") as error:
        ms.draft.DraftProfile.load(file)
    assert "\n" not in str(error.value)


def test_rates_have_the_measured_tokens():
    """E[N | L] by summing the probabilities of all outcomes, against the measured length."""

    def mean(rate, length):
        outcomes = [(n, rate ** (n - 1) * (1.0 - rate)) for n in range(1, length + 1)] + [(length + 1, rate**length)]
        return sum(n * probability for n, probability in outcomes)

    point = ms.draft.DraftProfile(**TEXT, acceptance_length=3.3, draft_length=6)
    assert mean(point.rates[0][1], 6) == pytest.approx(3.3, rel=1e-9)
    places = ms.draft.DraftProfile(**TEXT, acceptance=(0.9, 0.6, 0.5))
    assert mean(places.rates[0][1], 3) == pytest.approx(1.0 + 0.9 + 0.54 + 0.27, rel=1e-9)
    both = OWN.tokens(np.array([0, 3]))
    assert both == pytest.approx([1.0, (mean(0.9, 3) + mean(0.7, 3)) / 2], rel=1e-12)


def test_the_server_drafts_in_one_pass_or_token_by_token():
    law, lengths = QWEN.law, np.array([0, 1, 5])
    verifying = [QWEN.law.time(20, 20 * (length + 1)) for length in lengths]
    assert HEADS.round_time(law, 20, lengths) == pytest.approx(verifying + np.array([0.0, 0.003, 0.003]))
    chain = replace(HEADS, one_pass=False).round_time(law, 20, lengths)
    assert chain == pytest.approx(verifying + np.array([0.0, 0.003, 0.015]))
    tree = DRAFTS.load("eagle-3")
    assert tree.lengths(25).tolist() == [0, 6]
    expected = [QWEN.law.time(20, 20), 0.89 * QWEN.law.time(1, 1) + QWEN.law.time(20, 20 * 60)]
    assert tree.round_time(law, 20, tree.lengths(25)) == pytest.approx(expected)
    assert tree.tokens(tree.lengths(25)) == pytest.approx([1.0, 5.71])


def test_rows_are_optima_of_the_scenarios_with_each_draft(tmp_path):
    OWN.save(tmp_path / "own.toml")
    HEADS.save(tmp_path / "heads.toml")
    files = [str(tmp_path / f"{name}.toml") for name in ("own", "heads")]
    base = LLAMA.replace(target_model="large")
    rows = {row.draft + row.drafts_on: row for row in compare_drafts(base, files, {}, 5, 1, 2.0)}
    own = base.replace(draft=files[0], mean_draft_time=0.012)
    state = ms.sample_state(own, 1, 5)
    goodput = ms.expected_outcome(own, state, ms.oracle(own)(state)).goodput.mean()
    row = rows["minedevices"]
    assert (row.goodput, row.assumed, row.bits_per_token) == (pytest.approx(goodput), False, own.bits_per_token)
    assert row.acceptance == pytest.approx(own.received_acceptance([0.9, 0.7]).mean())
    drafts = base.replace(server_draft_pieces=HEADS.draft_pieces, max_draft_length=25)
    best = max(4 * (1 - 0.8 ** (n + 1)) / 0.2 / (0.002 * (n > 0) + drafts.law.time(4, 4 * (n + 1))) for n in range(26))
    assert rows["mineserver"].goodput == pytest.approx(best)
    assert max(row.share for row in rows.values()) == 1.0
    slow = compare_drafts(base, ["qwen2.5-0.5b-q4"], {"mean_draft_time": 0.5}, 5)[0]
    assert (slow.draft, slow.assumed) == ("qwen2.5-0.5b-q4", True)
    assert slow.goodput < compare_drafts(base, ["qwen2.5-0.5b-q4"], {}, 5)[0].goodput


def test_a_time_factor_slows_all_devices_and_no_server():
    names = ["qwen2.5-0.5b-q4", "vicuna-68m", "prompt-lookup", "eagle-3"]
    before, after = ({row.draft: row for row in compare_drafts(LLAMA, names, {}, 5, 0, x)} for x in (1.0, 4.0))
    assert {name for name, row in before.items() if after[name].goodput == row.goodput} == {"eagle-3"}
    slow = LLAMA.replace(mean_draft_time=4.0 * LLAMA.mean_draft_time)
    for name, fields in (("(scenario's own)", {}), ("vicuna-68m", {"draft": "vicuna-68m"})):
        (own, *_) = [row for row in compare_drafts(slow.replace(**fields), [], {}, 5) if row.drafts_on == "devices"]
        assert after[name].goodput == own.goodput
    kept = {row.draft: row for row in compare_drafts(LLAMA, names, {"mean_draft_time": 0.01}, 5, 0, 4.0)}
    assert (
        kept["vicuna-68m"]
        == {row.draft: row for row in compare_drafts(LLAMA, names, {"mean_draft_time": 0.01}, 5)}["vicuna-68m"]
    )


def test_each_target_has_a_table_with_its_own_shares(capsys):
    words = ["--num-users", "3", "--profiles", "qwen2.5-0.5b-q4", "medusa", "--states", "2"]
    assert main(["drafts", *words]) == 0
    _, *tables = re.split(r"\n\n(\w+) target\n\n", capsys.readouterr().out)
    assert tables[::2] == ["greedy", "sampling"]
    for text, drafts in zip(tables[1::2], ({"qwen2.5-0.5b-q4", "medusa"}, {"(scenario's"}), strict=True):
        lines = text.splitlines()[2:]
        assert {line.split()[0] for line in lines} == drafts
        assert " 1.000 " in lines[0]
    assert main(["drafts", *words, "--set", "payload=ids"]) == 0
    assert capsys.readouterr().out.count(" target\n") == 1


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--num-users", "3", "--profiles", "qwen2.5-0.5b-q4", "medusa", "--states", "2", "--out", "mine"]
    assert main(["drafts", *words]) == 0
    printed = capsys.readouterr().out
    with (tmp_path / "mine.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [line.split() for line in printed.splitlines()]
    drafts = [words[0] for words in lines if {"devices", "server"} & {*words}]
    assert drafts == [row["draft"].split()[0] for row in rows]
    assert len(rows) == 3
    assert printed.count("assumed") == 2
    content = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert ms.Scenario.from_dict(content["about"]["scenario"]).num_users == 3
    assert (tmp_path / "mine.png").stat().st_size > 1000


def test_rows_without_drafts_are_named(capsys):
    words = ["--server", "a100-7b-gemm", "--set", "min_draft_length=0", "--profiles"]
    assert main(["drafts", *words, "prompt-lookup", "medusa", "qwen2.5-3b-fp16", "--states", "2"]) == 0
    *table, _, last = capsys.readouterr().out.splitlines()
    equal = [line.split("  ")[0] for line in table if " 1.00 " in line]
    assert len(equal) == 3
    assert last.endswith(f": {', '.join(equal)}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--profiles", "medus"], "did you mean 'medusa'"),
        (["--states", "0"], "states: expected an integer"),
        (["--time-factor", "0"], "time_factor: expected"),
        (["--set", "draft_ahead=True"], "draft_ahead: expected False"),
    ],
)
def test_bad_options_are_one_sentence(words, sentence, refused):
    assert sentence in refused("drafts", words)


def test_draft_is_an_option_where_server_is(capsys):
    draft = ["--draft", "qwen2.5-0.5b-q4", "--num-users", "2"]
    assert main(["compare", *draft, "--controllers", "fixed", "--episodes", "2"]) == 0
    assert "qwen2.5-0.5b-q4 (acceptance assumed)" in capsys.readouterr().out
    assert main(["compare", *draft, "--set", "draft=vicuna-68m", "--controllers", "fixed"]) == 2
    assert "set: expected 'draft' once, got --draft too" in capsys.readouterr().err
