"""Gap that agents can still close: ``python -m benchmarks.left_to_win``.

Where everything is known: the best real lengths, each rounded by itself, as agents round them, against the optimum,
which chooses whole lengths together.

Where acceptance is hidden: given the counts of a request, its rate has a Beta posterior, and the expected tokens of a
draft are a sum of its moments. So the decision with the best expected goodput of the next round can be computed, if
slowly: from the lengths that suit the mean rates on, one or two lengths move by a token, bandwidth follows by the
equal-latency root, until no such move helps. Nobody who sees the same can expect more of a round; only drafts that are
longer than pays at once, for what they reveal, could win more in an episode. All play the same held-out episodes;
differences are paired.
"""

import argparse
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.beliefs.log_moments import log_moment
from multispin_env.controllers.estimators.filter import Filter
from multispin_env.controllers.factory import make_controller
from multispin_env.envs.observations import Observation
from multispin_env.envs.vector import MultiSpinVectorEnv
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import aligned
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome, goodput
from multispin_env.physics.types import Decision, Observed, SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.registry import SCENARIOS
from multispin_env.reproduce.figure import PRESETS
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import make_problem
from multispin_env.solver.relaxed import relaxed_optimum

ENV = "MultiSpin/HiddenAcceptance-v0"
SWEEPS = 20
"""Rounds over all moves at most; two or three are usual."""


@dataclass(frozen=True, eq=False)
class Bayes:
    """Exact posterior, and the decision with the best expected goodput of the next round that single moves find.

    Parameters
    ----------
    env
        Whose observations it is shown; with ``history`` and the task visible.
    """

    env: MultiSpinVectorEnv

    def __call__(self, observation: Observation) -> NDArray[Any]:
        """Actions (n, K, columns)."""
        return self.env.encode_action(self.decide(self.env.decode_observation(observation)))

    def decide(self, observed: Observed) -> Decision:
        """Decide for what is seen, (n, K)."""
        scenario = self.env.scenario
        tokens = self.expected_tokens(observed)
        token_time = full_share_token_time(scenario, observed.spectral_efficiency)

        def value(length: IntArray) -> FloatArray:
            gained = np.take_along_axis(tokens, length[..., None], -1)[..., 0].sum(-1)
            latency = equal_latency(length, observed.draft_time, token_time).latency
            return goodput(gained, latency, scenario.verification_time)

        length = self._first(observed, tokens[..., 1] - 1.0)
        best, moves = value(length), moves_of(scenario.num_users)
        for _ in range(SWEEPS):
            before = best
            for move in moves:
                moved = (length + move).clip(scenario.min_draft_length, scenario.max_draft_length)
                reached = value(moved)
                better = reached > best
                length, best = np.where(better[:, None], moved, length), np.where(better, reached, best)
            if (best <= before).all():
                break
        share = equal_latency(length, observed.draft_time, token_time).share
        return Decision(length, scenario.total_bandwidth * share)

    def expected_tokens(self, observed: Observed) -> FloatArray:
        """E[N | L] = Σ_{j ≤ L} E[α^j] for L = 0..L_max, (n, K, L_max + 1)."""
        (a,), (b,) = (array.T for array in Filter(self.env.scenario, self.env.assumptions).components)
        assert observed.task is not None
        assert observed.hits is not None
        assert observed.misses is not None
        hits, misses = a[observed.task] + observed.hits, b[observed.task] + observed.misses
        powers = range(1, self.env.scenario.max_draft_length + 1)
        moments = [np.ones_like(hits), *(np.exp(log_moment(hits, misses, float(power))) for power in powers)]
        return np.cumsum(np.stack(moments, -1), -1)

    def _first(self, observed: Observed, rate: FloatArray) -> IntArray:
        """Lengths that would be best if the mean were the rate."""
        state = SystemState(observed.draft_time, observed.spectral_efficiency, rate)
        return make_controller("optimal", self.env.scenario)(state).draft_length


def moves_of(users: int) -> list[IntArray]:
    """A token more or less for one device, or for two."""
    one = [sign * unit for unit in np.eye(users, dtype=np.int64) for sign in (1, -1)]
    two = [first + second for first, second in itertools.combinations(one, 2) if (first + second).any()]
    return one + two


def rounded(preset: str, users: int, states: int) -> tuple[str, ...]:
    """One line of the first table."""
    scenario = SCENARIOS.load(preset).replace(num_users=users)
    state = sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), states)
    optimal = make_controller("optimal", scenario)
    length = np.rint(relaxed_optimum(make_problem(scenario, state)).length).astype(np.int64)
    best = expected_outcome(scenario, state, optimal(state)).goodput
    reached = expected_outcome(scenario, state, optimal.with_equal_latency(length, state)).goodput
    share, quantile = reached.mean() / best.mean(), np.quantile(reached / best, 0.05)
    return f"{preset}, K = {users}", f"{length.mean():.1f}", f"{share:.5f}", f"{quantile:.4f}"


def row(preset: str, users: int, episodes: int) -> tuple[str, ...]:
    """One line of the second table."""
    scenario = SCENARIOS.load(preset).replace(num_users=users)
    env = make_episode_env(ENV, episodes, scenario, {"history": True})
    known, plug_in = (play_episodes(env, f"optimal+{name}").goodput for name in ("clairvoyant", "filter"))
    bayes = play_episodes(env, Bayes(native(env))).goodput

    def shown(difference: FloatArray) -> str:
        one = mean_interval(difference)
        return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"

    return f"{preset}, K = {users}", f"{known.mean():.2f}", shown(plug_in - known), shown(bayes - plug_in)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=1000, help="held-out states (default 1000)")
    parser.add_argument("--episodes", type=int, default=100, help="held-out episodes (default 100)")
    parser.add_argument("--users", type=int, nargs="+", default=[8, 20], help="numbers of devices (default 8 20)")
    options = parser.parse_args()
    systems = list(itertools.product(PRESETS, options.users))
    lines = [rounded(*system, options.states) for system in systems]
    print(aligned(("system", "mean length", "rounded, share of optimum", "5 % quantile"), lines), end="\n\n")
    lines = [row(*system, options.episodes) for system in systems]
    print(aligned(("system", "clairvoyant", "filter minus clairvoyant", "Bayes' decision minus filter"), lines))


if __name__ == "__main__":
    main()
