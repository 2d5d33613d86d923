"""Executors: who does tasks, in turn, in processes or on a Ray cluster."""

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
from multispin_env.registry import admit_all, admitted
from multispin_env.scenario import Scenario

_Work = Callable[[Any], Any]  # A function of a module, which can be pickled, of one task


class Stopped(KeyboardInterrupt):
    """A signal asked for an end; what is done is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class TaskResult:
    """What came of a task."""

    index: int  # among the tasks given
    value: Any = None  # what it returned
    error: str = ""  # the traceback, or why it could not be done; empty if it did not fail


_KILLED = "its worker was killed, perhaps for lack of memory\n"  # error of a task


@dataclass(frozen=True)
class Serial:
    """Does tasks in their order; ``width`` is how many run at a time, as far as it is known."""

    width: int = 1

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """Outcomes as they come, one for each task; raises `Stopped` after a signal, and if a task raises it.

        ``work`` touches nothing that others can see, and returns all that is to be kept; tasks can be pickled.
        """
        for index, task in enumerate(tasks):
            yield _attempt(work, index, task)


def _attempt(work: _Work, index: int, task: Any) -> TaskResult:
    try:
        return TaskResult(index, work(task))
    except (Exception, SystemExit):  # of one task: the others go on
        return TaskResult(index, error=traceback.format_exc())


def _answer(work: _Work, index: int, task: Any) -> TaskResult | Stopped:
    try:
        return _attempt(work, index, task)
    except Stopped as stopped:
        return stopped


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
"""What numerical libraries read when they are loaded: one thread for each process, or they wait for each other."""


@dataclass(frozen=True)
class Processes:
    """Does tasks in fresh processes, with one thread each."""

    width: int  # processes ≥ 1

    def __post_init__(self) -> None:
        check_integer("workers", self.width, 1)

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Serial.results`. The task of a process that is killed is a failure; the other processes go on."""
        left, doing, work = enumerate(tasks), dict[Connection, int](), _elsewhere(work)
        with on_signals(), _workers(min(self.width, len(tasks))) as idle:
            while True:
                for pipe, (index, task) in zip(idle, left, strict=False):
                    doing[pipe] = index
                    with suppress(OSError):  # killed while it waited: nothing comes of the task, as below
                        pipe.send_bytes(pickle.dumps((work, task)))
                if not doing:
                    break
                ready = wait(list(doing))
                idle = []
                for pipe in [pipe for pipe in doing if pipe in ready]:
                    index = doing.pop(pipe)
                    try:
                        content = pipe.recv_bytes()
                    except (EOFError, OSError):  # the pipe of a process that was killed is at its end
                        yield TaskResult(index, error=_KILLED)
                        continue
                    idle.append(pipe)
                    result = _attempt(pickle.loads, index, content)
                    answer = TaskResult(index, error=result.error) if result.error else result.value
                    if isinstance(answer, Stopped):
                        raise answer
                    yield replace(answer, index=index)
            for index, _ in left:
                yield TaskResult(index, error=f"not begun: all workers ended before ({_KILLED.strip()})\n")


def _elsewhere(work: _Work) -> _Work:
    """Return the work for another process, which imports the parts that the user named here."""
    parts = admitted()
    return partial(_with_parts, parts, work) if parts else work


def _with_parts(parts: Sequence[tuple[str, str]], work: _Work, task: Any) -> Any:
    admit_all(parts)
    return work(task)


@contextmanager
def _workers(count: int) -> Iterator[list[Connection]]:
    """Pipes to fresh processes, which end with the block whatever they do; so do their temporary files."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that are not there
    children, pipes = [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            with _starting():
                for _ in range(count):
                    own, other = context.Pipe()
                    child = context.Process(target=_serve, args=(other, folder))
                    child.start()
                    other.close()  # so that the process alone has this end
                    children.append(child)
                    pipes.append(own)
            yield pipes
        finally:
            for child in children:
                child.kill()
            for child, pipe in zip(children, pipes, strict=False):
                child.join()
                pipe.close()


def _serve(pipe: Connection, folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows can't block it
    end_with_parent()
    tempfile.tempdir = folder
    with suppress(EOFError, OSError):
        while True:
            answer = _answer(_do, 0, pipe.recv_bytes())
            sys.stdout.flush()
            try:
                pipe.send(answer)
            except Exception:  # what it returned can't be pickled
                pipe.send(TaskResult(0, error=traceback.format_exc()))


def _do(content: bytes) -> Any:
    """Do a task; here, lest one that can't be read here end the process."""
    work, task = pickle.loads(content)
    return work(task)


def end_with_parent() -> None:
    """End this process as soon as its parent does, also amid a computation and where the parent was killed."""
    threading.Thread(target=_end_behind_parent, daemon=True).start()


def _end_behind_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


@contextmanager
def _starting() -> Iterator[None]:
    """Processes that start meanwhile use one thread, unless the environment says otherwise, and get no Ctrl-C.

    A terminal sends it to all processes; the parent ends the others.
    """
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    resource_tracker.ensure_running()  # which would unblock the signal
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
    """Does tasks on a Ray cluster, one CPU each; a task whose node or worker is lost is begun anew, up to three times.

    Where this process is connected to a cluster already, that is used as it is.
    """

    address: str = "local"  # as `ray.init` takes it; this starts Ray on this machine
    packages: tuple[str, ...] = ("multispin_env",)  # whose code is sent to the nodes; what they import must be there

    @property
    def width(self) -> int:
        """CPUs of the cluster."""
        return int(_ray(self).cluster_resources().get("CPU", 1))

    def results(self, work: _Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Serial.results`; ``ImportError`` where Ray is not installed."""
        ray = _ray(self)
        remote = ray.remote(num_cpus=1, max_retries=3)(_answer)
        work = _elsewhere(work)
        waiting = {remote.remote(work, index, task): index for index, task in enumerate(tasks)}
        signals: list[int] = []
        try:
            with on_signals(signals.append):  # Ray turns what a handler raises into errors of its own
                while waiting:
                    with redirect_stdout(sys.stderr):  # where Ray says that a worker was killed
                        done, _ = ray.wait(list(waiting), num_returns=1, timeout=0.5)
                    if signals:
                        raise Stopped(signals[0])
                    for reference in done:
                        answer = _received(ray, reference, waiting.pop(reference))
                        if isinstance(answer, Stopped):
                            raise answer
                        yield answer
        finally:
            for reference in waiting:
                ray.cancel(reference)


def _received(ray: Any, reference: Any, index: int) -> TaskResult | Stopped:
    try:
        answer: TaskResult | Stopped = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        return TaskResult(index, error=f"{error}\n{_KILLED}")  # more often than it may be
    except ray.exceptions.RayError as error:
        return TaskResult(index, error=f"{error}\n")
    return answer


def _ray(cluster: Cluster) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ImportError(str(missing_package("ray", "cluster"))) from None  # of another extra than the command's
    if not ray.is_initialized():
        folders = [str(Path(str(importlib.import_module(name).__file__)).parent) for name in cluster.packages]
        environment = {"py_modules": folders, "env_vars": dict.fromkeys(_THREADS, "1")}
        ray.init(cluster.address, runtime_env=environment, log_to_driver=False, logging_level="error")
    return ray


Executor = Serial | Processes | Cluster


def _decided(name: str, scenario: Scenario, options: Mapping[str, Any], state: SystemState) -> Decision:
    return make_controller(name, scenario, **options)(state)


def decide(
    executor: Executor, name: str, scenario: Scenario, state: SystemState, *, chunk: int = 5000, **options: Any
) -> Decision:
    """Let a controller decide for many states (n, K), a ``chunk`` of them in each task (ours).

    ``options`` are those of `make_controller`; a controller that draws numbers would draw the same in each task. By
    default a task takes about a second for the certified optimum at K = 20. Returns arrays (n, K), the same as of the
    controller itself; a `CertifiedDecision` with ``certify``. ``ValueError`` or ``TypeError`` as of `make_controller`,
    for a bad chunk, or with the last line of what went wrong in a task.
    """
    check_integer("chunk", chunk, 1)
    make_controller(name, scenario, **options)  # refuses what it does not take here, not in each task
    starts = range(0, len(state.draft_time), chunk)
    parts = [state[start : start + chunk] for start in starts]
    found: dict[int, Decision] = {}
    for result in executor.results(partial(_decided, name, scenario, options), parts):
        if result.error:
            raise ValueError(result.error.strip().splitlines()[-1])
        found[result.index] = result.value
    return type(found[0]).joined([found[index] for index in range(len(parts))])
