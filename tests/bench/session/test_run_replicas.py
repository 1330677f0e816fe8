"""Test that ``bench.run`` measures a backend and its replicas in one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import records
from tests import quick_pytest
from tests.bench.made_suites import small_suite
from tests.outside import outside


@pytest.mark.slow
def test_run_variant_replicas_is_measured_next_to_its_backend(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")
    suite = tmp_path / "mine.toml"
    text = small_suite().replace("numpy", "block_lstm").replace("batch = 1", "batch = 4")
    suite.write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.run", str(suite), "--variant", "none,replicas"),
            *("--mode", "training,inference", "--processes", "1", "--results", str(tmp_path / "r")),
        ],
        env=outside(LSTM_LOCK=str(tmp_path / "lock"), **quick_pytest.USED),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = records.collect([tmp_path / "r"])
    measured = {(each.case.backend, each.case.workload.timesteps) for each in found.measurements}
    names = ("block_lstm", "block_lstm:replicas")
    assert measured == {(name, steps) for name in names for steps in (2, 3)}
