"""The shared OFDMA uplink."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.scenario import Scenario
from multispin_env.units import BITS_PER_NAT

SMALL_SNR = 1e-2  # Below it, 1 + snr has lost too many digits of the snr


def spectral_efficiency(scenario: Scenario, channel_gain: FloatArray) -> FloatArray:
    """r = log2(1 + p H / N0) in bit/s/Hz for power gains H ([MS] 8), to 1e-13 also where it is small."""
    snr = np.asarray(scenario.transmit_snr * channel_gain)
    efficiency = np.asarray(np.log2(1.0 + snr))  # without AVX-512 half the time of log1p
    small = snr < SMALL_SNR
    if np.count_nonzero(small):  # few are
        efficiency[small] = np.log1p(snr[small]) * BITS_PER_NAT
    return efficiency


def channel_gain(scenario: Scenario, spectral_efficiency: FloatArray) -> FloatArray:
    """H = (2^r − 1) N0 / p, the power gain with this r in bit/s/Hz: the inverse of [MS] (8), exact for small r too."""
    return np.expm1(spectral_efficiency * np.log(2.0)) / scenario.transmit_snr


def full_share_token_time(scenario: Scenario, spectral_efficiency: FloatArray) -> FloatArray:
    """c_k = Q / (B r_k): seconds to upload one token with the whole budget (ours; unit of the solvers)."""
    return (scenario.bits_per_token / scenario.total_bandwidth) / spectral_efficiency


def upload_time(
    scenario: Scenario, draft_length: FloatArray | IntArray, spectral_efficiency: FloatArray, bandwidth: FloatArray
) -> FloatArray:
    """L_k Q / (B_k r_k) in seconds ([MS] 9); 0 for a device that drafts nothing."""
    rate = bandwidth * spectral_efficiency
    if scenario.min_draft_length == 0:
        rate = np.where(draft_length == 0, 1.0, rate)
    return draft_length * float(scenario.bits_per_token) / rate  # whole numbers would run over
