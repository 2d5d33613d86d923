import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.uplink import upload_time


@pytest.mark.parametrize("bits", [2**59, 2**62, 2**90])  # an int64 holds the first for a token, but not for a draft
def test_uploads_beyond_whole_numbers_take_their_time(bits):
    large = ms.Scenario.preset("llama2", kept_probabilities=2**30, bits_per_probability=bits // 2**30)
    time = upload_time(large, np.array([25, 1]), np.array([4.0, 2.0]), np.array([5e5, 5e5]))
    assert time == pytest.approx([25 * bits / 2e6, bits / 1e6])
