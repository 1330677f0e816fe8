"""A guard around a backend's code: what it raises and what it changes stays its own.

A backend is somebody else's code in the process that measures its neighbours too. Whatever it
raises comes out as an ``Exception``, so that it becomes the result of its case, and a real Ctrl-C
is told from an exception of that name. What it changes of the process (streams, the working
directory, NumPy's error state, signal handlers, limits, sys.path, ...) is put back after each call
and noted, as are the warnings that it gives. A fork that comes back in the child ends there. This
room knows the process and no case.
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
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

import numpy as np

from bench.machine.fields import printable
from bench.machine.fresh import LIMIT_GONE, one_line

MOST_REMARKS = 8
"""Distinct remarks that are kept of a case. Who warns of more says the same with other numbers."""

LONGEST_REMARK = 300

_LIMITS = {
    name: getattr(resource, name)
    for name in (
        f"RLIMIT_{of}" for of in ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
    )
    if hasattr(resource, name)
}

_EXPECTED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
"""What a framework is going to change is no news about the case that runs on it today."""


class EscapedError(Exception):
    """A backend raised what is no ``Exception``, such as SystemExit; ``error`` is that."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Interrupts:
    """While it is entered, it is known whether a SIGINT came: the keyboard, or who stands for it.
    It may be entered within itself.

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
        self._before: _Process | None = None
        self._warnings: warnings.catch_warnings[Any] | None = None

    def __enter__(self) -> Self:
        self._process = os.getpid()
        self._before = _Process.now()
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
        assert self._before is not None
        assert self._warnings is not None
        # First of all: with a low limit nothing below could be called.
        low = sys.getrecursionlimit() < self._before.depth
        if low:
            sys.setrecursionlimit(self._before.depth)
        self._warnings.__exit__(None, None, None)
        for what in self._before.put_back():
            self.note(f"it changed {what}, which was put back")
        if low:
            self.note("it changed the recursion limit, which was put back")
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
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = message if isinstance(message, str) else one_line(message)
        self.note(f"{category.__name__}: {text}")


@dataclass(frozen=True)
class _Process:
    """What of a process is everybody's, and can be put back."""

    folder: str | None
    streams: tuple[TextIO | None, TextIO | None, TextIO | None]
    files: tuple[_File, ...]
    numpy: dict[str, Any]
    numpy_call: Any
    handlers: tuple[tuple[int, Any], ...]
    alarm: tuple[float, float]
    collects: bool
    trace: Any
    profile: Any
    depth: int
    path: tuple[str, ...]
    limits: dict[str, tuple[int, int]]

    @classmethod
    def now(cls) -> _Process:
        """As it is."""
        main = threading.current_thread() is threading.main_thread()
        return cls(
            folder=_folder(),
            streams=(sys.stdin, sys.stdout, sys.stderr),
            files=tuple(map(_File.of, (1, 2))),
            numpy=dict(np.geterr()),
            numpy_call=np.geterrcall(),
            handlers=tuple((n, signal.getsignal(n)) for n in _SIGNALS) if main else (),
            alarm=signal.getitimer(signal.ITIMER_REAL),
            collects=gc.isenabled(),
            trace=sys.gettrace(),
            profile=sys.getprofile(),
            depth=sys.getrecursionlimit(),
            path=tuple(sys.path),
            limits={name: resource.getrlimit(number) for name, number in _LIMITS.items()},
        )

    def put_back(self) -> list[str]:
        """Make it as it was; what had changed, in words."""
        changed = []
        if self.alarm[0] == 0 and signal.getitimer(signal.ITIMER_REAL)[0] != 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
            changed.append("the alarm clock")
        handled = [n for n, handler in self.handlers if signal.getsignal(n) is not handler]
        for number, handler in self.handlers:
            if number in handled and handler is not None:
                signal.signal(number, handler)
        if handled:
            changed.append(f"the handler of {', '.join(map(_name, handled))}")
        if self.folder is not None and _folder() != self.folder:
            with contextlib.suppress(OSError):  # it has gone: nobody can be there
                os.chdir(self.folder)
            changed.append("the working directory")
        streams = [(sys.stdin, sys.stdout, sys.stderr) != self.streams]
        sys.stdin, sys.stdout, sys.stderr = self.streams
        streams += [each.put_back() for each in self.files]
        if any(streams):
            changed.append("the standard streams")
        if np.geterr() != self.numpy or np.geterrcall() is not self.numpy_call:
            np.seterr(**self.numpy)
            np.seterrcall(self.numpy_call)
            changed.append("NumPy's error state")
        if gc.isenabled() != self.collects:
            (gc.enable if self.collects else gc.disable)()
            changed.append("garbage collection")
        if sys.gettrace() is not self.trace or sys.getprofile() is not self.profile:
            sys.settrace(self.trace)
            sys.setprofile(self.profile)
            changed.append("Python's tracing")
        # Frameworks add to it, which harms nobody.
        if any(place not in sys.path for place in self.path):
            sys.path[:] = [*self.path, *(each for each in sys.path if each not in self.path)]
            changed.append("sys.path")
        for name, before in self.limits.items():
            if _below(resource.getrlimit(_LIMITS[name]), before):
                _lift(name, before)
                changed.append(f"the limit {name}")
        return changed


@dataclass(frozen=True)
class _File:
    """One of the process's first files. aside: the same once more; -1 if it was closed."""

    number: int
    aside: int

    @classmethod
    def of(cls, number: int) -> _File:
        try:
            return cls(number, os.dup(number))
        except OSError:
            return cls(number, -1)

    def put_back(self) -> bool:
        """Make it as it was; whether that was needed."""
        if self.aside < 0:
            return False
        try:
            changed = not os.path.sameopenfile(self.number, self.aside)
        except OSError:
            changed = True
        if changed:
            with contextlib.suppress(OSError):
                os.dup2(self.aside, self.number)
        with contextlib.suppress(OSError):
            os.close(self.aside)
        return changed


def _below(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether a soft or a hard limit is lower than it was."""
    pairs = zip(now, before, strict=True)
    infinity = resource.RLIM_INFINITY
    return any(
        new != old and new != infinity and (old == infinity or new < old) for new, old in pairs
    )


def _lift(name: str, before: tuple[int, int]) -> None:
    """Set a limit to what it was; end the process where the system does not allow that.

    With such a limit whatever is measured next would fail for what it did not do.
    """
    try:
        resource.setrlimit(_LIMITS[name], before)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            words = f"ERROR the code of a backend lowered {name} for good; its process ends\n"
            os.write(2, words.encode())
        os._exit(LIMIT_GONE)


_SIGNALS = tuple(number for number in sorted(signal.valid_signals()) if number < 32)
"""Those of Unix; beyond them are the real-time signals, which nothing here uses."""


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 (taken around each block, and quicker)
    except OSError:
        return None


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
