"""Every default that a document states: the number in the code, and the words that promise it."""

import importlib
import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import pytest

import multispin_env as ms
from multispin_env.commands import compare, record, reproduce, solve, watch
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.registry import ENVIRONMENTS, ESTIMATORS
from tests.families import ROUNDS

ROOT = Path(__file__).parent.parent
CONTROLLERS, ACCEPTANCE = "multispin_env.controllers", "multispin_env.physics.acceptance"
BETA, FILTER = f"{CONTROLLERS}.estimators.beta:Beta", f"{CONTROLLERS}.estimators.filter:Filter"
CHANNEL, VARIANTS = f"{CONTROLLERS}.estimators.channel:ChannelEstimator", "multispin_env.envs.rounds.variants"
ALGORITHM1, OPTIMAL = f"{CONTROLLERS}.rounds.algorithm1:Algorithm1", f"{CONTROLLERS}.rounds.optimal:Optimal"
SOLVER = "multispin_env.solver"
BY_REQUEST, RULE = f"{ACCEPTANCE}.by_request:ByRequest", f"{SOLVER}.rule"
ENCODINGS, OBSERVATIONS = "multispin_env.envs.rounds.encodings", "multispin_env.envs.observations"
SCENARIO = "multispin_env.scenario:Scenario"
VECTOR = "multispin_env.envs.vector:MultiSpinVectorEnv"
REGISTRATION = "multispin_env.envs.settings"
REPLAY, SCORES = f"{ACCEPTANCE}.replay", "multispin_env.evaluation.cases.states"


def load(place):
    module, _, path = place.partition(":")
    found = importlib.import_module(module)
    for name in filter(None, path.split(".")):
        found = getattr(found, name)
    return found


def default(owner, name):
    """Default of a field of a dataclass or of a parameter of a function."""
    found = load(owner)
    if inspect.isclass(found) and hasattr(found, "__dataclass_fields__"):
        return next(field.default for field in fields(found) if field.name == name)
    return inspect.signature(found).parameters[name].default


def text(place):
    """A page of the documentation, or a docstring, in one line."""
    file = ROOT / place
    words = file.read_text(encoding="utf-8") if file.is_file() else inspect.getdoc(load(place))
    return " ".join(words.split())


OF_ENVIRONMENTS = [  # environment, argument, default, what its docstring says
    ("fair:Fair", "window", 32.0, "`window`: rounds over which throughput is discounted, default 32."),
    ("fair:Fair", "spread", 0.15, "`spread`: standard deviation of acceptance rates within a task, default 0.15"),
    ("hidden_acceptance:HiddenAcceptance", "spread", 0.08, "over the requests of a task, default 0.08"),
    ("hidden_acceptance:HiddenAcceptance", "mean_rounds", 16.0, "mean lifetime of a request in rounds, default 16."),
    ("hidden_acceptance:HiddenAcceptance", "task_visible", True, "whether the task is observed, default true."),
    ("hidden_acceptance:HiddenAcceptance", "history", False, "since the request began are observed, default false."),
    ("hidden_acceptance:HiddenAcceptance", "privileged", False, "and `spectral_efficiency`, default false."),
    ("delayed_channel:DelayedChannel", "correlation", 0.9, "`correlation`: ρ, default 0.9;"),
    ("delayed_channel:DelayedChannel", "delay", 1, "`delay`: d, default 1."),
    ("delayed_channel:DelayedChannel", "mean_gain_visible", True, "whether the mean gain is observed, default true."),
    ("delayed_channel:DelayedChannel", "plan_quantile", None, "shows it; default `None`, the report."),
    ("delayed_channel:DelayedChannel", "privileged", False, "(and `acceptance_rate`), default false."),
    ("recorded_acceptance:RecordedAcceptance", "half", None, "from the first or the second on; default `None`, all."),
    ("recorded_acceptance:RecordedAcceptance", "modelled", False, "instead of replayed; default false."),
    ("recorded_acceptance:RecordedAcceptance", "records", None, "or `Records`; default those of the package"),
    *(
        ("continuous:Continuous", *rest)
        for rest in (
            ("discipline", "serial", '`"serial"` (default)'),
            ("coherence_time", 0.5, "in seconds, > 0, default 0.5."),
            ("horizon", 20.0, "at least one verification, default 20."),
            ("rho", None, "default `None`, the rate of the controller `groups` in this scenario, measured once."),
            ("patience", 2.0, "in encodings that do not say it, ≥ 0, default 2;"),
            ("reference", None, 'default `None`, `"groups"` for `"residual"` and `"prices"` for `"tuned"`.'),
            ("acceptance_visible", True, "whether acceptance is observed, default true."),
            ("task_visible", True, "whether the task is then observed, default true."),
            ("spread", 0.08, "over the requests of a task, default 0.08;"),
            ("mean_cycles", 16.0, "such a request lasts on average, ≥ 1, default 16."),
            ("channel_report", "fresh", '`channel_report`: `"fresh"` (default)'),
        )
    ),
    *(
        ("serving:Serving", name, value, "`discipline`, `coherence_time`, `patience`, `action`: as for")
        for name, value in (
            ("discipline", "serial"),
            ("coherence_time", 0.5),
            ("patience", 2.0),
        )
    ),
    *(
        ("serving:Serving", *rest)
        for rest in (
            ("load", 0.6, "(0, 1000], default 0.6;"),
            ("arrivals", "poisson", '`arrivals`: `"poisson"` (default)'),
            ("lengths", None, "default `None`, those that the arrivals have themselves"),
            *(
                (name, None, "default `None`, as `ms.make_arrivals` and `ms.make_lengths` have them.")
                for name in ("burstiness", "mean_output", "mean_prompt", "trace", "start")
            ),
            ("ttft", None, "in seconds > 0; default `None`, none."),
            ("tpot", None, "in seconds > 0; default `None`, none."),
            ("e2el", 0.5, "`e2el` is > 0, default 0.5, `None` for no such limit."),
            ("e2el_per_token", None, "`e2el_per_token` is ≥ 0; default `None`, twice the time"),
            ("horizon", 30.0, "at least one verification, default 30."),
            ("warm_up", 5.0, "≥ 0 and below `horizon`, default 5."),
            ("rewarded", "tokens", '`rewarded`: `"tokens"` (default)'),
            ("rho", None, "default `None`, the tokens/s in time of `greedy+deadlines`"),
            ("reference", None, 'default `None`, `"greedy+deadlines"` for `"residual"` and'),
            *(
                (name, value, "`spread`, `channel_report`: what is hidden, as for `Continuous-v0`.")
                for name, value in (
                    ("acceptance_visible", True),
                    ("task_visible", True),
                    ("spread", 0.08),
                    ("channel_report", "fresh"),
                )
            ),
        )
    ),
    ("recorded_acceptance:RecordedAcceptance", "mean_rounds", 16.0, "As `MultiSpin/HiddenAcceptance-v0` without"),
]

OF_PARTS = [  # owner, argument, default, where it is stated, and how
    (ALGORITHM1, "phi_points", 100, ALGORITHM1, "Grid sizes, default 100 each."),
    (ALGORITHM1, "lambda_points", 100, "docs/optimum.md", "`algorithm1` on 100 × 100"),
    (ALGORITHM1, "epsilon", 1e-4, ALGORITHM1, "a fraction of the largest, default 1e-4."),
    (OPTIMAL, "certify", None, OPTIMAL, "``None`` for the fast rule alone."),
    (OPTIMAL, "tpot", None, OPTIMAL, "wait for each of its tokens, > 0; ``None``: any."),
    (OPTIMAL, "time_limit", None, OPTIMAL, "``None``: only the number of rounds is bounded"),
    (f"{CONTROLLERS}.base:WeightedController", "weights", None, OPTIMAL, "``None`` means 1."),
    (OPTIMAL, "fixed_length", None, OPTIMAL, "``None``: all are free."),
    (BETA, "decay", 0.98, BETA, "one round later; default 0.98."),
    (BETA, "strength", 20.0, BETA, "Tokens that the prior is worth, > 0; default 20."),
    (BETA, "moment", 8.0, BETA, "1 is the mean, the default is 8."),
    (FILTER, "spreads", (1.0,), FILTER, "by default 1 alone."),
    (FILTER, "moment", 8.0, "docs/partial-knowledge.md", "the filter, with its moment of 8"),
    (CHANNEL, "mean_gain_strength", 100.0, CHANNEL, "would call for; default 100."),
    (f"{CONTROLLERS}.estimators.quantile:Quantile", "quantile", None, "docs/partial-knowledge.md", "at 1 / (K + 1)"),
    (f"{CONTROLLERS}.estimators.gradient:Gradient", "floor", 1e-3, f"{CONTROLLERS}.estimators.gradient:Gradient",
     "counts as having; default 1e-3."),
    (f"{CONTROLLERS}.rounds.fixed:Fixed", "draft_length", None, f"{CONTROLLERS}.rounds.fixed:Fixed",
     "the default is the paper's 8"),
    (f"{CONTROLLERS}.assumptions:Assumptions.of", "spread", 0.08, f"{CONTROLLERS}.assumptions:Assumptions.of",
     "with one spread for all tasks (0.08), ρ = 0.9 and d = 1"),
    (f"{CONTROLLERS}.assumptions:Assumptions.of", "correlation", 0.9, f"{CONTROLLERS}.assumptions:Assumptions.of",
     "ρ = 0.9"),
    (f"{CONTROLLERS}.assumptions:Assumptions.of", "delay", 1, f"{CONTROLLERS}.assumptions:Assumptions.of", "d = 1"),
    (f"{CONTROLLERS}.rounds.homogeneous:homogeneous_draft_length", "max_draft_length", 25,
     f"{CONTROLLERS}.rounds.homogeneous:homogeneous_draft_length", "L_max, default 25."),
    (BY_REQUEST, "spread", 0.08, BY_REQUEST, "the default is 0.08."),
    (BY_REQUEST, "mean_rounds", 16.0, BY_REQUEST, "requests never end; default 16."),
    (f"{ACCEPTANCE}.recorded:Recorded", "mean_rounds", 16.0, f"{ACCEPTANCE}.recorded:Recorded", "default 16."),
    ("multispin_env.physics.channels:GaussMarkov", "correlation", 0.9,
     "multispin_env.physics.channels:GaussMarkov", "a gain that never changes; default 0.9."),
    ("multispin_env.physics.channels:GaussMarkov", "coherence_time", 0.5,
     "multispin_env.physics.channels:GaussMarkov", "between gains Δt apart; default 0.5."),
    ("multispin_env.physics.dynamics:sample_state", "size", None, "multispin_env.physics.dynamics:sample_state",
     "``None`` gives one without a batch axis."),
    (VECTOR, "num_envs", 1, "docs/environments.md", "| `num_envs` | 1 |"),
    (VECTOR, "autoreset_mode", "NextStep", "docs/environments.md", '| `autoreset_mode` | `"NextStep"` |'),
    (VECTOR, "copy", True, "docs/environments.md", "| `copy` | `True` |"),
    (VECTOR, "action", "residual", "docs/environments.md", '| `"residual"` (default) | 2 |'),
    (SCENARIO, "max_draft_length", 25, "docs/model.md", "| L_max | longest draft, 25 |"),
    (SCENARIO, "min_draft_length", 1, "docs/differences.md", "the default is 1, as in the paper"),
    (SCENARIO, "noise_power", 1e-10, "docs/model.md", "| N0 | noise power, 1e-10 |"),
    (SCENARIO, "transmit_snr_db", 23.5, "docs/model.md", "transmit power over noise at unit gain: 23.5 dB"),
    (SCENARIO, "mean_gain_low", 0.2, "docs/model.md", "mean power gain, U(0.2, 0.5)"),
    (SCENARIO, "mean_gain_high", 0.5, "docs/model.md", "mean power gain, U(0.2, 0.5)"),
    (SCENARIO, "server_draft_time", 4e-3, "docs/model.md", "drafting on the server, 4 ms"),
    (SCENARIO, "draft_time_spread", 0.15, f"{VARIANTS}.heterogeneous:Heterogeneous", "T̄ U(0.85, 1.15)"),
    (SCENARIO, "num_users", 20, "README.md", "K = 20, B = 10 MHz"),
    (SCENARIO, "total_bandwidth", 10e6, "README.md", "K = 20, B = 10 MHz"),
]  # fmt: skip

CONSTANTS = [  # place, value, where it is stated, and how
    (f"{REPLAY}:FITTED_ROUNDS", 16, f"{REPLAY}:prompt_rates", "That mean is over 16 rounds from every place"),
    (f"{REPLAY}:FITTED_LENGTHS.tolist", list(range(1, 17)), f"{REPLAY}:prompt_rates", "over L = 1..16"),
    (f"{RULE}:QUICK", (8.0, 13, 1, 0.0, 0), "docs/optimum.md", "instead of 13 points over 8 sd and one."),
    (f"{RULE}:THOROUGH", (20.0, 129, 4, 1.0, 0), "docs/optimum.md", "129 points over 20 sd and four starts"),
    (f"{RULE}:RUGGED", 0.4, "docs/optimum.md", "exceeds 0.4 of the time left for its upload"),
    (f"{SOLVER}.branching:LISTED", 32, "docs/optimum.md", "at most 32 decisions is listed"),
    (f"{SOLVER}.windows:SAFETY", 1e-11, "docs/optimum.md", "raised by 1e-11 of its terms"),
    (f"{SOLVER}.problem:SHORTEST", 1e-130, "docs/optimum.md", "Times are kept within 1e-130..1e130 s"),
    (f"{SOLVER}.problem:LONGEST", 1e130, "docs/optimum.md", "Times are kept within 1e-130..1e130 s"),
    (f"{SOLVER}.problem:LIGHTEST", 1e-150, "docs/optimum.md", "weights within 1e-150 (less counts as 0)..1e100"),
    (f"{SOLVER}.problem:HEAVIEST", 1e100, "docs/optimum.md", "weights within 1e-150 (less counts as 0)..1e100"),
    (f"{SCORES}:CERTIFICATE", 1e-6, "docs/optimum.md", "certificate 1e-6"),
    (f"{ENCODINGS}:LARGEST_FACTOR", 1e4, "docs/environments.md", "ln f(x) = ln(1e4) sinh(5x)/sinh 5"),
    (f"{ENCODINGS}:SHARPNESS", 5.0, "docs/environments.md", "ln f(x) = ln(1e4) sinh(5x)/sinh 5"),
    (
        f"{OBSERVATIONS}:LARGEST_FADE",
        64.0,
        f"{OBSERVATIONS}:ObservationCodec",
        "which is r at H = 64 H̄",
    ),
    (
        f"{OBSERVATIONS}:LARGEST_FADE",
        64.0,
        f"{VARIANTS}.heterogeneous:Heterogeneous",
        "is 64 times the largest mean",
    ),
    ("multispin_env.evaluation.statistics:LEVEL", 0.95, "docs/reproduce.md", "95 % bootstrap intervals"),
    ("multispin_env.physics.streams:MOST_ROWS", 64, "docs/environments.md", "runs once in 64 rounds"),
    ("multispin_env.physics.streams:FEWEST_ROWS", 8, "docs/environments.md", "but at least 8"),
    ("multispin_env.physics.streams:MOST_NUMBERS", 16_000_000, "docs/environments.md", "more than 16 million numbers"),
    ("multispin_env.reproduce.figure:STATES", 500, "docs/reproduce.md", "20 devices, 500 states"),
    ("multispin_env.reproduce.figure:QUICK_STATES", 40, "docs/reproduce.md", "--quick # 40 states"),
    (f"{REGISTRATION}:MAX_EPISODE_STEPS", 64, "docs/environments.md", "**Episodes** truncate after 64 rounds"),
    ("multispin_env.envs.rendering.film:MOVES", 8, "docs/watch.md", "a round has 9, the last of which is held for 5"),
    ("multispin_env.envs.rendering.film:JUDGED", 5, "docs/watch.md", "a round has 9, the last of which is held for 5"),
]

OF_COMMANDS = [  # module, option, default, and how its help or its page states it
    (compare, "episodes", 200, "--help", "(default 200)"),
    (compare, "seed", 1_100_000_000, "--help", "(default 1100000000)"),
    (compare, "scenario", "llama2", "--help", "(default llama2)"),
    (watch, "num_users", 8, "docs/watch.md", "`MultiSpin/Heterogeneous-v0`, `llama2`, 8,"),
    (watch, "rounds", 64, "docs/watch.md", "| 64, that of the tables |"),
    (watch, "seed", 1_100_000_000, "docs/watch.md", "| 64, that of the tables |"),
    (watch, "fps", 12.0, "docs/watch.md", "| `--fps` | 12 |"),
    (watch, "beside", None, "docs/watch.md", "| the best known, `fixed`; without the barrier `optimal` |"),
    (solve, "controller", "optimal", "--help", "(default optimal)"),
    (record, "tokens", 64, "--help", "(default 64)"),
    (record, "batch", 8, "--help", "(default 8)"),
    (record, "temperature", 1.0, "--help", "(default 1)"),
    (record, "seed", 0, "--help", "(default 0)"),
    (record, "device", "cpu", "--help", "(default cpu)"),
    (record, "dtype", "float32", "--help", "(default float32)"),
    (reproduce, "seed", HELD_OUT_SEED, "docs/reproduce.md", "the default is the seed of the held-out states"),
]


@pytest.mark.parametrize(("owner", "name", "value", "words"), OF_ENVIRONMENTS, ids=lambda given: str(given)[:40])
def test_arguments_of_environments(owner, name, value, words):
    family = "continuous" if owner.startswith(("continuous", "serving")) else "rounds"
    place = f"multispin_env.envs.{family}.variants.{owner}"
    assert default(place, name) == value
    assert words in text(place)


def test_every_argument_of_an_environment_is_in_the_table():
    listed = {(owner.partition(":")[2], name) for owner, name, *_ in OF_ENVIRONMENTS}
    shared = {("RecordedAcceptance", name) for name in ("task_visible", "history", "privileged")}  # see HiddenRate
    variants = [ENVIRONMENTS.load(env_id) for env_id in ENVIRONMENTS.names()]
    assert {(variant.__name__, field.name) for variant in variants for field in fields(variant)} == listed | shared
    (recorded,) = (variant for variant in variants if variant.__name__ == "RecordedAcceptance")
    assert (recorded().task_visible, recorded().history, recorded().privileged) == (True, False, False)


@pytest.mark.parametrize(("owner", "name", "value", "place", "words"), OF_PARTS, ids=lambda given: str(given)[-40:])
def test_defaults_of_parts(owner, name, value, place, words):
    found = default(owner, name)
    assert getattr(found, "value", found) == value
    assert words in text(place)


@pytest.mark.parametrize("table", [ms.registry.CONTROLLERS, ESTIMATORS], ids=["controllers", "estimators"])
def test_every_option_is_in_the_table(table):
    listed = {(owner, name) for owner, name, *_ in OF_PARTS}
    for kind in ms.controller_names("rounds") if table is ms.registry.CONTROLLERS else table.names():
        cls = table.load(kind)
        for field in fields(cls):
            owner = next(base for base in cls.__mro__ if field.name in vars(base).get("__annotations__", {}))
            inherited = field.name in ("scenario", "assumptions", "memory", "rng")
            assert inherited or (f"{owner.__module__}:{owner.__name__}", field.name) in listed, (kind, field.name)


@pytest.mark.parametrize(("constant", "value", "place", "words"), CONSTANTS, ids=lambda given: str(given)[-40:])
def test_constants_that_documents_state(constant, value, place, words):
    found = load(constant)
    assert (found() if callable(found) else found) == value
    assert words in text(place)


@pytest.mark.parametrize(("module", "name", "value", "place", "words"), OF_COMMANDS, ids=lambda given: str(given)[-30:])
def test_defaults_of_commands(module, name, value, place, words):
    parser = module.COMMAND.parser("multispin")
    assert parser.get_default(name) == value
    (action,) = (action for action in parser._actions if action.dest == name)
    assert words in (action.help if place == "--help" else text(place))


def test_the_range_of_a_certificate():
    """[1e-10, 1), as the docstring of `Optimal` says."""
    scenario = ms.Scenario.preset("llama2", num_users=2)
    assert "Relative gap to prove, in [1e-10, 1);" in text(OPTIMAL)
    for good in (1e-10, 0.999):
        assert ms.make_controller("optimal", scenario, certify=good).certify == good
    for bad in (0.99e-10, 1.0):
        with pytest.raises(ValueError, match=r"certify: expected a finite number in \[1e-10, 1\), got "):
            ms.make_controller("optimal", scenario, certify=bad)


def test_what_none_stands_for(rng):
    """Eight tokens or the nearest, 1 / (K + 1), 64 rounds."""
    state = ms.sample_state(ms.Scenario.preset("llama2", num_users=4), rng, 3)
    for longest, length in ((25, 8), (8, 8), (5, 5)):
        scenario = ms.Scenario.preset("llama2", num_users=4, max_draft_length=longest)
        assert (ms.make_controller("fixed", scenario)(state).draft_length == length).all()
    observed = ms.Observed(state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    made = [ms.make_controller("optimal+quantile", scenario, **options) for options in ({}, {"quantile": 1 / 5})]
    assert (made[0](observed).bandwidth == made[1](observed).bandwidth).all()
    for env_id in ENVIRONMENTS.names():
        assert gym.spec(env_id).max_episode_steps == (64 if env_id in ROUNDS else None)


def test_defaults_of_estimators_are_near_the_best_that_were_tried():
    """As near as docstrings promise, in the mean over systems, by the stored table."""
    searches = json.loads((ROOT / "docs" / "results" / "tune_estimators.json").read_text(encoding="utf-8"))["searches"]
    seen = {}
    for search in searches:
        name, (chosen,) = search["search"]["estimator"], [one for one in search["tried"] if one["is_default"]]
        for option, value in chosen["options"].items():
            found = next(field.default for field in fields(ESTIMATORS.load(name)) if field.name == option)
            assert found == (tuple(value) if isinstance(value, list) else value)
        lost = max(one["mean"] for one in search["tried"]) - chosen["mean"]
        seen.setdefault((name, search["search"]["env"]), []).append(lost)
    for name, hidden, recorded in (("beta", ".0002", ".002"), ("filter", ".0002", ".0005")):
        words = text(f"{CONTROLLERS}.estimators.{name}:{name.title()}")
        for env, most in (("HiddenAcceptance-v0", hidden), ("RecordedAcceptance-v0", recorded)):
            assert max(seen[name, f"MultiSpin/{env}"]) <= float(most)
            assert re.search(rf"within {most} [^,]*`{env}`", words)
    assert seen["quantile", "MultiSpin/DelayedChannel-v0"][0] == 0.0  # docs: ahead of every fixed one
