"""The paper's system and `MultiSpin/Heterogeneous-v0` in one file, to be read from top to bottom.

K devices draft tokens with a small model and upload them over a shared band; a server verifies all drafts in one batch
of its large model. Only the numbers of a scenario come from the package, which does the same in many files, and faster;
a test plays both with equal seeds. [MS] is arXiv 2606.04581; arrays hold one number for each device.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import multispin_env as ms

Array = NDArray[Any]
LIMIT = 5.0  # bound of all entries of an action
LOG_FACTOR = 0.7  # logarithm of the factor on Q / r_k at this bound


def expected_tokens(length: Array, acceptance: Array) -> Array:
    """Return E[N_k] = 1 + α + ... + α^L ([MS] 12): accepted tokens and one of the server."""
    return (1.0 - acceptance ** (length + 1.0)) / (1.0 - acceptance)


def drawn_tokens(length: Array, acceptance: Array, exponential: Any) -> Array:
    """Return N_k, where n drafted tokens in a row are accepted with the probability P(x ≥ n |ln α|) = α^n ([MS] 11)."""
    return np.minimum(np.floor(exponential / -np.log(acceptance)), length) + 1.0


def equal_latency(drafting: Array, uploading: Array) -> Array:
    """Return the shares b_k of the band with which all devices finish at the same time φ ([MS] 31, 32).

    From the seconds of drafting d_k = L_k T_k, and of uploading u_k = L_k Q / (B r_k) with the whole band: the share
    b_k = u_k / (φ - d_k) makes d_k + u_k / b_k = φ, and φ is where the shares sum to 1. Newton's method finds it on
    1 / Σ b_k, which is concave in φ, from below; the unknown is the time δ = φ - max d_k.
    """
    lead = drafting.max() - drafting
    delta = (uploading - lead).max()  # of one device that has the whole band
    while True:
        share = uploading / (lead + delta)
        step = share.sum() * (share.sum() - 1.0) / (share / (lead + delta)).sum()
        if step <= 1e-15 * delta:
            return share / share.sum()
        delta += step


class WholeModel(gym.Env[Any, Array]):
    """The environment: a step is a round, and no decision changes later rounds."""

    def __init__(self, scenario: ms.Scenario, rounds: int = 1, sampled: bool = False) -> None:
        self.scenario, self.rounds, self.sampled = scenario, rounds, sampled
        K = scenario.num_users
        self.verification_time = scenario.verification_fixed_time + K * scenario.verification_time_per_draft  # T_ver
        self.band_time = scenario.bits_per_token / scenario.total_bandwidth  # Q / B
        self.reference_efficiency = self.efficiency(0.5 * (scenario.mean_gain_low + scenario.mean_gain_high))  # r̄
        T, upload = scenario.mean_draft_time, K * (self.band_time / self.reference_efficiency)
        self.shared = np.log10([self.verification_time / T, K, upload / T]).astype(np.float32)
        limits = {"compute": 2.0, "channel": 3.0, "acceptance": 1.0}
        boxes = {name: gym.spaces.Box(0.0, high, (K,), np.float32) for name, high in limits.items()}
        self.observation_space = gym.spaces.Dict({**boxes, "shared": gym.spaces.Box(-20.0, 20.0, (3,), np.float32)})
        self.action_space = gym.spaces.Box(-LIMIT, LIMIT, (K, 2), np.float32)

    def efficiency(self, gain: Any) -> Any:
        """Return r = log2(1 + p H / N0) in bit/s/Hz ([MS] 8)."""
        return np.log2(1.0 + self.scenario.transmit_snr * gain)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw new devices: draft times T_k, mean gains of their channels, and acceptance rates α_k of their tasks."""
        super().reset(seed=seed)
        if seed is not None or not hasattr(self, "streams"):
            self.streams = self.np_random.spawn(3)  # devices, fading, tokens: none depends on the actions
        scenario, (draft, gain, task) = self.scenario, self.streams[0].random((3, self.scenario.num_users))
        spread, low, high = scenario.draft_time_spread, scenario.mean_gain_low, scenario.mean_gain_high
        self.draft_time = scenario.mean_draft_time * (1.0 - spread + 2.0 * spread * draft)
        self.mean_gain = low + (high - low) * gain
        rates = np.array([task.acceptance_rate for task in scenario.tasks])
        self.acceptance = rates[(task * len(rates)).astype(int)]
        self.elapsed = 0
        return self.next_round(), {}

    def next_round(self) -> dict[str, Array]:
        """Draw Rayleigh fading, and return the observation: the whole state, scaled to order one."""
        self.channel = self.efficiency(self.mean_gain * self.streams[1].standard_exponential(self.scenario.num_users))
        compute, channel = self.draft_time / self.scenario.mean_draft_time, self.channel / self.reference_efficiency
        state = {"compute": compute, "channel": channel, "acceptance": self.acceptance, "shared": self.shared}
        return {name: array.astype(np.float32) for name, array in state.items()}

    def decode(self, action: Array) -> tuple[Array, Array]:
        """Return draft lengths, exponential in column 0, and bandwidths: those of equal latency if column 1 is 0."""
        x = np.asarray(action, np.float64) / LIMIT
        length = np.rint(self.scenario.max_draft_length ** ((x[:, 0] + 1.0) / 2.0))
        uploading = length * (self.band_time / self.channel) * np.exp(LOG_FACTOR * x[:, 1])
        return length, self.scenario.total_bandwidth * equal_latency(length * self.draft_time, uploading)

    def play(self, length: Array, bandwidth: Array, tokens: Array) -> tuple[float, float]:
        """Return goodput (tokens/s) and time (s) of a round; the server waits for the last draft ([MS] 13)."""
        uploading = length * self.scenario.bits_per_token / (bandwidth * self.channel)
        latency = float((length * self.draft_time + uploading).max()) + self.verification_time
        return float(tokens.sum()) / latency, latency

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one round; the reward is the goodput over K / T_ver, that of a server without drafts."""
        length, bandwidth = self.decode(action)
        tokens = expected_tokens(length, self.acceptance)
        if self.sampled:
            tokens = drawn_tokens(length, self.acceptance, self.streams[2].standard_exponential(len(length)))
        goodput, latency = self.play(length, bandwidth, tokens)
        info = {"goodput": goodput, "round_latency": latency, "accepted_tokens": tokens}
        info |= {"draft_length": length, "bandwidth": bandwidth}
        self.elapsed, one = self.elapsed + 1, self.rounds == 1  # a single round is a whole episode
        reward = goodput * self.verification_time / len(tokens)
        return self.next_round(), reward, one, not one and self.elapsed >= self.rounds, info


def main() -> float:
    """Play the oracle's decisions in 100 rounds; return the mean goodput in tokens/s."""
    env = WholeModel(ms.Scenario.preset("llama2", num_users=20), rounds=100)
    oracle, goodput, action = ms.oracle(env.scenario), [], np.zeros((20, 2))
    env.reset(seed=0)
    for _ in range(env.rounds):
        decision = oracle(ms.SystemState(env.draft_time, env.channel, env.acceptance))
        action[:, 0] = LIMIT * (2.0 * np.log(decision.draft_length) / np.log(env.scenario.max_draft_length) - 1.0)
        goodput.append(env.step(action)[4]["goodput"])
    print(f"the oracle: {np.mean(goodput):.1f} tokens/s")
    return float(np.mean(goodput))


if __name__ == "__main__":
    main()
