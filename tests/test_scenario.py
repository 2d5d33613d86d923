import json
import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.scenario import Scenario
from multispin_env.units import BITS_PER_NAT, db_to_linear, index_bits, linear_to_db


def test_presets_are_those_of_the_paper():
    llama, qwen = ms.Scenario.preset("llama2"), ms.Scenario.preset("qwen3.5")
    assert (llama.bits_per_token, qwen.bits_per_token) == (31_744, 34_816)
    assert llama.verification_time == pytest.approx(0.02268 + 20 * 0.01272)
    assert qwen.verification_time == pytest.approx(0.07507 + 20 * 0.01978)
    assert [task.acceptance_rate for task in llama.tasks] == [0.8582, 0.7390, 0.7393, 0.7126]
    assert [task.acceptance_rate for task in qwen.tasks] == [0.8100, 0.9340, 0.9318, 0.9650]
    for scenario in (llama, qwen):
        assert (scenario.num_users, scenario.total_bandwidth, scenario.max_draft_length) == (20, 10e6, 25)
        assert scenario.transmit_snr == pytest.approx(223.87, rel=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_users", value) for value in (0, 2.5, True, 10**7, 10**9)),
        *(("kept_probabilities", value) for value in (0, 32_001)),
        *(("total_bandwidth", value) for value in (0.0, np.nan, np.inf, "wide")),
        *(("mean_draft_time", 0.0), ("server_draft_time", 0.0), ("mean_gain_low", 0.0), ("draft_time_spread", 1.0)),
        *(("verification_fixed_time", -0.1), ("verification_time_per_draft", np.nan), ("transmit_snr_db", np.nan)),
        *(("context_time", -1e-9), ("context_time", np.inf), ("context", -1), ("context", 2.5)),
        *(("round_trip_time", -1.0), ("padded_verification", 1)),
        *(("mean_gain_high", 0.1), ("min_draft_length", 2), ("max_draft_length", 0), ("max_draft_length", 10_001)),
        *(("channel", "rayleig"), ("acceptance", "by-tsk"), ("payload", "id"), ("tasks", ())),
        ("tasks", (ms.Task(name="chat", acceptance_rate=0.7), "chat")),
    ],
)
def test_bad_value_names_field_expectation_and_value(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: expected .*, got {re.escape(repr(value))}(; did you mean .+)?$"):
        ms.Scenario.preset("llama2", **{field: value})


def test_a_file_for_a_preset_and_missing_fields_are_one_sentence():
    with pytest.raises(ValueError, match=r"^preset: expected a name, got the file 'qwen.toml'; .* Scenario\.load$"):
        ms.Scenario.preset("qwen.toml")
    for values, field in (([], "scenario"), ({}, "tasks"), ({"tasks": []}, "name")):
        with pytest.raises(ValueError, match=rf"^{field}: expected .*, got "):
            ms.Scenario.from_dict(values)


@pytest.mark.parametrize(("field", "value"), [("rate", -0.1), ("rate", 1.1), ("rate", np.nan), ("std", -0.1)])
def test_bad_tasks(field, value):
    with pytest.raises(ValueError, match=rf"acceptance_{field} of task 'x': expected a finite .*, got {value}"):
        ms.Task(**{"name": "x", "acceptance_rate": 0.5, f"acceptance_{field}": value})


def test_units():
    assert [index_bits(size) for size in (1, 2, 3, 4, 5, 32_000, 32_768, 32_769)] == [0, 1, 2, 2, 3, 15, 15, 16]
    assert [db_to_linear(value) for value in (-10.0, 0.0, 20.0)] == pytest.approx([0.1, 1.0, 100.0])
    assert linear_to_db(db_to_linear(23.5)) == pytest.approx(23.5)
    assert pytest.approx(np.log2(7.0)) == BITS_PER_NAT * np.log(7.0)


def test_what_follows_from_the_fields():
    task = ms.Task(name="one", acceptance_rate=0.5, acceptance_std=0.25)
    system = {"num_users": 4, "kept_probabilities": 100, "transmit_snr_db": 20.0, "tasks": [task]}
    law = {"verification_fixed_time": 0.25, "verification_time_per_draft": 0.125}
    scenario = Scenario(name="mine", vocabulary_size=1000, mean_draft_time=0.01, **system, **law)
    assert scenario.bits_per_token == 100 * (16 + 10)
    assert (scenario.verification_time, scenario.law.time(1, 9)) == (0.75, 0.375)
    assert scenario.transmit_snr == pytest.approx(100.0)
    assert scenario.autoregressive_goodput == 4 / 0.75
    assert scenario.tasks == (task,)
    assert hash(scenario) == hash(scenario.replace())
    assert scenario.replace(total_bandwidth=5e6).verification_time == scenario.verification_time
    with pytest.raises(AttributeError):
        scenario.num_users = 3
    assert Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert Scenario.preset("llama2", name="mine") == Scenario.preset("llama2").replace(name="mine")
    assert Scenario.resolve(scenario) is scenario
    assert Scenario.resolve("llama2") == Scenario.preset("llama2")
    assert Scenario.resolve(json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert Scenario.resolve({"preset": "llama2", "num_users": 3}) == Scenario.preset("llama2", num_users=3)
    with pytest.raises(ValueError, match=r"^scenario: expected a Scenario, the name .*, or a table of fields, got 3$"):
        Scenario.resolve(3)
