"""The process that measures the memory of cases on the CPU.

``python -m bench.worker.memory_server`` imports one framework, does nothing else with it, and forks
a child for each case that it is sent: a fork takes milliseconds where an import takes seconds, and
each child is as fresh as the process was. ``resources`` starts it; nothing else does. Linux only:
it reads ``/proc``.
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

from bench.machine.fresh import ending, one_line
from bench.machine.processes import die_with

if TYPE_CHECKING:
    from bench.case.cases import Case
    from lstm_impl import Backend

MODULES: Mapping[str, Sequence[str]] = {
    # What a framework's backends use besides the module of its name, or those of a strategy that
    # uses more; what is not installed is passed over. It is here, before any case, so that it is
    # not counted as the case's.
    "tensorflow": ("tensorflow", "keras", "tf_keras"),
    "jax": ("jax", "jax.numpy"),
    "flax": ("jax", "jax.numpy", "flax.nnx"),
    "torch": ("torch",),
    "keras_jax": ("jax", "jax.numpy", "keras"),
    "keras_torch": ("torch", "keras"),
    "openvino": ("openvino",),
    "keras_openvino": ("openvino", "keras"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "litert": ("tensorflow", "ai_edge_litert.interpreter"),
}

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what is written to clear_refs to set VmHWM to VmRSS (man 5 proc)


class Resident:
    """The memory of this process that is not a file's, in bytes, and its peak.

    The pages of files are the program code of the libraries, which the kernel shares between
    processes and may drop. They are read in as they are run for the first time, 20 MB of them for a
    small case of PyTorch and 130 MB where XLA compiles, and are no part of what a case needs.
    """

    def __init__(self) -> None:
        self.release()
        status = _status()
        self.start = status["RssAnon"] + status["RssShmem"]

    def release(self) -> None:
        """Give back to the system what has been freed, and begin a new peak from what is left.

        An allocator keeps freed pages for later; what they later hold would not show as growth.
        """
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # in glibc; elsewhere it must do without
            ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(RESET_PEAK)

    def peak(self) -> int:
        """Of the growth since the start, the largest since the last ``release``.

        The kernel keeps the peak of all pages together: those of files are taken off as they are at
        the end, when there are most, so that the figure may be too small by those that were read in
        after the peak (some MB in a first call, none in a later one).
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
    """Have a backend compute one step of one unit, as a case would: what that starts is its own.

    The batch is the case's, of which each replica needs a part.
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
    """The memory of one case, in this process: ``peak_bytes`` and ``steady_bytes``.

    Like the clock, it begins when the backend has computed one step of one unit: what the framework
    starts for that (thread pools, a compiler) is its own and not the case's.

    Raises whatever the backend raises.
    """
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
    step = model.prepare(work, seed)
    # The inputs stay, and count; drawing them took several times their size, which is our doing.
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
    # A later step is as much a part of the case as the first, and may hold a page more.
    return {"peak_bytes": max(*peaks, steady), "steady_bytes": steady}


def serve(framework: str, connection: Connection) -> None:
    """Import the framework, say so, and answer requests until there are no more."""
    try:
        from lstm_impl.backends.others.openvino import without_telemetry

        without_telemetry()
        for name in MODULES.get(framework, (framework,)):
            _import(name)
    except Exception as error:
        # A framework may fail in any way to start; the answer says in which.
        connection.send({"error": f"{framework} cannot be imported: {one_line(error)}"})
        return
    connection.send({})
    with contextlib.suppress(EOFError):
        while True:
            connection.send(_in_a_fork(connection.recv(), connection))


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise


_FORK = multiprocessing.get_context("fork")


def _in_a_fork(request: Mapping[str, object], requests: Connection) -> dict[str, object]:
    """What a child of its own finds out, or why it does not."""
    limit = request["limit"]
    assert isinstance(limit, int | float)
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_be_the_child, args=(request, theirs, requests, os.getpid()))
    child.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return {"error": f"it took longer than {limit:.0f} s"}
        found: dict[str, object] = ours.recv()
        return found
    except (EOFError, OSError):
        child.join()
        return {"error": f"its process {ending(child.exitcode or 0)}"}
    finally:
        child.kill()
        child.join()
        ours.close()


def _be_the_child(
    request: Mapping[str, object], answers: Connection, requests: Connection, server: int
) -> None:
    requests.close()
    try:
        die_with(server)
        # What runs out of memory for this ought to be this process, not the one that times.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        found = measure(request)
    except BaseException as error:
        # Nothing may get out of a fork: above it stands the server's own loop.
        found = {"error": f"{type(error).__name__}: {one_line(error)}"}
    with contextlib.suppress(OSError):
        answers.send(found)
    os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """``python -m bench.worker.memory_server PARENT FRAMEWORK DESCRIPTOR`` of a connection."""
    parent, framework, descriptor = arguments
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for its parent, and ends both
    with Connection(int(descriptor)) as connection:
        serve(framework, connection)


if __name__ == "__main__":
    main(sys.argv[1:])
