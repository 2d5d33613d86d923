"""Untrusted policies of entries, each played in a process of its own with limits on memory, CPU time and wall time."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multispin_env.apps.executors import Worker
from multispin_env.arrays import FloatArray
from multispin_env.checks import cut, reason
from multispin_env.evaluation.policy import onnx_runtime
from multispin_env.files import MIB, sibling_file
from multispin_env.registry import import_project_module
from multispin_lab.suite.entries import NETWORK, policy_values

PolicyRun = tuple[Path, str, int, str, str]  # entry, task, evaluation seed, kind and name of the policy


@dataclass(frozen=True)
class ProcessLimits:
    """Limits of the process of one policy in one task."""

    memory: int = 1024 * MIB  # address space in bytes, besides that of Python and the libraries
    cpu_seconds: int = 300
    seconds: int = 900


def has_limits() -> bool:
    """Whether this system can limit the memory of a process; macOS ignores the limit, and Windows has none."""
    return sys.platform == "linux"


def play_policy(limits: ProcessLimits | None, run: PolicyRun) -> FloatArray | Exception | str:
    """Return the result of `policy_values`; networks of an entry play in a process with limits, unless ``None``."""
    if limits is None or run[3] == "rule":
        return policy_values(*run)
    worker = Worker()
    try:
        worker.send(_play, limits, run)
        if not worker.pipe.poll(limits.seconds):
            return f"policy: expected an end within {limits.seconds} s, got none"
        result = worker.receive()
        return result.value if not result.error else _unexpected_end(limits, result.failure)
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        if code == -signal.SIGXCPU:
            return f"policy: expected at most {limits.cpu_seconds} s of CPU time, got more"
        return _unexpected_end(limits, signal.Signals(-code).name if code < 0 else f"status {code}")
    finally:
        worker.end()


def _unexpected_end(limits: ProcessLimits, end: str) -> str:
    return f"policy: expected a normal end, with at most {limits.memory // MIB} MiB of memory, got {cut(end)}"


def _play(limits: ProcessLimits, run: PolicyRun) -> FloatArray | Exception | str:
    import resource  # not on Windows

    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:  # before the limits, since the libraries take more or less memory on other machines
        if sibling_file(run[0] / run[-1], NETWORK) is not None:
            import_project_module("multispin_agents.models")
        else:
            onnx_runtime()
    except ImportError as error:
        return error
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory + pages * resource.getpagesize()),
        (resource.RLIMIT_CPU, limits.cpu_seconds + int(np.ceil(time.process_time()))),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    answer = policy_values(*run)
    if isinstance(answer, Exception | str):
        answer = reason(answer)
        if "alloc" in answer or "MemoryError" in answer:
            answer = f"policy: expected at most {limits.memory // MIB} MiB of memory, got more ({cut(answer)})"
    return answer
