"""Episodes of the page against those of the comparison."""

import pytest

from multispin_env.evaluation.cases.episodes import Episodes
from tests.explore.test_timelines import played

ARGUMENTS = {"channel": "static", "horizon": 2.0}


@pytest.mark.parametrize(
    ("env_id", "name", "more"),
    [
        ("MultiSpin/Continuous-v0", "optimal", {}),  # on an uplink of its own
        ("MultiSpin/Serving-v0", "load-aware", {"load": 0.8, "warm_up": 0.5}),
    ],
)
def test_as_the_comparison_plays_them(env_id, name, more):
    """To the last bit: episodes of different lengths, with their latencies."""
    found = played(env_id, name, episodes=3, seed=5, **ARGUMENTS, **more).stats
    expected = Episodes(env_id, 3, "llama2", {"num_users": 3, "rho": 1.0, **ARGUMENTS, **more}, seed=5).play(name)
    assert (found.tokens == expected.tokens).all()
    assert (found.time == expected.time).all()
    assert len(set(found.time.tolist())) == 3
    assert found.episode.keys() == expected.episode.keys()
    assert all((found.episode[key] == expected.episode[key]).all() for key in found.episode)


def test_the_first_episode_is_kept_whole():
    found = played("MultiSpin/Continuous-v0", "greedy", episodes=2, **ARGUMENTS)
    assert found.trace.duration == pytest.approx(found.stats.time[0], rel=1e-12)
    assert found.trace.gained[-1] == pytest.approx(found.stats.tokens[0].sum(), rel=1e-12)
    assert found.trace.title == "greedy"
