"""Policies of the agents: features of order one, and a permutation-equivariant network.

A feature is computed from one or several entries of the observation; features with missing entries are left out. The
order is fixed, so a network fits every environment with the same entries.

One encoder maps the features of each user to a code. The mean and maximum of the codes over users are the context. One
head maps each user's code and the context to the action row of that user. So permuting the users permutes the actions,
and a network supports any number of users.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch as th
import torch.nn.functional as F  # noqa: N812 (its usual name)
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from typing_extensions import override

from multispin_env.envs.actions import LIMIT
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import ROUNDS, SHARED, SLACK, TOKENS
from multispin_env.evaluation.policy import MEMORY, NEXT_MEMORY, OUTPUT, Entries, Policy, Recurrent

_PRIOR_RATE = 0.75
_PRIOR_TOKENS = (8.0, 32.0)
"""Weights of the prior rate in tokens, for acceptance rates that differ much and little between requests."""


class Feature(NamedTuple):
    """Feature columns of each user, computed from entries of the observation."""

    entries: tuple[str, ...]
    columns: Callable[..., list[th.Tensor]]  # maps the entries, each (batch, K, numbers), to features of this shape


def _count(saturated: th.Tensor, scale: float) -> th.Tensor:
    return scale * saturated / (1.0 - saturated).clamp(min=1e-6)  # x, from x / (x + scale)


def _relative(channel: th.Tensor) -> list[th.Tensor]:
    return [channel - 1.0, th.log(channel + 1e-3)]


def _odds(hits: th.Tensor, misses: th.Tensor) -> list[th.Tensor]:
    accepted, refused = _count(hits, TOKENS), _count(misses, ROUNDS)
    odds = [
        th.log(accepted / (tokens * _PRIOR_RATE) + 1.0) - th.log(refused / (tokens * (1.0 - _PRIOR_RATE)) + 1.0)
        for tokens in _PRIOR_TOKENS
    ]
    return [*odds, 0.5 * th.log(1.0 + accepted + refused) - 1.0, th.log(1.0 + refused) - 0.5]


def _last_round(drafted: th.Tensor, accepted: th.Tensor, age: th.Tensor) -> list[th.Tensor]:
    same = (age > 0.0).float()
    return [4.0 * same * drafted, 4.0 * same * accepted, same * (accepted >= drafted).float(), 2.0 * age - 1.0]


def _pace(due: th.Tensor, remaining: th.Tensor) -> list[th.Tensor]:
    slack = SLACK * due / (1.0 - due.abs()).clamp(min=1e-6)  # time until the last token is due, in units of T_ver
    slack_per_token = slack / _count(remaining, TOKENS).clamp(min=1.0)
    return [due, slack_per_token / (slack_per_token.abs() + 1.0)]


FEATURES = (
    Feature(("compute",), lambda x: [5.0 * (x - 1.0)]),
    Feature(("channel",), _relative),
    Feature(("acceptance",), lambda x: [4.0 * (x - 0.75), -th.log1p(-x.clamp(max=0.999)) - 1.5]),
    Feature(("head_start",), lambda x: [4.0 * x]),
    Feature(("affordable",), lambda x: [2.0 * x - 1.0]),
    Feature(("level",), lambda x: [4.0 * x - 2.0]),
    Feature(("capacity",), lambda x: [2.0 * x - 1.0]),
    Feature(("charge",), lambda x: [4.0 * x - 2.0]),
    Feature(("time_left",), lambda x: [2.0 * x - 1.0]),
    Feature(("mean_channel",), _relative),
    Feature(("planned_channel",), _relative),
    Feature(("task",), lambda x: [x]),
    Feature(("drafted", "accepted", "age"), _last_round),
    Feature(("hits", "misses"), _odds),
    Feature(("phase",), lambda x: [x]),
    Feature(("draft",), lambda x: [4.0 * x]),
    Feature(("ready",), lambda x: [2.0 * x]),
    Feature(("cycle",), lambda x: [2.0 * x - 1.0]),
    Feature(("aim",), lambda x: [4.0 * x]),
    Feature(("wanted",), lambda x: [2.0 * x, 0.5 * th.log1p(_count(x, TOKENS)) - 1.0]),
    Feature(("answer",), lambda x: [2.0 * x]),
    Feature(("prompt",), lambda x: [x]),
    Feature(("waited",), lambda x: [x]),
    Feature(("first_due",), lambda x: [x]),
    Feature(("due", "wanted"), _pace),
    Feature(("queue",), lambda x: [4.0 * x]),
    Feature(("throughput",), lambda x: [th.log(x + 1e-6) - th.log1p(-x.clamp(max=0.999))]),
)
"""All features, in order; the unchanged values of ``shared`` follow them."""


class UserFeatures(BaseFeaturesExtractor):
    """Extractor from Dict observations to features (batch, K · columns), roughly centred, for any K.

    ``users`` is the number of users in ``observation_space``, by default that of its entry ``compute``.
    """

    def __init__(self, observation_space: spaces.Space[Any], users: int | None = None) -> None:
        entries = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
        features = [feature for feature in FEATURES if set(feature.entries) <= set(entries)]
        sizes: dict[str, int] = {key: space.shape[0] for key, space in entries.items()}  # type: ignore[index]
        if not features:
            raise ValueError(f"observation_space: expected a Dict with entries (K,), got {sizes or observation_space}")
        numbers = {key: size // (users or sizes["compute"]) for key, size in sizes.items()}
        zeros = {key: th.zeros(1, size) for key, size in sizes.items()}
        super().__init__(observation_space, features_dim=_by_user(features, numbers, zeros).numel())
        self._features = features
        self._numbers = numbers

    @override
    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        return _by_user(self._features, self._numbers, observations).flatten(1)


def _by_user(features: Sequence[Feature], numbers: Mapping[str, int], observations: dict[str, th.Tensor]) -> th.Tensor:
    first = features[0].entries[0]
    users = observations[first].shape[-1] // numbers[first]
    columns: list[th.Tensor] = []
    for feature in features:
        columns += feature.columns(*(observations[key].unflatten(-1, (users, numbers[key])) for key in feature.entries))
    if SHARED in observations:
        columns.append(observations[SHARED].unsqueeze(-2).expand(-1, users, -1))
    return th.cat(columns, dim=-1)


_LAST_STD = 0.01
"""Initial standard deviation of the weights of an actor's last layer: the first actions are almost 0."""


class Codes(NamedTuple):
    """Output of an encoder for a batch of observations."""

    user: th.Tensor  # (batch, K, width)
    context: th.Tensor  # (batch, 1, width), common to all users; (batch, K, width) if each user has its own


class ConcatLinear(nn.Linear):
    """Linear layer for the concatenation of each user's code and the context; the context's part is computed once."""

    @override
    def forward(self, codes: Codes) -> th.Tensor:  # type: ignore[override]
        user, context = self.weight.split(self.in_features // 2, dim=1)
        return F.linear(codes.user, user) + F.linear(codes.context, context, self.bias)


class UserEncoder(nn.Module):
    """Encoder from features (batch, K · features) to `Codes`; with ``alone``, each context depends on one user only."""

    def __init__(self, width: int, features: int, alone: bool = False) -> None:
        super().__init__()
        self.features = features
        self.alone = alone
        self.own = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.context = nn.Sequential(nn.Linear(width if alone else 2 * width, width), nn.SiLU())

    @override
    def forward(self, features: th.Tensor) -> Codes:
        user = self.own(features.unflatten(-1, (-1, self.features)))
        if self.alone:
            return Codes(user, self.context(user))
        return Codes(user, self.context(th.cat([user.mean(-2), user.amax(-2)], dim=-1)).unsqueeze(-2))


class UserHead(nn.Module):
    """Head from codes to action rows, flat (batch, K · columns).

    The initial outputs are about 0 in the first column and ``bandwidth`` in the others; with ``last_std=0`` exactly, in
    all states. ``scale`` (columns,) multiplies the outputs of the last layer: a small factor makes the learning steps
    of its column small.
    """

    scale: th.Tensor

    def __init__(
        self,
        width: int,
        columns: int,
        bandwidth: float = 0.0,
        last_std: float = _LAST_STD,
        scale: th.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(ConcatLinear(2 * width, width), nn.SiLU(), nn.Linear(width, columns))
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[1:], bandwidth)
        nn.init.normal_(last.weight, std=last_std)
        self.register_buffer("scale", th.ones(columns) if scale is None else scale, persistent=False)
        with th.no_grad():
            last.bias.div_(self.scale)

    @override
    def forward(self, codes: Codes) -> th.Tensor:
        return (self.net(codes) * self.scale).flatten(1)


class SumHead(nn.Module):
    """Head from codes to one value (batch, 1): the mean over users of a network's output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(ConcatLinear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))

    @override
    def forward(self, codes: Codes) -> th.Tensor:
        return self.net(codes).mean(-2)


class _ZeroValue(nn.Module):
    """Critic of a policy without critic: all values are 0."""

    @override
    def forward(self, features: th.Tensor) -> th.Tensor:
        return features.new_zeros(len(features), 1)


class _EquivariantExtractor(nn.Module):
    """Separate encoders for actor and critic, with the interface that Stable-Baselines3 expects."""

    def __init__(self, width: int, features: int, critic: bool, alone: bool) -> None:
        super().__init__()
        self.policy_net = UserEncoder(width, features)
        self.value_net = UserEncoder(width, features) if critic else nn.Identity()
        if alone:  # initialised last, so that all other networks start with the same weights as without it
            self.policy_net = UserEncoder(width, features, alone)
        self.latent_dim_pi = self.latent_dim_vf = 2 * width

    @override
    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        return self.policy_net(features)

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return self.value_net(features)


class DevicePolicy(ActorCriticPolicy):
    """Policy for PPO and A2C of Stable-Baselines3: one network for every device, for any number of devices.

    The network reads one device and a summary of all devices, and returns the action of that device. The action space
    is a Box (K, columns). `predict` takes observations of any number of devices, as does `multispin_env.compare`.
    Parameters without a comment are as in Stable-Baselines3.

    Examples
    --------
    >>> from multispin_agents import DevicePolicy, make_vec_env
    >>> from stable_baselines3 import PPO
    >>> env = make_vec_env("MultiSpin/Heterogeneous-v0", n_envs=2, num_users=4)
    >>> model = PPO(DevicePolicy, env, device="cpu")
    >>> model.predict(env.reset(), deterministic=True)[0].shape
    (2, 4, 2)
    """

    any_users: ClassVar[bool] = True  # read by `multispin_env.compare`

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Callable[[float], float],
        width: int = 16,  # of all layers
        log_std_init: float = 0.0,  # initial log standard deviation of the exploration, in all columns
        column_log_std: Sequence[float] = (),  # added to `log_std_init` by column, from the first column on
        bandwidth_init: float = 0.0,  # initial mean of all columns except the first
        last_std: float = _LAST_STD,  # as in `UserHead`
        critic: bool = True,  # if False, all values are 0
        alone: bool = False,  # whether the actor sees only its own device and the shared entries; the critic sees all
        use_sde: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.width = width
        self.column_log_std = tuple(column_log_std)
        self.bandwidth_init = bandwidth_init
        self.last_std = last_std
        self.critic = critic
        self.alone = alone
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            ortho_init=False,
            use_sde=use_sde,
            log_std_init=log_std_init,
            features_extractor_class=UserFeatures,
            features_extractor_kwargs={"users": action_space.shape[0] if action_space.shape else None},
            optimizer_class=optimizer_class,
            optimizer_kwargs={"eps": 1e-5, "fused": True} if optimizer_kwargs is None else optimizer_kwargs,
        )

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        assert self.action_space.shape is not None
        users, columns = self.action_space.shape
        features = self.features_dim // users
        self.mlp_extractor = _EquivariantExtractor(self.width, features, self.critic, self.alone)  # type: ignore[assignment]
        added = th.zeros(columns)
        for column, number in enumerate(self.column_log_std[:columns]):
            added[column] = number
        self.log_std = nn.Parameter(self.log_std_init + added)
        self.action_net = UserHead(self.width, columns, self.bandwidth_init, self.last_std, LIMIT * added.exp())
        self.value_net = SumHead(self.width) if self.critic else _ZeroValue()  # type: ignore[assignment]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    @override
    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Return actions (..., K, columns) for observations (..., size) of any number K of devices."""
        assert isinstance(self.observation_space, spaces.Dict)
        if not isinstance(observation, dict):  # which Stable-Baselines3 refuses
            return super().predict(observation, state, episode_start, deterministic)
        arrays = {name: np.asarray(observation[name], np.float32) for name in self.observation_space.spaces}
        tensors = {name: th.tensor(x.reshape(-1, x.shape[-1]), device=self.device) for name, x in arrays.items()}
        self.set_training_mode(False)
        with th.no_grad():
            actions = self._predict(tensors, deterministic).cpu().numpy()
        rows = actions.reshape(*next(iter(arrays.values())).shape[:-1], -1, self.columns)
        assert isinstance(self.action_space, spaces.Box)
        return rows.clip(self.action_space.low[0], self.action_space.high[0]), state

    def _get_action_dist_from_latent(self, latent_pi: Codes) -> Distribution:  # type: ignore[override]
        mean = self.action_net(latent_pi)
        log_std = self.log_std.repeat(latent_pi.user.shape[-2])
        assert isinstance(self.action_dist, DiagGaussianDistribution)
        return self.action_dist.proba_distribution(mean, log_std)

    @property
    def columns(self) -> int:
        """Number of action columns of each user."""
        assert self.action_space.shape is not None
        return self.action_space.shape[-1]

    def deterministic(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """Return the most likely actions, flat (batch, K · columns), for a batch of observations."""
        return self.means(self.features_extractor(observations)).flatten(1)

    def means(self, features: th.Tensor) -> th.Tensor:
        """Return the most likely actions (batch, K, columns) for features (batch, K · features)."""
        return self.action_net(self.mlp_extractor.forward_actor(features)).unflatten(-1, (-1, self.columns))

    def values(self, features: th.Tensor) -> th.Tensor:
        """Return the values (batch,) for features."""
        return self.value_net(self.mlp_extractor.forward_critic(features)).squeeze(-1)


class _FixedPolicy(nn.Module):
    """Policy of Stable-Baselines3 for one number of users, with Dict or flattened observations."""

    memory = 0

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy

    def deterministic(self, observations: dict[str, th.Tensor]) -> Any:
        is_flat = isinstance(self.policy.observation_space, spaces.Box)
        observed: Any = th.cat(list(observations.values()), -1) if is_flat else observations
        action = self.policy._predict(observed, deterministic=True).flatten(1)
        return LIMIT * action if self.policy.squash_output else action  # as ``predict`` of Stable-Baselines3 does


class _RecurrentPolicy(_FixedPolicy):
    """LSTM policy of sb3-contrib; its memory holds both LSTM states of all layers, flattened."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.memory = 2 * policy.lstm_actor.num_layers * policy.lstm_actor.hidden_size

    @override
    def deterministic(self, observations: dict[str, th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
        # the forward pass of the policy without the branches that cannot be exported; also returns the next memory
        policy: Any = self.policy
        *entries, memory = observations.values()
        states = memory.unflatten(1, (2, policy.lstm_actor.num_layers, -1)).permute(1, 2, 0, 3)
        features = policy.pi_features_extractor(th.cat(entries, -1))
        latent, after = policy.lstm_actor(features[None], (states[0].contiguous(), states[1].contiguous()))
        distribution = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(latent[0]))
        return distribution.get_actions(deterministic=True).flatten(1), th.stack(after).permute(2, 0, 1, 3).flatten(1)


class TracedNetwork(nn.Module):
    """Network from the entries of the observation, in order, to actions (batch, K, columns) within ±`LIMIT`.

    ``users`` is the only K that the policy supports, or ``None`` for any K. ``memory`` is the size of a recurrent
    policy's memory: its last input is the memory, and its second output is the next memory.
    """

    def __init__(
        self, policy: Any, space: spaces.Dict, columns: int, users: int | None = None, memory: int = 0
    ) -> None:
        super().__init__()
        self.policy = policy
        self.entries = [*space.spaces, *([MEMORY] if memory else [])]
        self.outputs = [OUTPUT, *([NEXT_MEMORY] if memory else [])]
        self.columns = columns
        self.users = users
        self.memory = memory

    @classmethod
    def of(cls, policy: BasePolicy, config: EnvConfig) -> Self:
        """Return the network of the deterministic actions of a policy of Stable-Baselines3."""
        policy.set_training_mode(False)
        space, columns = config.observations.space, config.actions.columns
        if hasattr(policy, "deterministic"):
            return cls(policy, space, columns)
        reader = (_RecurrentPolicy if hasattr(policy, "lstm_actor") else _FixedPolicy)(policy)
        return cls(reader, space, columns, config.scenario.num_users, reader.memory)

    @override
    def forward(self, *entries: th.Tensor) -> Any:
        output = self.policy.deterministic(dict(zip(self.entries, entries, strict=True)))
        action, *memory = output if self.memory else (output,)
        action = action.unflatten(-1, (-1, self.columns)).clamp(-LIMIT, LIMIT)
        return (action, *memory) if memory else action


def policy_of(model: BaseAlgorithm, config: EnvConfig) -> Policy:
    """Return the deterministic policy of a model for an environment with this configuration."""
    network = TracedNetwork.of(model.policy, config)

    def act(entries: Entries) -> Any:
        with th.no_grad():
            output = network(*(th.tensor(entries[name], device=model.device) for name in network.entries))
        return tuple(tensor.cpu().numpy() for tensor in output) if network.memory else output.cpu().numpy()

    return Policy(config, Recurrent(act, network.memory) if network.memory else act)
