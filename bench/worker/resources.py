"""Measure the peak memory of a case, and the energy of a step on a GPU.

On a GPU, the framework's allocator counts memory in the process that measures times. On a CPU, no
allocator counts, and a process keeps the pages of what it computed before. Each case therefore runs
once more in a fresh process (``memory_server``) while nothing is timed. An error here costs the
figure, but never the case. ``docs/memory.md`` explains the figures.

Energy comes from a counter of the board, which NVIDIA's driver keeps (NVML, on Volta and later). It
advances in ticks of 20 to 100 ms. After the timing, each case therefore runs for two more seconds
by itself.
"""

import atexit
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.case.cases import Case
from bench.machine import devices
from bench.machine.devices import Nvml
from bench.machine.processes import one_line
from bench.machine.reasons import Reason, ReasonedError
from bench.machine.writing import Closing
from bench.records.schema import Figures
from bench.worker import estimate
from bench.worker.memory_server import server_name
from lstm_impl import Backend, Step, get_backend

START_LIMIT = 60.0
"""The time limit for importing a framework, in seconds: 10 times what TensorFlow takes on two slow
cores.
"""

LONGEST = 300.0
"""The time limit for one case, in seconds."""

SLACK = 10.0
"""The time for a fork and the first step of one unit on a busy machine, in seconds."""

SHORTEST = 1.0
"""The least time left, in seconds, in which a case is started. Python itself needs half of it."""

GRACE = 5.0
"""How long to wait for an answer beyond its limit, in seconds. Killing a child that holds some GB
takes one second.
"""


MEMORY, ENERGY = ("peak_bytes", "steady_bytes"), ("joules",)


class NotKnownError(ReasonedError):
    """Memory or energy cannot be measured."""


def unknown(error: Exception, names: Iterable[str] = MEMORY) -> Figures:
    """Return figures that are unknown. ``how`` is the code of the reason, next to its values."""
    reason = Reason("raised", {"error": one_line(error)})
    if isinstance(error, NotKnownError):
        reason = error.reason
    # A figure must be a number or a text.
    values: dict[str, Any] = {
        key: int(value) if isinstance(value, bool) else value
        for key, value in reason.values.items()
    }
    return {**dict.fromkeys(names), **values, "how": reason.code}


# -- on a CPU, in a process of its own


class Server:
    """A process that measures cases with one framework.

    name: as ``server_name`` returns it. Raises NotKnownError if the process does not start in time.
    """

    def __init__(self, name: str, limit: float = START_LIMIT) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        root = str(Path(__file__).resolve().parents[2])
        path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join(path),
            # A framework that sees a GPU takes GPU memory even for a case on the CPU.
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, "-P", "-W", "ignore", "-m", "bench.worker.memory_server"]
        try:
            self.process = subprocess.Popen(
                [*command, str(os.getpid()), name, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ,
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:  # There is no memory, or there are too many processes.
            self._connection.close()
            raise NotKnownError("server_not_started", error=error.strerror) from error
        finally:
            theirs.close()
        self._receive(limit, "server_not_ready")

    def ask(self, request: Mapping[str, object], limit: float) -> Figures:
        """Return the answer to a request.

        Raises NotKnownError. A server that answers too late is ended.
        """
        try:
            self._connection.send({**request, "limit": limit})
        except OSError as error:
            self.close()
            raise NotKnownError("server_ended") from error
        return self._receive(limit + GRACE, "server_silent")

    def close(self) -> None:
        """End the process and its child at once."""
        self.process.kill()  # The kernel then ends the child as well.
        self._connection.close()
        self.process.wait()

    @property
    def closed(self) -> bool:
        """Return whether the process has been ended."""
        return self._connection.closed

    def _receive(self, limit: float, late: str) -> Figures:
        try:
            if not self._connection.poll(limit):
                raise NotKnownError(late, limit=limit)
            found: dict[str, Any] = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise NotKnownError("server_ended") from error
        except BaseException:  # For instance Ctrl-C. The process must not continue to compute.
            self.close()
            raise
        if "how" in found:
            raise NotKnownError(found.pop("how"), **found)
        return found


class ProcessMemory(Closing):
    """Measures the memory of cases on the CPU, with a server for each framework.

    Servers end together with Python.

    threads: the number of threads of each backend; None leaves the choice to the backend.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._servers: dict[str, Server] = {}
        self._broken: dict[str, NotKnownError] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """End the servers. A later case starts new ones."""
        for server in self._servers.values():
            server.close()
        self._servers = {}

    def measure(self, case: Case, seed: int, limit: float) -> Figures:
        """Return the memory of a case, measured within ``limit`` seconds, and the seconds it took.

        This never raises an error. If something goes wrong, the figures give the reason.
        """
        begun = time.monotonic()
        try:
            found = {**self._ask(case, seed, limit), "how": "resident"}
        except NotKnownError as error:
            found = {**unknown(error)}
        return {**found, "seconds": time.monotonic() - begun}

    def _ask(self, case: Case, seed: int, limit: float) -> Figures:
        end = time.monotonic() + limit
        if sys.platform != "linux":
            raise NotKnownError("only_linux")
        if limit < SHORTEST:
            raise NotKnownError("no_time_left")
        if reason := estimate.too_large(case, estimate.free(case.device)):
            raise NotKnownError(f"{reason.code}_too", **reason.values)
        backend = get_backend(case.backend)
        name = server_name(backend)
        if name in self._broken:
            raise self._broken[name]
        if name not in self._servers or self._servers[name].closed:
            try:
                self._servers[name] = Server(name, min(START_LIMIT, limit))
            except NotKnownError as error:
                self._broken[name] = error  # The server would fail again.
                raise
        request = {"case": case.to_dict(), "seed": seed, "threads": self._threads}
        return self._servers[name].ask(request, max(SHORTEST, end - time.monotonic()))


def time_limit(first_use: float, left: float | None) -> float:
    """Return the seconds that measuring the memory of a case may take.

    first_use: the seconds of building, tracing and the first call, which are repeated here with two
    more calls. left: the seconds until ``bench.run`` ends the process, or None without a limit.
    """
    wanted = min(LONGEST, START_LIMIT + SLACK + 3 * first_use)
    # The answer must come before the process is ended, or the finished cases of the group are lost.
    return wanted if left is None else min(wanted, 0.8 * left - GRACE)


# -- on a GPU, in the process that times


@dataclass(frozen=True)
class Allocator:
    """What a framework's allocator says about one GPU.

    read: returns the bytes in use now, and the peak since the last reset or since the process
    began. reset: begins a new peak from what is in use; None if the allocator cannot.
    """

    name: str
    read: Callable[[], tuple[int, int]]
    reset: Callable[[], object] | None


def _make_tensorflow_allocator(tensorflow: Any, index: int) -> Allocator:
    config, device = tensorflow.config.experimental, f"GPU:{index}"

    def read() -> tuple[int, int]:
        found = config.get_memory_info(device)
        return int(found["current"]), int(found["peak"])

    return Allocator("TensorFlow", read, lambda: config.reset_memory_stats(device))


def _make_torch_allocator(torch: Any, index: int) -> Allocator:
    of = torch.cuda
    return Allocator(
        "PyTorch",
        lambda: (int(of.memory_allocated(index)), int(of.max_memory_allocated(index))),
        lambda: of.reset_peak_memory_stats(index),
    )


def _make_jax_allocator(jax: Any, index: int) -> Allocator:
    device = jax.devices("gpu")[index]

    def read() -> tuple[int, int]:
        stats: Mapping[str, int] | None = device.memory_stats()
        if stats is None:  # With XLA_PYTHON_CLIENT_ALLOCATOR=platform, nothing counts.
            raise NotKnownError("not_counted")
        return int(stats["bytes_in_use"]), int(stats["peak_bytes_in_use"])

    return Allocator("JAX", read, None)


_ALLOCATORS: Mapping[str, tuple[str, Callable[[Any, int], Allocator]]] = {
    # Each framework, with its module.
    "tensorflow": ("tensorflow", _make_tensorflow_allocator),
    "torch": ("torch", _make_torch_allocator),
    "jax": ("jax", _make_jax_allocator),
    "flax": ("jax", _make_jax_allocator),
}


def gauge(
    backend: Backend, device: str, modules: Mapping[str, Any] | None = None
) -> Callable[[Step], Figures] | None:
    """Begin to observe the allocator of a GPU, before a case is built. Return None on a CPU.

    The returned function makes one more call after the first call, and returns the figures. Neither
    function raises an error of the allocator.

    modules: the imported modules, by name.
    """
    if devices.kind(device) == "cpu":
        return None
    loaded = sys.modules if modules is None else modules
    try:
        module, kind = _ALLOCATORS.get(backend.framework, ("", None))
        if kind is None or module not in loaded:
            raise NotKnownError("framework_silent", framework=backend.framework)
        allocator = kind(loaded[module], devices.gpu_index(device))
        gc.collect()  # Otherwise memory of an earlier case would be freed in the meantime.
        if allocator.reset is not None:
            allocator.reset()
        in_use, before = allocator.read()
    except Exception as error:
        missing = unknown(error)
        return lambda step: missing

    def figures(step: Step) -> Figures:
        try:
            _, peak = allocator.read()
            how = {"how": "allocator", "allocator": allocator.name}
            if allocator.reset is None:  # There is then no peak of a later step.
                if peak <= before:
                    raise NotKnownError("earlier_peak", allocator=allocator.name)
                return {"peak_bytes": peak - in_use, "steady_bytes": None, **how}
            allocator.reset()
            step.run()
            step.synchronize()
            steady = allocator.read()[1]
            # A later step is as much a part of the case as the first.
            peak = max(0, max(peak, steady) - in_use)
            return {"peak_bytes": peak, "steady_bytes": max(0, steady - in_use), **how}
        except Exception as error:
            return unknown(error)

    return figures


SPAN = 2.0
"""Steps run for at least this many seconds. That covers 20 ticks of the slowest counter, of which
at most one is counted wrongly.
"""

CHUNK = 0.01
"""The seconds of steps between two waits. At least one step runs."""


def energy(
    step: Step,
    device: str,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    load: Callable[[], Nvml] = devices.import_nvml,
    environ: Mapping[str, str] = os.environ,
) -> Figures:
    """Return the joules of one step on a GPU.

    This never raises an error. If something goes wrong, the figures give the reason.

    step: a step that has been called before. seconds: its time. load: returns NVML.
    """
    calls, count = max(1, math.ceil(CHUNK / seconds)), 0
    try:
        with devices.open_nvml(load) as nvml:
            gpu = devices.gpu_handle(nvml, environ, device)
            if gpu is None:
                raise NotKnownError("part_of_gpu")
            before, end = int(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)), now() + SPAN
            while now() < end:
                for _ in range(calls):
                    step.run()
                step.synchronize()
                count += calls
            used = int(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) - before
        if used <= 0:
            raise NotKnownError("counter_stood")
    except Exception as error:
        # The driver or the step may raise anything. The case keeps its time.
        return unknown(error, ENERGY)
    return {"joules": used / 1e3 / count, "how": "nvml_energy_counter"}
