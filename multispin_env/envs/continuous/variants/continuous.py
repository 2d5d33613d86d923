"""The system without the barrier, with endless requests."""

from dataclasses import dataclass

from multispin_env.envs.continuous.variant import ContinuousVariant
from multispin_env.physics.acceptance import ByRequest


@dataclass(frozen=True, kw_only=True)
class Continuous(ContinuousVariant):
    """No barrier: the server verifies what is there while other devices draft and upload.

    ## Description

    Every device drafts, uploads, waits for the server and is verified; then it starts anew at once. The server verifies
    one batch at a time, and meanwhile the others go on. One step is one verification: a decision
    holds from the end of one to the end of the next, and steps take different times. What to
    maximise is tokens over time. The paper's system, in which everybody waits for everybody, is a special case (ours).

    ## Action Space

    `Box(-1, 1, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                                     |
    |------------------------|---------|-----------------------------------------------------------------------------|
    | `"residual"` (default) | 3       | how the decision differs from that of `reference`, which is 0               |
    | `"plain"`              | 3       | draft length, log scale; leave, take or wait; priority on the uplink or share |
    | `"full"`               | 6       | the same; batch aimed at; patience, drafts to wait for (means over users)   |
    | `"tuned"`              | 5       | options of the controller `reference`: at 0 its own, at ±1 their ends        |

    `"residual"`: the length around the rule's, on a log scale; aside (below -0.6), a batch earlier (to -0.2), the
    rule's own (to 0.2) or a batch later; uplink order around the rule's. `"plain"` has nothing of any rule inside: the
    next batch takes a device that is there if the second column is above -1/3, and waits for it if it is above 1/3;
    where all are below, it takes all. On a serial uplink the smallest priority comes first, and interrupts; else the
    column is the logarithm of a share of the band. Lengths are for devices that are free now.
    `"tuned"` has a column for each option that `ms.make_controller(reference, scenario).tunable` lists; of options that
    all devices share, the mean over users is read. So an agent sets the constants of a rule, from what it sees.
    `env.unwrapped.encode_action(decision)` and `decode_action(action)` translate to and from `ms.ContinuousDecision`.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the whole state when a verification ends.

    {observation}

    min and max are those of the presets: `compute` is within 1 ± `draft_time_spread`, and `channel` ends where the gain
    is 64 times the largest mean. The channel of a free device is that of the cycle which starts now, its age that of
    the cycle which ended. V(1) is the time to verify one draft, T_ver that of all. `aim` is for the encodings that say
    which batch a draft aims at. Where verification costs tokens, `shared` also has the log10 of T_ver / T̄ for drafts of
    4 tokens and of the most.

    ## Rewards

    (tokens − ρ · duration) / K, so that longer steps are not better because they are longer: the mean is 0 for policies
    that make ρ tokens/s and positive for those that make more. An agent whose own rate is above ρ should go on with
    that rate as `rho`. `reward="expected"` takes E[N_k], `"sampled"` draws the tokens.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; all devices are free.

    ## Episode End

    Never terminates. Truncates with the verification that ends after `horizon` seconds of simulated time, whatever the
    number of steps. Gymnasium's `max_episode_steps` would cut after so many verifications instead, which favours long
    ones; it is not set.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`) or a `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`. `channel` says how a device's channel
      changes from cycle to cycle: `"independent"` (default), `"gauss-markov"` in elapsed time, or `"static"`.
    - `discipline`: how uploads share the band, `"serial"` (default), `"shared"` or `"reserved"`.
    - `coherence_time`: τ of `"gauss-markov"` in seconds, > 0, default 0.5.
    - `horizon`: seconds of simulated time until truncation, at least one verification, default 20.
    - `rho`: ρ in tokens/s, > 0; default `None`, the rate of the controller `groups` in this scenario, measured once.
    - `patience`: seconds that a batch waits at most in encodings that do not say it, ≥ 0, default 2; `None` for ever.
      A device in a deep fade then holds nobody up for longer. Somebody is always waited for.
    - `reference`: controller that action 0 is; default `None`, `"groups"` for `"residual"` and `"prices"` for
      `"tuned"`.
    - `action`, `reward`: see above.
    - `acceptance_visible`: whether acceptance is observed, default true. If not, requests have rates of their own, as
      in `MultiSpin/HiddenAcceptance-v0`. In the place of `acceptance` there are its `task`, `drafted`, `accepted`,
      `age`, `hits` and `misses`, of verifications: a device that was not in the last one has 0 in `drafted` and
      `accepted`. Tokens are then drawn also with `reward="expected"`; only the reward takes their expectation.
    - `task_visible`: whether the task is then observed, default true.
    - `spread`: standard deviation of the rate over the requests of a task, default 0.08; `None` takes the scenario's ±.
    - `mean_cycles`: how many of its device's cycles such a request lasts on average, ≥ 1, default 16.
    - `channel_report`: `"fresh"` (default), or `"old"`: the channel of a device that starts a draft is observed as it
      was in its last cycle, before the first as the mean gain has it. The new one is known once the draft is under way.
      `mean_channel` is shown besides, r at the mean gain over r̄.

    Where something is hidden, actions are decoded with what is seen: the controller inside `"residual"` or `"tuned"`
    takes the old channel, and for acceptance what the estimator `filter` makes of the counts and the task.

    ## Info

    `tokens` and `draft_length` (K,) of what was verified, `duration` (s), `batch_size`, `start_delay` (s, how long the
    server was idle), and of the episode so far `time` (s), `episode_tokens` and `token_goodput` (tokens/s); after the
    last step they are those of the episode.

    ## Version History

    - v0: first version.
    """

    mean_cycles: float = ByRequest.mean_rounds

    @property
    def _request_cycles(self) -> float:
        return self.mean_cycles
