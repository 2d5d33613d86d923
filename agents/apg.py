"""Analytic policy gradient: the policy climbs the derivatives of the expected reward, which the environment knows.

As in Brax (Freeman et al. 2021, arXiv 2106.13281), over one round: γ = 0 suits all but one environment, as
`agents.base.step_discount` says. Where throughput is remembered, `Foresight` learns what later rounds make of this one.
What is hidden from the policy is known to the derivatives: their mean over all that looks alike is the derivative of
what the policy can expect, so it learns the decision that is best on average, without the noise of returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.special import logit
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from typing_extensions import override

from agents.base import BaseSettings, CosineRate, DirectLearner, Remaining, has_late_reports, scenarios_like
from agents.policies import UserEncoder, UserFeatures, UserHead
from agents.vec_env import NativeVecEnv, first_seed, make_vec_env, require_native
from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import Observation, ObservationCodec
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

DISCOUNT = 0.98
"""γ a round, where returns have about 64 rounds."""


class Foresight(nn.Module):
    """Worth of rates where the reward is the growth of Σ_k ln R_k, R' = q R + rate / w with q = 1 − 1 / w (ours).

    With later decisions held, a rate in round t changes all later rewards by

        ω_t = Σ_{s≥t} γ^{s−t} ∂ reward_s / ∂ rate_t = (1 − γ) / (w R_{t+1}) + γ q ω_{t+1},

    since what the growth of round s gains by U(R_{s+1}) that of round s + 1 loses again, but for γ. With γ = 0 this is
    the weight of the gradient rule; with γ near 1 it is one over the throughput that there will be. The network
    learns ρ = w R ω from one round to the next. As R falls by no more than q in a round, ρ ≤ 1 / q, and the network
    cannot answer more: unbounded, it could drive itself up through its own answers. The window is w > 1, in rounds.
    """

    def __init__(self, space: spaces.Space[Any], width: int, window: float, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.window = window
        q = 1.0 - 1.0 / window
        self.kept = DISCOUNT * q
        self.features = UserFeatures(space)
        assert isinstance(space, spaces.Dict)
        users = space.spaces["compute"].shape[0]  # type: ignore[index]
        self.encoder = UserEncoder(width, self.features.features_dim // users)
        self.head = UserHead(width, 1)
        settled = (1.0 - DISCOUNT) / (1.0 - self.kept)  # ρ where throughput stays as it is
        self.log_bound = float(-np.log(q))
        self.first = float(logit(settled * q))
        self.optimizer = th.optim.Adam(self.parameters(), lr=learning_rate)

    @override
    def forward(self, observation: Observation) -> th.Tensor:
        """ln ρ (n, K)."""
        tensors = {key: th.as_tensor(array) for key, array in observation.items()}
        return self.log_bound + nn.functional.logsigmoid(self.first + self.head(self.encoder(self.features(tensors))))

    def weights(self, observation: Observation, codec: ObservationCodec) -> FloatArray:
        """ω (n, K) in seconds, of the rates in the round that follows this observation."""
        with th.no_grad():
            ratio = np.exp(self(observation).numpy().astype(np.float64))
        return ratio / (self.window * _throughput(observation, codec))

    def learn(self, before: Observation, after: Observation, same: BoolArray, codec: ObservationCodec) -> None:
        """Take in a round of the copies in ``same`` (n,), those whose episode goes on."""
        with th.no_grad():
            later = self(after).exp()
        growth = _throughput(after, codec) / _throughput(before, codec)
        target = ((1.0 - DISCOUNT) + self.kept * later) / th.as_tensor(growth.astype(np.float32))
        error = (self(before) - target.log())[th.as_tensor(same)]
        self.optimizer.zero_grad()
        (error**2).sum().div(max(error.numel(), 1)).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()


def _throughput(observation: Observation, codec: ObservationCodec) -> FloatArray:
    seen = codec.decode(observation)
    assert isinstance(seen, Observed)
    assert seen.throughput is not None
    return seen.throughput


WIDE, WINDOW = 0.4, 0.2
"""Tokens round the middle between two lengths in which the one more counts, where lengths are rounded: at first, later.

The wide one finds the right length where all have the same, and the other the right ones where they differ.
"""

_REAL, _CHANGE, _NARROW = 0.1, 0.1, 0.2
"""Parts of the budget: lengths are real in the first, and give way to rounded ones in the second.

The third says where the window narrows. Real lengths show from afar where to go. Derivatives by rounded ones are
larger, which the optimiser does not expect if it happens at once.
"""


class Play:
    """Rounds of one vector of environments, played by a policy that learns, and in which its foresight learns."""

    def __init__(self, env: NativeVecEnv, foresight: Foresight | None = None) -> None:
        self.env = env
        self.foresight = foresight
        self.codec = env.env.config.observations
        self.observation: Any = env.reset()

    def slopes(self, action: th.Tensor, rounded: float = 0.0, window: float = WINDOW) -> th.Tensor:
        """Play actions, flat (n, K · columns); returns the derivatives of what they were expected to give.

        Actions are played inside their bounds; derivatives that lead outside count as 0. This part of the derivatives
        is of lengths that are ``rounded``, in this window; the rest of real ones.
        """
        shape = (self.env.num_envs, *self.env.action_space.shape)  # type: ignore[misc]
        wanted = action.detach().cpu().numpy().reshape(shape)
        played = wanted.clip(-1.0, 1.0)
        slopes = self._slopes(played, rounded, window)
        slopes[(wanted != played) & (wanted * slopes > 0.0)] = 0.0
        before = self.observation
        self.observation, _, over, _ = self.env.step(played)
        if self.foresight is not None:
            self.foresight.learn(before, self.observation, ~over, self.codec)
        return th.as_tensor(slopes.astype(np.float32), device=action.device).flatten(1)

    def _slopes(self, played: NDArray[Any], rounded: float, window: float) -> FloatArray:
        worth = None if self.foresight is None else self.foresight.weights(self.observation, self.codec)
        of = self.env.env.reward_slopes
        if rounded == 0.0:
            return of(played, worth)
        whole = of(played, worth, window)
        return whole if rounded == 1.0 else rounded * whole + (1.0 - rounded) * of(played, worth)


class AnalyticPolicyGradient(DirectLearner):
    """Learns in its own environment every second time, else in those of the other scenarios, in turn."""

    def __init__(self, env: NativeVecEnv, others: Sequence[Scenario], remaining: Remaining, **common: Any) -> None:
        self.remaining = remaining
        super().__init__(env, **common)
        self.others = tuple(others)

    @override
    def _setup_model(self) -> None:
        super()._setup_model()
        assert isinstance(self.env, NativeVecEnv)
        window = self.env.env.objective.remembered_rounds
        width = self.policy_kwargs["width"]
        self.foresight = None if window == 1.0 else Foresight(self.observation_space, width, window)

    @override
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        networks, others = super()._get_torch_save_params()
        return networks + ([] if self.foresight is None else ["foresight", "foresight.optimizer"]), others

    @override
    def loss(self) -> tuple[th.Tensor, int]:
        # minus what the actions of one vector gain, to first order in a change of them
        if self.foresight is not None:
            (group,) = self.foresight.optimizer.param_groups
            group["lr"] = 0.2 * self.lr_schedule(self._current_progress_remaining)
        own, *others = self._plays
        turn, is_other = divmod(self._n_updates, 2)
        play = others[turn % len(others)] if is_other and others else own
        action = self.actions_for(play.observation)
        gain = (play.slopes(action, *self._stage) * action).sum(-1).mean()
        return -gain, play.env.num_envs

    @property
    def _stage(self) -> tuple[float, float]:
        done = 1.0 - self.remaining(self._current_progress_remaining)
        return min(1.0, max(0.0, (done - _REAL) / _CHANGE)), WIDE if done < _NARROW else WINDOW

    @cached_property
    def _plays(self) -> list[Play]:
        own = self.env
        assert isinstance(own, NativeVecEnv)
        total = own.num_envs * own.env.scenario.num_users
        others = []
        for index, scenario in enumerate(self.others):
            config, copies = replace(own.env.config, scenario=scenario), -(-total // scenario.num_users)
            seed = first_seed(self.seed or 0, index, copies)
            others.append(make_vec_env(config, copies, own.env.max_episode_steps, seed))
        return [Play(env, self.foresight) for env in (own, *others)]


@dataclass(frozen=True)
class APGSettings(BaseSettings):
    """Hyperparameters; it learns other numbers of users beside its own, and other presets if it is to."""

    num_envs: int = 64
    timesteps: int = 500_000
    learning_rate: float = 3e-3
    max_grad_norm: float = 0.3
    width: int = 64
    users: tuple[int, ...] = (2, 3, 5, 8, 12, 20, 32, 50)
    presets: bool = False
    bandwidth: float = 0.0  # first mean of the actions' columns after the first

    @override
    def check(self, config: EnvConfig) -> None:
        if not config.variant.learning.slopes:
            raise ValueError(
                "agent: expected an environment whose reward has derivatives for 'apg', "
                f"got {type(config.variant).__name__}"
            )

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        return replace(self, bandwidth=0.4) if has_late_reports(config) else self

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> AnalyticPolicyGradient:
        """Build the untrained model; ``ValueError`` for environments without derivatives."""
        native = require_native(env, "derivatives")
        config = native.env.config
        self.check(config)
        scenarios = scenarios_like(config) if self.presets else (config.scenario,)
        return AnalyticPolicyGradient(
            native,
            [scenario.replace(num_users=users) for users in self.users for scenario in scenarios],
            remaining,
            learning_rate=CosineRate(self.learning_rate, remaining),
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "bandwidth_init": self.bandwidth},
            seed=seed,
            device=device,
        )


SETTINGS = APGSettings()

GENERALIST = APGSettings(timesteps=3_000_000, users=(2, 3, 5, 8, 12, 20, 32, 50, 100, 200), presets=True)
"""For agents that are handed on: a little less exact in their own system, and good in all presets.

Where the time of the server depends on tokens, it learns every preset on every such server and with both payloads.
"""
