"""Tasks of the suite are frozen, complete, and evaluated on held-out episodes."""

import pkgutil
import re
from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import multispin_lab
from multispin_env.evaluation.contenders import native
from multispin_env.registry import CONTINUOUS_ENCODINGS, ENCODINGS
from multispin_lab.suite.entries import KINDS
from multispin_lab.suite.frozen import DATA, own_content
from multispin_lab.suite.statistics import (
    Performance,
    interquartile_mean,
    median_task,
    over_cases,
    over_seeds,
    profile,
    worst_task,
)
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, OWN, RANDOM_ACTIONS, UNTRAINED, UntrainedNetworks
from multispin_lab.suite.version import read_tasks
from tools.hashes import steps_hash

TASKS = {task.name: task for task in multispin_lab.suite.tasks()}
TEXT = (DATA / "v1.toml").read_text(encoding="utf-8")


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


def test_nothing_has_changed(task):
    """If this fails, the suite needs a new version next to this one: scores of both are not comparable."""
    assert steps_hash(task.config.make_vec(2), task.seed) == task.frozen.steps


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("round-8", "physics.radio.Independent.first_gain"),
        ("round-50", "server.VerificationLaw.pass_time"),
        ("server", "server.line_time"),
        ("hidden", "physics.acceptance.beta_quantile"),
        ("late", "physics.radio.GaussMarkov.next_gain"),
        ("texts", "physics.records.Recorded.expected_tokens"),
        ("fair", "envs.objectives.discounted_throughput"),
        ("battery", "uplink.Uplink.token_joules"),
        ("ahead-8", "physics.rounds.drafting_time"),
        ("ahead-8", "physics.chains.chain_left"),
        ("no-barrier-8", "server.VerificationLaw.pass_time"),
        ("no-barrier-20", "uplink.Uplink.token_time"),
        ("requests", "physics.arrivals._exponential"),
        ("requests", "physics.workload.ServiceLevel.due"),
        ("bursts", "envs.objectives.TokensMinusTime.reward"),
    ],
)
def test_small_changes_are_noticed(name, changed, monkeypatch):
    position, _, part = f"multispin_env.{changed}".rpartition(".")
    old = pkgutil.resolve_name(f"{position}.{part}")
    monkeypatch.setattr(f"{position}.{part}", lambda *arguments: 1.0001 * old(*arguments))
    assert steps_hash(TASKS[name].config.make_vec(2), TASKS[name].seed) != TASKS[name].frozen.steps


def test_random_actions_have_score_zero(task):
    np.testing.assert_allclose(task.values(RANDOM_ACTIONS), task.frozen.floor, rtol=1e-6)
    assert task.frozen.floor.shape == task.frozen.reference.shape == (len(task.held_out), task.size)
    assert task.frozen.reference.mean() > task.frozen.floor.mean()
    if task.bound is not None:
        assert task.frozen.bound.mean() >= task.frozen.reference.mean() * (1.0 - 1e-6)


@pytest.mark.parametrize("name", ["hidden", "no-barrier-20", "bursts", pytest.param("fair", marks=pytest.mark.slow)])
def test_the_reference_has_score_one(name):
    """The stored references were played by an earlier version, which chose other decisions in some rounds of `fair`."""
    score = TASKS[name].score(TASKS[name].reference)
    assert score.score == pytest.approx((1.0, 1.0, 1.0), abs=1e-5)
    assert score.value.low < score.value.mean < score.value.high


def test_training_and_held_out_cases_differ():
    texts, resize = TASKS["texts"], TASKS["resize"]
    assert native(texts.make_vec(2)).config.half == 0
    assert [part.config.half for part in texts.cases()] == [1]
    assert native(resize.make_vec(2, seed=3)).scenario.num_users == 8
    assert [part.config.scenario.num_users for part in resize.cases()] == [2, 5, 20, 50, 200]
    assert texts.make().reset(seed=0)[0]["compute"].shape == (20,)


def test_training_takes_all_seeds_but_held_out_ones():
    task = TASKS["round-8"]
    for reset in (
        lambda: task.make().reset(seed=task.seed),
        lambda: task.make_vec(2, seed=task.seed - 1),
        lambda: task.make_vec(2).reset(seed=np.int64(task.seed - 1)),
        lambda: task.make_vec(2).reset(seed=[None, task.seed]),
    ):
        with pytest.raises(ValueError, match="seed: expected seeds below those of held-out episodes"):
            reset()
    first = task.make().reset(seed=task.seed - 1)[0]
    for seed in (task.seed - 2, [None, task.seed - 1]):
        env = task.make_vec(2)
        np.testing.assert_array_equal(env.reset(seed=seed)[0]["compute"][1], first["compute"])
    assert gym.make(task.make().spec).reset(seed=None)


def test_an_evaluation_seed_draws_its_episodes():
    """They are in no order, so that the position in a batch says nothing, and the same for all parts."""
    task = TASKS["resize"]
    seeds = [part.seed for part in task.cases()]
    assert seeds == [seeds[0]] * 5 == [part.seed for part in task.cases(0)]
    assert len(set(seeds[0])) == task.size
    assert min(seeds[0]) >= task.seed
    assert seeds[0] != tuple(sorted(seeds[0]))
    others = [TASKS["server"].cases(1)[0].seed, TASKS["round-8"].cases()[0].seed, TASKS["round-8"].cases(1)[0].seed]
    assert not any(set(seeds[0]) & set(other) for other in others)


def test_both_ends_of_a_score_are_played_for_a_fresh_seed():
    task = TASKS["round-8"]
    fresh = {name: task.values(name, eval_seed=7) for name in (RANDOM_ACTIONS, "optimal", "fixed")}
    assert task.score(RANDOM_ACTIONS, 7).score.mean == 0.0
    assert task.score("optimal", 7).score.mean == pytest.approx(1.0, abs=1e-6)
    assert task.score("fixed", 7).score.mean == pytest.approx(task.score("fixed").score.mean, abs=0.05)
    assert not np.isin(fresh["fixed"], task.values("fixed")).any()
    np.testing.assert_array_equal(task.ends(7), [fresh[RANDOM_ACTIONS], fresh["optimal"]])


@pytest.mark.parametrize("name", ["round-8", "late"])
def test_actions_that_know_nothing_have_the_recorded_scores(name):
    task = TASKS[name]
    for contender, score in ((MIDDLE_ACTIONS, task.frozen.middle), (UNTRAINED, task.frozen.untrained)):
        assert task.score(contender).score.mean == pytest.approx(score, abs=1e-6)
        assert 0.2 < score < 0.9
    observation = task.make_vec(3, seed=0).reset()[0]
    actions = UntrainedNetworks((task.config.scenario.num_users, 2))(observation)
    assert 0.05 < actions.std() < 5.0


def test_every_encoding_has_a_kind():
    encodings = {*ENCODINGS.names(), *CONTINUOUS_ENCODINGS.names()}
    assert encodings == KINDS.keys(), "entries.py: expected the kind of each encoding of actions in KINDS"


@pytest.mark.parametrize("name", ["round-8", "late"])
def test_own_encodings_have_the_recorded_scores(name):
    """Those of this project's agents, which are known from the encoding of a policy; others have none."""
    task, own = TASKS[name], own_content()[name]
    for contender, key in ((MIDDLE_ACTIONS, "middle"), (UNTRAINED, "untrained")):
        assert task.score(OWN + contender).score.mean == pytest.approx(own[key], abs=1e-6)
    assert task.action_0(own["action"], {"history": False, **own["arguments"]}) == own["middle"] > task.frozen.middle
    assert task.action_0(task.config.action, task.config.arguments) == task.frozen.middle
    assert task.action_0("residual", {"plan_quantile": 0.2}) is None


def test_attainable_scores_are_exact_a_bracket_or_open(task):
    """A clairvoyant is above the upper end, so it shows nothing that a policy can attain."""
    if task.bound == "reference":
        assert (task.attainable, task.attainable_text) == ((1.0, 1.0), "1.000")
    elif task.name in ("hidden", "late"):
        low, high = task.attainable
        clairvoyant = task.performance(task.frozen.bound[None]).mean_scores[0]
        assert 1.0 < low < high < clairvoyant - 0.01
        assert task.attainable_text in (f"{low:.3f}–{high:.3f}", f"{low:.3f}")
    else:
        assert (task.attainable, task.attainable_text) == (None, "open")


@pytest.mark.parametrize(
    ("name", "rule", "hidden"),
    [
        ("late", "optimal", True),
        ("late", "optimal+clairvoyant", True),
        ("late", "optimal+quantile", False),
        ("hidden", "fixed", False),
        ("hidden", "fixed+clairvoyant", True),
        ("texts", "homogeneous", True),
        ("texts", RANDOM_ACTIONS, False),
        ("fair", "optimal", False),
        ("round-8", "optimal+clairvoyant", False),
        ("no-barrier-8", "prices", False),
    ],
)
def test_rules_that_see_more_than_the_task_shows(name, rule, hidden):
    assert TASKS[name].hides_from(rule) is hidden


def test_tasks_run_no_simulation_at_the_start(monkeypatch):
    """Prices and loads are numbers of the task, not results of a controller."""
    for position in ("continuous.endless", "continuous.serving", "rounds.ahead"):
        monkeypatch.setattr(f"multispin_env.envs.{position}.reference_rate", None)
    monkeypatch.setattr("multispin_env.envs.continuous.serving.reference_tokens_in_time", None)
    for task in TASKS.values():
        task.make_vec(2, seed=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget = 50000\n", "", "'budget'"),
        ("budget = 50000", "budgets = 3\nbudget = 50000", "'budgets'"),
        ("context = 1024\n", "", "scenario: expected the field 'context'"),
        ("context = 1024", "kontext = 1", "'kontext'; did you mean 'context'"),
        ("half = 0\n", "", "arguments: expected the field 'half'"),
        ("half = 0", "half = 0\nquarter = 1", "'quarter'"),
        ("num_users = 8", "num_users = -8", "num_users: expected an integer"),
    ],
)
def test_every_field_is_in_the_file(old, new, message):
    """Also those of the scenario and the environment, so that a task depends on no default."""
    assert old in TEXT
    with pytest.raises(ValueError, match=rf"^task '[\w-]+': .*{re.escape(message)}"):
        read_tasks(TEXT.replace(old, new, 1))


def test_a_score_is_the_mean_over_parts():
    """The second part counts in thousands; cases are resampled in pairs, so a constant share has no interval."""
    rng = np.random.default_rng(0)
    top = rng.uniform(1.0, 2.0, (2, 30)) * [[1.0], [1000.0]]
    floor = np.zeros_like(top)
    half = Performance(np.stack([0.5 * top, 0.5 * top]), floor, top)
    assert half.mean_scores == pytest.approx([0.5, 0.5])
    assert over_cases(worst_task, [half]) == pytest.approx((0.5, 0.5, 0.5))
    mixed = Performance((top * [[0.2], [0.6]])[None], floor, top)
    assert mixed.mean_scores == pytest.approx([0.4])
    whole = Performance(top[None], floor, top)
    three = [whole, half, mixed]
    assert [over_cases(part, three).mean for part in (median_task, worst_task)] == pytest.approx([0.5, 0.4])


def test_a_difference_is_of_the_same_cases():
    """Its interval is much narrower than that of each method, also with other numbers of seeds."""
    rng = np.random.default_rng(0)
    top = np.ones((1, 100))
    first = Performance(rng.uniform(0.0, 1.0, (1, 1, 100)), 0.0 * top, top)
    second = Performance(np.concatenate([first.values] * 2) - 0.25, 0.0 * top, top)
    assert over_cases(median_task, [first] * 2, [second] * 2) == pytest.approx((0.25, 0.25, 0.25))
    alone = over_cases(median_task, [first])
    assert alone.high - alone.low > 0.05
    both = over_cases(median_task, [first] * 2)  # cases of two tasks are drawn apart
    assert both.high - both.low == pytest.approx((alone.high - alone.low) / np.sqrt(2.0), rel=0.1)


@pytest.mark.parametrize(
    ("runs", "mean"), [([0.1], 0.1), ([0.0, 1.0], 0.5), ([0.264, 0.645, 0.609], 0.5575), ([0, 1, 2, 9], 1.5)]
)
def test_the_interquartile_mean_is_that_of_the_middle_half(runs, mean):
    """Of three runs, the middle half is the second one and a quarter of each other."""
    assert interquartile_mean([np.array([run]) for run in runs]) == pytest.approx(mean)


def test_a_profile_counts_the_runs_above_each_score():
    top = np.ones((1, 4))
    runs = Performance(np.array([0.5, 0.5, 1.0])[:, None, None] * top, 0.0 * top, top)
    assert profile([runs], np.array([0.25, 0.5, 0.75, 1.0])) == pytest.approx([1.0, 1 / 3, 1 / 3, 0.0])


def test_an_interval_over_seeds_needs_five_and_is_as_wide_as_their_spread():
    """The standard error of a mean of n seeds is the sample deviation, with n - 1, over sqrt(n)."""
    scores = np.random.default_rng(0).normal(0.5, 0.1, 5)
    top = np.ones((1, 20))
    performance = Performance(scores[:, None, None] * top, 0.0 * top, top)
    low, high = over_seeds(median_task, [performance])
    assert low < scores.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * scores.std(ddof=1) / np.sqrt(5), rel=0.1)
    means = scores[np.array([*product(range(5), repeat=5)])].mean(-1)  # of all resamples
    exact = scores.mean() + np.sqrt(5 / 4) * (np.percentile(means, (2.5, 97.5)) - scores.mean())
    assert (low, high) == pytest.approx(tuple(exact), abs=0.03 * (high - low))
    few = Performance(performance.values[:4], performance.floor, top)
    assert over_seeds(median_task, [performance, few]) is None
