"""Brackets of the best attainable goodput in the tasks of the suite in which something is hidden.

`late`: last reports are sufficient and decisions do not change channels, so each state is a problem of its own: the
mean goodput over draws of the channel given the report. *In* is the best mean over the draws of the search, *out* the
mean of its decision over 8,192 others. Over many states, the mean of *in* is at least the optimum as far as the search
over lengths is global (estimated, not proven; *slack* is the gain of 9 more searches from perturbed lengths), and the
mean of *out* is attained. *Shares* is the proven gap of the shares for given lengths.

`hidden` and the modelled twin of `texts`: after each round the upper bound gets for free the counts of a draft of the
maximum length, which contain those of any shorter draft. Then decisions do not change information, and the best next
round (certified) is optimal, so its mean is at least that of any policy. *Attained* is the same rule with real counts.

Differences are in tokens/s to the reference rule of the task in the same cases, with standard errors.

`ahead-8` with one or two devices and constant channels: long-run rates relative to the exact optimum (`rate_optimum`).
"""

from argparse import Namespace
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import numpy as np

from benchmarks.tools import Options, Row, plus_minus, show
from multispin_env.arrays import Array, FloatArray
from multispin_env.bounds.ahead import ahead_rate, rate_optimum
from multispin_env.bounds.rate import rate_bound
from multispin_env.controllers.estimators import Expected
from multispin_env.controllers.names import make_controller
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.evaluation.cases import CERTIFICATE, Episodes
from multispin_env.evaluation.contenders import native
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.tokens import tokens_from_exponential
from multispin_env.physics.types import Decision, Observed, SystemState
from multispin_env.solver.problem import TINY, make_problem
from multispin_env.solver.samples import SampleDecision, SampleProblem, paces_of
from multispin_lab.suite.tasks import PUBLIC, SuiteTask
from multispin_lab.suite.version import task

EXPECTED, FRESH, FRESH_SEED = "optimal+expected", 8192, 99
TWINS = ("ahead-price", "optimal")
PERTURBED, PERTURBED_STATES = 9, 40

OPTIONS: Options = {
    "tasks": (["late", "hidden", "texts", "ahead-8"], "names (default: all)"),
    "states": (200, "states of `late`, from every 8th round of public episodes"),
    "draws": ([64, 256, 1024, 4096], "numbers of channels"),
    "table": (24, "states of the table by numbers of channels"),
    "seeds": (4, "evaluation seeds, 100 episodes each, of the others"),
}


def run(options: Namespace) -> None:
    if "late" in options.tasks:
        _late(task("late"), options)
    for name in ("hidden", "texts"):
        if name in options.tasks:
            title = f"{name}, {options.seeds} times 100 episodes"
            show(title if name == "hidden" else f"Modelled twin of {title}", _by_counts(task(name), options.seeds))
    if "ahead-8" in options.tasks:
        show("Small twins of ahead-8, relative to the optimum", _twins(task("ahead-8")))


def _twins(entry: SuiteTask) -> Iterator[Row]:
    for users, size, step in ((1, 8, 0.125), (2, 3, 0.5)):
        scenario = entry.config.scenario.replace(num_users=users)
        rules, state = {name: make_controller(name, scenario) for name in TWINS}, sample_state(scenario, 0, size)
        rows = []
        for system in (state[index] for index in range(size)):
            best = rate_optimum(scenario, system, step=step).rate
            rates = [ahead_rate(scenario, system, rule, step=step) for rule in rules.values()]
            bound = float(rate_bound(scenario, system, channel="static", barrier=True).value)
            rows.append(np.array([*rates, bound]) / best)
        yield {
            "devices": users,
            "systems": size,
            **dict(zip((*TWINS, "bound"), np.mean(rows, 0).tolist(), strict=True)),
        }


def _late(entry: SuiteTask, options: Namespace) -> None:
    states = list(_states(entry))
    kept = np.random.default_rng(0).permutation(len(states))
    sample = [states[index] for index in kept[: options.states]]
    rows = (_by_draws(entry, sample[: options.table], draws, True) for draws in options.draws)
    show(f"late, {min(options.table, len(sample))} states", rows)
    show(f"late, {len(sample)} states", [_by_draws(entry, sample, options.draws[-1], False)])
    show("late, search from perturbed lengths", [_slack(entry, sample[:PERTURBED_STATES])])


def _states(entry: SuiteTask) -> Iterator[Observed]:
    """Yield observations (1, K) of every 8th round of all public episodes; actions do not change them."""
    (part,) = entry.cases(PUBLIC)
    env = part.env()
    env.reset(seed=part.seed)  # type: ignore[arg-type]  # or a list of seeds
    base = native(env)
    for played in range(entry.config.arguments["rounds"]):
        if played % 8 == 0:
            observed: Any = base.observed
            yield from (observed[row : row + 1] for row in range(base.num_envs))
        env.step(np.zeros(env.action_space.shape or (), np.float32))


def _sampled(entry: SuiteTask, observed: Observed, draws: int, seed: int) -> SampleProblem:
    config = entry.config
    estimator = Expected(config.scenario, config.assumptions, draws, seed)
    estimator.start(1)
    efficiency = estimator.estimate(observed).efficiency
    assert efficiency is not None
    assert observed.acceptance_rate is not None
    return SampleProblem(
        make_problem(config.scenario, observed.into(SystemState)),
        config.scenario.uplink.token_time(efficiency[0]).T.copy(),
    )


def _decided(entry: SuiteTask, observed: Observed, name: str, **options: Any) -> SampleDecision:
    made: Any = entry.config.contender(name, **options)
    decision: Decision = made(observed)[0]
    lengths = decision.draft_length.astype(np.float64)
    return SampleDecision(lengths, decision.bandwidth / entry.config.scenario.total_bandwidth, 0.0)


def _by_draws(entry: SuiteTask, states: list[Observed], draws: int, timed: bool) -> Row:
    rows = []
    for index, observed in enumerate(states):
        fresh = _sampled(entry, observed, FRESH, FRESH_SEED)
        reference = _decided(entry, observed, entry.reference)
        seed, start = index % 4, process_time()
        best = _decided(entry, observed, EXPECTED, draws=draws, seed=seed)
        seconds = process_time() - start
        problem = _sampled(entry, observed, draws, seed)
        inside = problem.value(*best[:2])
        gap = shares_bound(problem, best) / inside - 1.0
        rows.append((fresh.value(*reference[:2]), inside, fresh.value(*best[:2]), gap, seconds))
    base, inside, outside, gap, seconds = np.array(rows).T
    measured = {"draws": draws, "reference": base.mean(), "in": inside.mean(), "out": outside.mean()}
    bracket = {"bracket, %": 100.0 * (inside.mean() / outside.mean() - 1.0), "shares, %": 100.0 * gap.mean()}
    if timed:
        ratio = {"out / reference": outside.mean() / base.mean(), "seconds a state": seconds.mean()}
        return measured | bracket | ratio
    upper = inside * (1.0 + gap) - base
    scores = {f"score, {name}": _score(entry, x.mean()) for name, x in (("out", outside - base), ("upper", upper))}
    return (
        measured | bracket | {"out −": plus_minus(outside - base, ".3f"), "upper −": plus_minus(upper, ".3f")} | scores
    )


def shares_bound(problem: SampleProblem, decision: SampleDecision, steps: int = 400) -> float:
    """Return a bound on the mean goodput of all shares with the lengths of a decision, in tokens/s.

    It is the maximum over shares of the mean of the tangent planes at the shares of some steps.
    """
    fixed, height, slope, weight = problem.fixed(decision.lengths), 0.0, np.zeros_like(decision.lengths), 0.0
    pace = paces_of(*decision[:2])
    for index in range(steps):
        at, size = fixed.mean(pace), 0.05 / np.sqrt(1.0 + index)
        share = decision.lengths * at.pace
        height += size * (at.value - fixed.tokens * at.pull.sum())
        slope += size * fixed.tokens * np.where(share > 0.0, at.pull / np.maximum(share, TINY), 0.0)
        weight += size
        pace = fixed.stepped(at, size)
    return float((height + slope.max()) / weight)


def _score(entry: SuiteTask, lead: float) -> str:
    """Return the score of a mean that is ``lead`` tokens/s above that of the reference."""
    return f"{1.0 + lead / (entry.frozen.reference.mean() - entry.frozen.floor.mean()):.4f}"


def _slack(entry: SuiteTask, states: list[Observed]) -> Row:
    rng, gains = np.random.default_rng(0), []
    for observed in states:
        problem = _sampled(entry, observed, 1024, 0)
        best = _decided(entry, observed, EXPECTED)
        low, high = problem.problem.low[0], problem.problem.high[0]
        value = problem.value(*best[:2])
        others = [
            problem.solve(np.clip(best.lengths + rng.integers(-3, 4, len(low)), low, high), best.share).value
            for _ in range(PERTURBED)
        ]
        gains.append(100.0 * max(max(others) / value - 1.0, 0.0))
    return {"states": len(gains), "gain, %": float(np.mean(gains)), "largest, %": float(np.max(gains))}


def _by_counts(entry: SuiteTask, number: int) -> Iterator[Row]:
    config = entry.config if entry.name == "hidden" else entry.config.replace(modelled=True)
    seeds = [entry.cases(seed)[0].seed for seed in range(number)]
    parts = [Episodes(config.for_any_decision, entry.size, seed) for seed in seeds]
    base = np.concatenate([part.values("optimal+filter", metric=entry.metric) for part in parts])
    contenders: dict[str, Callable[[Episodes], FloatArray]] = {
        f"{EXPECTED}, attained": lambda part: part.values(EXPECTED, metric=entry.metric),
        "free counts, upper": lambda part: part.values(_free_counts(part), metric=entry.metric),
        "clairvoyant": lambda part: part.values("optimal+clairvoyant", metric=entry.metric),
    }
    for name, values in contenders.items():
        lead = np.concatenate([values(part) for part in parts]) - base
        yield {
            "decided by": name,
            "optimal+filter": float(base.mean()),
            "above": plus_minus(lead, ".3f"),
            "score": _score(entry, lead.mean()),
        }


def _free_counts(part: Episodes) -> Callable[[Any], Array]:
    """Return the rule that knows the run of accepted tokens of a draft of L_max tokens in every past round."""
    base: MultiSpinVectorEnv = native(part.env())
    rule: Any = part.config.contender(EXPECTED, certify=CERTIFICATE)
    rng, longest = np.random.default_rng(part.seed), part.config.scenario.max_draft_length

    def act(_: Any) -> Array:
        drafted = np.full(base.state.draft_time.shape, longest)  # used from the second round of a request on
        exponential: FloatArray = np.asarray(rng.standard_exponential(drafted.shape))
        accepted = tokens_from_exponential(drafted, base.state.acceptance_rate, exponential) - 1.0
        decision = rule(base.observed.changed(drafted=drafted, accepted=accepted.astype(np.int64)))
        return base.encode_action(Decision(decision.draft_length, decision.bandwidth))

    return act
