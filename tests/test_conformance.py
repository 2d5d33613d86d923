"""Every entry of every registry works, and so does one of each kind that is registered from outside."""

import json
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C

import multispin_env as ms
from multispin_agents import AGENTS
from multispin_agents.base import BaseSettings
from multispin_env import registry
from multispin_env.apps.commands.main import main as multispin
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.controllers.base import ContinuousController, Modifier
from multispin_env.controllers.estimators import Estimator
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.encodings import PlainCodec
from multispin_env.envs.objectives import Goodput
from multispin_env.envs.rounds.encodings import SharesCodec
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.envs.rounds.slopes import length_slope
from multispin_env.evaluation.cases import StateCases
from multispin_env.evaluation.contenders import contenders_of
from multispin_env.evaluation.episodes import play_episodes
from multispin_env.physics.acceptance import ByTask
from multispin_env.physics.arrivals import GapArrivals
from multispin_env.physics.radio import Independent
from multispin_lab.reproduce import FIGURES
from multispin_lab.reproduce.figure import FigureSpec
from tests.families import RULES

pytestmark = pytest.mark.usefixtures("quick_prices")

ROOT = Path(__file__).parent.parent
FULL, HIDDEN, WITHOUT = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0", "MultiSpin/Continuous-v0"
SERVING = "MultiSpin/Serving-v0"


class Steady(Independent):
    def first_gain(self, mean_gain, fresh):
        return mean_gain * np.ones_like(fresh)


class Sublinear(ms.Link):
    def rate(self, share, snr):
        return np.sqrt(share) * np.log2(1.0 + snr)


class Halved(ByTask):
    def first(self, scenario, task, fresh):
        requests = super().first(scenario, task, fresh)
        return requests._replace(rate=0.5 * requests.rate)


@dataclass(frozen=True)
class Clockwork(GapArrivals):
    late: float = 0.0

    def gaps(self, rng, rate):
        return lambda rows: np.full((rows, len(rate)), self.late + 1.0 / rate)


@dataclass(frozen=True)
class Single:
    mean_output: float = 1.0

    def draw(self, rng, rows, num_users):
        return np.zeros((rows, num_users), np.int64), np.ones((rows, num_users), np.int64)


@dataclass(frozen=True, eq=False)
class Constant(Estimator):
    part: ClassVar = "acceptance_rate"
    rate: float = 0.7

    def estimate(self, observed):
        return np.full(observed.draft_time.shape, self.rate)


@dataclass(frozen=True, eq=False)
class Shortest(ms.RoundsController):
    def decide(self, state):
        low = max(self.scenario.min_draft_length, 1)
        return self.with_equal_latency(np.full(state.draft_time.shape, low), state)


class Turn:
    def real_length(self, column):
        return super().real_length(-column)

    def length_column(self, length):
        return -super().length_column(length)


class Mirrored(Turn, SharesCodec):
    pass


@length_slope.register
def _(codec: Mirrored, length):
    return -length_slope.dispatch(SharesCodec)(codec, length)


class Turned(Turn, PlainCodec):
    pass


@dataclass(frozen=True, eq=False)
class WaitForAll(ContinuousController):
    def decide(self, state):
        return ms.ContinuousDecision(np.full(state.phase.shape, 1), np.full(state.phase.shape, ms.physics.Join.WAIT))


@dataclass(frozen=True, eq=False)
class Stubborn(Modifier):
    def modify(self, state, decision):
        return decision.changed(drop=None)


class Scaled(Goodput):
    def reward(self, outcome):
        return self.factor * super().reward(outcome)

    def weights(self, outcome):
        return self.factor * super().weights(outcome)


@dataclass(frozen=True, kw_only=True)
class Doubled(RoundsConfig):
    env_id = "Mine/Doubled-v0"
    factor: float = 2.0

    def objective(self, num_envs):
        objective = Scaled(self.scenario)
        objective.factor = self.factor
        return objective


@dataclass(frozen=True)
class Learner(BaseSettings):
    num_envs: int = 4
    timesteps: int = 40

    def build(self, env, remaining, seed, device):
        return A2C("MultiInputPolicy", env, n_steps=5, gamma=0.0, seed=seed, device=device)


def points(scale, users):
    return [{"users": users, "tokens": float(scale.states * users)}]


def draw_points(rows, figure):
    figure.subplots().plot(*([row[name] for row in rows] for name in ("users", "tokens")))


MINE = ms.draft.DraftProfile(name="mine", model="m", target_model="t", source="s", licence="MIT", acceptance=(0.9, 0.8))

OUTSIDE = [
    (registry.SCENARIOS, "mine", replace(ms.Scenario.preset("llama2"), name="mine")),
    (registry.SERVERS, "mine", ms.Server(name="mine", model="m", source="s", pieces=((0.02, 1e-4), (0.0, 1e-3)))),
    (registry.DRAFTS, "mine", MINE),
    (registry.DEVICES, "mine", replace(registry.DEVICES.load("pixel-8-q8"), name="mine", draft_time=0.04)),
    (
        registry.FLEETS,
        "mine",
        ms.device.Fleet(name="mine", about="a", devices=(("pixel-8-q8", 0.5), ("a", 0.5, 0.1, 0.1, 0.0))),
    ),
    (registry.CHANNELS, "mine", Steady()),
    (registry.LINKS, "mine", Sublinear()),
    (registry.ACCEPTANCES, "mine", Halved()),
    (registry.ARRIVALS, "mine", Clockwork),
    (registry.LENGTHS, "mine", Single),
    (registry.ESTIMATORS, "mine", Constant),
    (registry.CONTROLLERS, "mine", Shortest),
    (registry.CONTROLLERS, "waiting", WaitForAll),
    (registry.ENCODINGS, "mine", Mirrored),
    (registry.CONTINUOUS_ENCODINGS, "mine", Turned),
    (registry.MODIFIERS, "stubborn", Stubborn),
    (AGENTS, "mine", Learner()),
    (FIGURES, "mine", FigureSpec("Mine", "A line.", lambda scale: (2, 3), points, draw_points)),
]
"""A part of each kind; two have other names, as they share a table or a name with another part."""


@pytest.fixture(scope="module", autouse=True)
def outside():
    for table, name, part in OUTSIDE:
        table.register(name, part)
    ms.register_environment(Doubled)
    yield
    ms.envs.unregister_environment("Mine/Doubled-v0")
    for table, name, _ in OUTSIDE:
        table.unregister(name)


def with_mine(table):
    return [*table.names(), "mine"]


def play(env_id=FULL, **arguments):
    env = gym.make(env_id, num_users=3, **arguments)
    env.reset(seed=0)
    for _ in range(2):
        observation, reward, _, _, info = env.step(env.action_space.sample() * 0.5)
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
    return info


ARGUMENTS = [
    *((FULL, {"scenario": name}) for name in with_mine(registry.SCENARIOS)),
    *((FULL, {"server": name, "min_draft_length": 0, "payload": "ids"}) for name in with_mine(registry.SERVERS)),
    *((env_id, {"draft": name}) for env_id in (FULL, WITHOUT) for name in ("mine", "qwen2.5-0.5b-q4")),
    *((FULL, {"fleet": name}) for name in with_mine(registry.FLEETS)),
    (WITHOUT, {"fleet": "mine", "rho": 50.0}),
    (FULL, {"fleet": [[name, 1 / 31] for name in with_mine(registry.DEVICES)]}),
    *((env_id, {"channel": name}) for env_id in (FULL, WITHOUT) for name in with_mine(registry.CHANNELS)),
    *((FULL, {"link": name}) for name in with_mine(registry.LINKS)),
    *((FULL, {"acceptance": name, "reward": "sampled"}) for name in with_mine(registry.ACCEPTANCES)),
    *((FULL, {"action": name}) for name in with_mine(registry.ENCODINGS)),
    *((WITHOUT, {"action": name}) for name in with_mine(registry.CONTINUOUS_ENCODINGS)),
]


@pytest.mark.parametrize(("env_id", "arguments"), ARGUMENTS, ids=str)
def test_environments_play_with_every_part(env_id, arguments):
    assert play(env_id, **arguments)["goodput" if env_id == FULL else "token_goodput"] > 0.0


@pytest.mark.parametrize("lengths", with_mine(registry.LENGTHS))
@pytest.mark.parametrize("arrivals", with_mine(registry.ARRIVALS))
def test_workloads(arrivals, lengths):
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals(arrivals), rate=3.0, lengths=ms.requests.make_lengths(lengths)
    )
    coming = workload.open(np.random.default_rng(0), 3)(5)
    assert all(array.shape == (5, 3) for array in coming)
    if arrivals == "mine":
        assert (coming.gap == 1.0).all()
        assert ms.requests.make_arrivals("mine", late=2.0).late == 2.0
    if lengths == "mine":
        assert (coming.output == 1).all()


@pytest.mark.parametrize("name", [*RULES, "mine"])
def test_controllers_of_rounds(name):
    options = {"phi_points": 10, "lambda_points": 10} if name == "algorithm1" else {}
    scenario = ms.Scenario.preset("llama2", num_users=3)
    state = ms.sample_state(scenario, np.random.default_rng(0), 20)
    decision = ms.make_controller(name, scenario, **options)(state)
    goodput = ms.expected_outcome(scenario, state, decision).goodput
    assert (goodput > 0.0).all()
    assert (goodput <= ms.upper_bound(scenario, state) * (1.0 + 1e-9)).all()
    for encoding in ("shares", "mine"):
        codec = registry.ENCODINGS.load(encoding)(scenario, False)
        again = codec.decode(codec.encode(decision, state), state)
        assert (again.draft_length == decision.draft_length).all()


@pytest.mark.parametrize("name", with_mine(registry.ESTIMATORS))
def test_estimators(name):
    hiding = {"acceptance_rate": HIDDEN, "weights": "MultiSpin/Fair-v0"}
    env_id = hiding.get(registry.ESTIMATORS.load(name).part, "MultiSpin/DelayedChannel-v0")
    env = EnvConfig.of(env_id, num_users=3, rounds=2).make_vec(2)
    assert (play_episodes(env, f"optimal+{name}").goodput > 0.0).all()


@pytest.mark.parametrize("name", ["optimal", "synchronous", "groups", "waiting", "mine"])
def test_controllers_without_the_barrier(name):
    env = EnvConfig.of(WITHOUT, num_users=3, horizon=0.5, action="full").make_vec(2)
    assert (play_episodes(env, name).throughput > 0.0).all()


@pytest.mark.parametrize("name", [*registry.MODIFIERS.names(), "stubborn"])
def test_modifiers(name):
    arguments = {"num_users": 3, "horizon": 4.0, "warm_up": 0.0, "load": 1.5, "action": "full"}
    played = play_episodes(EnvConfig.of(SERVING, **arguments).make_vec(2), f"greedy+{name}")
    assert (played.throughput > 0.0).all()


@pytest.mark.parametrize("env_id", [*registry.ENVIRONMENTS.names(), "Mine/Doubled-v0"])
def test_environments(env_id):
    assert play(env_id)[EnvConfig.of(env_id).info_keys.time] > 0.0
    env = EnvConfig.of(env_id, num_users=3).for_any_decision.make_vec(2, max_episode_steps=2)
    assert (play_episodes(env, contenders_of(env.unwrapped.config)[0]).goodput > 0.0).all()


def test_an_environment_from_outside_follows_its_class():
    envs = [gym.make(env_id, num_users=3) for env_id in ("Mine/Doubled-v0", FULL)]
    rewards = [(env.reset(seed=1), env.step(np.zeros(env.action_space.shape, np.float32)))[1][1] for env in envs]
    assert rewards[0] == 2.0 * rewards[1]
    assert type(envs[0].unwrapped.config) is Doubled
    assert gym.make("Mine/Doubled-v0", factor=3.0).unwrapped.config.factor == 3.0
    vector = gym.make_vec("Mine/Doubled-v0", num_envs=2, vectorization_mode="vector_entry_point", num_users=3)
    vector.reset(seed=[1, 1])
    assert vector.step(np.zeros(vector.action_space.shape, np.float32))[1] == pytest.approx([rewards[0]] * 2, rel=1e-15)
    with pytest.raises(ValueError, match=r"environment: expected a new name, .*, got 'Mine/Doubled-v0'$"):
        ms.register_environment(Doubled)


def test_tables_hold_controllers_and_systems_from_outside(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "mine", lambda scenario, state: 0.5 * ms.baselines.p2p_goodput(scenario, state))
    scenario = ms.Scenario.preset("llama2", num_users=3)
    states = StateCases.draw(scenario, 3)
    assert states.contenders.count("mine") == 1
    assert (states.values("mine") == 0.5 * states.values("p2p")).all()  # a system stands for the controller of its name


def test_an_agent_from_outside_learns_and_is_compared_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(StateCases, "default_size", 4)
    monkeypatch.setattr(StateCases, "validation_size", 4)
    folder = tmp_path / "run"
    assert multispin(["train", "--agent", "mine", "--num-users", "3", "--name", str(folder)]) == 0
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["agent"] == "mine"
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]
    (ours,) = (row for row in rows if row["name"] == "mine (residual)")  # "mine" alone is the controller
    assert 0.0 < ours["mean"] < max(row["mean"] for row in rows)
    assert (folder / "learning_curve.png").exists()


def test_a_figure_from_outside_is_drawn_by_the_command(tmp_path):
    assert multispin(["reproduce", "--quick", "--only", "mine", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8").split() == ["users,tokens", "2,80.0", "3,120.0"]
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")
    assert "A line." in (tmp_path / "index.html").read_text(encoding="utf-8")


TABLES = {name: table for name, table in vars(registry).items() if isinstance(table, registry.Registry)}
TABLES |= {"AGENTS": AGENTS, "FIGURES": FIGURES}
ROW = re.compile(r"\| (\w[\w ]*?) +\| `([\w/.]+)` +\| `(\w+)` +\|")


def edits():
    return ROW.findall((ROOT / "docs" / "reference" / "parts.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", dict.fromkeys(row[2] for row in edits()))
def test_a_part_is_where_the_page_says(name):
    positions = tuple(position for _, position, table in edits() if table == name)
    for target in (TABLES[name].target(part) for part in TABLES[name].names()):
        if isinstance(target, str):  # not one from outside
            module, _, *file = target.split(":")
            path = f"multispin_env/data/{file[0]}" if file else find_spec(module).origin
            assert path.removeprefix(f"{ROOT}/").startswith(positions)


def test_every_kind_of_part_has_its_edits_and_one_from_outside():
    assert {name for _, _, name in edits()} == set(TABLES)
    kinds = {registry.ENVIRONMENTS.kind, *(table.kind for table, *_ in OUTSIDE)}
    assert kinds == {table.kind for table in TABLES.values()}
