"""What is learnt from, watched, tuned and measured on is drawn from seeds that have nothing in common."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import multispin_env as ms
from agents import AGENTS
from agents.measures import Measure
from agents.vec_env import RESERVED, apart, first_seed
from multispin_env.envs.settings import Settings
from multispin_env.evaluation import cases, statistics
from multispin_env.evaluation.cases import Episodes, held_out
from multispin_env.registry import ENVIRONMENTS

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
FRESH = 10**6
"""As in the test of the pretrained agents' scores."""

COPIES = 10**5
"""More than any agent trains on at once."""


def settings_of(env_id):
    return Settings(ms.Scenario.preset("llama2", num_users=3), ENVIRONMENTS.load(env_id)(), "lengths")


def ranges():
    """Every range of seeds that the project draws cases from, by what it is for."""
    table = held_out(HIDDEN, settings_of(HIDDEN))
    fresh = held_out(HIDDEN, settings_of(HIDDEN), offset=FRESH)
    return {
        "states of tables": range(statistics.HELD_OUT_SEED, statistics.HELD_OUT_SEED + 1),
        "states of validation": range(statistics.VALIDATION_SEED, statistics.VALIDATION_SEED + 1),
        "fresh states": range(statistics.HELD_OUT_SEED + FRESH, statistics.HELD_OUT_SEED + FRESH + 1),
        "validation and tuning": range(statistics.TUNING_SEED, statistics.TUNING_SEED + statistics.SEED_ROOM),
        "episodes of tables": range(table.seed, table.seed + FRESH),
        "fresh episodes": range(fresh.seed, fresh.seed + FRESH),
    }


def test_the_seeds_of_published_numbers_are_what_they_were():
    assert (statistics.HELD_OUT_SEED, statistics.VALIDATION_SEED) == (260_604_581, 260_604_582)
    assert (statistics.TUNING_SEED, statistics.EPISODE_SEED) == (1_000_000_000, 1_100_000_000)


def test_ranges_are_apart():
    for (name, one), (other, two) in itertools.combinations(ranges().items(), 2):
        assert one.stop <= two.start or two.stop <= one.start, (name, other)
    assert max(one.stop for one in ranges().values()) + COPIES < 2**32


def test_training_stays_away_from_all_of_them():
    assert max(AGENTS.load(name).num_envs for name in AGENTS.names()) < COPIES
    for name, one in ranges().items():
        for copies in (1, 64, COPIES):
            edges = (one.start - copies, one.start - copies + 1, one.start - 1, one.start, one.stop - 1, one.stop)
            for drawn in edges:
                first = apart(drawn, copies)
                assert first + copies <= one.start or one.stop <= first, (name, copies, drawn)
    assert [apart(seed, 64) for seed in (0, 10**8, 2**31 - 1)] == [0, 10**8, 2**31 - 1]  # the rest is as it was drawn


def test_training_is_seeded_so(monkeypatch):
    """Of 3,000 runs some draw a seed of those that are kept."""
    drawn = [int(np.random.SeedSequence([seed, 0]).generate_state(1)[0] >> 1) for seed in range(3000)]
    assert any(seed in reserved for seed in drawn for reserved in RESERVED)
    assert [first_seed(seed, 0, 128) for seed in range(3000)] == [apart(seed, 128) for seed in drawn]


def test_parts_of_a_run_play_other_episodes():
    firsts = sorted(first_seed(seed, part, 64) for seed in range(20) for part in (0, 1, 2, 4000))
    assert np.diff(firsts).min() > 64


@pytest.mark.parametrize("env_id", [FULL, HIDDEN])
def test_cases_are_drawn_from_the_seeds_of_their_use(env_id):
    """A run watches itself on other cases than it is measured on."""
    measure = Measure(env_id, settings_of(env_id))
    seen = []

    class SeenError(Exception):
        pass

    def play(cases, contender, progress=None):
        seen.append(cases.seed)
        raise SeenError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure.kind, "play", play)
        for call in (measure.validation, lambda: measure.report(SimpleNamespace(policy=None), "", 2)):
            with pytest.raises(SeenError):
                call()
    assert seen == {FULL: [260_604_582, 260_604_581], HIDDEN: [1_000_000_000, 1_100_000_000]}[env_id]


def test_episodes_begin_at_their_seed(monkeypatch):
    played = []
    monkeypatch.setattr(cases, "play_episodes", lambda env, contender, seed, progress: played.append(seed))
    Episodes(HIDDEN, 2, "llama2", seed=7).play("fixed")
    Episodes(HIDDEN, 2, "llama2").play("fixed")
    assert played == [7, 1_100_000_000]
