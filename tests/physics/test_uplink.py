import math

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.radio import SMALL_SNR, spectral_efficiency, upload_time


@pytest.mark.parametrize("bits", [2**59, 2**62, 2**90])  # an int64 holds the first for a token, but not for a draft
def test_uploads_beyond_whole_numbers_take_their_time(bits):
    large = ms.Scenario.preset("llama2", kept_probabilities=2**30, bits_per_probability=bits // 2**30)
    time = upload_time(large, np.array([25, 1]), np.array([4.0, 2.0]), np.array([5e5, 5e5]))
    assert time == pytest.approx([25 * bits / 2e6, bits / 1e6])


def test_the_logarithm_keeps_its_digits_for_every_snr():
    snr = np.concatenate([np.logspace(-30, 30, 500), SMALL_SNR * (1.0 + np.linspace(-1e-3, 1e-3, 101))])
    unit = ms.Scenario.preset("llama2", transmit_snr_db=0.0)
    found = spectral_efficiency(unit, snr)
    assert found == pytest.approx([math.log1p(x) / math.log(2.0) for x in snr], rel=1e-13)
    assert [float(spectral_efficiency(unit, np.array(x))) for x in snr] == found.tolist()
