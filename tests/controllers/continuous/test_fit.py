"""`fit` against plain Python."""

import importlib
import itertools
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest

import multispin_env as ms
from multispin_env import compiling
from multispin_env.controllers.continuous.launch import Launch, fit, fit_ratio
from multispin_env.controllers.continuous.search import all_sent, gain_table, improve_lengths
from multispin_env.physics.continuous.core import free_state

TOKENS = ((0.0, 0.002), (0.015, 0.0))
PADDED = {"verification_pieces": ((0.0, 0.002),), "padded_verification": True}
LAWS = {
    "paper": {},
    "tokens": {"verification_pieces": TOKENS},
    "padded": PADDED,
    "round trip": {"round_trip_time": 0.03, "min_draft_length": 0},
    "late": {"access_delay": 0.03, "upload_loss": 0.5, "repeat_time": 0.01, "min_draft_length": 0},
    "padded, empty drafts": {**PADDED, "min_draft_length": 0},
    "ahead": {"draft_ahead": True},
    "ahead, padded": {"draft_ahead": True, **PADDED},
    "ahead, ids": {"draft_ahead": True, "min_draft_length": 0, "server": "a100-32b", "payload": "ids"},
}


def sent_slowly(uploads):
    now = 0.0
    for release, air in sorted(uploads):
        now = max(now, release) + air
    return now


def pass_slowly(scenario, lengths):
    tokens = [length + 1 for length in lengths]
    if scenario.padded_verification:
        tokens = [max(tokens)] * len(tokens)
    per_draft = scenario.verification_time_per_draft + scenario.context_time * scenario.context
    lines = [start + slope * sum(tokens) for start, slope in scenario.verification_pieces]
    return scenario.verification_fixed_time + len(lengths) * per_draft + max(lines, default=0.0)


def played_slowly(launch, env, lengths):
    """Return the gain, the end of all uploads and the time of the pass, by loops."""
    gain, uploads, batch = 0.0, [], []
    for k, length in enumerate(lengths.tolist()):
        if not launch.starts[env, k]:
            uploads.append((launch.release[env, k], launch.air[env, k]))
            continue
        pace, air, alpha = (x[env, k] for x in (launch.draft_time, launch.token_time, launch.acceptance_rate))
        chain = launch.head_start[env, k] if launch.scenario.draft_ahead else 0.0
        gain += launch.weight[env, k] * sum(alpha**power for power in range(length + 1))
        gain -= launch.air_price * length * air
        scenario = launch.scenario
        late = sum(scenario.access_delay) + scenario.repeat_time * scenario.upload_loss / (1.0 - scenario.upload_loss)
        waiting = scenario.round_trip_time + (late if length else 0.0)
        uploads.append((waiting + max(length - chain, 0.0) * pace, length * air))
        batch.append(length)
    return gain, sent_slowly(uploads), pass_slowly(launch.scenario, batch)


def value_slowly(launch, env, lengths):
    gain, sent, server = played_slowly(launch, env, lengths)
    late = max(sent - launch.due[env], 0.0)
    return gain - launch.delay_price[env] * (late + server if launch.scenario.verification_pieces else late)


def ratio_slowly(launch, env, lengths):
    gain, sent, server = played_slowly(launch, env, lengths)
    return gain / (max(sent, launch.due[env]) + server)


def launch_of(scenario, rng, num_envs, due, starts=None, air_price=3.0, weight=1.0):
    users = scenario.num_users
    state = free_state(ms.sample_state(scenario, rng, num_envs))
    shape = (num_envs, users)
    if scenario.draft_ahead:
        state = state.changed(head_start=rng.uniform(0.0, 6.0, shape) * (rng.random(shape) < 0.7))
    if starts is None:
        starts = np.broadcast_to(np.arange(users) < (2 if users == 3 else users), shape)
    release, air = rng.uniform(0, 0.08, shape) * ~starts, rng.uniform(0, 0.03, shape) * ~starts
    rho = rng.uniform(30.0, 120.0, num_envs)
    due = np.broadcast_to(due, num_envs)
    return Launch.of(scenario, state, starts, (release, air), due, rho, air_price=air_price, weight=weight)


def drawn_launch(law, users, num_envs, longest):
    """Return a launch of random devices and weights; the server is free at once in half of the environments."""
    rng = np.random.default_rng(users)
    fields = {"max_draft_length": longest, "total_bandwidth": 1e6 * users, **LAWS[law]}
    scenario = ms.Scenario.preset("llama2", num_users=users, **fields)
    starts = rng.random((num_envs, users)) < 0.8
    starts[:, 0] = True
    due = rng.uniform(0.0, 0.12, num_envs) * (rng.random(num_envs) < 0.5)
    weight = rng.uniform(0.3, 2.0, starts.shape)
    return launch_of(scenario, rng, num_envs, due, starts, air_price=[0.0, 3.0, 30.0][users % 3], weight=weight)


def every_length(launch):
    low, high = launch.scenario.min_draft_length, launch.scenario.max_draft_length
    menu = np.array(list(itertools.product(range(low, high + 1), repeat=launch.starts.shape[-1])))
    return np.where(launch.starts[:, None], menu, low)


@pytest.mark.parametrize("users", [1, 2, 3, 4])
@pytest.mark.parametrize("law", LAWS)
def test_values_are_those_of_a_plain_version(law, users):
    launch = drawn_launch(law, users, 20, 9 if users < 4 else 6)
    every = every_length(launch)
    some = every[:, np.random.default_rng(0).integers(0, every.shape[1], 8)]
    slowly = [[value_slowly(launch, env, lengths) for lengths in tried] for env, tried in enumerate(some)]
    assert launch.value(some) == pytest.approx(np.array(slowly), abs=1e-9)


@pytest.mark.parametrize(
    ("thorough", "equal", "in_the_mean", "at_most"), [(False, 0.94, 0.005, 0.3), (True, 0.97, 0.003, 0.3)]
)
@pytest.mark.parametrize("law", LAWS)
def test_lengths_are_the_best_of_all_or_nearly(law, thorough, equal, in_the_mean, at_most):
    """Lost tokens, of about four to ten; steps of a token or two do not find every optimum."""
    lost = []
    for users in range(1, 5):
        launch = drawn_launch(law, users, 100, 9 if users < 4 else 6)
        reached = launch.value(fit(launch, thorough=thorough)[:, None])[:, 0]
        lost.append(launch.value(every_length(launch)).max(-1) - reached)
    assert (np.array(lost[0]) < 1e-9).all()
    assert np.min(lost) > -1e-9
    assert (np.array(lost) < 1e-9).mean() >= equal
    fixed = 2.0 if law == "late" else 1.0  # single steps do not see that a delay is paid once
    assert np.mean(lost) < in_the_mean * fixed
    assert np.max(lost) < at_most * fixed


@pytest.mark.parametrize("law", LAWS)
def test_no_step_betters_the_lengths(law):
    launch, users = drawn_launch(law, 7, 40, 9), 7
    lengths = fit(launch)
    assert (lengths[~launch.starts] == launch.scenario.min_draft_length).all()
    assert (lengths[launch.starts] > 1).any()
    unit = np.eye(users, dtype=np.int64)
    pairs = [unit[to] - less * unit[source] for to in range(users) for source in range(users) for less in (1, 2)]
    tried = lengths[:, None] + np.array([*unit, *-unit, *pairs])
    inside = (tried >= launch.scenario.min_draft_length) & (tried <= 9)
    possible = (inside & (launch.starts[:, None] | (tried == lengths[:, None]))).all(-1)
    values = np.where(possible, launch.value(np.where(possible[..., None], tried, lengths[:, None])), -np.inf)
    assert (values.max(-1) <= launch.value(lengths[:, None])[:, 0] + 1e-9).all()


@pytest.mark.parametrize("law", LAWS)
def test_ratio_is_the_greatest_or_nearly(law):
    """Three steps do not always reach it from a price that is several times too high."""
    share = []
    for users, longest in ((1, 9), (2, 9), (3, 5)):
        launch = drawn_launch(law, users, 12, longest)
        for env, (fitted, every) in enumerate(
            zip(fit_ratio(launch, np.zeros_like(launch.starts)), every_length(launch), strict=True)
        ):
            best = max(ratio_slowly(launch, env, lengths) for lengths in every)
            share.append(ratio_slowly(launch, env, fitted) / best)
    assert (np.array(share) > 1.0 - 1e-9).sum() >= len(share) - 3
    assert min(share) > 0.98


def test_the_search_is_compiled_once():
    """For all numbers of environments and devices, although the arrays that it gets have many layouts."""
    for users, num_envs in ((1, 1), (3, 1), (3, 4)):
        launch = drawn_launch("paper", users, num_envs, 4)
        fit(replace(launch, due=np.broadcast_to(0.1, num_envs)))
        launch.value(np.ones((users, 2, num_envs), np.int64).T)
    assert len(improve_lengths.signatures) == 1


def test_when_all_is_sent():
    rng = np.random.default_rng(0)
    release, air = np.round(rng.random((200, 6)), 1), rng.random((200, 6)) * (rng.random((200, 6)) < 0.7)
    slowly = [sent_slowly(zip(*row, strict=True)) for row in zip(release, air, strict=True)]
    assert all_sent(release, air) == pytest.approx(np.array(slowly), rel=1e-12)
    alone = [float(all_sent(release[[row]], air[[row]])[0]) for row in range(200)]
    assert alone == all_sent(release, air).tolist()


def test_without_numba_one_sentence_says_so(monkeypatch):
    name = "multispin_env.compiling"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ModuleNotFoundError, match="'numba' is missing; install it with: pip install numba"):
        importlib.import_module(name)


def test_machine_code_that_cannot_be_kept_is_made_again(monkeypatch, capsys):
    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr("numba.njit", njit)
    monkeypatch.setattr("numba.core.event.register", lambda *_: None)  # it has no end
    monkeypatch.delitem(sys.modules, "multispin_env.compiling")
    monkeypatch.delitem(sys.modules, all_sent.__module__)
    module = importlib.import_module(all_sent.__module__)
    sys.modules["multispin_env.compiling"].compiled(all_sent)
    assert capsys.readouterr().err.count("no writable cache") == 1  # for all functions
    assert module.all_sent(np.array([[0.0, 2.0]]), np.array([[1.0, 3.0]])) == pytest.approx([5.0])


def test_the_first_compilation_says_so_once_and_kept_machine_code_says_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    calls = (all_sent, np.ones((1, 2)), np.ones((1, 2))), (gain_table, np.ones(2), np.ones(2), np.ones(2), 3)
    for words in ("multispin_env: compiling, once in an installation: ten seconds or more\n", ""):
        compiling._say.cache_clear()
        for function, *arguments in calls:
            compiling.compiled(function.py_func)(*arguments)
        assert capsys.readouterr().err == words


@pytest.mark.parametrize("compile_", [compiling.compiled, numba.njit])
def test_other_functions_and_processes_that_we_start_compile_in_silence(compile_, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "parent_process", lambda: compile_ is compiling.compiled or None)
    compiling._say.cache_clear()
    compile_(all_sent.py_func)(np.ones((1, 2)), np.ones((1, 2)))
    assert capsys.readouterr().err == ""
    space = {}
    exec("def later(x): return x + 1", space)  # without a module
    assert numba.njit(space["later"])(1) == 2
