"""Busy processors: processes of our own that do nothing but count, beside what is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_COUNTING = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    number = 1
    for _ in range(200_000):
        number = number * 5 % 1_000_003
"""
"""A product at a time keeps a processor as busy as any program does, and no cache or memory. Every
10 ms or so it looks whether who started it still lives: nobody else would end it."""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """While it lasts, so many processes keep a processor busy each; 0 are none.

    They have ended when it is left, and what they used is then this process's children's.
    """
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
