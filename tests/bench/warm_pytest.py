"""pytest in a process for each run, all of them forks of one that has imported what they need.

Starting Python and importing pytest, NumPy and the suite takes longer than most of what is measured
in these tests, and is the same each time. What depends on how a process starts is not for forks.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine.writing import Closing
from tests import quick_pytest
from tests.outside import outside
from tests.places import ROOT

LIMIT = 300.0
"""Seconds that no run here needs."""

_SERVER = """\
import contextlib, importlib, io, json, os, sys, tempfile, types, warnings
import pytest
# pytest-benchmark asks what processor this is, which takes several processes and part of a second.
sys.modules["cpuinfo"] = types.SimpleNamespace(get_cpu_info=dict)
# Under pytest itself, which rewrites the assertions of its plugins as it imports them.
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
    code = pytest.main(sys.argv[1:])
if code:
    sys.exit(said.getvalue())
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads of a BLAS, which sleep
        child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    out = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
        os.dup2(file, number)
    os.chdir(asked["where"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    tempfile.tempdir = None
    # As `python -m pytest` has it.
    sys.path[:1] = [asked["where"], *asked["path"]]
    importlib.invalidate_caches()
    sys.argv = ["pytest", *asked["arguments"]]
    sys.exit(pytest.main(asked["arguments"]))
"""


class WarmPytest(Closing):
    """The process that they are forks of. Close it, or use it as a context.

    warm: what pytest runs in it first, so that what this needs is there. folder: for what it and
    the runs print.
    """

    def __init__(self, folder: Path, warm: Sequence[str]) -> None:
        self._out = folder / "out"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, *warm],
            cwd=ROOT,
            env=outside(TMPDIR=str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        if self._line() != "ready":
            assert self._process.stderr is not None
            raise RuntimeError(self._process.stderr.read())

    def run(
        self, arguments: Sequence[str], where: Path, environ: Mapping[str, str], *path: Path
    ) -> tuple[int, str]:
        """The exit code of a pytest (negative: a signal), and all that it printed.

        path: where it finds modules before others.
        """
        asked = {
            "arguments": list(arguments),
            "where": str(where),
            "environ": {**environ, **quick_pytest.FORKED},
            "path": list(map(str, path)),
            "out": str(self._out),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._line())
        return code, self._out.read_text(encoding="utf-8")

    def close(self) -> None:
        """End it and whatever runs."""
        with contextlib.suppress(ProcessLookupError), self._process:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LIMIT)[0]:
            self.close()
            raise TimeoutError(f"no pytest ended within {LIMIT:g} s")
        return self._process.stdout.readline().strip()
