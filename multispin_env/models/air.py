"""Emulation of devices: how fast each drafts, and its channel in each round."""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.radio import Channel, spectral_efficiency
from multispin_env.physics.rounds import UNIFORMS_PER_USER, users_from_uniforms
from multispin_env.registry import CHANNELS
from multispin_env.scenario import Scenario


class Air(NamedTuple):
    """The same for everybody who plays it."""

    draft_time: FloatArray  # T_k (K,), s/token
    efficiency: FloatArray  # r_k (rounds, K) in each round, bit/s/Hz


def draw_air(scenario: Scenario, rounds: int, rng: np.random.Generator) -> Air:
    """Draw devices as the scenario says they differ, and their fading by its channel model.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> from multispin_env.models.air import draw_air
    >>> draw_air(ms.Scenario.preset("llama2", num_users=3), 5, np.random.default_rng(0)).efficiency.shape
    (5, 3)
    """
    devices, fading = rng.spawn(2)
    users = users_from_uniforms(scenario, devices.random((UNIFORMS_PER_USER, scenario.num_users)))
    channel: Channel = CHANNELS.load(scenario.channel)
    fresh = channel.draw(fading, rounds, scenario.num_users)
    gain = channel.first_gain(users.mean_gain, fresh[0])
    gains = [gain]
    for one in fresh[1:]:
        gain = channel.next_gain(gain, users.mean_gain, one)
        gains.append(gain)
    return Air(users.draft_time, spectral_efficiency(scenario, np.array(gains)))
