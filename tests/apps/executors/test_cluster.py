"""Tasks on a Ray cluster of three emulated nodes, of which one is lost; needs the extra ``cluster``."""

import os
import threading
import time
from pathlib import Path

import pytest

from multispin_env.apps.executors import Cluster

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 4.0


def slow_half(task):
    """A half, after some time; what fails, fails."""
    time.sleep(SECONDS)
    if task == "fail":
        raise ValueError("it fails")
    return task / 2


def soon(true):
    """Whether it is within half a minute: Ray needs a moment to notice."""
    deadline = time.monotonic() + 30.0
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


@pytest.fixture
def nodes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where workers find this file
    from ray.cluster_utils import Cluster as Emulated

    cluster = Emulated(initialize_head=True, head_node_args={"num_cpus": 1})
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, others
    ray.shutdown()
    cluster.shutdown()


def test_a_lost_node_loses_no_task(nodes):
    cluster, (_, lost) = nodes
    executor = Cluster(cluster.address)
    assert executor.width == 3
    killer = threading.Timer(1.5 * SECONDS, cluster.remove_node, [lost], {"allow_graceful": False})
    killer.start()
    results = list(executor.results(slow_half, [*range(8), "fail"]))
    killer.join()
    assert soon(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 2)
    assert sorted((one.index, one.value) for one in results if not one.error) == [(i, i / 2) for i in range(8)]
    (failure,) = (one for one in results if one.error)
    assert (failure.index, failure.error.splitlines()[-1]) == (8, "ValueError: it fails")
