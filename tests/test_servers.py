"""Profiles of servers, payloads and laws of verification in scenarios."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import multispin_env as ms

QWEN = ms.Scenario.preset("qwen3.5")


def test_a_profile_takes_the_place_of_the_law():
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    assert scenario.server == "a100-32b"
    assert scenario.verification_pieces == ms.SERVERS.load("a100-32b").pieces
    assert (scenario.verification_fixed_time, scenario.verification_time_per_draft) == (0.0, 0.0)
    assert scenario.bits_per_token == 18
    assert scenario.verification_time == pytest.approx(0.02735 + 20 * 0.0001526)
    assert scenario.replace(num_users=3).server == "a100-32b"
    assert scenario.replace(server="cpu-1.5b").padded_verification
    assert ms.Scenario.from_dict(scenario.to_dict()) == scenario
    assert hash(scenario) == hash(scenario.replace())


def test_a_law_of_ones_own_has_no_name():
    scenario = QWEN.replace(server="a100-32b")
    assert scenario.replace(verification_pieces=((0.1, 0.0),)).server == ""
    assert scenario.replace(round_trip_time=0.1).server == "a100-32b"
    beside = QWEN.replace(server="a100-32b", padded_verification=True)
    assert (beside.server, beside.padded_verification) == ("", True)
    assert beside.verification_pieces == scenario.verification_pieces
    assert scenario.replace(server="a100-32b", padded_verification=True) == beside
    assert scenario.replace(verification_pieces=list(scenario.verification_pieces)).server == "a100-32b"
    assert scenario.replace(server="").verification_pieces == scenario.verification_pieces


def test_a_constructor_takes_a_name_with_its_law_alone():
    fields = {name: getattr(QWEN, name) for name in ms.Scenario.field_names()}
    with pytest.raises(ValueError, match=r"server: expected the law of 'a100-32b', .*replace.*got .*0\.07507"):
        ms.Scenario(**{**fields, "server": "a100-32b"})
    with pytest.raises(ValueError, match="did you mean 'a100-32b'"):
        ms.Scenario(**{**fields, "server": "a100-32"})
    named = ms.Scenario(**{**fields, **ms.SERVERS.load("a100-32b").fields})
    assert named == QWEN.replace(server="a100-32b")
    assert pickle.loads(pickle.dumps(named)) == copy.copy(named) == named.replace() == named
    assert dataclasses.replace(named, num_users=3) == named.replace(num_users=3)


def test_a_server_may_keep_its_own_draft_step():
    server = ms.Server(name="both", model="m", source="s", pieces=((0.02, 1e-4),), draft_time=0.002)
    ms.SERVERS.register("both", server)
    try:
        scenario = QWEN.replace(server="both")
        assert scenario.server_draft_time == 0.002
        other = scenario.replace(server_draft_time=0.003)
        assert (other.server, other.replace(num_users=3).server_draft_time) == ("both", 0.003)
        assert ms.Scenario.from_dict(other.to_dict()) == other
    finally:
        ms.SERVERS.unregister("both")


def test_what_was_written_with_another_law_loses_the_name():
    old = QWEN.replace(server="a100-32b").to_dict() | {"verification_pieces": [[0.03, 0.0001]]}
    assert ms.Scenario.from_dict(old) == QWEN.replace(server="a100-32b", verification_pieces=((0.03, 0.0001),))


@pytest.mark.parametrize("name", ms.SERVERS.names())
def test_profiles_are_what_they_are_called(name):
    server = ms.SERVERS.load(name)
    assert server.name == name
    assert server.model
    assert server.source
    scenario = QWEN.replace(server=name, num_users=4)
    times = scenario.pass_time(4, np.arange(4, 200))
    assert (np.diff(times) > 0.0).all()
    assert (np.diff(times, 2) > -1e-12).all()


def test_payloads():
    assert QWEN.bits_per_token == 1024 * (16 + 18)
    assert QWEN.replace(payload="ids").bits_per_token == 18
    assert QWEN.replace(kept_probabilities=1).bits_per_token == 34


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"server": "a100-32"}, "did you mean 'a100-32b'"),
        ({"payload": "id"}, "did you mean 'ids'"),
        ({"verification_pieces": ((1.0, -2.0),)}, r"verification_pieces\[0\]: .*-2.0"),
        ({"verification_pieces": ((1.0, 2.0), (1.0,))}, r"verification_pieces\[1\]: .*\(1.0,\)"),
        ({"verification_pieces": (3,)}, r"verification_pieces\[0\]: .*3"),
        ({"verification_pieces": 3}, r"verification_pieces: .*pairs.*3"),
        ({"verification_pieces": ((float("nan"), 1.0),)}, r"verification_pieces\[0\]: .*nan"),
        ({"verification_fixed_time": 0.0}, "verification_fixed_time"),
        (
            {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "verification_pieces": ((0.0, 0.0),)},
            "verification_time",
        ),
        ({"round_trip_time": -1.0}, "round_trip_time: .*-1.0"),
        ({"padded_verification": 1}, "padded_verification: .*1"),
    ],
)
def test_bad_laws_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        QWEN.replace(**fields)
