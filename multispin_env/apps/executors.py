"""Task executors: serial, multi-process and Ray; and a process that computes and can be killed."""

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from multispin_env.checks import check_integer, missing_package
from multispin_env.controllers.names import make_controller
from multispin_env.physics.types import Decision, SystemState
from multispin_env.registry import admit_all, admitted_names
from multispin_env.scenario import Scenario

_Work = Callable[[Any], Any]  # function of a task that can be pickled


class Stopped(KeyboardInterrupt):
    """Request to stop by a signal; finished work is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class TaskResult:
    """Result of one task."""

    index: int  # of the task
    value: Any = None  # returned value
    error: str = ""  # traceback or reason of a failure, else empty

    @property
    def failure(self) -> str:
        """Last line of the error."""
        return self.error.strip().rpartition("\n")[2]


_KILLED = "worker process was killed, possibly for lack of memory\n"  # error of a task


@dataclass(frozen=True)
class Serial:
    """Executor that runs tasks in their order in this process; ``width`` is the number of tasks that run at a time."""

    width: int = 1

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """Yield the result of each task as soon as it is known; raise `Stopped` after a signal or if a task raises it.

        ``work`` has no side effects; tasks can be pickled.
        """
        for index, task in enumerate(tasks):
            yield _checked(_answer(work, index, task))


def _answer(work: _Work, index: int, task: Any) -> TaskResult | Stopped:
    try:
        return TaskResult(index, work(task))
    except Stopped as stopped:
        return stopped
    except (Exception, SystemExit):  # the other tasks continue
        return TaskResult(index, error=traceback.format_exc())


def _checked(answer: TaskResult | Stopped) -> TaskResult:
    if isinstance(answer, Stopped):
        raise answer
    return answer


def _raise_stopped(number: int) -> NoReturn:
    raise Stopped(number)


@contextmanager
def on_signals(handle: Callable[[int], None] = _raise_stopped) -> Iterator[None]:
    """Call ``handle`` with the number of each SIGINT or SIGTERM in the block; by default it raises `Stopped`.

    Handlers are set in the main thread of the main process only: other threads and worker processes are stopped by the
    code that started them. Signals that are ignored, for example because of ``nohup``, stay ignored.
    """
    main = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: handle(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Thread counts that numerical libraries read on import: one per process, or the processes wait for each other."""


@dataclass(frozen=True)
class Processes:
    """Executor that runs tasks in new processes with one thread each."""

    width: int  # processes ≥ 1

    def __post_init__(self) -> None:
        check_integer("workers", self.width, 1)

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Serial.results`. If a process is killed, its task fails and the other processes continue."""
        remaining, running, work = enumerate(tasks), dict[Connection, tuple[Worker, int]](), _with_user_parts(work)
        with on_signals(), _workers(min(self.width, len(tasks))) as idle:
            while True:
                for worker, (index, task) in zip(idle, remaining, strict=False):
                    running[worker.pipe] = worker, index
                    with suppress(OSError):  # killed while it was idle: the task fails below
                        worker.send(work, task)
                if not running:
                    break
                ready = wait(list(running))
                idle = []
                for pipe in [pipe for pipe in running if pipe in ready]:
                    worker, index = running.pop(pipe)
                    try:
                        result = worker.receive()
                    except (EOFError, OSError):  # the process was killed
                        result = TaskResult(index, error=_KILLED)
                    else:
                        idle.append(worker)
                    yield replace(result, index=index)
            for index, _ in remaining:
                yield TaskResult(index, error=f"not started: all worker processes ended before ({_KILLED.strip()})\n")


def _with_user_parts(work: _Work) -> _Work:
    """Return work that first imports, in its process, the parts that the user named in this process."""
    parts = admitted_names()
    return partial(_import_and_work, parts, work) if parts else work


def _import_and_work(parts: Sequence[tuple[str, str]], work: _Work, task: Any) -> Any:
    admit_all(parts)
    return work(task)


@contextmanager
def _workers(count: int) -> "Iterator[list[Worker]]":
    """Start processes and yield them; at the end of the block, end them and delete their temporary files."""
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for _ in range(count):
                workers.append(Worker(partial(_use_folder, folder)))
            yield workers.copy()
            for worker in workers:
                worker.pipe.close()  # idle processes end, and delete semaphores of their libraries
            for worker in workers:
                worker.process.join(5.0)
        finally:
            for worker in workers:
                worker.end()


def _use_folder(folder: str) -> None:
    tempfile.tempdir = folder


class Worker:
    """New process with one thread that computes what it is sent, one after the other, until `end` kills it.

    It ends with its parent.

    Parameters
    ----------
    prepare
        Function that the process calls first.
    daemon
        Whether the parent can end without `end`; the process itself then cannot start others.
    """

    def __init__(self, prepare: Callable[[], None] | None = None, *, daemon: bool = False) -> None:
        # a forked child has the locks of the threads of this process, not the threads
        context = multiprocessing.get_context("spawn")
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(child_pipe, prepare), daemon=daemon)
        with _worker_environment():
            self.process.start()
        child_pipe.close()  # only the child has this end, so that its death closes it

    def send(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Start a computation; ``OSError`` if the process has ended."""
        self.pipe.send_bytes(pickle.dumps((work, arguments)))

    def receive(self) -> TaskResult:
        """Wait for the result of the computation; ``EOFError`` or ``OSError`` if the process has ended."""
        result = _checked(self.pipe.recv())
        return result if result.error else _checked(_answer(pickle.loads, 0, result.value))

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, prepare: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; Windows cannot block it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    with suppress(EOFError, OSError):
        while True:
            answer = _answer(_do, 0, pipe.recv_bytes())
            sys.stdout.flush()
            pipe.send(answer)


def _do(content: bytes) -> bytes:
    work, arguments = pickle.loads(content)  # this or the other conversion may fail, then only this task does
    return pickle.dumps(work(*arguments))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Let processes that start in the block use one thread, unless the user set it, and ignore Ctrl-C.

    They import no module of the standard library from the working directory, which may have files of others.
    A terminal sends Ctrl-C to all processes; the parent ends the others.
    """
    added = [name for name in (*_THREADS, "PYTHONSAFEPATH") if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    resource_tracker.ensure_running()  # its start would unblock the signal
    if sys.platform != "win32":
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in added:
            os.environ.pop(name, None)


@dataclass(frozen=True)
class Cluster:
    """Executor that runs tasks on a Ray cluster with one CPU each.

    A task whose node or worker is lost is started again, up to three times. An existing connection of this process to
    a cluster is used.
    """

    address: str = "local"  # of `ray.init`; "local" starts Ray on this machine
    packages: tuple[str, ...] = ("multispin_env",)  # code sent to the nodes, which need its dependencies

    @property
    def width(self) -> int:
        """Number of CPUs of the cluster."""
        return int(_ray(self).cluster_resources().get("CPU", 1))

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Serial.results`; ``ImportError`` if Ray is not installed."""
        ray = _ray(self)
        remote = ray.remote(num_cpus=1, max_retries=3)(_answer)
        work = _with_user_parts(work)
        waiting = {remote.remote(work, index, task): index for index, task in enumerate(tasks)}
        signals: list[int] = []
        try:
            with on_signals(signals.append):  # Ray would replace an exception of a handler
                while waiting:
                    with redirect_stdout(sys.stderr):  # Ray reports killed workers
                        done, _ = ray.wait(list(waiting), num_returns=1, timeout=0.5)
                    if signals:
                        raise Stopped(signals[0])
                    for reference in done:
                        yield _received(ray, reference, waiting.pop(reference))
        finally:
            for reference in waiting:
                ray.cancel(reference)


def _received(ray: Any, reference: Any, index: int) -> TaskResult:
    try:
        return _checked(ray.get(reference))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        return TaskResult(index, error=f"{error}\n{_KILLED}")  # after all retries
    except ray.exceptions.RayError as error:
        return TaskResult(index, error=f"{error}\n")


def _ray(cluster: Cluster) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ImportError(str(missing_package("ray", "cluster"))) from None  # its extra is not that of the command
    if not ray.is_initialized():
        folders = [str(Path(str(importlib.import_module(name).__file__)).parent) for name in cluster.packages]
        environment = {"py_modules": folders, "env_vars": dict.fromkeys(_THREADS, "1")}
        ray.init(cluster.address, runtime_env=environment, log_to_driver=False, logging_level="error")
    return ray


Executor = Serial | Processes | Cluster


def _decide(name: str, scenario: Scenario, options: Mapping[str, Any], state: SystemState) -> Decision:
    return make_controller(name, scenario, **options)(state)


_CHUNK = 5000  # states of a task; about a second for the certified optimum at K = 20


def decide(executor: Executor, name: str, scenario: Scenario, state: SystemState, **options: Any) -> Decision:
    """Compute the decisions of a controller for many states of shape (n, K), with 5,000 states per task.

    ``options`` are those of `make_controller`. A random controller draws the same numbers in each task. Returns the
    decision of the controller, with arrays of shape (n, K); a `CertifiedDecision` of ``optimal``. ``ValueError`` or
    ``TypeError`` as in `make_controller`, or with the last line of the error of a task.
    """
    make_controller(name, scenario, **options)  # check the options once, before the tasks
    parts = [state[start : start + _CHUNK] for start in range(0, len(state.draft_time), _CHUNK)]
    decisions: dict[int, Decision] = {}
    for result in executor.results(partial(_decide, name, scenario, options), parts):
        if result.error:
            raise ValueError(result.failure)
        decisions[result.index] = result.value
    return type(decisions[0]).joined([decisions[index] for index in range(len(parts))])
