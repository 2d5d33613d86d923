import json
import re
from functools import partial

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.scenario import Scenario
from multispin_env.units import BITS_PER_NAT, db_to_linear, index_bits
from tests.refusals import refusals

LLAMA, ZERO = Scenario.preset("llama2"), {"verification_pieces": ((0.0, 0.0),)}


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


def test_units():
    assert [index_bits(size) for size in (1, 2, 3, 4, 5, 32_000, 32_768, 32_769)] == [0, 1, 2, 2, 3, 15, 15, 16]
    assert [db_to_linear(value) for value in (-10.0, 0.0, 20.0)] == pytest.approx([0.1, 1.0, 100.0])
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


BAD = [
    *(("num_users", value) for value in (0, 2.5, True, 10**7, 10**9)),
    *(("kept_probabilities", value) for value in (0, 32_001)),
    *(("total_bandwidth", value) for value in (0.0, np.nan, np.inf, "wide")),
    *(("mean_draft_time", 0.0), ("server_draft_time", 0.0), ("mean_gain_low", 0.0), ("draft_time_spread", 1.0)),
    *(("verification_fixed_time", -0.1), ("verification_time_per_draft", np.nan), ("transmit_snr_db", np.nan)),
    *(("context_time", -1e-9), ("context_time", np.inf), ("context", -1), ("context", 2.5)),
    *(("round_trip_time", -1.0), ("padded_verification", 1), ("target_model", 3)),
    *(("mean_gain_high", 0.1), ("min_draft_length", 2), ("max_draft_length", 0), ("max_draft_length", 10_001)),
    *(("channel", "rayleig"), ("acceptance", "by-tsk"), ("payload", "id"), ("target", "warm"), ("tasks", ())),
    ("tasks", (ms.Task(name="chat", acceptance_rate=0.7), "chat")),
]
FIELDS = [
    ({"server": "a100-32"}, "did you mean 'a100-32b'"),
    ({"verification_pieces": ((1.0, -2.0),)}, r"verification_pieces\[0\]: .*-2.0"),
    ({"verification_pieces": ((1.0, 2.0), (1.0,))}, r"verification_pieces\[1\]: .*\(1.0,\)"),
    ({"verification_pieces": (3,)}, r"verification_pieces\[0\]: .*3"),
    ({"verification_pieces": ((float("nan"), 1.0),)}, r"verification_pieces\[0\]: .*nan"),
    ({"verification_fixed_time": 0.0}, "verification_fixed_time"),
    (dict.fromkeys(("verification_fixed_time", "verification_time_per_draft"), 0.0) | ZERO, "verification_time"),
    ({"draft": "qwen2.5-0.5b-q5"}, "draft: expected .*did you mean"),
    ({"draft": "none.toml"}, "draft: expected a file that can be read"),
    ({"acceptance_shifts": ()}, "acceptance_shifts: expected pairs"),
    ({"acceptance_shifts": ((4, -0.1), (4, 0.0))}, r"acceptance_shifts\[1\], probabilities: .* ≥ 5, got 4"),
    ({"acceptance_shifts": ((1, np.nan),)}, r"acceptance_shifts\[0\], shift: expected"),
]
RATES = (("rate", -0.1), ("rate", 1.1), ("rate", np.nan), ("std", -0.1))
TASK = {"name": "x", "acceptance_rate": 0.5}
test_refusals = refusals(
    *(
        (partial(LLAMA.replace, **{x: y}), rf"^{x}: expected .*, got {re.escape(repr(y))}(; did you .+)?$")
        for x, y in BAD
    ),
    *((partial(LLAMA.replace, **fields), pattern) for fields, pattern in FIELDS),
    *(
        (partial(ms.Task, **TASK | {f"acceptance_{x}": y}), rf"{x} of task 'x': expected a finite .*, got {y}")
        for x, y in RATES
    ),
    (partial(Scenario.preset, "qwen.toml"), r"^preset: expected a name, got the file 'qwen.toml'; .* Scenario\.load$"),
    *((partial(Scenario.from_dict, x), f"^{y}: expected .*, got ") for x, y in (([], "scenario"), ({}, "tasks"))),
    (partial(Scenario.from_dict, {"tasks": []}), "^name: expected .*, got "),
    (partial(Scenario.resolve, 3), r"^scenario: expected a Scenario, the name .*, or a table of fields, got 3$"),
)
