"""Test a suite of a cell that another package registers, from the command to the report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import other_package
from tests.outside import outside
from tests.places import ROOT

SUITE = """\
schema = 1
name = "cells"
backends = [{backends}]
devices = ["cpu"]
modes = ["inference", "training"]
cells = ["lstm", "leaky", "gru"]
seconds = 0.05

[[groups]]
shapes = [{{ batch = 2, timesteps = 3, input_size = 3, hidden_size = 4 }}]
"""

TESTED = [
    ("numpy", "numpy_fused"),
    pytest.param(("numpy", "while_loop"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("backends", TESTED, ids="-".join)
def test_suite_of_another_packages_cell_is_measured_and_reported(
    backends: tuple[str, ...], tmp_path: Path
) -> None:
    source = (ROOT / "tests/lstm_impl/made_up_cell.py").read_text()
    packages = tmp_path / "packages"
    other_package.install(packages, "made_up_cell", source, {}, {"leaky": "LEAKY"})
    (tmp_path / "tmp").mkdir()
    environ = outside(packages, TMPDIR=str(tmp_path / "tmp"))
    names = ", ".join(f'"{name}"' for name in backends)
    (tmp_path / "cells.toml").write_text(SUITE.format(backends=names))

    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("bench.run", "cells.toml", "--processes=1", "--results=results")
    report = json.loads(run("bench.report", "results", "--format=json"))
    measured = {row["case_id"] for row in report["cases"] if row["time_s"] is not None}
    for cell in ("", "-leaky", "-gru"):
        for mode, gradients in (("inference", ""), ("training", "-dw")):
            shape = f"b2-t3-i3-h4{cell}{gradients}"
            assert f"numpy/{shape}/float32/{mode}/cpu" in measured
    # What does not compute the cell is reported with that reason.
    shown = " ".join(run("bench.report", "results", "--unmeasured").split())
    refusal = "it computes the cells lstm, gru and gru_reset_before only, not leaky"
    assert (refusal in shown) is ("numpy_fused" in backends)
    assert "4 hidden, leaky" in shown
