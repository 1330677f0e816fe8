"""Drop TensorFlow's lines about its own build while it is imported.

Its library writes them to file descriptor 2 before it reads the level that
``TF_CPP_MIN_LOG_LEVEL`` asks for. So for the time of that import what is written there goes through
another process, which drops what the level drops later. It is a process and no thread, so that the
last words of an import that dies still arrive.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's variable: 0 asks for all lines, 1 for no remarks, 2 for errors, 3 for none."""

_SECONDS = 5.0
"""For the filter to write what it still has; a process that inherited its input may keep it."""

_FILTER = """\
import re, sys
drop = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not drop.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def dropped(level: str) -> re.Pattern[str] | None:
    """Match the lines that this level does not want; None if it wants all, or is no level."""
    if not level.isdecimal() or not (letters := "IWE"[: int(level)]):
        return None
    place = r"\S+:\d+\] "
    return re.compile(
        rf"[{letters}]\d{{4}} [\d:.]+ +\d+ {place}"
        rf"|\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [{letters}] {place}"
        # absl's own line before the first, and the second line of the one about instructions
        r"|WARNING: All log messages before absl::InitializeLog\(\) is called"
        r"|To enable the following instructions: "
    )


def hold_back() -> None:
    """Make TensorFlow's import as quiet as ``TF_CPP_MIN_LOG_LEVEL`` asks for."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Has the finders after it find TensorFlow, and filters what its loader prints."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # looking for TensorFlow does not import it yet
        if spec is not None and spec.loader is not None:
            # The loader stays the one that it is: packages ask their own for files.
            loader: Any = spec.loader
            load = loader.exec_module

            def quietly(module: ModuleType) -> None:
                with contextlib.suppress(ValueError):  # of a module that is loaded again
                    sys.meta_path.remove(self)
                with _filtered(os.environ.get(LEVEL, "")):
                    load(module)

            loader.exec_module = quietly
        return spec


@contextlib.contextmanager
def _filtered(level: str) -> Iterator[None]:
    pattern = dropped(level)
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed: nobody reads a line
        pattern = None
    if pattern is None:
        yield
        return
    with os.fdopen(kept, "wb", buffering=0) as errors:
        # A session of its own: Ctrl-C is for the command, and the filter ends with its input.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER, pattern.pattern],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdin is not None
        _send_errors_to(process.stdin.fileno())
        try:
            yield
        finally:
            _send_errors_to(errors.fileno())
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS)


def _send_errors_to(descriptor: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.flush()
    os.dup2(descriptor, 2)
