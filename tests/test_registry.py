import pickle
import sys
from functools import partial

import pytest

import multispin_env as ms
from multispin_env import registry
from multispin_env.controllers.continuous.greedy import Deadlines, Greedy
from multispin_env.controllers.continuous.groups import Groups
from multispin_env.physics.radio import Independent
from multispin_env.registry import CHANNELS, CONTROLLERS, SCENARIOS

TABLES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


class Other:
    pass


@pytest.mark.parametrize("table", TABLES, ids=[table.kind for table in TABLES])
def test_a_table_takes_its_own_kind_of_part_alone(table):
    names, message = table.names(), rf"^{table.kind}: expected (a class|an object) [^\n]*, got "
    parts = [table.load(name) for name in names]  # which checks them
    for part in (Other, Other(), None, Other if isinstance(parts[0], type) else type(parts[0])):
        with pytest.raises(ValueError, match=message):
            table.register("other", part)
    table.register("other", "multispin_env.checks:check_name")
    try:
        with pytest.raises(ValueError, match=message):
            table.load("other")
    finally:
        table.unregister("other")
    assert table.names() == names


@pytest.mark.parametrize(
    ("table", "part", "words"),
    [
        (CHANNELS, Independent, "an object that implements Channel, got <class"),
        (CHANNELS, 3, "an object that implements Channel, with changes, draw, first_gain, next_gain, got 3"),
        (CONTROLLERS, ms.RoundsController, "a class derived from Controller, with decide, got <class"),
    ],
)
def test_an_error_names_the_missing_attributes(table, part, words):
    with pytest.raises(ValueError, match=f"{table.kind}: expected {words}"):
        table.register("other", part)


def test_a_module_is_imported_where_the_user_names_it_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "own_law:LAW"
    (tmp_path / "own_law.py").write_text("from multispin_env.physics.radio import Independent\nLAW = Independent()\n")
    (tmp_path / "mine.toml").write_text(f'preset = "llama2"\nchannel = "{name}"\n')
    with pytest.raises(ValueError, match=r"channel: expected a registered name, got .*--set channel=own_law:LAW"):
        ms.Scenario.load("mine.toml")
    assert "own_law" not in sys.modules
    CHANNELS.admit(name)
    try:
        scenario = ms.Scenario.load("mine.toml")
        assert (ms.sample_state(scenario, 0).draft_time > 0.0).all()
    finally:
        CHANNELS.unregister(name)
        sys.modules.pop("own_law")
    with pytest.raises(ValueError, match=r"^channel: expected module:ATTRIBUTE that can be imported, got 'no:LAW'"):
        CHANNELS.admit("no:LAW")


def test_a_registered_scenario_is_a_preset():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    SCENARIOS.register("mine", scenario)
    try:
        assert ms.Scenario.preset("mine") == scenario
        with pytest.raises(ValueError, match=r"expected a new name, other than \[.*\], got 'mine'$"):
            SCENARIOS.register("mine", scenario)
    finally:
        SCENARIOS.unregister("mine")
    for ask in (SCENARIOS.unregister, SCENARIOS.target, SCENARIOS.load):
        with pytest.raises(ValueError, match=r"scenario preset: expected one of .*, got 'mine'"):
            ask("mine")


def short_drafts(scenario: ms.Scenario) -> ms.ContinuousController:
    return Greedy(scenario, draft_length=2)


@pytest.mark.parametrize(
    ("name", "target", "cls", "options"),
    [
        ("synchronous", None, Groups, {"groups": 1}),
        ("load-aware", None, Deadlines, {"haste": 1.0}),
        ("three", partial(Groups, groups=3), Groups, {"groups": 3}),
        ("short", short_drafts, Greedy, {"draft_length": 2}),
    ],
)
def test_a_name_may_be_a_class_with_options_set(name, target, cls, options, request):
    scenario = ms.Scenario.preset("llama2", num_users=3)
    if target is not None:
        CONTROLLERS.register(name, target)
        request.addfinalizer(lambda: CONTROLLERS.unregister(name))
    assert name in ms.controller_names("continuous")
    assert name not in ms.controller_names("rounds")
    controller = pickle.loads(pickle.dumps(ms.make_controller(name, scenario)))
    assert type(controller) is cls
    assert {option: getattr(controller, option) for option in options} == options
    if name != "load-aware":
        with pytest.raises(TypeError, match="got an unexpected keyword argument"):
            ms.make_controller(name, scenario, **options)
