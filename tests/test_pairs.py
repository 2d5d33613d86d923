"""Pairs of features that exclude each other."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.pairs import PAIRS
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

FIELDS = {
    "draft_ahead": {"draft_ahead": True},
    "other_link": {"link": "power"},
    "access_delay": {"access_delay": 0.01},
    "upload_loss": {"upload_loss": 0.1, "repeat_time": 0.05},
    "battery_rounds": {"battery_rounds": 9.0},
    "min_draft_length": {"min_draft_length": 1},
    "fleet": {"fleet": "phones"},
    "draft": {"draft": "qwen2.5-0.5b-q4"},
    "draft_context_time": {"draft_context_time": 1e-6},
    "time_by_tokens": {"server": "a100-32b"},
}
OPTIONS = {"tpot": {"tpot": 0.5}, "fixed_length": {"fixed_length": np.ones(3, dtype=np.int64)}}
DOORS = {
    "without_barrier": lambda scenario, **_: ContinuousCore(ContinuousSystem.of(scenario), 1, drawn=False),
    "tight": lambda scenario, **_: ms.rate_bound(scenario, ms.sample_state(scenario, 0), tight=True),
    "energy_price": lambda scenario, **options: ms.make_controller("optimal", scenario, energy_price=1.0, **options),
}


@pytest.mark.parametrize(("feature", "other"), [(feature, other) for feature in PAIRS for other in PAIRS[feature]])
def test_each_pair_is_refused_where_it_enters(feature, other):
    door = DOORS.get(feature, lambda scenario: scenario)
    fields, options = {"min_draft_length": 0} | FIELDS.get(feature, {}) | FIELDS.get(other, {}), OPTIONS.get(other, {})
    with pytest.raises(ValueError, match="expected") as refused:
        door(ms.Scenario.preset("qwen3.5", num_users=3, **fields), **options)
    assert str(refused.value).startswith(PAIRS[feature][other].split("{")[0])


@pytest.mark.parametrize("feature", PAIRS)
def test_each_feature_is_allowed_alone(feature):
    door = DOORS.get(feature, lambda scenario: scenario)
    door(ms.Scenario.preset("qwen3.5", num_users=3, min_draft_length=0, **FIELDS.get(feature, {})))
