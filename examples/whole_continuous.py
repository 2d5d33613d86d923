"""The system without the barrier and `MultiSpin/Continuous-v0` in one file, to be read after `whole_model.py`.

Each device repeats a cycle: it drafts, uploads, is ready, and is verified. The server verifies the drafts that are
there while the other devices go on. A step lasts from the end of one verification to the end of the next. Only the
numbers of a scenario come from the package, which computes steps without events; a test plays both with equal seeds.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import multispin_env as ms

Array = NDArray[Any]
LIMIT = 5.0  # bound of all entries of an action
FREE, DRAFTING, UPLOADING, READY = range(4)  # phases of a device at the end of a verification
LEAVE, TAKE, WAIT = range(3)  # the next batch leaves a draft, takes it if it has arrived, or waits for it


def expected_tokens(length: Array, acceptance: Array) -> Array:
    """Return E[N_k] = 1 + α + ... + α^L ([MS] 12): accepted tokens and one of the server."""
    return (1.0 - acceptance ** (length + 1.0)) / (1.0 - acceptance)


def drawn_tokens(length: Array, acceptance: Array, exponential: Any) -> Array:
    """Return N_k, where n drafted tokens in a row are accepted with the probability P(x ≥ n |ln α|) = α^n ([MS] 11)."""
    return np.minimum(np.floor(exponential / -np.log(acceptance)), length) + 1.0


def uplink(release: Array, work: Array, priority: Array, until: float = np.inf) -> tuple[Array, Array]:
    """Simulate the uploads up to a time; return when each has ended (infinite: it has not), and the work left.

    An upload needs ``work`` seconds of the whole band, which sends one of the uploads that are released at a time: the
    one with the smallest priority, among equals that with the least work at first.
    """
    left, ends, now = work.copy(), np.where(work > 0.0, np.inf, release), 0.0
    while now < until and (left > 0.0).any():
        waiting = np.flatnonzero((left > 0.0) & (release <= now))
        next_release = release[release > now].min(initial=until)
        if waiting.size:
            upload = waiting[np.lexsort((release[waiting], work[waiting], priority[waiting]))[0]]
            if now + left[upload] <= next_release:
                ends[upload] = now = now + left[upload]
                left[upload] = 0.0
                continue
            left[upload] -= next_release - now
        now = next_release
    return ends, left


class WholeContinuous(gym.Env[Any, Array]):
    """The environment with the encoding ``"plain"`` and a serial uplink; ``rho`` is the price of a second in tokens."""

    def __init__(
        self, scenario: ms.Scenario, rho: float, horizon: float = 20.0, timeout: float = 2.0, sampled: bool = False
    ) -> None:
        self.scenario, self.rho, self.horizon, self.timeout, self.sampled = scenario, rho, horizon, timeout, sampled
        K = scenario.num_users
        self.verification_time = self.pass_time(K)  # T_ver, of a batch of all devices
        self.band_time = scenario.bits_per_token / scenario.total_bandwidth  # Q / B
        self.reference_efficiency = self.efficiency(0.5 * (scenario.mean_gain_low + scenario.mean_gain_high))  # r̄
        T, upload = scenario.mean_draft_time, K * (self.band_time / self.reference_efficiency)
        scales = [self.verification_time / T, K, upload / T, self.pass_time(1) / T, rho * self.verification_time / K]
        self.scales = np.log10(scales)
        limits = {"compute": 2.0, "channel": 3.0, "acceptance": 1.0, "draft": 1.0, "ready": 1.0, "cycle": 1.0}
        boxes = {name: gym.spaces.Box(0.0, high, (K,), np.float32) for name, high in limits.items()}
        boxes |= {"phase": gym.spaces.Box(0.0, 1.0, (4 * K,), np.float32)}
        boxes |= {"aim": gym.spaces.Box(-1.0, 1.0, (K,), np.float32)}
        self.observation_space = gym.spaces.Dict({**boxes, "shared": gym.spaces.Box(-20.0, 20.0, (6,), np.float32)})
        self.action_space = gym.spaces.Box(-LIMIT, LIMIT, (K, 3), np.float32)

    def pass_time(self, drafts: int) -> float:
        """Return the seconds of the server for a batch, T_fix + T_lin for each draft ([MS] 7)."""
        return self.scenario.verification_fixed_time + drafts * self.scenario.verification_time_per_draft

    def efficiency(self, gain: Any) -> Any:
        """Return r = log2(1 + p H / N0) in bit/s/Hz ([MS] 8)."""
        return np.log2(1.0 + self.scenario.transmit_snr * gain)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw new devices, all free. Each device has its own streams, read once a cycle, whatever is decided."""
        super().reset(seed=seed)
        scenario, K = self.scenario, self.scenario.num_users
        if seed is not None or not hasattr(self, "devices"):
            self.devices, fading, tokens, *_ = self.np_random.spawn(5)
            self.fading, self.tokens = fading.spawn(K), tokens.spawn(K)
        draft, gain, task = self.devices.random((3, K))
        spread, low, high = scenario.draft_time_spread, scenario.mean_gain_low, scenario.mean_gain_high
        self.draft_time = scenario.mean_draft_time * (1.0 - spread + 2.0 * spread * draft)
        self.mean_gain = low + (high - low) * gain
        rates = np.array([task.acceptance_rate for task in scenario.tasks])
        self.acceptance = rates[(task * len(rates)).astype(int)]
        self.channel = np.zeros(K)
        self.new_channel(np.arange(K))
        self.phase, self.length = np.full(K, FREE), np.zeros(K)
        self.drafting, self.air = np.zeros(K), np.zeros(K)  # s until the draft is complete, s of the band to upload it
        self.age, self.aim = np.zeros(K), np.zeros(K)  # s since the cycle began; batch after which the draft began
        self.batch, self.time, self.episode_tokens = 0, 0.0, 0.0
        return self.observation(), {}

    def new_channel(self, devices: Array) -> None:
        """Draw Rayleigh fading for the next cycle of devices."""
        for k in devices:
            self.channel[k] = self.efficiency(self.mean_gain[k] * self.fading[k].standard_exponential())

    def observation(self) -> dict[str, Array]:
        """Return the whole state, scaled to order one."""
        ready, pending, batches = self.drafting + self.air, self.air.sum(), self.aim - self.batch
        state = {
            "phase": np.eye(4)[self.phase].reshape(-1),
            "compute": self.draft_time / self.scenario.mean_draft_time,
            "channel": self.channel / self.reference_efficiency,
            "acceptance": self.acceptance,
            "draft": self.length / self.scenario.max_draft_length,
            "ready": ready / (ready + self.verification_time),
            "cycle": self.age / (self.age + self.verification_time),
            "aim": batches / (np.abs(batches) + 4.0),
            "shared": np.append(self.scales, pending / (pending + self.verification_time)),
        }
        return {name: array.astype(np.float32) for name, array in state.items()}

    def decode(self, action: Array) -> tuple[Array, Array, Array]:
        """Return draft lengths (exponential in column 0), which drafts the batch joins, and priorities of uploads."""
        x = np.asarray(action, np.float64) / LIMIT
        length = np.rint(self.scenario.max_draft_length ** ((x[:, 0] + 1.0) / 2.0))
        join = np.minimum((1.5 * (x[:, 1] + 1.0)).astype(int), WAIT)
        return length, join if join.any() else np.full(len(join), TAKE), x[:, 2]

    def start_drafts(self, length: Array) -> None:
        """Let all free devices start a cycle."""
        free = self.phase == FREE
        self.length = np.where(free, length, self.length)
        self.drafting = np.where(free, self.length * self.draft_time, self.drafting)
        self.air = np.where(free, self.length * self.band_time / self.channel, self.air)
        self.age, self.aim = np.where(free, 0.0, self.age), np.where(free, self.batch, self.aim)

    def batch_start(self, arrival: Array, join: Array) -> float:
        """Return when the batch starts: with all drafts that it waits for or at the timeout, and at least one."""
        first = arrival[join != LEAVE].min()
        last = arrival[join == WAIT].max(initial=first)
        return float(min(last, max(first, self.timeout)))

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play up to the end of the next verification; the reward is (tokens - ρ · duration) / K."""
        length, join, priority = self.decode(action)
        self.start_drafts(length)
        arrival, _ = uplink(self.drafting, self.air, priority)
        start = self.batch_start(arrival, join)
        verified = (join != LEAVE) & (arrival <= start)
        duration = start + self.pass_time(verified.sum())
        _, self.air = uplink(self.drafting, self.air, priority, duration)

        batch = np.flatnonzero(verified)
        tokens = expected_tokens(self.length, self.acceptance) * verified
        for k in batch if self.sampled else ():
            tokens[k] = drawn_tokens(self.length[k], self.acceptance[k], self.tokens[k].standard_exponential())

        drafts, arrived = self.length * verified, np.where(arrival > duration, UPLOADING, READY)
        self.phase = np.where(verified, FREE, np.where(self.drafting > duration, DRAFTING, arrived))
        self.length, self.air = self.length * ~verified, self.air * ~verified
        self.drafting = np.maximum(self.drafting - duration, 0.0) * ~verified
        self.age, self.batch, self.time = self.age + duration, self.batch + 1, self.time + duration
        self.new_channel(batch)
        self.episode_tokens += tokens.sum()
        info = {"tokens": tokens, "draft_length": drafts, "duration": duration, "batch_size": len(batch)}
        info |= {"start_delay": start, "time": self.time, "episode_tokens": self.episode_tokens}
        info["token_goodput"] = self.episode_tokens / self.time
        reward = float(tokens.sum() - self.rho * duration) / self.scenario.num_users
        return self.observation(), reward, False, self.time >= self.horizon, info


def main() -> tuple[float, float]:
    """Play drafts of 4 tokens with and without the barrier; return the tokens/s of both."""
    rates = []
    for name, entry in (("every batch waits for all", LIMIT), ("batches take what has arrived", 0.0)):
        env = WholeContinuous(ms.Scenario.preset("llama2", num_users=20), rho=100.0)
        length = LIMIT * (2.0 * np.log(4.0) / np.log(env.scenario.max_draft_length) - 1.0)
        env.reset(seed=0)
        while env.time < env.horizon:
            info = env.step(np.tile([length, entry, 0.0], (20, 1)))[4]
        rates.append(float(info["token_goodput"]))
        print(f"{name:30} {rates[-1]:.1f} tokens/s")
    return rates[0], rates[1]


if __name__ == "__main__":
    main()
