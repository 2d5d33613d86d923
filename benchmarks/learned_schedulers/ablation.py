"""Ablation of the network: ``python -m benchmarks.learned_schedulers.ablation``.

Evolution learns the options of a rule with parts of what it sees left out, each time from the same seed and with the
same budget. The last policy plays, not the best, on episodes that no training plays.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch as th

from agents.base import tuning_for
from agents.evolution import SETTINGS, Evolution
from agents.policies import policy_of
from agents.vec_env import make_vec_env
from benchmarks.learned_schedulers.subjects import CLOSED, SEED
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import aligned
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

PHASES = ("phase", "draft", "ready", "cycle", "aim")
"""Entries that say what devices are doing."""

Change = Callable[[Evolution], None]


def without_phases(model: Evolution) -> None:
    """Hide what devices are doing."""
    seen = model.policy.features_extractor.forward

    def forward(observations: dict[str, th.Tensor]) -> th.Tensor:
        return seen({key: th.zeros_like(one) if key in PHASES else one for key, one in observations.items()})

    model.policy.features_extractor.forward = forward


def without_context(model: Evolution) -> None:
    """Hide the other devices from each."""
    context: Any = model.policy.mlp_extractor.policy_net.context
    width = context[0].out_features
    context.forward = lambda known: known.new_zeros((*known.shape[:-1], width))


def without_anything(model: Evolution) -> None:
    """Hide all: the options are the same in every state."""
    seen = model.policy.features_extractor.forward
    model.policy.features_extractor.forward = lambda observations: th.zeros_like(seen(observations))


CHANGES: dict[str, Change] = {
    "all that is seen": lambda model: None,
    "without phases": without_phases,
    "without context": without_context,
    "one vector for all states": without_anything,
}
"""By name."""


def measured(change: Change, settings: Settings, timesteps: int, episodes: Episodes) -> Any:
    """Tokens/s (n,) of the policy that is learnt with a change."""
    env = make_vec_env(CLOSED, settings, SETTINGS.num_envs, None, seed=0)
    model = SETTINGS.build(env, lambda progress: progress, 0, "cpu", tuning_for(settings))
    change(model)
    model.learn(timesteps)
    return episodes.values(policy_of(model, settings))


def main(arguments: list[str] | None = None) -> str:
    """Print the table; returns it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="llama2")
    parser.add_argument("--num-users", type=int, default=8)
    parser.add_argument("--timesteps", type=int, default=300_000, help="of each training")
    parser.add_argument("--size", type=int, default=50, help="episodes")
    options = parser.parse_args(arguments)
    th.set_num_threads(1)
    scenario = Scenario.preset(options.scenario, num_users=options.num_users, draft_time_spread=0.8)
    settings = Settings(scenario, ENVIRONMENTS.load(CLOSED)(reference="prices"), "tuned")
    episodes = Episodes(CLOSED, options.size, scenario, settings.chosen_arguments, SEED)
    rule = episodes.values("prices")
    rows = [("prices", f"{rule.mean():.2f}", "")]
    for name, change in CHANGES.items():
        print(name, file=sys.stderr, flush=True)
        values = measured(change, settings, options.timesteps, episodes)
        gain = mean_interval(values - rule)
        rows.append((name, f"{values.mean():.2f}", f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})"))
    table = aligned(("seen", "tokens/s", "minus prices"), rows)
    print(table)
    return table


if __name__ == "__main__":
    main()
