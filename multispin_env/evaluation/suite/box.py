"""Untrusted policies, each played in a process of its own with limits on memory, CPU time and wall time.

The process reads one request from its standard input and writes one answer, both as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multispin_env.files import MIB


@dataclass(frozen=True)
class Limits:
    """Limits of the process of one policy in one task."""

    memory: int = 1024 * MIB  # address space in bytes; a policy that needs torch gets four times as much
    cpu_seconds: int = 300
    seconds: int = 900


def has_limits() -> bool:
    """Whether this system can limit the memory of a process; macOS ignores the limit, and Windows has none."""
    return sys.platform == "linux"


def boxed(folder: Path, task_name: str, policy: dict[str, str], limits: Limits, needs_torch: bool) -> Any:
    """Play a policy of an entry in a new process; return its values (parts, n) as a list, or the error as a string."""
    memory = limits.memory * (4 if needs_torch else 1)
    request = {"folder": str(folder), "task": task_name, "policy": policy, **asdict(limits), "memory": memory}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(limits.seconds, process.kill)
    try:
        timer.start()
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()  # it stays open: the process ends when it is closed, also by the end of this process
        answer = process.stdout.read()
        status = process.wait()
    finally:
        in_time = timer.is_alive()
        timer.cancel()
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()
    if not in_time:
        return f"policy: expected an end within {limits.seconds} s, got none"
    if status == -signal.SIGXCPU:
        return f"policy: expected at most {limits.cpu_seconds} s of CPU time, got more"
    if status:
        return f"policy: expected at most {memory // MIB} MiB of memory, got a process that ended with status {status}"
    content = json.loads(answer)
    return content["error"] if "error" in content else content["values"]


def _limit(resource: Any, kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _wait_for_end() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Read a request, set the limits, play, and write the answer."""
    import resource  # not on Windows

    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_wait_for_end, daemon=True).start()
    _limit(resource, resource.RLIMIT_CORE, 0)
    _limit(resource, resource.RLIMIT_AS, request["memory"])
    _limit(resource, resource.RLIMIT_CPU, request["cpu_seconds"])
    from multispin_env.checks import reason
    from multispin_env.evaluation.suite.entries import policy_values

    values = policy_values(Path(request["folder"]), (request["task"], 0, request["policy"]))
    is_error = isinstance(values, Exception | str)
    answer = (
        {"error": values if isinstance(values, str) else reason(values)} if is_error else {"values": values.tolist()}
    )
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # without the cleanup of libraries


if __name__ == "__main__":
    main()
