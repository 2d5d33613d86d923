import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import multispin_lab
from multispin_env.apps.commands.main import main

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def write(task, by, *more):
    return main(["suite", "data", task, "--by", by, "--episodes", "3", *more])


@pytest.fixture
def error(refused):
    return lambda task, by, *more: refused("suite", ["data", task, "--by", by, "--episodes", "3", *more])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("round-8", "optimal"),
        ("late", "optimal+quantile"),
        ("hidden", "optimal+filter"),
        ("requests", "load-aware"),
        ("fair", "random-actions"),
    ],
)
def test_stored_actions_played_again_give_what_is_stored(name, by):
    assert write(name, by, "--seed", "5", "--out", "mine/some-v1") == 0
    data = minari.load_dataset("mine/some-v1")
    env = data.recover_environment()
    assert env.unwrapped.config == multispin_lab.suite.task(name).make().unwrapped.config
    assert data.action_space == env.action_space
    seeds = [about["seed"] for about in data.storage.get_episode_metadata(data.episode_indices)]
    assert seeds == [5, 6, 7]
    for seed, episode in zip(seeds, data, strict=True):
        observations = [env.reset(seed=seed)[0]]
        stored = zip(episode.actions, episode.rewards, episode.terminations, episode.truncations, strict=True)
        for action, *result in stored:
            assert env.action_space.contains(action)
            observation, *replayed, _ = env.step(action)
            assert replayed == result
            observations.append(observation)
        assert episode.terminations[-1] or episode.truncations[-1]
        for key, values in episode.observations.items():
            np.testing.assert_array_equal(values, [observation[key] for observation in observations])
    assert data.total_episodes == 3
    assert data.total_steps == sum(len(episode.rewards) for episode in data)


@pytest.mark.slow
def test_random_actions_and_the_reference_are_the_ends_of_the_normalized_score(capsys):
    returns = {}
    assert write("round-8", "random-actions", "--seed", "10", "--out", "mine/ten-v0") == 0
    for by in ("optimal", "fixed", "random-actions"):
        assert write("round-8", by) == 0
        data = minari.load_dataset(f"multispin/round-8/{by}-v0")
        assert data.total_steps == 3
        returns[by] = np.array([episode.rewards.sum() for episode in data])
    assert not np.array_equal(next(iter(data)).actions, next(iter(minari.load_dataset("mine/ten-v0"))).actions)
    normalized = {by: minari.get_normalized_score(data, values).mean() for by, values in returns.items()}
    assert normalized["random-actions"] == pytest.approx(0.0, abs=1e-6)
    assert normalized["optimal"] == pytest.approx(1.0, abs=1e-3)
    assert 0.1 < normalized["fixed"] < 0.9
    about = data.storage.metadata
    names = [about[name] for name in ("algorithm_name", "task", "suite", "seed")]
    assert names == ["random-actions", "round-8", "v1", 0]
    assert about["mean_return"] == pytest.approx(returns["random-actions"].mean())
    assert "3 episodes, 3 steps" in capsys.readouterr().out


def test_functions_are_recorded_and_episodes_to_learn_in_alone():
    def always(observation):
        return np.full((*observation["compute"].shape, 1), 0.3)

    task = multispin_lab.suite.task("resize")
    data = multispin_lab.suite.record(task, always, 2)
    assert data.storage.metadata["dataset_id"] == "multispin/resize/always-v0"
    assert all((episode.actions == np.float32(0.3)).all() for episode in data)
    with pytest.raises(ValueError, match="seed: "):
        multispin_lab.suite.record(task, "optimal", 2, seed=task.seed - 1, out="mine/late-v0")


@pytest.mark.slow
def test_a_rule_that_actions_cannot_express_is_refused(error, folder):
    assert write("no-barrier-20", "greedy") == 0
    message = error("no-barrier-20", "groups")
    assert all(word in message for word in ("'plain'", "'groups'"))
    assert [path.name for path in (folder / "multispin" / "no-barrier-20").iterdir() if path.is_dir()] == ["greedy-v0"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("lat", "optimal"), "'late'"),
        (("late", "optiml"), "'optimal'"),
        (("late", "os:path"), "'os:path'"),
        (("late", "optimal", "--seed", "1150000000"), "seed: "),
        (("late", "optimal", "--episodes", "0"), "episodes: "),
        (("late", "optimal", "--out", "mine"), "'mine'"),
        (("late", "optimal", "--out", "../mine-v0"), "'../mine-v0'"),
    ],
)
def test_bad_use_ends_in_a_sentence(error, folder, arguments, word):
    assert word in error(*arguments)
    assert not list(folder.glob("**/data"))


def test_a_data_set_is_never_overwritten(error, folder):
    assert write("round-8", "fixed") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "'multispin/round-8/fixed-v0'" in error("round-8", "fixed")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("end", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_data_set_is_neither_listed_nor_in_the_way(monkeypatch, folder, end, status):
    storage = pytest.importorskip("minari.dataset._storages.hdf5_storage").HDF5Storage
    whole = storage.update_episodes

    def interrupted(self, episodes):
        whole(self, list(episodes)[:1])
        listed.append(list(minari.list_local_datasets()))
        signal.raise_signal(end)

    listed = []
    with monkeypatch.context() as patch:
        patch.setattr(storage, "update_episodes", interrupted)
        assert write("round-8", "fixed") == status
    assert listed == [[]]
    assert [path.name for path in (folder / "multispin" / "round-8").iterdir()] == ["namespace_metadata.json"]
    assert write("round-8", "fixed") == 0
    assert minari.load_dataset("multispin/round-8/fixed-v0").total_episodes == 3


def test_a_full_disk_is_noticed_before_anything_is_written(error, monkeypatch, folder):
    """HDF5 would end the process without an error."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=30_000))
    assert "fixed-v0" in error("round-8", "fixed")
    assert [path.name for path in (folder / "multispin" / "round-8").iterdir()] == ["namespace_metadata.json"]


@pytest.mark.parametrize("package", ["minari", "h5py", "PIL"])
def test_a_missing_package_names_the_extra(error, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    words = f"the package '{package}' is missing; install it with: pip install \"multispin_env[offline]\""
    assert error("round-8", "fixed").endswith(words)
