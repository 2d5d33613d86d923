"""Every environment reads its own generator, in any order of reads."""

import numpy as np
import pytest

from multispin_env.physics.streams import EnvStreams, rows_ahead


def draw(rng, rows):
    return rng.random((rows, 2))


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("block", [1, 4])
def test_rows_are_those_of_generators_read_one_by_one(num_envs, block):
    streams, generators, rng = EnvStreams(draw, num_envs, block), [None] * num_envs, np.random.default_rng(0)
    for turn in range(200):
        for env in range(num_envs) if turn == 0 else rng.integers(num_envs, size=int(turn % 17 == 5)):
            streams.seed(env, np.random.default_rng(1000 * turn + env))
            generators[env] = np.random.default_rng(1000 * turn + env)
        envs = None if rng.random() < 0.6 else np.flatnonzero(rng.random(num_envs) < 0.6)
        rows = [generators[env].random(2) for env in (range(num_envs) if envs is None else envs)]
        assert np.array_equal(streams.read(envs), np.reshape(rows, (-1, 2)))


def test_environments_are_seeded_first():
    streams = EnvStreams(draw, 2, 4)
    streams.seed(0, np.random.default_rng(0))
    assert streams.read(np.array([0])).shape == (1, 2)
    with pytest.raises(RuntimeError, match="environment 1: expected a seed before the first step"):
        streams.read()
    assert [rows_ahead(numbers) for numbers in (1, 250_001, 1_000_000, 10**9)] == [64, 63, 16, 8]  # fewer of long rows
