"""Make a folder with the hostile package, a suite of one shape, and a lock of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import records
from bench.records.schema import Results
from bench.render.messages import reason_texts
from tests import hostile, quick_pytest
from tests.bench.warm_pytest import WarmPytest
from tests.outside import outside
from tests.places import ROOT

SUITE = """\
schema = 1
name = "mine"
backends = {backends}
devices = ["cpu"]
modes = ["inference"]
seconds = 0.05

[[groups]]
shapes = [{{ batch = 1, timesteps = 3, input_size = 1, hidden_size = 2 }}]
"""

PYTEST = (
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
    *("--benchmark-only", "bench/bench_cases.py"),
)
"""Arguments of pytest, without the suite and the folder."""


class Place:
    """A folder in which commands are run.

    warm: the process whose forks run pytest; without it each is a new process.
    """

    def __init__(self, folder: Path, warm: WarmPytest | None = None) -> None:
        self.folder = folder
        self._warm = warm
        self.results = folder / "results"
        self.suite = folder / "mine.toml"
        self._packages = folder / "packages"
        hostile.install(self._packages)
        temporary = folder / "tmp"
        temporary.mkdir()
        own = {"TMPDIR": str(temporary), **quick_pytest.USED}
        self.environ = outside(self._packages, **own)

    def measures(self, *backends: str) -> None:
        """Set the backends of the suite."""
        self.suite.write_text(SUITE.format(backends=json.dumps(backends)), encoding="utf-8")

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run plain pytest in the clone, with our tests' settings."""
        given = (*PYTEST, f"--lstm-suite={self.suite}", f"--lstm-results={self.results}")
        if self._warm is None:
            return self.start(["pytest", *given, *arguments])
        words = [*given, *arguments]
        code, out = self._warm.run(words, ROOT, self.environ, self._packages)
        return subprocess.CompletedProcess(words, code, out, "")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``bench.run``, each case in one process."""
        given = ("--results", str(self.results), "--processes", "1", *arguments)
        return self.start(["bench.run", str(self.suite), *given])

    def run_that_waits(self, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run ``run`` with a limit for the end of a worker that has finished."""
        program = (
            "import sys; from bench.session import manager; "
            f"manager.END_LIMIT = {seconds!r}; from bench import run; sys.exit(run.main())"
        )
        given = (str(self.suite), "--results", str(self.results), "--processes", "1")
        return self._python("-c", program, *given)

    def start(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a module with its arguments to its end."""
        return self._python("-m", *command)

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    @property
    def found(self) -> Results:
        """Return the results in the folder."""
        return records.collect([self.results])

    @property
    def remarks(self) -> dict[str, tuple[str, ...]]:
        """Return the remarks on each backend that has a time."""
        return {each.case.backend: each.remarks for each in self.found.measurements}

    @property
    def reasons(self) -> dict[str, str]:
        """Return outcome and reason of backends without a time."""
        return {
            each.case.backend: f"{each.outcome}: {reason_texts(each.reason)[0]}"
            for each in self.found.outcomes
        }
