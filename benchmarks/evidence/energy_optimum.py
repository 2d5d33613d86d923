"""The optimum of one device with a battery, as a semi-Markov decision process, and shares of rules.

The acceptance rate has four levels, the means of quartiles of the mixture over tasks, and a new one with each request;
the gain has four levels, the means of quartiles. The battery is on a grid of half a token; charge between two points
becomes one of them at random. Howard's policy iteration gives the optimum; ``checked`` is the span of value iteration
around it, relative to the rate, which bounds the error.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse
from scipy.sparse.linalg import spsolve

import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_env.draft import expected_tokens
from multispin_env.physics.acceptance import beta_quantile
from multispin_env.physics.radio import spectral_efficiency

CASES = (("qwen3.5", 1.0), ("qwen3.5", 5.0), ("qwen3.5", 20.0), ("llama2", 5.0), ("llama2", 20.0))
LEVELS, STEP, MEAN_GAIN, NEW = 4, 0.5, 0.35, 1.0 / 20.0

Array = NDArray[Any]


@dataclass(frozen=True)
class Device:
    """One device with a battery of ``rounds`` rounds; energy is in tokens."""

    preset: str
    rounds: float
    share: float = 0.5

    @cached_property
    def tables(self) -> tuple[Array, Array]:
        """Return E[N] (alpha, L) and the duration (channel, L)."""
        scenario = ms.Scenario.preset(self.preset, num_users=1)
        middles = (np.arange(4000) + 0.5) / 4000
        tasks = [task.acceptance_rate for task in scenario.tasks]
        rates = np.sort([beta_quantile(np.full(4000, rate), np.full(4000, 0.08), middles) for rate in tasks], axis=None)
        alpha = rates.reshape(LEVELS, -1).mean(-1)
        gains = -MEAN_GAIN * np.log1p(-middles).reshape(LEVELS, -1).mean(-1)
        upload = scenario.uplink.token_time(spectral_efficiency(scenario, gains))
        lengths = np.arange(scenario.max_draft_length + 1)
        time = lengths * (scenario.mean_draft_time + upload[:, None]) + scenario.verification_time
        return expected_tokens(np.broadcast_to(lengths, (LEVELS, len(lengths))), alpha[:, None]), time

    @cached_property
    def charge(self) -> tuple[float, float, float]:
        """Return P in tokens/s, C in tokens and the rate without a battery."""
        tokens, time = self.tables
        rate = optimize.brentq(lambda rho: (tokens[:, None] - rho * time).max(-1).mean(), 0.0, 1e4)
        best = (tokens[:, None] - rate * time).argmax(-1)
        power = self.share * best.mean() / time[np.indices(best.shape)[1], best].mean()
        return float(power), float(self.rounds * best.mean()), float(rate)

    def dual(self, price: float) -> float:
        """Return D(ν)."""
        tokens, time = self.tables
        net = tokens[:, None] - price * np.arange(tokens.shape[-1]) + price * self.charge[0] * time
        return float(optimize.brentq(lambda rho: (net - rho * time).max(-1).mean(), 0.0, 1e4))

    @cached_property
    def battery(self) -> Array:
        """Return the grid of the battery in tokens."""
        return np.arange(0.0, self.charge[1] + STEP / 2, STEP)

    @cached_property
    def after(self) -> tuple[Array, Array]:
        """Return the grid point below and the part above it, (battery, channel, L), after a round."""
        _, time = self.tables
        power, top = self.charge[0], self.battery[-1]
        left = np.minimum(self.battery[:, None, None] - np.arange(time.shape[-1]) + power * time, top) / STEP
        below = np.clip(np.floor(left), 0, len(self.battery) - 2).astype(int)
        return below, left - below

    @cached_property
    def allowed(self) -> Array:
        """Return whether the battery suffices, (battery, 1, 1, L)."""
        return (np.arange(self.tables[0].shape[-1]) <= self.battery[:, None] + 1e-9)[:, None, None, :]

    @property
    def requests(self) -> Array:
        """Return the transition matrix of the acceptance level."""
        return (1.0 - NEW) * np.eye(LEVELS) + NEW / LEVELS

    def improved(self, value: Array, rate: float) -> tuple[Array, Array]:
        """Return best lengths (battery, alpha, channel) and the values (battery, alpha) after one iteration."""
        tokens, time = self.tables
        later, (below, above) = value @ self.requests.T, self.after
        ahead = later[below] * (1.0 - above[..., None]) + later[below + 1] * above[..., None]  # (b, c, L, alpha)
        q = tokens[:, None] - rate * time + np.moveaxis(ahead, -1, 1)
        q = np.where(self.allowed, q, -np.inf)
        return q.argmax(-1), q.max(-1).mean(-1)

    def evaluated(self, policy: Array) -> tuple[float, Array]:
        """Return the rate of a policy (battery, alpha, channel), and values (battery, alpha)."""
        tokens, time = self.tables
        points, size = len(self.battery), len(self.battery) * LEVELS
        b, a, c = np.indices(policy.shape)
        below, above = (table[b, c, policy] for table in self.after)
        moves: Any = sparse.csr_matrix((size, size))
        for point, weight in ((below, 1.0 - above), (below + 1, above)):
            for new in range(LEVELS):
                chance = (weight * self.requests[a, new] / LEVELS).ravel()
                moves = moves + sparse.csr_matrix(
                    (chance, ((b * LEVELS + a).ravel(), (point * LEVELS + new).ravel())), (size, size)
                )
        gained, duration = tokens[a, policy].mean(-1).ravel(), time[c, policy].mean(-1).ravel()
        last = (points // 2) * LEVELS
        matrix = (sparse.identity(size) - moves).tolil()
        matrix[:, last] = duration[:, None]  # the value there is 0; its place holds the rate
        solved = spsolve(matrix.tocsc(), gained)
        rate, value = float(solved[last]), solved.copy()
        value[last] = 0.0
        return rate, value.reshape(points, LEVELS)

    def optimum(self) -> tuple[float, float]:
        """Return the optimal rate, and the relative span that bounds its error."""
        policy = self.rule(lambda net, level: net)
        for _ in range(50):
            rate, value = self.evaluated(policy)
            before, (policy, better) = policy, self.improved(value, rate)
            if (policy == before).all():
                break
        return rate, float(np.ptp(better - value)) / float(self.tables[1].mean()) / rate

    def rule(self, net: Callable[[Array, Array], Array], time_price: float | None = None) -> Array:
        """Return the policy with the largest ratio to the time, or value less its price, with priced tokens."""
        tokens, time = self.tables
        lengths = np.arange(tokens.shape[-1])
        level = (self.battery[:, None] - 0.5 * lengths) / self.battery[-1]  # mean over the tokens of a draft
        priced = net(np.broadcast_to(tokens, (len(self.battery), *tokens.shape)), level[:, None])[:, :, None]
        score = priced / time if time_price is None else priced - time_price * time
        best: Array = np.where(self.allowed, score, -np.inf).argmax(-1)
        return best

    def drift(self, price: float, time_price: float) -> float:
        """Return the rate of the rule `drift` with a price of an empty battery, tokens per token, and one of time."""
        lengths = np.arange(self.tables[0].shape[-1])
        return self.evaluated(self.rule(lambda n, level: n - price * lengths * (1.0 - level), time_price))[0]


def rows(cases: list[tuple[str, float]]) -> Iterator[Row]:
    for preset, rounds in cases:
        device = Device(preset, rounds)
        bound = optimize.minimize_scalar(device.dual, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-5})
        best, span = device.optimum()
        greedy = device.evaluated(device.rule(lambda net, level: net))[0]
        grid = list(product(np.linspace(0.6, 2.6, 9), np.linspace(0.2, 2.0, 10)))

        def loss(factors: Any, device: Device = device, bound: Any = bound) -> float:
            return -device.drift(bound.x * factors[0], bound.fun * factors[1])  # prices relative to those of the bound

        near = optimize.minimize(loss, min(grid, key=loss), method="Nelder-Mead", options={"maxfev": 40})
        yield {
            "system": preset,
            "C": rounds,
            "D": float(bound.fun),
            "D / free": float(bound.fun / device.charge[2]),
            "optimum / D": float(best / bound.fun),
            "checked": span,
            "optimal below, %": 100.0 * (1.0 - greedy / best),
            "drift below, %": 100.0 * (1.0 + near.fun / best),
        }


OPTIONS: Options = {"cases": (list(range(len(CASES))), "rows, from 0")}


def run(options: Namespace) -> None:
    show("One device with a battery", rows([CASES[case] for case in options.cases]))
