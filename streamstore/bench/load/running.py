"""A run of load on one subject: processes, their tallies as they come, and the whole at the end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

from streamstore.bench.load.plan import LoadPlan
from streamstore.bench.load.subject import Subject
from streamstore.bench.load.tally import Timeline
from streamstore.bench.load.work import Worker, prefill
from streamstore.errors import InvalidArgumentError, StorageError

_REPORT_S = 0.5
_BEGIN_S = 0.2

Progress = Callable[[float, Timeline], None]


def run_load(plan: LoadPlan, subject: Subject, *, shards: int = 1, progress: Progress | None = None) -> Timeline:
    """Put the load on the subject and return its tallies by the second of the measurement.

    The load runs in processes of its own, so that showing it costs it nothing. `progress` hears, twice a second, the
    seconds since warming up began and all tallies so far. A stream that is missing is made with `shards`. Raises
    what keeps a thread from beginning; KeyboardInterrupt after the processes have ended, with what they had tallied
    handed to `progress`.
    """
    subject.prepare(shards)
    if plan.workload == "get":
        prefill(plan, subject)
    subject.close()  # a connection or a lock of this process must not stand between
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(plan.processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(plan, subject, number, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    whole = Timeline()
    try:
        begin = _start(pipes)
        try:
            _gather(pipes, whole, begin, progress)
        except KeyboardInterrupt:
            for pipe in pipes:
                with contextlib.suppress(OSError):
                    pipe.send("stop")
            _gather(pipes, whole, begin, progress)
            raise
    finally:
        for process in processes:
            process.join(plan.drain + 10)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in pipes:
            pipe.close()
    return whole


def _start(pipes: list[Any]) -> float:
    """Wait until every process has connected, then tell all of them when it begins."""
    for pipe in pipes:
        _taken(pipe)
    begin = time.monotonic() + _BEGIN_S
    for pipe in pipes:
        pipe.send(begin)
    return begin


def _taken(pipe: Any) -> Any:
    """What a process sent. Raises what it raised, StorageError where it is gone."""
    try:
        found = pipe.recv()
    except EOFError:
        raise StorageError("a process of the load ended before it had reported") from None
    if isinstance(found, BaseException):
        raise found
    return found


def _gather(pipes: list[Any], whole: Timeline, begin: float, progress: Progress | None) -> None:
    """Add up what processes report until the last of them has ended; in place, so that nothing is lost at Ctrl-C."""
    said = 0.0
    open_pipes = [pipe for pipe in pipes if not pipe.closed]
    while open_pipes:
        for pipe in wait(open_pipes, _REPORT_S):
            assert isinstance(pipe, Pipe)
            found = _taken(pipe)
            if found is None:
                open_pipes.remove(pipe)
            else:
                whole.add(found)
        now = time.monotonic()
        if progress is not None and (now - said >= _REPORT_S or not open_pipes):
            said = now
            progress(now - begin, whole)


def _work(plan: LoadPlan, subject: Subject, number: int, pipe: Any) -> None:
    """The main function of a process of load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and says so
    worker = Worker(plan, subject, number)
    over = threading.Event()
    outcome: BaseException | None = None
    with contextlib.suppress(OSError, EOFError):  # nobody listens any more
        try:
            worker.prepare()
            pipe.send("ready")
            begin = pipe.recv()
            reporter = threading.Thread(target=_report, args=(worker, pipe, over))
            reporter.start()
            try:
                worker.run(begin)
            finally:
                over.set()
                reporter.join()
            pipe.send(worker.take())
        except (EOFError, BrokenPipeError):
            raise
        except BaseException as error:
            outcome = error
        pipe.send(_portable(outcome))
    worker.close()
    subject.close()


def _portable(error: BaseException | None) -> BaseException | None:
    """An error that can be sent: some cannot be made again from their arguments."""
    if error is None or isinstance(error, InvalidArgumentError):
        return error
    return StorageError(f"{type(error).__name__}: {error}")


def _report(worker: Worker, pipe: Any, over: threading.Event) -> None:
    """Send what there is twice a second; end the work where it is asked for, or where nobody listens any more."""
    parent = os.getppid()
    try:
        while not over.wait(_REPORT_S):
            if pipe.poll() or os.getppid() != parent:
                worker.stop()
                over.wait()
                return
            pipe.send(worker.take())
    except (OSError, EOFError):
        worker.stop()
