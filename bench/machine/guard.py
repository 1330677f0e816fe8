"""A guard around a backend's code: what it raises and what it changes stays its own.

A backend is somebody else's code in the process that measures its neighbours too. Whatever it
raises comes out as an ``Exception``, so that it becomes the result of its case, and a real Ctrl-C
is distinguished from an exception of that name. What it changes of the process (streams, working
directory, NumPy's error state, signal handlers, limits, sys.path, ...) is put back after each call
and noted, as are the warnings that it gives. A fork that comes back in the child ends there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeAlias

import numpy as np

from bench.machine.fields import printable
from bench.machine.fresh import LIMIT_GONE, one_line

MOST_REMARKS = 8
"""Distinct remarks that are kept of a case. More warnings say the same with other numbers."""

LONGEST_REMARK = 300

_EXPECTED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
"""What a framework is going to change is no news about the case that runs on it today."""


class EscapedError(Exception):
    """A backend raised what is no ``Exception``, such as SystemExit; ``error`` is that."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Interrupts:
    """Whether a SIGINT came while it is entered; it may be entered within itself.

    An exception alone does not tell: a backend's own code may raise KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.received = False
        self._depth = 0
        self._before: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth > 1:
            return self
        self.received = False
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            # Where it is ignored, or another's code in C has it, none will come.
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *raised: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._before is not None:
            self._before(number, frame)


class Guard:
    """Around each call of one backend's code: ``with guard: ...``; not within itself.

    remarks: what the code warned of and what it changed, each once, the first of many.

    On leaving it, what is no ``Exception`` is raised as ``EscapedError``, and KeyboardInterrupt if
    a SIGINT came meanwhile, even where the code kept it to itself.
    """

    def __init__(self, interrupts: Interrupts | None = None) -> None:
        self.remarks: list[str] = []
        self._interrupts = interrupts or Interrupts()
        self._process = -1
        self._restore: list[Callable[[], str]] = []
        self._depth = 0
        self._warnings: warnings.catch_warnings[Any] | None = None

    def __enter__(self) -> Self:
        self._process = os.getpid()
        self._depth = sys.getrecursionlimit()
        self._restore = [setting() for setting in _SETTINGS]
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # Each place of the code once: what a step warns of, it warns of in every call.
        warnings.simplefilter("default")
        for category in _EXPECTED:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = self._warned
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            # A fork that came back in the child: another process that would measure and write the
            # same again. What it was made for it has no way to do here.
            os._exit(0)
        assert self._warnings is not None
        # First of all: with a low limit nothing below could be called.
        low = sys.getrecursionlimit() < self._depth
        if low:
            sys.setrecursionlimit(self._depth)
        self._warnings.__exit__(None, None, None)
        for what in [*(restore() for restore in self._restore), "the recursion limit" * low]:
            if what:
                self.note(f"it changed {what}, which was put back")
        if self._interrupts.received:
            raise KeyboardInterrupt from None
        if error is not None and not isinstance(error, Exception):
            raise EscapedError(error) from error

    def note(self, text: str) -> None:
        """One remark more, if it is new and there are not too many."""
        text = printable(" ".join(text.split()), LONGEST_REMARK)
        if text not in self.remarks and len(self.remarks) < MOST_REMARKS:
            self.remarks.append(text)

    def _warned(
        self, message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        text = message if isinstance(message, str) else one_line(message)
        self.note(f"{category.__name__}: {text}")


# What of a process is everybody's and can be put back: each reads a setting, and returns a function
# that makes it as it was and says what had changed, if it had.

_Setting: TypeAlias = Callable[[], Callable[[], str]]


def _setting(name: str, get: Callable[[], Any], put: Callable[[Any], object]) -> _Setting:
    def setting() -> Callable[[], str]:
        before = get()

        def restore() -> str:
            if get() == before:
                return ""
            put(before)
            return name

        return restore

    return setting


def _handlers() -> Callable[[], str]:
    if threading.current_thread() is not threading.main_thread():
        return str
    # Those of Unix; beyond them are the real-time signals, which nothing here uses.
    numbers = [number for number in sorted(signal.valid_signals()) if number < 32]
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> str:
        changed = []
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                changed.append(signal.Signals(number).name)
                if handler is not None:
                    signal.signal(number, handler)
        return f"the handler of {', '.join(changed)}" if changed else ""

    return restore


def _streams() -> Callable[[], str]:
    before = (sys.stdin, sys.stdout, sys.stderr)
    files: dict[int, int] = {}
    for number in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            files[number] = os.dup(number)

    def restore() -> str:
        changed = before != (sys.stdin, sys.stdout, sys.stderr)
        sys.stdin, sys.stdout, sys.stderr = before
        for number, kept in files.items():
            try:
                same = os.path.sameopenfile(number, kept)
            except OSError:
                same = False
            with contextlib.suppress(OSError):
                if not same:
                    changed = True
                    os.dup2(kept, number)
                os.close(kept)
        return "the standard streams" * changed

    return restore


def _path() -> Callable[[], str]:
    before = list(sys.path)

    def restore() -> str:
        # Frameworks add to it, which harms nobody.
        if all(place in sys.path for place in before):
            return ""
        sys.path[:] = [*before, *(each for each in sys.path if each not in before)]
        return "sys.path"

    return restore


def _limits() -> Callable[[], str]:
    names = [f"RLIMIT_{of}" for of in ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")]
    numbers = {name: getattr(resource, name) for name in names if hasattr(resource, name)}
    before = {name: resource.getrlimit(number) for name, number in numbers.items()}

    def lowered(name: str) -> bool:
        pairs = zip(resource.getrlimit(numbers[name]), before[name], strict=True)
        infinity = resource.RLIM_INFINITY
        return any(
            new not in (old, infinity) and (old == infinity or new < old) for new, old in pairs
        )

    def restore() -> str:
        changed = [name for name in numbers if lowered(name)]
        for name in changed:
            try:
                resource.setrlimit(numbers[name], before[name])
            except (OSError, ValueError):
                # With such a limit whatever is measured next would fail for what it did not do.
                text = f"ERROR the code of a backend lowered {name} for good; its process ends\n"
                with contextlib.suppress(OSError):
                    os.write(2, text.encode())
                os._exit(LIMIT_GONE)
        return f"the limit {', '.join(changed)}" if changed else ""

    return restore


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 (taken around each block, and quicker)
    except OSError:
        return ""


def _change_folder(path: str) -> None:
    with contextlib.suppress(OSError):  # it has gone: nobody can be there
        os.chdir(path)


def _trace(functions: tuple[Any, Any]) -> None:
    sys.settrace(functions[0])
    sys.setprofile(functions[1])


_SETTINGS: tuple[_Setting, ...] = (
    _setting(
        "the alarm clock",
        lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        lambda was: was or signal.setitimer(signal.ITIMER_REAL, 0),
    ),
    _handlers,
    _setting("the working directory", _folder, _change_folder),
    _streams,
    _setting(
        "NumPy's error state",
        lambda: (np.geterr(), np.geterrcall()),
        lambda was: (np.seterr(**was[0]), np.seterrcall(was[1])),
    ),
    _setting("garbage collection", gc.isenabled, lambda was: (gc.enable if was else gc.disable)()),
    _setting(
        "Python's tracing",
        lambda: (sys.gettrace(), sys.getprofile()),
        _trace,
    ),
    _path,
    _limits,
)
