"""Tasks on a Ray cluster of emulated nodes, one of which is lost, and on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from multispin_env.apps.executors import Cluster, Stopped
from tests.apps.executors.test_executors import HOSTILE, soon, work

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SECONDS = 4.0


def slow_half(task):
    time.sleep(SECONDS)
    if task == "fail":
        raise ValueError("it fails")
    return task / 2


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
    done = sorted((result.index, result.value) for result in results if not result.error)
    assert done == [(index, index / 2) for index in range(8)]
    (failure,) = (result for result in results if result.error)
    assert (failure.index, failure.error.splitlines()[-1]) == (8, "ValueError: it fails")


@pytest.fixture
def local(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    ray.init("local", num_cpus=2, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def test_hostile_tasks_are_failures_of_their_own(local):
    """In a running Ray; a killed task is tried again before it fails."""
    tasks = [2, *HOSTILE, "die", 4]
    results = {tasks[result.index]: result for result in Cluster().results(work, tasks)}
    assert (results[2].value[0], results[4].value[0]) == (1.0, 2.0)
    expected = HOSTILE | {"die": "worker process was killed, possibly for lack of memory"}
    for task, sentence in expected.items():
        assert results[task].error.strip().splitlines()[-1].endswith(sentence)
    with pytest.raises(Stopped) as stopped:
        list(Cluster().results(work, ["stop"]))
    assert stopped.value.number == 15


SCRIPT = """
import os, signal, sys, time
from multispin_env.apps.executors import Cluster, Stopped

def work(task):
    time.sleep(task)
    return task

try:
    for result in Cluster().results(work, [0, 600]):
        print(result.value, flush=True)
except Stopped as stopped:
    sys.exit(stopped.number)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_finished_tasks(number):
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "0\n"
        driver.send_signal(number)
        driver.communicate(timeout=60)
        assert driver.returncode == number
