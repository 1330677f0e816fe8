"""Measure the memory of cases on the CPU, each in a process of its own.

``python -m bench.worker.memory_server`` imports one framework and forks a child for each case,
because a fork takes milliseconds and an import takes seconds. ``resources`` starts this process. It
works only on Linux, since it reads ``/proc``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine.processes import describe_ending, die_with, one_line

if TYPE_CHECKING:
    from bench.case.cases import Case
    from lstm_impl import Backend

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # Written to clear_refs, this sets VmHWM to VmRSS (man 5 proc).


class Resident:
    """Measures how much the memory of this process has grown, in bytes.

    Pages of files do not count. They are program code, which processes share and the kernel may
    drop. The code is read when it first runs (20 MB for a small case of PyTorch, 130 MB if XLA
    compiles), and is not memory that the case needs.
    """

    def __init__(self) -> None:
        self.release()
        status = _status()
        self.start = status["RssAnon"] + status["RssShmem"]

    def release(self) -> None:
        """Return freed pages to the system, and begin a new peak.

        Reused pages then count as growth.
        """
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # Only glibc has this function.
            ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(RESET_PEAK)

    def peak(self) -> int:
        """Return the largest growth since the last ``release``, relative to the start.

        The kernel has one peak for all pages. The current pages of files are subtracted from it, so
        the figure may be too small by the pages that were read after the peak (some MB in a first
        call).
        """
        status = _status()
        return max(0, status["VmHWM"] - status["RssFile"] - self.start)


def _status() -> dict[str, int]:
    found = {}
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = 1024 * int(value.split()[0])
    return found


def start(backend: Backend, case: Case, threads: int | None) -> None:
    """Compute one step of a layer with one unit.

    The memory of everything that a framework starts is then not counted for a case.

    The batch is that of the case, because each replica needs a part of it.
    """
    from lstm_impl import LSTMSpec, LSTMWeights, Workload

    if threads is not None:
        backend.use_threads(threads)
    smallest, work = LSTMSpec(1, 1, dtype=case.spec.dtype), case.workload
    step = backend.build(smallest, LSTMWeights.random(smallest), case.device).prepare(
        Workload(work.batch, 1, work.mode, optimizer=work.optimizer, gradients=work.gradients)
    )
    step.run()
    step.synchronize()


def measure(request: Mapping[str, object]) -> dict[str, object]:
    """Return ``peak_bytes`` and ``steady_bytes`` of a case. Errors of the backend are raised."""
    from bench.case.cases import Case
    from lstm_impl import LSTMWeights, get_backend

    data, seed, threads = request["case"], request["seed"], request["threads"]
    assert isinstance(data, Mapping)
    assert isinstance(seed, int)
    case = Case.from_dict(data)
    backend, work = get_backend(case.backend), case.workload
    start(backend, case, threads if isinstance(threads, int) else None)
    weights = LSTMWeights.random(case.spec, seed)
    resident = Resident()
    model = backend.build(case.spec, weights, case.device, batch_major=work.batch_major)
    peaks = [resident.peak()]
    step = model.prepare(work)
    # The inputs count. Drawing them takes several times their size, which the case does not need.
    resident.release()
    step.trace()
    for _ in range(2):
        step.run()
        step.synchronize()
        peaks.append(resident.peak())
    resident.release()
    step.run()
    step.synchronize()
    steady = resident.peak()
    # A later step may hold a page more than the first step.
    return {"peak_bytes": max(*peaks, steady), "steady_bytes": steady}


def server_name(backend: Backend) -> str:
    """Return the name of the server of a backend: its framework and its early modules."""
    return "+".join((backend.framework, *backend.early_modules))


def serve(name: str, connection: Connection) -> None:
    """Import the modules of a server, report it, and answer requests until the connection ends.

    The modules are imported before any case, so that no case is charged with them. A module that is
    not installed is skipped.
    """
    from lstm_impl.frameworks import get_framework

    framework, *modules = name.split("+")
    try:
        described = get_framework(framework)
        described.before_import()
        for module in (*described.early_modules, *modules):
            _import(module)
    except Exception as error:
        connection.send({"how": "import_failed", "framework": name, "error": one_line(error)})
        return
    connection.send({})
    with contextlib.suppress(EOFError):
        while True:
            connection.send(_measure_in_fork(connection.recv(), connection))


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise


_FORK = multiprocessing.get_context("fork")


def _measure_in_fork(request: Mapping[str, object], requests: Connection) -> dict[str, object]:
    """Return what a forked child measures, or under ``how`` why it measured nothing."""
    limit = request["limit"]
    assert isinstance(limit, int | float)
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_run_child, args=(request, theirs, requests, os.getpid()))
    child.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return {"how": "over_memory_limit", "limit": limit}
        found: dict[str, object] = ours.recv()
        return found
    except (EOFError, OSError):
        child.join()
        return {"how": "process_ended", "ending": describe_ending(child.exitcode or 0)}
    finally:
        child.kill()
        child.join()
        ours.close()


def _run_child(
    request: Mapping[str, object], answers: Connection, requests: Connection, server: int
) -> None:
    requests.close()
    try:
        die_with(server)
        # If memory runs out, the kernel should end this process and not the one that measures
        # times.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        found = measure(request)
    except BaseException as error:
        # No exception may leave the fork, because the server's loop is its caller.
        found = {"how": "raised", "error": f"{type(error).__name__}: {one_line(error)}"}
    with contextlib.suppress(OSError):
        answers.send(found)
    os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Serve a connection.

    arguments: the process id of the parent, a ``server_name`` and a file descriptor.
    """
    parent, name, descriptor = arguments
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this process.
    with Connection(int(descriptor)) as connection:
        serve(name, connection)


if __name__ == "__main__":
    main(sys.argv[1:])
