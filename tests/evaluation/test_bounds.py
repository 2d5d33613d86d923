"""Bounds of episodes are those of their own systems."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.evaluation.cases import Episodes, bounds_of

CONTINUOUS = "MultiSpin/Continuous-v0"


def episodes(**arguments):
    return Episodes(CONTINUOUS, 3, "qwen3.5", {"num_users": 3, "horizon": 8.0, **arguments})


def test_the_bound_is_of_the_devices_that_play():
    some = episodes(channel="static")
    env = some.env().unwrapped
    env.reset(seed=some.seed)
    np.testing.assert_allclose(bounds_of(some), ms.rate_bound(env.scenario, env.state.system), rtol=1e-12)


@pytest.mark.parametrize("law", ["independent", "static"])
@pytest.mark.parametrize("name", ["groups", "optimal"])
def test_rules_stay_below_it(law, name):
    some = episodes(channel=law)
    assert some.values(name).mean() < bounds_of(some).mean()


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        (CONTINUOUS, {"channel": "gauss-markov"}),
        (CONTINUOUS, {"acceptance_visible": False}),
        ("MultiSpin/Serving-v0", {}),
        ("MultiSpin/Fair-v0", {}),
    ],
)
def test_there_is_none_where_nothing_is_proved(env_id, arguments):
    assert bounds_of(Episodes(env_id, 2, "llama2", {"num_users": 2, **arguments})) is None
