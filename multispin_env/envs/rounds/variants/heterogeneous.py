"""The full problem."""

from dataclasses import dataclass

from multispin_env.envs.rounds.variant import RoundsVariant


@dataclass(frozen=True, kw_only=True)
class Heterogeneous(RoundsVariant):
    """The full problem of Multi-SPIN: a draft length and a bandwidth for each device.

    ## Description

    K devices draft tokens with a small model and upload them over a shared OFDMA uplink; an edge server verifies
    all drafts in one batch of its large model. In every round the controller picks the draft lengths L_k and
    bandwidths B_k; the reward is the sum token goodput of the round. From "Multi-SPIN: Multi-Access Speculative
    Inference for Cooperative Token Generation at the Edge", arXiv 2606.04581, section V.

    ## Action Space

    `Box(-1, 1, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                              |
    |------------------------|---------|----------------------------------------------------------------------|
    | `"residual"` (default) | 2       | draft length, log scale; factor on the closed form's bandwidth (0: 1) |
    | `"shares"`             | 2       | draft length, linear scale; softmax logit of the bandwidth share     |
    | `"lengths"`            | 1       | draft length, log scale; bandwidth is the equal-latency root         |

    `env.unwrapped.encode_action(decision)` and `decode_action(action)` translate to and from physical units.

    To learn with the defaults of another library, change two: γ = 0, since no decision changes what later rounds offer,
    and the scale of actions, since a first standard deviation of 1 is too wide for [-1, 1]. Take
    `gymnasium.wrappers.RescaleAction(env, -1 / scale, 1 / scale)` with a scale of .08 for `"residual"` and .3 for the
    others. It matters most for `"shares"`, which has no closed form inside: without the scale, learning ends far below
    action 0.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless; the state observed is the state that prices the action.

    {observation}

    min and max are those of the presets: `compute` is within 1 ± `draft_time_spread`, and `channel` ends where the gain
    is 64 times the largest mean, which no draw reaches. r̄ is the spectral efficiency at the middle of the mean gains.

    ## Rewards

    Goodput in tokens/s, divided by K / T_ver: how many times faster than the server alone, which gives every user
    one token a round. `reward="expected"` takes E[N_k], `"sampled"` draws the tokens.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; Rayleigh fading is
    drawn in every round.

    ## Episode End

    Never terminates. Truncates after 64 rounds, or `max_episode_steps` of `gym.make`.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`, `"qwen2.5"`, `"r1"`) or a `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`.
    - `action`, `reward`: see above.
    - `optimum`: whether `info` holds `optimal_goodput` and `regret`, in tokens/s of expected goodput.
    - `render_mode`: `None`, `"rgb_array"` or `"human"`.

    ## Info

    `goodput` (tokens/s), `accepted_tokens` (K,), `round_latency` (s), `draft_length` (K,), `bandwidth` (K,) in Hz;
    with `optimum=True` also `optimal_goodput` and `regret` (tokens/s).

    ## Version History

    - v0: first version.
    """
