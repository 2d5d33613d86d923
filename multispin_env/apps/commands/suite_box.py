"""Untrusted policies of entries, each played in a process of its own with limits on memory, CPU time and wall time."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from multispin_env.apps.executors import end_with_parent, worker_environment
from multispin_env.arrays import FloatArray
from multispin_env.checks import cut, reason
from multispin_env.evaluation.policy import onnx_runtime
from multispin_env.evaluation.suite.entries import NETWORK, policy_values
from multispin_env.files import MIB, sibling_file
from multispin_env.registry import import_project_module

PolicyRun = tuple[Path, str, int, str, str]  # folder of the entry, task, exam, and kind and name of the policy


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
    context = multiprocessing.get_context("spawn")
    pipe, child_pipe = context.Pipe(duplex=False)
    child = context.Process(target=_play, args=(child_pipe, limits, run), daemon=True)
    with worker_environment():
        child.start()
    child_pipe.close()  # only the child has this end, so that its death closes it
    try:
        if pipe.poll(limits.seconds):
            return pipe.recv()
        return f"policy: expected an end within {limits.seconds} s, got none"
    except EOFError:
        child.join()
        if child.exitcode == -signal.SIGXCPU:
            return f"policy: expected at most {limits.cpu_seconds} s of CPU time, got more"
        code = child.exitcode or 0
        end = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"policy: expected a normal end, with at most {limits.memory // MIB} MiB of memory, got {end}"
    finally:
        child.kill()
        child.join()
        pipe.close()


def _play(pipe: Connection, limits: ProcessLimits, run: PolicyRun) -> None:
    import resource  # not on Windows

    end_with_parent()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:  # before the limits, since the libraries take more or less memory on other machines
        if sibling_file(run[0] / run[-1], NETWORK) is not None:
            import_project_module("agents.models")
        else:
            onnx_runtime()
    except ImportError as error:
        pipe.send(error)
        return
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
    pipe.send(answer)
