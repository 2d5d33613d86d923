"""Every copy reads its own generator, however the copies are read."""

import numpy as np
import pytest

from multispin_env.physics.streams import EnvStreams, rows_ahead


def draw(rng, rows):
    return rng.random((rows, 2))


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("block", [1, 4])
def test_rows_are_those_of_generators_read_one_by_one(copies, block):
    streams = EnvStreams(draw, copies, block)
    own = [None] * copies
    choice = np.random.default_rng(0)

    def seed(copy, number):
        streams.seed(copy, np.random.default_rng(number))
        own[copy] = np.random.default_rng(number)

    for copy in range(copies):
        seed(copy, copy)
    for turn in range(200):
        if turn % 17 == 5:
            seed(int(choice.integers(copies)), 100 + turn)
        chosen = None if choice.random() < 0.6 else np.flatnonzero(choice.random(copies) < 0.6)
        found = streams.read(chosen)
        expected = [own[copy].random(2) for copy in (range(copies) if chosen is None else chosen)]
        assert np.array_equal(found, np.reshape(expected, (-1, 2)))


def test_copies_are_seeded_first():
    streams = EnvStreams(draw, 2, 4)
    streams.seed(0, np.random.default_rng(0))
    assert streams.read(np.array([0])).shape == (1, 2)
    with pytest.raises(RuntimeError, match="environment 1: expected a seed before the first step"):
        streams.read()
    assert [rows_ahead(numbers) for numbers in (1, 250_001, 1_000_000, 10**9)] == [64, 63, 16, 8]  # few of long ones
