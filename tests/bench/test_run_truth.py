"""Test ``bench.run`` and its verdicts on this machine with backends of known ratio.

Two names of one backend must not differ, and one that waits for a tenth of each step's own time
must be found slower. What the simulation of ``verdict_study`` shows of made-up samples is tested
here of real ones: processes, alternating blocks, files and verdicts as a user has them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import other_package
from tests.places import ROOT

SOURCE = """\
import time
from dataclasses import replace
from lstm_impl.backends.{module} import {base}

class Twin({base}):
    strategy = "twin"

class Late({base}):
    strategy = "late"

    def _build(self, *arguments):
        model = super()._build(*arguments)
        prepare = model.prepare

        def late(workload, seed=0):
            step = prepare(workload, seed)

            def run():
                start = time.perf_counter()
                result = step.run()
                step.synchronize()
                end = time.perf_counter()
                while time.perf_counter() < end + 0.1 * (end - start):
                    pass
                return result

            return replace(step, run=run)

        model.prepare = late
        return model
"""

SUITE = """\
schema = 1
name = "truth"
backends = ["{strategy}", "twin", "late"]
devices = ["cpu"]
modes = ["training"]
seconds = 1.0

[[groups]]
shapes = [{{ batch = 16, timesteps = 25, input_size = 32, hidden_size = 64 }}]
"""

PROCESSES = 12
"""Enough for a true tenth to be found in all but one of thousands of comparisons, where processes
spread by 3.5% (docs/verdicts.md)."""

MOST_PROCESSES = 48
"""Of a machine that is so busy that twelve do not show a tenth."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "module", "base", "waiting"),
    # TensorFlow's slower step also waits for its result in each call, not once per block: that adds
    # a few per cent of so short a step.
    [
        ("numpy", "others.numpy_loop", "NumPyLoop", 0.0),
        ("while_loop", "tensorflow.loops", "WhileLoop", 0.05),
    ],
)
def test_run_judges_a_twin_equal_and_a_tenth_more_slower(
    tmp_path: Path, strategy: str, module: str, base: str, waiting: float
) -> None:
    packages = tmp_path / "packages"
    source = SOURCE.format(module=module, base=base)
    other_package.install(packages, "twins", source, {"twin": "Twin", "late": "Late"})
    (tmp_path / "truth.toml").write_text(SUITE.format(strategy=strategy))
    # A lock of its own: other runs on the machine do not matter here.
    (tmp_path / "tmp").mkdir()
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
        "TMPDIR": str(tmp_path / "tmp"),
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read() -> dict[str, dict[str, object]]:
        report = run("bench.report", "results", f"--baseline={strategy}", "--format=json")
        return {row["backend"]: row for row in json.loads(report)["cases"]}

    run("bench.run", "truth.toml", f"--processes={PROCESSES}", "--results=results")
    rows = read()
    # The twin is tested once: repeating until there is a verdict makes false ones.
    assert rows["twin"]["processes"] == PROCESSES
    assert rows["twin"]["verdict"] in ("SAME", "UNCLEAR"), rows["twin"]
    processes = PROCESSES
    while rows["late"]["verdict"] == "UNCLEAR" and processes < MOST_PROCESSES:
        processes += PROCESSES
        session = str(rows["late"]["session"])
        options = (f"--resume={session}", f"--processes={processes}", "--results=results")
        run("bench.run", *options)
        rows = read()
    assert rows["late"]["verdict"] == "SLOWER", rows["late"]
    low, high = rows["late"]["ratio_low"], rows["late"]["ratio_high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < 1.1 + waiting, rows["late"]
    assert high > 1.1, rows["late"]
