import pytest

import multispin_env as ms
from multispin_env.registry import ENCODINGS, SYSTEMS


@pytest.mark.parametrize(
    "table", [ms.SCENARIOS, ms.CHANNELS, ms.ACCEPTANCES, ms.CONTROLLERS, ms.ENVIRONMENTS, ENCODINGS, SYSTEMS]
)
def test_every_entry_loads(table):
    assert table.names()
    for name in table.names():
        assert table.load(name) is not None


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"scenario preset: got 'lama2'.*did you mean 'llama2'"):
        ms.Scenario.preset("lama2")
    with pytest.raises(ValueError, match=r"controller: got 'optimall'.*did you mean 'optimal'"):
        ms.make_controller("optimall", ms.Scenario.preset("llama2"))


def test_own_controller_and_scenario_are_known():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    ms.SCENARIOS.register("mine", scenario)
    try:
        assert ms.Scenario.preset("mine") == scenario
        with pytest.raises(ValueError, match="'mine' is taken"):
            ms.SCENARIOS.register("mine", scenario)
    finally:
        ms.SCENARIOS.unregister("mine")
    assert "mine" not in ms.SCENARIOS.names()


def test_a_name_that_is_unknown_is_neither_found_nor_removed():
    for ask in (ms.CONTROLLERS.unregister, ms.CONTROLLERS.target, ms.CONTROLLERS.load):
        with pytest.raises(ValueError, match="controller: got 'mine', allowed is one of"):
            ask("mine")
    assert ms.CONTROLLERS.target("fixed") is not None
