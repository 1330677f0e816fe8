"""Run processes that answer one request, end with their parent, or keep processors busy.

A process with a request reads and answers JSON. Its work may crash it (a framework that was built
for another processor) or never finish.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def die_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:  # The parent had already ended.
            os._exit(1)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group of its own, with all its children."""
    if not hasattr(os, "killpg"):  # On Windows, the children of the process continue to live.
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


# Computing one product at a time keeps a processor busy, but uses no cache or memory. About every
# 10 ms, the process checks whether its parent still runs.
_COUNTING = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    number = 1
    for _ in range(200_000):
        number = number * 5 % 1_000_003
"""


def ignore_interruptions() -> None:
    """Ignore Ctrl-C and requests to end from now on.

    Another process, or the rest of the program, decides when to end.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def keep_busy(processes: int) -> Iterator[None]:
    """Keep this number of processors busy during the block, with one process each."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _COUNTING, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(started.wait)
            stack.callback(started.kill)
        yield


LIMIT_GONE = 97
"""The exit code of a process whose limits a backend's code has permanently lowered."""

LONGEST_ERROR = 300
"""The number of characters of an error that are kept. Some messages are complete programs."""


@dataclass(frozen=True)
class Died:
    """A process that did not answer.

    code: its exit code, None after a timeout. last_line: the last line of its standard error.
    """

    code: int | None
    last_line: str = ""


def ask(
    words: Sequence[str],
    request: object,
    seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Any | Died:
    """Return what ``python WORDS`` answers. The process must call ``answer``.

    seconds: the time limit. environment: additional variables. python: this interpreter, or one of
    another environment in which this suite is installed.
    """
    try:
        done = subprocess.run(
            [python, *words],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Died(None)
    try:
        return json.loads(done.stdout)
    except ValueError:  # There is no answer, or only a part of one.
        return Died(done.returncode, last_line(done.stderr.decode(errors="replace")))


def answer(function: Callable[[Any], object]) -> None:
    """Answer the request on standard input with the result of a function.

    Called in the new process.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # Standard output is for what a framework prints.
        answers.write(json.dumps(function(json.load(sys.stdin))))


def last_line(printed: str) -> str:
    """Return the beginning of the last line of a process's output, which may be empty."""
    lines = printed.strip().splitlines()
    return lines[-1].strip()[:200] if lines else ""


def describe_ending(code: int) -> str:
    """Describe how a process ended by its exit code, which is negative for a signal."""
    if code == LIMIT_GONE:
        return "ended: a backend had permanently lowered a limit of the process"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    more = " (usually because memory ran out)" if name == "SIGKILL" else ""
    return f"was ended by {name}{more}"


def one_line(error: BaseException) -> str:
    """Return the first line of an error. The error of a framework may have pages."""
    try:
        text = str(error)
    except BaseException:  # The error's own code failed.
        return "its text cannot be read: that raises an error too"
    # Some texts have megabytes.
    lines = [line.strip() for line in text[:100_000].splitlines() if line.strip()]
    # "Graph execution error:" alone says nothing, so a second line is added.
    text = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    text = text or "it said nothing"
    return text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 3] + "..."
