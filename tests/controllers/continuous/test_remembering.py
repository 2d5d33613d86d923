"""Rules that remember what verifications have shown."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from tests.controllers.continuous.served import core_of, shown


def test_two_more_or_one_less():
    core = core_of(ms.Scenario.preset("llama2", num_users=3), 2)
    controller = ms.make_controller("plus-two-minus-one", core.system.scenario, start=4)
    assert (controller(shown(core, 0, 0, 0)).draft_length == 4).all()
    walk = [((4, 4, 0), (4, 3, 0)), ((6, 3, 0), (6, 3, 0)), ((8, 0, 4), (7, 0, 0))]
    expected = [(6, 3, 4), (8, 5, 4), (7, 5, 3)]
    for (drafted, accepted), lengths in zip(walk, expected, strict=True):
        assert (controller(shown(core, drafted, accepted, 1)).draft_length == lengths).all()
    for full, end in ((True, 25), (False, 1)):
        for _ in range(30):
            decision = controller(shown(core, 5, 5 * full, 1))
        assert (decision.draft_length == end).all()


def slow_tier(controller, counts):
    """The walk of one device through tiers, one verification after the other."""
    lengths, tier, seen = list(controller.tiers), len(controller.tiers) // 2, 0
    average = lengths[tier] - 1.0
    for accepted in counts:
        average = (1 - controller.smoothing) * average + controller.smoothing * accepted
        seen += 1
        if seen <= controller.warm_up or (seen - controller.warm_up) % controller.interval:
            continue
        if tier > 0 and average <= lengths[tier - 1] - 0.5 + controller.down:
            tier -= 1
        elif tier < len(lengths) - 1 and average > lengths[tier] - 0.5 + controller.up:
            tier += 1
    return lengths[tier]


def test_tiers_against_a_slow_walk():
    core, rng = core_of(ms.Scenario.preset("llama2", num_users=6), 4), np.random.default_rng(0)
    controller = ms.make_controller(
        "ema-tiers", core.system.scenario, tiers=(2, 3, 5, 8), up=0.1, down=-0.3, interval=2, warm_up=3
    )
    counts = [[[] for _ in range(6)] for _ in range(4)]
    controller(shown(core, 0, 0, 0))
    visited = set()
    for step in range(80):
        high = step % 40 < 20
        drafted = rng.integers(0, 3, (4, 6)) * 4
        accepted = np.minimum(rng.integers(2 if high else 0, 9 if high else 3, (4, 6)), 8) * (drafted > 0)
        decision = controller(shown(core, drafted, accepted, 1))
        for copy, user in np.ndindex(4, 6):
            if drafted[copy, user]:
                counts[copy][user].append(int(accepted[copy, user]))
            assert decision.draft_length[copy, user] == slow_tier(controller, counts[copy][user])
        visited |= set(decision.draft_length.ravel().tolist())
    assert visited == {2, 3, 5, 8}


@pytest.mark.parametrize("name", ["ema-tiers", "plus-two-minus-one"])
def test_memory_ends_with_an_episode_another_batch_or_reset(name):
    core = core_of(ms.Scenario.preset("llama2", num_users=2), 3)
    controller = ms.make_controller(name, core.system.scenario)
    first = controller(shown(core, 0, 0, 0)).draft_length

    def learn():
        for _ in range(40):
            decision = controller(shown(core, 4, 0, 1))
        assert (decision.draft_length < first).all()

    learn()
    after = controller(shown(core, 0, 0, np.array([0, 1, 0]))).draft_length
    assert (after[[0, 2]] == first[0]).all()
    assert (after[1] < first[1]).all()
    learn()
    assert (controller(shown(core, 0, 0, 1)[:2]).draft_length == first[:2]).all()
    learn()
    controller.reset()
    assert (controller(shown(core, 0, 0, 1)).draft_length == first).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.74, 0.9, 0.97, 1.0])
def test_without_counts_lengths_rest_where_the_walk_would(alpha):
    """The middle of a long walk of +2 and −1, and a tier that does not move at the mean of what is accepted."""
    scenario = ms.Scenario.preset("llama2", num_users=1)
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    core = ContinuousCore(ContinuousSystem.of(scenario, "static"), 1, drawn=False)
    core.hold(replace(state, acceptance_rate=np.full((1, 1), alpha)))
    length = int(ms.make_controller("plus-two-minus-one", scenario)(core.state).draft_length[0, 0])
    assert length in (1, 25) or 2 * alpha**length >= 1 - alpha**length > 0 or alpha == 1.0
    assert length == 25 or 2 * alpha ** (length + 1) < 1 - alpha ** (length + 1)
    tiers = ms.make_controller("ema-tiers", scenario)
    rest = int(tiers(core.state).draft_length[0, 0])
    mean = sum(alpha**j for j in range(1, rest + 1))
    tier = np.array(tiers.tiers.index(rest))
    assert tiers.moved(tier, np.array(mean)) == tier
