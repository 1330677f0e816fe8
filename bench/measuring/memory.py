"""Peak memory of a case: how it is measured on a GPU and on a CPU, and what is said if it is not.

On a GPU the framework's own allocator knows, in the process that times. On a CPU there is no such
allocator, and a process that has computed other things before keeps their pages; so each case is
built and run once more in a fresh process (``memory_server``), while nothing is timed. Whatever
goes wrong here costs the figure and never the case. ``docs/memory.md`` says what the figures mean.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.disk.closing import Closing
from bench.measuring import estimate
from bench.measuring.gauges import unknown
from bench.measuring.memory_server import MODULES
from bench.results.schema import Figures
from bench.suites.cases import Case
from lstm_impl import get_backend

RESIDENT = "growth of the resident memory of a process of its own, program code not counted"

START_LIMIT = 60.0
"""Seconds for a framework's import: 10 times what TensorFlow takes on two slow cores."""

LONGEST = 300.0
"""Seconds for one case, whatever it took before: nobody waits an hour for this figure."""

SLACK = 10.0
"""Seconds that any case gets: a fork, the first step of one unit, and a busy machine."""

SHORTEST = 1.0
"""Seconds under which it is not begun: Python alone takes half of it to start."""

GRACE = 5.0
"""Seconds for an answer to arrive after its limit: to kill a child that holds some GB takes one."""


class ServerError(RuntimeError):
    """A memory server cannot be started or does not answer; one line that says why."""


# -- on a CPU, in a process of its own


class Server:
    """A process that has imported one framework and measures one case after the other.

    Raises ServerError if it cannot be started within ``limit`` seconds.
    """

    def __init__(self, framework: str, limit: float = START_LIMIT) -> None:
        self._text = b""
        root = str(Path(__file__).resolve().parents[2])
        path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join(path),
            # A framework that sees a GPU takes its memory even for a case on the CPU.
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, "-P", "-W", "ignore", "-m", "bench.measuring.memory_server"]
        try:
            self._process = subprocess.Popen(
                [*command, str(os.getpid()), framework],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
            )
        except OSError as error:  # no room for another process, a limit on their number
            told = f"the process for memory cannot be started: {error.strerror}"
            raise ServerError(told) from error
        try:
            started = self._receive(limit, "was not ready")
            if "error" in started:
                raise ServerError(str(started["error"]))
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, object], limit: float) -> dict[str, object]:
        """Its answer. Raises ServerError if there is none; it is then ended, and of no more use."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**request, "limit": limit}).encode() + b"\n")
            self._process.stdin.flush()
            return self._receive(limit + GRACE, "did not answer")
        except OSError as error:
            self.close()
            raise ServerError(f"the process for memory has gone: {error.strerror}") from error
        except BaseException:  # Ctrl-C among them: nothing may go on computing behind our back
            self.close()
            raise

    def close(self) -> None:
        """End it and its child, at once."""
        with contextlib.suppress(OSError):
            self._process.kill()  # the kernel then ends its child
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def _receive(self, limit: float, failing: str) -> dict[str, object]:
        """The next line that it writes."""
        assert self._process.stdout is not None
        output, end = self._process.stdout.fileno(), time.monotonic() + limit
        while b"\n" not in self._text:
            left = max(0.0, end - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                raise ServerError(f"the process for memory {failing} in {limit:.0f} s")
            more = os.read(output, 65536)
            if not more:
                raise ServerError("the process for memory has ended")
            self._text += more
        line, self._text = self._text.split(b"\n", 1)
        found = json.loads(line)
        assert isinstance(found, dict)
        return found


class ProcessMemory(Closing):
    """Measures cases on the CPU, with a server for each framework.

    threads: how many each backend may use, None for its own choice. Close it, or use it as a
    context; what is left open is closed when Python ends.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._servers: dict[str, Server] = {}
        self._broken: dict[str, str] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """End its servers; a case that comes later starts new ones."""
        for server in self._servers.values():
            server.close()
        self._servers = {}

    def measure(self, case: Case, seed: int, limit: float) -> Figures:
        """What a case needs, found within ``limit`` seconds, and how long that took.

        Never raises for what goes wrong: the figures then say what.
        """
        begun = time.monotonic()
        return {**self._measure(case, seed, limit), "seconds": time.monotonic() - begun}

    def _measure(self, case: Case, seed: int, limit: float) -> Figures:
        if sys.platform != "linux":
            return unknown("on a CPU it is read from Linux's /proc")
        if limit < SHORTEST:
            return unknown("no time was left for it of what the case may take")
        if reason := estimate.too_large(case, estimate.free(case.device)):
            return unknown(f"beside the process that times, {reason}")
        backend = get_backend(case.backend)
        framework = backend.strategy if backend.strategy in MODULES else backend.framework
        if framework in self._broken:
            return unknown(self._broken[framework])
        end = time.monotonic() + limit
        try:
            server = self._server(framework, min(START_LIMIT, limit))
            request = {"case": case.to_dict(), "seed": seed, "threads": self._threads}
            found = server.ask(request, max(SHORTEST, end - time.monotonic()))
        except ServerError as error:
            self._servers.pop(framework, None)
            return unknown(str(error))
        if "error" in found:
            return unknown(str(found["error"]))
        peak, steady = found["peak_bytes"], found["steady_bytes"]
        assert isinstance(peak, int)
        assert isinstance(steady, int)
        return {"peak_bytes": peak, "steady_bytes": steady, "how": RESIDENT}

    def _server(self, framework: str, limit: float) -> Server:
        if framework not in self._servers:
            try:
                self._servers[framework] = Server(framework, limit)
            except ServerError as error:
                self._broken[framework] = str(error)  # it would be no better the next time
                raise
        return self._servers[framework]


def time_limit(first_use: float, left: float | None) -> float:
    """Seconds that the memory of a case may take.

    first_use: what building, tracing and calling it for the first time took; here they come again,
    and two more calls, beside whatever else the machine does. left: what ``bench.run`` still allows
    the case before it ends the whole process, None without such a limit.
    """
    wanted = min(LONGEST, START_LIMIT + SLACK + 3 * first_use)
    # The answer must come before the process is ended from outside, whose cases would be lost.
    return wanted if left is None else min(wanted, 0.8 * left - GRACE)
