"""Isolate a backend's code: contain what it raises, and undo what it changes in the process.

The process measures other backends as well. Whatever a backend raises becomes an ``Exception``,
which is the result of its case. A real Ctrl-C is distinguished from an exception of that name.
After each call, everything that the backend has changed in the process is restored and noted:
streams, working directory, NumPy's error state, signal handlers, limits, sys.path and more. Its
warnings are noted, too. A change to something that all backends import is an error of its case. The
child of a fork that returns into this code is ended.
"""

import contextlib
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeAlias

import numpy as np

from bench.machine.fields import printable
from bench.machine.imports import ImportState
from bench.machine.processes import LIMIT_GONE, one_line

MOST_REMARKS, LONGEST_REMARK = 8, 300
"""The number of distinct remarks that are kept for a case, and their length in characters.

Further warnings repeat them.
"""

_EXPECTED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
"""Warnings of future changes. They say nothing about today's measurement."""


class EscapedError(Exception):
    """A backend raised ``error``, which is not an ``Exception``, such as SystemExit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class ImportsChangedError(EscapedError):
    """A backend changed something that all code of the process imports or calls.

    It was restored.
    """

    def __init__(self, text: str) -> None:
        super().__init__(self)
        self.args = (text,)


class Interrupts:
    """Records whether a SIGINT arrived during its blocks, which may be nested.

    A backend's own code may raise KeyboardInterrupt, so the exception alone proves nothing.
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
            # If SIGINT is ignored, or handled by code in C, none will arrive here.
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
    """Surrounds each call of one backend's code: ``with guard: ...``. Guards cannot be nested.

    remarks: the first distinct warnings of the code, and the changes that it made.

    On exit, the guard raises ``EscapedError`` for anything that is not an ``Exception``. It raises
    ``ImportsChangedError`` if the code removed or replaced something that all code imports or
    calls. It raises KeyboardInterrupt if a SIGINT arrived in the meantime, even if the code caught
    it.
    """

    def __init__(self, interrupts: Interrupts | None = None) -> None:
        self.remarks: list[str] = []
        self._interrupts = interrupts or Interrupts()
        self._process = -1
        self._restore: list[Callable[[], str]] = []
        self._depth = 0
        self._imports: ImportState | None = None
        self._warnings: warnings.catch_warnings[Any] | None = None

    def __enter__(self) -> Self:
        self._process = os.getpid()
        self._depth = sys.getrecursionlimit()
        self._imports = ImportState()
        self._restore = [setting() for setting in _SETTINGS]
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # Each place of the code warns only once, because a step would warn in every call.
        warnings.simplefilter("default")
        for category in _EXPECTED:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = self._record_warning
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            # The child of a fork would measure and write everything a second time.
            os._exit(0)
        assert self._warnings is not None
        assert self._imports is not None
        # This comes first, because with a low limit nothing below could be called.
        low = sys.getrecursionlimit() < self._depth
        if low:
            sys.setrecursionlimit(self._depth)
        # This comes next, because what follows may import a module.
        imports, self._imports = self._imports.restore(), None
        self._warnings.__exit__(None, None, None)
        settings = [restore() for restore in self._restore]
        for what in [*imports, *settings, "the recursion limit" * low]:
            if what:
                self.note(f"it changed {what}, which was restored")
        if self._interrupts.received:
            raise KeyboardInterrupt from None
        if imports:
            text = f"it changed {', '.join(imports)}, which was restored"
            raise ImportsChangedError(text) from error
        if error is not None and not isinstance(error, Exception):
            raise EscapedError(error) from error

    def note(self, text: str) -> None:
        """Add a remark if it is new and there are not too many."""
        text = printable(" ".join(text.split()), LONGEST_REMARK)
        if text not in self.remarks and len(self.remarks) < MOST_REMARKS:
            self.remarks.append(text)

    def _record_warning(
        self, message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        text = message if isinstance(message, str) else one_line(message)
        self.note(f"{category.__name__}: {text}")


_Setting: TypeAlias = Callable[[], Callable[[], str]]
"""Reads a setting of the process, and returns a function that restores it and names the change."""


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
    # The real-time signals are left out, because nothing here uses them.
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
        with contextlib.suppress(OSError):
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
        # Frameworks may add to the path.
        if all(place in sys.path for place in before):
            return ""
        sys.path[:] = [*before, *(each for each in sys.path if each not in before)]
        return "sys.path"

    return restore


def _limits() -> Callable[[], str]:
    try:
        import resource
    except ImportError:  # Windows
        return str
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
                # Otherwise the next cases would fail although they did nothing wrong.
                text = f"ERROR a backend permanently lowered {name}; its process ends\n"
                with contextlib.suppress(OSError):
                    os.write(2, text.encode())
                os._exit(LIMIT_GONE)
        return f"the limit {', '.join(changed)}" if changed else ""

    return restore


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 (read around each block, and faster)
    except OSError:
        return ""


def _change_folder(path: str) -> None:
    with contextlib.suppress(OSError):  # The folder was deleted.
        os.chdir(path)


_SETTINGS: tuple[_Setting, ...] = (
    _setting(
        "the alarm clock",
        lambda: hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0,
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
    _setting("Python's tracing", sys.gettrace, sys.settrace),
    _setting("Python's profiling", sys.getprofile, sys.setprofile),
    _path,
    _limits,
)
