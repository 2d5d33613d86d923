"""Imitation: what its teacher teaches, that it learns it, and where it refuses to."""

import csv
import itertools
import shutil

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from agents import AGENTS
from agents.base import scenarios_like
from agents.checkpoints import load_checkpoint
from agents.teacher import Systems, Teacher, cost_of_errors
from multispin_env.commands.main import main
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, SERVERS
from multispin_env.solver.problem import make_problem
from multispin_env.solver.relaxed import relaxed_optimum

FULL, COMMON = "MultiSpin/Heterogeneous-v0", "MultiSpin/Homogeneous-v0"
TINY = ["--agent", "imitation", "--num-users", "10", "--seed", "3", "--timesteps", "40000"]


def teacher(action="lengths", env_id=FULL, seed=0, **options):
    scenario = ms.Scenario.preset("llama2")
    settings = Settings(scenario, ENVIRONMENTS.load(env_id)(), action)
    systems = Systems(scenarios_like(settings), 2, 14, **options)
    return Teacher(settings, systems, np.random.default_rng(seed))


def users_of(lesson):
    return lesson.observation["compute"].shape[-1]


def test_lessons_differ_in_users_budgets_and_presets():
    one = teacher()
    lessons = [one.lesson(2) for _ in range(300)]
    assert {users_of(lesson) for lesson in lessons} == set(range(2, 15))
    shared = np.array([lesson.observation["shared"][0] for lesson in lessons])
    assert shared[:, 1].max() > np.log10(100)  # larger systems than any that was drawn
    assert np.ptp(shared[:, 2]) > 1.0
    assert next(each.observation["compute"].shape for each in lessons if users_of(each) == 7) == (2, 7)


def test_half_of_the_lessons_are_of_larger_systems():
    """K from 2 to 14 alike; half of the sizes have a logarithm uniform from K to 128. Within four standard errors."""
    systems, rng, draws = teacher().systems, np.random.default_rng(0), 2000
    sizes = np.array([systems.draw(rng)[1] for _ in range(draws)])
    for limit in (14.5, 40.5):
        wanted = 0.5 * np.mean(np.log(128.0 / limit) / np.log(128.0 / np.arange(2, 15)))
        error = np.sqrt(wanted * (1.0 - wanted) / draws)
        assert np.mean(sizes > limit) == pytest.approx(wanted, abs=4.0 * error)
    assert sizes.max() <= 128


def like(scenario, env_id=FULL):
    return scenarios_like(Settings(scenario, ENVIRONMENTS.load(env_id)(), "lengths"))


def test_presets_are_taught_beside_the_own_scenario():
    own = ms.Scenario.preset("llama2", draft_time_spread=0.3)
    assert like(own) == (own, *(ms.Scenario.preset(name) for name in SCENARIOS.names()))
    assert like(ms.Scenario.preset("llama2")) == like(own)[1:]
    short = ms.Scenario.preset("llama2", max_draft_length=9)
    assert like(short) == (short,)
    fewer = ms.Scenario.preset("llama2", tasks=own.tasks[:2])
    assert like(fewer) == (fewer,)


def test_presets_are_taught_on_all_servers_whose_time_depends_on_tokens():
    def servers_of(scenario):
        found = scenarios_like(Settings(scenario, ENVIRONMENTS.load(FULL)(), "lengths"), servers=True)
        return [(one.name, one.server, one.payload) for one in found]

    every = list(itertools.product(SCENARIOS.names(), SERVERS.names(), ("distributions", "ids")))
    assert sorted(servers_of(ms.Scenario.preset("r1", server="a100-70b"))) == sorted(every)
    assert servers_of(ms.Scenario.preset("r1")) == [("r1", "", "distributions")] + [
        (name, "", "distributions") for name in SCENARIOS.names() if name != "r1"
    ]


def test_presets_have_the_ranges_of_the_environment():
    own = ms.Scenario.preset("llama2").replace(**ENVIRONMENTS.load("MultiSpin/Fair-v0").scenario_defaults)
    found = like(own, "MultiSpin/Fair-v0")
    assert tuple(one.name for one in found) == SCENARIOS.names()
    assert {one.draft_time_spread for one in found} == {0.8}


@pytest.mark.parametrize("action", ["lengths", "residual", "shares"])
def test_lessons_are_nearly_optimal(action):
    """The taught actions, decoded, are as good as rounding allows; without larger systems all is as observed."""
    one, shares = teacher(action, largest=1, budget_low=1.0, budget_high=1.0), []
    for _ in range(10):
        lesson = one.lesson(50)
        assert lesson.action.shape == lesson.cost.shape
        assert np.abs(lesson.action).max() <= 1.0
        assert (lesson.cost > 0).all()
        # a system of K of its own budget has the bandwidth of the scenario
        found = [
            Settings(base.replace(num_users=users_of(lesson)), one.settings.variant, action)
            for base in one.systems.scenarios
        ]
        shared = lesson.observation["shared"][0]
        (settings,) = (each for each in found if each.observations.constants == pytest.approx(shared, abs=1e-5))
        scenario = settings.scenario
        seen = settings.observations.decode(lesson.observation)
        state = ms.SystemState(seen.draft_time, seen.spectral_efficiency, seen.acceptance_rate)
        reached = ms.expected_outcome(scenario, state, settings.actions.decode(lesson.action, state)).goodput
        best = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
        shares.append(reached.mean() / best.mean())
        assert (reached <= best * (1 + 1e-6)).all()
    assert min(shares) > 0.99
    assert np.mean(shares) > 0.999


def server_teacher(**options):
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    settings = Settings(scenario, ENVIRONMENTS.load(FULL)(), "lengths")
    return Teacher(settings, Systems((scenario,), 2, 14, **options), np.random.default_rng(0))


def test_lessons_for_a_server_are_its_best_whole_lengths():
    one = server_teacher(largest=1, budget_low=1.0, budget_high=1.0)
    for _ in range(5):
        lesson = one.lesson(20)
        scenario = one.systems.scenarios[0].replace(num_users=users_of(lesson))
        settings = Settings(scenario, one.settings.variant, "lengths")
        seen = settings.observations.decode(lesson.observation)
        state = ms.SystemState(seen.draft_time, seen.spectral_efficiency, seen.acceptance_rate)
        reached, best = (
            ms.expected_outcome(scenario, state, decision).goodput.mean()
            for decision in (
                settings.actions.decode(lesson.action, state),
                ms.make_controller("optimal", scenario)(state),
            )
        )
        assert reached == pytest.approx(best, rel=1e-4)


def test_a_sample_of_a_larger_system_on_a_server_is_told_its_verification_time():
    one = server_teacher(budget_low=1.0, budget_high=1.0)
    (base,) = one.systems.scenarios
    for _ in range(20):
        scenario, size = one.systems.draw(one.rng)
        users, large = scenario.num_users, base.replace(num_users=size)
        for length in (0, 4, 25):
            there = large.pass_time(size, size * (length + 1))
            assert scenario.pass_time(users, users * (length + 1)) == pytest.approx(there, rel=1e-12)


def test_residuals_are_taught_to_be_zero():
    assert np.abs(teacher("residual").lesson(50).action[..., 1]).max() < 1e-6


def test_larger_systems_change_nothing_of_what_is_taught():
    """The optimum of K devices with a share of a larger system's budget is that of many copies of them."""
    large = ms.Scenario.preset("llama2", num_users=60)
    small = ms.sample_state(large.replace(num_users=6), np.random.default_rng(0), 20)
    copies = ms.SystemState(
        *(np.tile(getattr(small, f), 10) for f in ("draft_time", "spectral_efficiency", "acceptance_rate"))
    )
    extra = 54 * large.verification_time_per_draft
    scaled = large.replace(
        num_users=6,
        total_bandwidth=large.total_bandwidth / 10,
        verification_fixed_time=large.verification_fixed_time + extra,
    )
    found = relaxed_optimum(make_problem(scaled, small), 1e-9).length
    assert relaxed_optimum(make_problem(large, copies), 1e-9).length[:, :6] == pytest.approx(found, rel=1e-5)


def test_costs_are_curvatures():
    """Against second differences of the goodput, in the many-user limit in which the rest is small."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=200)
    problem = make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(0), 5))
    length = relaxed_optimum(problem, 1e-10).length
    cost = cost_of_errors(problem, length)
    step = 0.05
    for user in range(0, 200, 35):
        moved = np.zeros(200)
        moved[user] = step
        low, middle, high = (problem.value((length + side * moved)[:, None])[:, 0] for side in (-1, 0, 1))
        inside = (length[:, user] > 1.2) & (length[:, user] < 24.8)
        curvature = -0.5 * (low - 2 * middle + high) / step**2 / middle
        assert cost[inside, user] == pytest.approx(curvature[inside], rel=0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "imitation"
    assert main(["train", "--name", str(folder), "--action", "lengths", *TINY]) == 0
    return folder


def test_it_learns(trained):
    with (trained / "curve.csv").open(encoding="utf-8") as file:
        points = [float(point["share_of_reference"]) for point in csv.DictReader(file)]
    assert points[-1] > 0.98
    assert "imitation (lengths)" in (trained / "table.csv").read_text(encoding="utf-8")


def test_same_seed_same_weights(trained, tmp_path):
    assert main(["train", "--name", str(tmp_path / "again"), "--action", "lengths", *TINY]) == 0
    first, second = (load_checkpoint(path).parameters["policy"] for path in (trained, tmp_path / "again"))
    assert all(th.equal(first[key], second[key]) for key in first)


def test_it_resumes_with_fresh_states(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    assert main(["train", "--resume", str(folder), "--timesteps", "50000"]) == 0
    assert 50_000 <= load_checkpoint(folder).num_timesteps < 50_200


def test_the_common_length_is_imitated_too(tmp_path):
    assert main(["train", "--name", str(tmp_path / "run"), "--env", COMMON, *TINY, "--timesteps", "5000"]) == 0


@pytest.mark.parametrize(
    "env_id",
    [
        name
        for name in ms.registry.ENVIRONMENTS.names()
        if not ms.registry.ENVIRONMENTS.load(name)().learning.sees_state
    ],
)
def test_nothing_hidden_can_be_imitated(env_id, tmp_path, capsys):
    assert main(["train", "--agent", "imitation", "--env", env_id, "--name", str(tmp_path / "run")]) == 2
    assert f"and has an optimum for 'imitation', got {ENVIRONMENTS.load(env_id).__name__}\n" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rate_falls_to_nothing():
    from agents.base import CosineRate

    rate = CosineRate(2.0, lambda progress: progress)
    assert [rate(x) for x in (1.0, 0.5, 0.0)] == pytest.approx([2.0, 1.0, 0.0])
    assert AGENTS.load("imitation").most_users == 14
