import copy
import pickle
from dataclasses import fields

import numpy as np
import pytest

from multispin_env.controllers.base import Assumptions
from multispin_env.physics.types import Observed
from multispin_env.registry import ESTIMATORS
from multispin_env.scenario import Scenario
from tests.controllers.estimators.histories import along, history, make

NAMES = ESTIMATORS.names()
OPTIONS = {"filter": {"moment": 5.0}, "beta": {"moment": 5.0}}


def build(name):
    return make(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_batch_equals_singles_bit_for_bit(name, hidden, rng):
    seen = history(rng, 8, 7)
    if hidden:
        seen = [
            Observed(o.draft_time, o.spectral_efficiency, None, None, o.drafted, o.accepted, o.age, None, o.throughput)
            for o in seen
        ]
    whole = along(build(name), seen)
    for row in range(7):
        single = along(build(name), [observed[row : row + 1] for observed in seen])
        for one, all_of_them in zip(single, whole, strict=True):
            assert one.shape == (1, 5)
            assert (one[0] == all_of_them[row]).all()
    strided = along(build(name), [observed[::2] for observed in seen])
    assert all((some == all_of_them[::2]).all() for some, all_of_them in zip(strided, whole, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_masked_copies_start_again(name, rng):
    first, second = history(rng, 5, 4), history(rng, 5, 4)
    mask = np.array([True, False, True, False])
    estimator = build(name)
    along(estimator, first)
    estimator.reset(mask)
    mixed = [estimator.estimate(observed) for observed in second]
    fresh = along(build(name), second)
    going_on = along(build(name), first + second)[5:]
    for found, new, old in zip(mixed, fresh, going_on, strict=True):
        assert (found[mask] == new[mask]).all()
        assert (found[~mask] == old[~mask]).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_go_on_by_themselves(name, duplicate, rng):
    seen = history(rng, 8, 3)
    whole = along(build(name), seen)
    estimator = build(name)
    along(estimator, seen[:4])
    other = duplicate(estimator)
    estimator.estimate(seen[0])
    for observed, found in zip(seen[4:], whole[4:], strict=True):
        assert (other.estimate(observed) == found).all()


@pytest.mark.parametrize("name", NAMES)
def test_observations_are_left_alone(name, rng):
    seen = history(rng, 3, 2)
    before = copy.deepcopy(seen)
    along(build(name), seen)
    for one, other in zip(seen, before, strict=True):
        for field in fields(Observed):
            assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


@pytest.mark.parametrize(
    ("name", "field"),
    [("beta", "drafted"), ("filter", "drafted"), ("gradient", "throughput")],
)
def test_what_is_needed_and_hidden_is_named(name, field):
    estimator = build(name)
    estimator.start(1)
    with pytest.raises(ValueError, match=rf"{field}: expected an array \(n, K\) for the estimator '{name}', got None"):
        estimator.estimate(Observed(np.ones((1, 5)), np.ones((1, 5))))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("beta", {"decay": 1.5}, r"decay: expected a finite number in \[0, 1\], got 1\.5"),
        ("beta", {"strength": 0.0}, r"strength: expected a finite number in \[0\.001, 1e\+09\], got 0\.0"),
        ("beta", {"moment": 0.0}, r"moment: expected a finite number in \[0\.001, 1000\], got 0\.0"),
        ("filter", {"moment": np.inf}, r"moment: expected a finite number in \[0\.001, 1000\], got inf"),
        ("filter", {"spreads": ()}, "spreads: expected at least one number > 0, got none"),
        ("filter", {"spreads": (1.0, -1.0)}, r"spreads\[1\]: expected a finite number in \(0, inf\), got -1\.0"),
        ("quantile", {"quantile": 1.0}, r"quantile: expected a finite number in \(0, 1\), got 1\.0"),
        ("mmse", {"mean_gain_strength": 0.0}, r"mean_gain_strength: expected a finite number in \(0, inf\), got 0\.0"),
        ("gradient", {"floor": 0.0}, r"floor: expected a finite number in \[1e-100, inf\), got 0\.0"),
        (
            "beta",
            {"assumptions": Assumptions((0.5,), (0.1,))},
            r"acceptance_mean: expected one entry for each task \(4\), got 1",
        ),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (((0.5, 1.2), (0.1, 0.1)), r"acceptance_mean\[1\]: expected a finite number in \[0, 1\], got 1\.2"),
        (((0.5,), (0.7,)), r"acceptance_spread\[0\]: expected a finite number in \[0, 0\.5\], got 0\.7"),
        (((0.5,), (0.1, 0.1)), r"acceptance_spread: expected one entry for each task \(1\), got 2"),
        (((), ()), "acceptance_mean: expected one entry for each task, at least one, got none"),
        (((0.5,), (0.1,), 1.1), r"correlation: expected a finite number in \[0, 1\], got 1\.1"),
        (((0.5,), (0.1,), 1.0, -1), "delay: expected an integer ≥ 0, got -1"),
    ],
)
def test_bad_assumptions(values, message):
    with pytest.raises(ValueError, match=message):
        Assumptions(*values)


def test_default_assumptions():
    scenario = Scenario.preset("qwen3.5")
    known = Assumptions.of(scenario)
    assert known.acceptance_mean == tuple(task.acceptance_rate for task in scenario.tasks)
    assert known.acceptance_spread == (0.08,) * 4
    assert (known.correlation, known.delay) == (0.9, 1)
    assert hash(Assumptions([0.5], [0.1])) == hash(Assumptions((0.5,), (0.1,)))
