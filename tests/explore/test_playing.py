"""Episodes of the page against those of the comparison."""

import pytest

from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.explore import playing
from tests.explore.test_timelines import played

ARGUMENTS = {"channel_law": "static", "horizon": 2.0}


@pytest.mark.parametrize(
    ("env_id", "name", "more"),
    [
        ("MultiSpin/Continuous-v0", "optimal", {}),  # on an uplink of its own
        ("MultiSpin/Serving-v0", "load-aware", {"load": 0.8, "warm_up": 0.5}),
    ],
)
def test_as_the_comparison_plays_them(env_id, name, more):
    """To the last bit: episodes of different lengths, with their latencies."""
    found = played(env_id, name, episodes=3, seed=5, **ARGUMENTS, **more).ledger
    expected = Episodes(env_id, 3, "llama2", {"num_users": 3, "rho": 1.0, **ARGUMENTS, **more}, seed=5).play(name)
    assert (found.tokens == expected.tokens).all()
    assert (found.time == expected.time).all()
    assert len(set(found.time.tolist())) == 3
    assert found.episode.keys() == expected.episode.keys()
    assert all((found.episode[key] == expected.episode[key]).all() for key in found.episode)


def test_the_first_episode_is_kept_whole():
    found = played("MultiSpin/Continuous-v0", "greedy", episodes=2, **ARGUMENTS)
    assert found.trace.duration == pytest.approx(found.ledger.time[0], rel=1e-12)
    assert found.trace.gained[-1] == pytest.approx(found.ledger.tokens[0].sum(), rel=1e-12)
    assert found.trace.title == "greedy"


def test_what_takes_too_long_is_refused(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(playing, "monotonic", lambda: float(next(clock)))
    with pytest.raises(ValueError, match=r"^seconds: expected fewer, or another controller, since 'greedy' had only"):
        played("MultiSpin/Continuous-v0", "greedy", horizon=20.0)
