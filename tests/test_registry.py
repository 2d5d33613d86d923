import pytest

import multispin_env as ms
from multispin_env import registry
from multispin_env.apps.reproduce.figure import FigureSpec
from multispin_env.controllers.estimators import Estimator
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.variant import Variant
from multispin_env.physics.acceptance import Acceptance
from multispin_env.physics.arrivals import Arrivals
from multispin_env.physics.lengths import Lengths
from multispin_env.physics.radio import Channel
from multispin_env.registry import CONTINUOUS_ENCODINGS, ENCODINGS, SCENARIOS


def of(kind):
    return lambda part: isinstance(part, kind)


def derived(base):
    return lambda part: issubclass(part, base) and part is not base


def follows(protocol):
    names = {name for name in vars(protocol) if not name.startswith("_")}
    return lambda part: names and all(hasattr(part, name) for name in names)


KINDS = [
    (ms.registry.SCENARIOS, of(ms.Scenario)),
    (ms.registry.SERVERS, of(ms.Server)),
    (ms.registry.CHANNELS, follows(Channel)),
    (ms.registry.ACCEPTANCES, follows(Acceptance)),
    (ms.registry.ARRIVALS, follows(Arrivals)),
    (ms.registry.LENGTHS, follows(Lengths)),
    (ms.registry.CONTROLLERS, derived(ms.Controller)),
    (ms.registry.MODIFIERS, derived(ms.Modifier)),
    (ms.registry.ESTIMATORS, derived(Estimator)),
    (ENCODINGS, derived(RoundsCodec)),
    (CONTINUOUS_ENCODINGS, derived(ContinuousCodec)),
    (ms.registry.ENVIRONMENTS, derived(Variant)),
    (ms.registry.FIGURES, of(FigureSpec)),
]


@pytest.mark.parametrize(("table", "fits"), KINDS, ids=[table.kind for table, _ in KINDS])
def test_every_entry_is_what_its_table_says(table, fits):
    assert table.names()
    for name in table.names():
        assert fits(table.load(name)), name


def test_these_are_all_tables():
    tables = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    assert {id(table) for table, _ in KINDS} == {id(table) for table in tables}


def test_own_controller_and_scenario_are_known():
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
    with pytest.raises(ValueError, match=r"controller: expected one of .*, got 'optimall'; did you mean 'optimal'"):
        ms.make_controller("optimall", scenario)
