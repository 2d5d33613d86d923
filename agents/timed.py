"""PPO where steps take different times: discounts of a second, and a price of time that is the agent's own rate."""

from typing import Any, cast

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from agents.policies.equivariant import EquivariantActorCritic
from agents.proximal import Proximal, Steps
from agents.vec_env import NativeVecEnv
from multispin_env.arrays import FloatArray
from multispin_env.envs.objectives import Objective, TokensMinusTime

MEMORY = 20.0
"""Seconds of each copy, about an episode, after which what was measured counts 1 / e."""


class AverageReward(nn.Module):
    """Tokens a second that an agent makes while it learns, and what its rewards are if that is the price of a second.

    With ρ the own rate, a step's (tokens − ρ · duration) is its gain over what the agent makes in the same time, as in
    average-reward learning (Schwartz 1993). The price of the environment is another number, that of a rule: where the
    agent is better than the rule every second seems to pay, and long steps with it. A moving estimate, Σ tokens / Σ
    duration over about `MEMORY` seconds of each copy. It is a module for the sake of its state, which checkpoints keep.

    Parameters
    ----------
    objective
        What the environment rewards; where that has no price of a second, rewards are left as they are.
    """

    tokens: th.Tensor
    seconds: th.Tensor

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.price, self.scale = 0.0, 1.0  # of the environment: tokens/s, and tokens that count as one
        self.priced = isinstance(objective, TokensMinusTime)
        if isinstance(objective, TokensMinusTime):
            self.price, self.scale = objective.rho, objective.scale
        for name in ("tokens", "seconds"):
            self.register_buffer(name, th.zeros((), dtype=th.float64))

    @property
    def rate(self) -> float:
        """Tokens a second of the agent; the environment's price before anything was measured."""
        return float(self.tokens / self.seconds) if self.seconds > 0.0 else self.price

    def take(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Measure steps (steps, copies): what the environment gave for them, and seconds."""
        seconds = float(durations.sum(dtype=np.float64))
        tokens = self.scale * float(rewards.sum(dtype=np.float64)) + self.price * seconds
        kept = float(np.exp(-seconds / durations.shape[1] / MEMORY))
        self.tokens.mul_(kept).add_(tokens)
        self.seconds.mul_(kept).add_(seconds)

    def correction(self, durations: FloatArray) -> FloatArray:
        """What is added to the rewards of steps of these durations, so that a second costs the own rate."""
        if not self.priced:
            return np.zeros_like(durations)
        corrected: FloatArray = (self.price - self.rate) / self.scale * durations
        return corrected


class TimedRolloutBuffer(DictRolloutBuffer):
    """Rollouts whose steps have durations d: γ and λ are of a second, so those of a step are γ ** d and λ ** d.

    λ is of a second too: what a trace weighs then depends on how long ago something was, and not on how many
    verifications lie between, which is the agent's own decision. When a rollout is complete, its rate is measured, and
    its rewards are put right by it before advantages are computed.

    Parameters
    ----------
    buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs
        As in Stable-Baselines3, but that γ and λ are of a second.
    own_rate
        Of the agent.
    """

    def __init__(self, *args: Any, own_rate: AverageReward, **kwargs: Any) -> None:
        self.own_rate = own_rate
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Forget the rollout."""
        super().reset()
        self.durations = np.zeros((self.buffer_size, self.n_envs))
        self.given = np.zeros((self.buffer_size, self.n_envs))  # rewards of the environment, nothing added

    def note(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Keep rewards and durations (n,) of the step that is added next."""
        self.given[self.pos], self.durations[self.pos] = rewards, durations

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: NDArray[Any]) -> None:
        """Advantages and returns (steps, n), as in Stable-Baselines3.

        Parameters
        ----------
        last_values
            Values (n,) of the observations behind the last step.
        dones
            Copies (n,) whose episode ended with it.
        """
        self.own_rate.take(self.given, self.durations)
        self.rewards += self.own_rate.correction(self.durations).astype(np.float32)
        discounts = self.gamma**self.durations
        traces = discounts * self.gae_lambda**self.durations
        values = np.vstack([self.values, last_values.detach().cpu().numpy().reshape(1, -1)])
        goes_on = 1.0 - np.vstack([self.episode_starts[1:], dones[None]])
        deltas = self.rewards + goes_on * discounts * values[1:] - values[:-1]
        later = np.zeros(self.n_envs)
        for step in reversed(range(self.buffer_size)):
            later = deltas[step] + goes_on[step] * traces[step] * later
            self.advantages[step] = later
        self.returns = self.advantages + self.values


class TimedSteps(Steps):
    """Steps that note their durations, and whose discounts depend on them.

    Parameters
    ----------
    env
        The environment.
    buffer
        What steps are added to.
    policy
        Has the values.
    """

    def __init__(self, env: NativeVecEnv, buffer: TimedRolloutBuffer, policy: EquivariantActorCritic) -> None:
        super().__init__(env, buffer.gamma, policy)
        self._native, self._buffer = env, buffer

    def _played(self, rewards: NDArray[Any]) -> FloatArray:
        durations = self._native.durations
        self._buffer.note(rewards, durations)
        discounts: FloatArray = self._gamma**durations
        return discounts


class TimedPPO(Proximal):
    """PPO of Stable-Baselines3 with γ and λ of a second, and the own rate as the price of time.

    Its environment must be a `NativeVecEnv`, which knows durations; all its episodes are cut off, and none ends by
    itself. Parameters are those of `Proximal`, but for γ and λ.
    """

    def _setup_model(self) -> None:
        assert isinstance(self.env, NativeVecEnv)
        self.own_rate = AverageReward(self.env.env.objective)
        self.rollout_buffer_class = TimedRolloutBuffer
        self.rollout_buffer_kwargs = {"own_rate": self.own_rate}
        super()._setup_model()

    def steps(self, env: VecEnv, buffer: RolloutBuffer) -> TimedSteps:
        """What rollouts are collected from."""
        assert isinstance(env, NativeVecEnv)
        assert isinstance(buffer, TimedRolloutBuffer)
        return TimedSteps(env, buffer, cast(EquivariantActorCritic, self.policy))

    def train(self) -> None:
        """Update the policy by the rollout."""
        super().train()
        self.logger.record("rollout/own_rate", self.own_rate.rate)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        networks, others = super()._get_torch_save_params()
        return [*networks, "own_rate"], others
