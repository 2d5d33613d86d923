"""A Ray cluster, or Ray on this machine."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multispin_env.checks import missing_package
from multispin_env.executors.base import TaskResult
from multispin_env.executors.processes import THREADS
from multispin_env.executors.serial import attempt


@dataclass(frozen=True)
class Cluster:
    """Does tasks on a Ray cluster, one CPU each; a task whose node is lost is begun anew elsewhere.

    Parameters
    ----------
    address
        As `ray.init` takes it; ``"local"`` starts Ray on this machine.
    packages
        Names of packages whose code is sent to the nodes. What these import must be installed there.
    """

    address: str = "local"
    packages: tuple[str, ...] = ("multispin_env",)

    @property
    def width(self) -> int:
        """CPUs of the cluster."""
        return int(_ray(self).cluster_resources().get("CPU", 1))

    def results(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Executor.results`; ``ImportError`` where Ray is not installed."""
        ray = _ray(self)
        remote = ray.remote(num_cpus=1, max_retries=3)(attempt)
        waiting = {remote.remote(work, index, task): index for index, task in enumerate(tasks)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:  # its node was lost more often than it may be
                yield TaskResult(index, error=f"{error}\n")


def _ray(cluster: Cluster) -> Any:
    """The module, connected."""
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ImportError(str(missing_package("ray", "cluster"))) from None  # of another extra than the command's
    if not ray.is_initialized():
        folders = [str(Path(str(importlib.import_module(name).__file__)).parent) for name in cluster.packages]
        environment = {"py_modules": folders, "env_vars": dict.fromkeys(THREADS, "1")}
        ray.init(cluster.address, runtime_env=environment, log_to_driver=False, logging_level="error")
    return ray
