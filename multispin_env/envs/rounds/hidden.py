"""Environments of rounds with a partly hidden state: old channel reports, hidden and recorded acceptance."""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import ClassVar, Self

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_bool, check_integer, check_real, checked_field
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.base import single_env
from multispin_env.envs.knowledge import Knowledge
from multispin_env.envs.observations import ObservationCodec
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.physics.acceptance import Acceptance, ByRequest, check_mean_rounds
from multispin_env.physics.radio import GaussMarkov, channel_gain, predictive_quantile, spectral_efficiency
from multispin_env.physics.records import Recorded, Records, load_records
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.types import SystemState


@dataclass(frozen=True, kw_only=True)
class DelayedChannel(RoundsConfig):
    """The observed channel is outdated by some rounds.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but fading is a Gauss-Markov process, h' = ρ h + sqrt(1 − ρ²) w, and the observed
    channel is d rounds old. If the channel of a device has become worse, its upload takes longer than planned, and the
    round waits for this device. `optimal+clairvoyant` knows the present channel. Everything not described here is as in
    `MultiSpin/Heterogeneous-v0`.

    ## Action Space

    As in `MultiSpin/Heterogeneous-v0`; the encodings compute the closed form with the observed channel, or with
    `planned_channel` if `plan_quantile` is set.

    ## Observation Space

    | entry             | shape | value      | meaning                                      | min  | max  |
    |-------------------|-------|------------|----------------------------------------------|------|------|
    | `compute`         | (K,)  | T_k / T̄    | draft time of a token                        | 0.85 | 1.15 |
    | `channel`         | (K,)  | r_k / r̄    | spectral efficiency                          | 0    | 2.03 |
    | `mean_channel`    | (K,)  | r(H̄_k) / r̄ | r at the mean gain H̄_k (`mean_gain_visible`) | 0    | 2.03 |
    | `planned_channel` | (K,)  | r_k / r̄    | r_k used by the encodings (`plan_quantile`)  | 0    | 2.03 |
    | `acceptance`      | (K,)  | α_k        | acceptance rate                              | 0    | 1    |
    | `shared`          | (3,)  | log10      | as in `MultiSpin/Heterogeneous-v0`           | -20  | 20   |

    `channel` is d rounds old.

    ## Rewards

    As in `MultiSpin/Heterogeneous-v0`, with the true channel.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`; d rounds before the first action, fading has its stationary distribution.

    ## Episode End

    Truncates after `rounds` rounds; with `rounds=1` it terminates, as in `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As in `MultiSpin/Heterogeneous-v0`, and

    - `rounds`: rounds of an episode, ≥ 1, default 64.
    - `correlation`: ρ, default 0.9; J0(2π v f_c τ / c) for speed v, carrier f_c and rounds of τ seconds.
    - `delay`: d, default 1.
    - `mean_gain_visible`: whether the mean gain is observed, default true.
    - `plan_quantile`: the encodings use this quantile of the present gain given the observed one, and `planned_channel`
      shows it, so an agent can start from the bandwidth of the plug-in `quantile`; default `None`: the observed gain.
    - `privileged`: whether `info` holds the true `spectral_efficiency` and `acceptance_rate`, default false.

    ## Info

    As in `MultiSpin/Heterogeneous-v0`. With `optimum=True`, the optimum knows the true channel.
    """

    env_id: ClassVar[str] = "MultiSpin/DelayedChannel-v0"

    independent: ClassVar[bool] = False

    correlation: float = 0.9
    delay: int = checked_field(1, check_integer, 0)
    mean_gain_visible: bool = checked_field(True, check_bool)
    plan_quantile: float | None = checked_field(None, check_real, 0.0, 1.0, open_low=True, open_high=True)
    privileged: bool = checked_field(False, check_bool)

    def __post_init__(self) -> None:
        super().__post_init__()
        GaussMarkov(self.correlation)  # checks the range
        if self.plan_quantile is not None and not self.mean_gain_visible:
            raise ValueError(f"plan_quantile: expected None if mean_gain_visible=False, got {self.plan_quantile!r}")

    @property
    @override
    def knowledge(self) -> Knowledge:
        return Knowledge(mean_gain=self.mean_gain_visible, delay=self.delay, privileged=self.privileged)

    @cached_property
    @override
    def observations(self) -> ObservationCodec:
        planned = () if self.plan_quantile is None else ("planned_channel",)
        return ObservationCodec(self.scenario, self.knowledge.shown((*self.entries, *planned)))

    @override
    def planned(self, reported: SystemState, mean_gain: FloatArray) -> SystemState:
        if self.plan_quantile is None:
            return reported
        gain = channel_gain(self.scenario, reported.spectral_efficiency)
        present = predictive_quantile(self.plan_quantile, gain, mean_gain, self.correlation, self.delay)
        return reported.changed(spectral_efficiency=spectral_efficiency(self.scenario, present))

    @property
    @override
    def dynamics(self) -> Dynamics:
        return replace(super().dynamics, channel=GaussMarkov(self.correlation))

    @property
    @override
    def assumptions(self) -> Assumptions:
        return replace(super().assumptions, correlation=self.correlation)


DelayedChannelEnv = single_env(DelayedChannel)


@dataclass(frozen=True, kw_only=True)
class HiddenRate(RoundsConfig):
    """Base of the environments with hidden acceptance rates."""

    independent: ClassVar[bool] = False

    mean_rounds: float = checked_field(16.0, check_mean_rounds)
    task_visible: bool = checked_field(True, check_bool)
    history: bool = checked_field(False, check_bool)
    privileged: bool = checked_field(False, check_bool)

    @property
    @override
    def knowledge(self) -> Knowledge:
        return Knowledge(acceptance=False, task=self.task_visible, history=self.history, privileged=self.privileged)


@dataclass(frozen=True, kw_only=True)
class HiddenAcceptance(HiddenRate):
    """Acceptance rates are hidden, and can only be estimated from the numbers of accepted tokens.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but devices work on requests. A request lasts a geometric number of rounds, and
    its acceptance rate is drawn from a Beta distribution with the mean of its task. The rate is never observed; the
    observation has the tokens drafted and accepted in the last round, and the age of the request. When a request ends,
    a new one of a random task begins. The closed form needs an estimate of the rate; `optimal+clairvoyant` knows the
    rate and is an upper bound. Everything not described here is as in `MultiSpin/Heterogeneous-v0`.

    ## Observation Space

    | entry      | shape        | value        | meaning                                                 | min  | max  |
    |------------|--------------|--------------|---------------------------------------------------------|------|------|
    | `compute`  | (K,)         | T_k / T̄      | draft time of a token                                   | 0.85 | 1.15 |
    | `channel`  | (K,)         | r_k / r̄      | spectral efficiency                                     | 0    | 2.03 |
    | `task`     | (K · tasks,) | one-hot      | task of the user (`task_visible`)                       | 0    | 1    |
    | `drafted`  | (K,)         | x / L_max    | x = tokens drafted in the last round                    | 0    | 1    |
    | `accepted` | (K,)         | x / L_max    | x = accepted tokens of these                            | 0    | 1    |
    | `age`      | (K,)         | x / (x + 16) | x = rounds since the request began                      | 0    | 1    |
    | `hits`     | (K,)         | x / (x + 64) | x = tokens accepted since it began (`history`)          | 0    | 1    |
    | `misses`   | (K,)         | x / (x + 16) | x = its rounds with a rejected token (`history`)        | 0    | 1    |
    | `shared`   | (3,)         | log10        | as in `MultiSpin/Heterogeneous-v0`                      | -20  | 20   |

    At `age` 0 the request is new, and `drafted` and `accepted` are those of the previous request.

    ## Rewards

    As in `MultiSpin/Heterogeneous-v0`. Tokens are also drawn with `reward="expected"`, since they are observed; only
    the reward uses their expectation, with the true rate.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`, with a new request for each device.

    ## Episode End

    Truncates after `rounds` rounds; with `rounds=1` it terminates, as in `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As in `MultiSpin/Heterogeneous-v0`, and

    - `rounds`: rounds of an episode, ≥ 1, default 64.
    - `spread`: standard deviation of the rate over the requests of a task, default 0.08; recorded ones have 0 to 0.07,
      so 0.05 is realistic. `None`: its `acceptance_std`, unrealistic in the paper's pairs, where it is that of tokens.
    - `mean_rounds`: mean lifetime of a request in rounds, default 16.
    - `task_visible`: whether the task is observed, default true.
    - `history`: whether `hits` and `misses` are observed, default false.
    - `privileged`: whether `info` holds `acceptance_rate` and `spectral_efficiency`, default false.

    ## Info

    As in `MultiSpin/Heterogeneous-v0`; `accepted_tokens` are drawn. `goodput`, `regret` and the reward depend on the
    true rates, so a policy must not use them as inputs.
    """

    env_id: ClassVar[str] = "MultiSpin/HiddenAcceptance-v0"

    spread: float | None = 0.08

    @property
    @override
    def dynamics(self) -> Dynamics:
        return replace(super().dynamics, acceptance=ByRequest(self.spread, self.mean_rounds))


HiddenAcceptanceEnv = single_env(HiddenAcceptance)


_load_packaged = lru_cache(maxsize=1)(load_records)
_half_of = lru_cache(maxsize=8)(Records.half)


@dataclass(frozen=True, kw_only=True)
class RecordedAcceptance(HiddenRate):
    """Acceptance rates are hidden, and accepted tokens are replayed from records of real speculative decoding.

    ## Description

    Like `MultiSpin/HiddenAcceptance-v0`, but a request is a recorded text, read from a random position. A draft of L
    tokens yields the tokens that are accepted in a row from this position, at most L, and one token of the server. The
    next round starts after these tokens. The closed form assumes that tokens are accepted independently; recorded
    tokens are not. `optimal+clairvoyant` knows the rate of each text but not its next tokens, so it is a strong
    reference but not a bound. Everything not described here is as in `MultiSpin/HiddenAcceptance-v0`.

    ## Observation Space

    | entry      | shape        | value        | meaning                                                 | min  | max  |
    |------------|--------------|--------------|---------------------------------------------------------|------|------|
    | `compute`  | (K,)         | T_k / T̄      | draft time of a token                                   | 0.85 | 1.15 |
    | `channel`  | (K,)         | r_k / r̄      | spectral efficiency                                     | 0    | 2.03 |
    | `task`     | (K · tasks,) | one-hot      | task of the user (`task_visible`)                       | 0    | 1    |
    | `drafted`  | (K,)         | x / L_max    | x = tokens drafted in the last round                    | 0    | 1    |
    | `accepted` | (K,)         | x / L_max    | x = accepted tokens of these                            | 0    | 1    |
    | `age`      | (K,)         | x / (x + 16) | x = rounds since the request began                      | 0    | 1    |
    | `hits`     | (K,)         | x / (x + 64) | x = tokens accepted since it began (`history`)          | 0    | 1    |
    | `misses`   | (K,)         | x / (x + 16) | x = its rounds with a rejected token (`history`)        | 0    | 1    |
    | `shared`   | (3,)         | log10        | as in `MultiSpin/Heterogeneous-v0`                      | -20  | 20   |

    ## Rewards

    As in `MultiSpin/Heterogeneous-v0`. `reward="expected"` uses the expected number of accepted tokens at the position,
    given the recorded probabilities; `"sampled"` uses the recorded number. `"share"` can exceed 1, since its optimum
    does not know the next tokens.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`, with a text of the device's task and a position in it for each device.

    ## Episode End

    Truncates after `rounds` rounds; with `rounds=1` it terminates, as in `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As in `MultiSpin/HiddenAcceptance-v0` without `spread`, and

    - `rounds`: rounds of an episode, ≥ 1, default 64.
    - `records`: a file in the format of `multispin_env/data/records/README.md`, or `Records`; default: those of the
      package, whose tasks are assigned to the scenario's tasks in order.
    - `half`: 0 or 1 selects every second text of each task, from the first or the second; default `None`: all texts.
    - `modelled`: whether acceptance is drawn as in `MultiSpin/HiddenAcceptance-v0`, with the mean and spread of the
      texts, instead of replayed; default false. Agents trained on a replay memorise its few texts: train with
      `half=0, modelled=True`; `multispin train` then evaluates on the replay of the other half.

    ## Info

    As in `MultiSpin/HiddenAcceptance-v0`.
    """

    env_id: ClassVar[str] = "MultiSpin/RecordedAcceptance-v0"

    records: str | Records | None = field(default=None, metadata={"file": "records.npz"})
    half: int | None = checked_field(None, check_integer, 0, 1)
    modelled: bool = checked_field(False, check_bool)

    @property
    @override
    def held_out(self) -> Self:
        return replace(self, half=None if self.half is None else 1 - self.half, modelled=False)

    @property
    @override
    def dynamics(self) -> Dynamics:
        records = self.records
        if records is None:
            records = _load_packaged()
        elif not isinstance(records, Records):
            records = load_records(records)
        if self.half is not None:
            records = _half_of(records, self.half)
        acceptance: Acceptance = Recorded(records, self.mean_rounds)
        if self.modelled:
            mean, spread = acceptance.prior(self.scenario)
            acceptance = ByRequest(tuple(spread.tolist()), self.mean_rounds, tuple(mean.tolist()))
        return replace(super().dynamics, acceptance=acceptance)


RecordedAcceptanceEnv = single_env(RecordedAcceptance)
