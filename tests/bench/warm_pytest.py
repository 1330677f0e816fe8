"""Run pytest in forks of a process that has imported pytest, NumPy and the suite.

Imports take longer than most tests. Tests of how a process starts do not use forks.
"""

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
"""Seconds that are more than any run needs."""

_SERVER = """\
import contextlib, importlib, io, json, os, sys, tempfile, types, warnings
import pytest
# pytest-benchmark would start several processes to look up the processor.
sys.modules["cpuinfo"] = types.SimpleNamespace(get_cpu_info=dict)
# By pytest itself, which rewrites the assertions of its plugins on import.
with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
    code = pytest.main(sys.argv[1:])
if code:
    sys.exit(output.getvalue())
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sleeping threads of a BLAS
        child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
        os.dup2(file, number)
    os.chdir(request["where"])
    os.environ.clear()
    os.environ.update(request["environ"])
    tempfile.tempdir = None
    # As with `python -m pytest`.
    sys.path[:1] = [request["where"], *request["path"]]
    importlib.invalidate_caches()
    sys.argv = ["pytest", *request["arguments"]]
    sys.exit(pytest.main(request["arguments"]))
"""


class WarmPytest(Closing):
    """The process whose forks run pytest. Close it, or use it as a context.

    warm: arguments of the first pytest, which imports modules. folder: for printed output.
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
        """Return the exit code of a pytest (negative: a signal) and its output.

        path: folders of modules that come first.
        """
        request = {
            "arguments": list(arguments),
            "where": str(where),
            "environ": {**environ, **quick_pytest.FORKED},
            "path": list(map(str, path)),
            "out": str(self._out),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._line())
        return code, self._out.read_text(encoding="utf-8")

    def close(self) -> None:
        """End the process and its forks."""
        with contextlib.suppress(ProcessLookupError), self._process:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LIMIT)[0]:
            self.close()
            raise TimeoutError(f"no pytest ended within {LIMIT:g} s")
        return self._process.stdout.readline().strip()
