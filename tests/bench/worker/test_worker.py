"""Test the worker process: one work order in, a journal and a result file out."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.case.cases import Case
from bench.cli.options import MeasurementOptions
from bench.machine.lock import MachineLock
from bench.worker import __main__ as worker
from bench.worker import group, recorder, roofs
from bench.worker.order import CANNOT_MEASURE, CANNOT_WRITE, WorkOrder, reported_error
from tests import quick_pytest
from tests.loaded import list_loaded
from tests.outside import outside
from tests.places import ROOT

GOLDEN = ROOT / "tests" / "golden" / "run_files.json"
"""The fields of files that a run of ``smoke`` wrote when workers were started by pytest.

The sentences of reasons are left out: since schema 3, files have only their codes and values.
"""

OPTIONS = MeasurementOptions(
    suite="smoke",
    backends=("numpy", "cudnn"),
    device=("cpu",),
    seed=0,
    session="s",
    order_seed=1,
    budget=0.1,
    memory=False,
)

FREE = (
    *("installed", "libraries", "variables", "evidence", "values", "reasons", "cpu", "errors"),
    *("bounds", "unread", "gpus", "tensorflow", "container", "commit_info"),
)
"""Keys of objects whose keys depend on the machine, its packages or the backend."""


def list_fields(data: Any, name: str = "") -> set[str]:
    """Return the places of all values, without the numbers of items."""
    if isinstance(data, dict) and name.rpartition(".")[2] not in FREE:
        return {each for key, value in data.items() for each in list_fields(value, f"{name}.{key}")}
    if isinstance(data, list) and name.rpartition(".")[2] not in FREE:
        return {name, *(each for item in data for each in list_fields(item, f"{name}[]"))}
    return {name}


def written(folder: Path, options: MeasurementOptions, **more: Any) -> Path:
    path = folder / "order.json"
    path.write_bytes(WorkOrder(options, **more).to_json())
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure roofs for a moment, as in the other processes of tests."""
    monkeypatch.setattr(roofs, "SECONDS", dict.fromkeys(roofs.SECONDS, 1e-3))
    monkeypatch.setattr(roofs, "SQUARES", dict.fromkeys(roofs.SQUARES, (64,)))


def test_worker_files_have_the_fields_that_readers_know(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field of the golden must stay, since readers of results expect it; new ones may come."""
    made = records.journal_to_json

    def keep(journal: Path, *infos: Any) -> Path:
        shutil.copy(journal, tmp_path / "kept.jsonl")
        return made(journal, *infos)

    monkeypatch.setattr(records, "journal_to_json", keep)
    order = written(
        tmp_path, MeasurementOptions(**vars(OPTIONS) | {"results": str(tmp_path / "r")})
    )
    assert worker.main([str(order)]) == 0
    (path,) = (tmp_path / "r").iterdir()
    golden = json.loads(GOLDEN.read_text())
    assert set(golden["result"]) - list_fields(json.loads(path.read_text())) == set()
    lines = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert set(golden["journal"]) - set().union(*map(list_fields, lines)) == set()
    file = records.read(path)
    assert file.run.complete
    assert {each.case.backend for each in file.measurements} == {"numpy"}
    assert {(each.case.backend, each.outcome) for each in file.outcomes} == {
        ("cudnn", "not_measured")
    }


def run_worker(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a worker in a process of its own."""
    return subprocess.run(
        [sys.executable, *words],
        env=outside(**quick_pytest.USED, **environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_worker_sets_threads_and_environment_before_it_measures(tmp_path: Path) -> None:
    options = MeasurementOptions(
        **vars(OPTIONS) | {"results": str(tmp_path / "r"), "threads": 1, "backends": ("numpy",)}
    )
    order = written(tmp_path, options, environment={"TF_ENABLE_ONEDNN_OPTS": "0"})
    done = run_worker("-m", "bench.worker", str(order), LSTM_LOCK=str(tmp_path / "lock"))
    assert (done.returncode, done.stdout) == (0, "")
    (path,) = (tmp_path / "r").iterdir()
    before = json.loads(path.read_text())["lstm"]["run"]["environment"]["before"]
    assert before["threads"]["requested"] == 1
    assert before["variables"]["OMP_NUM_THREADS"] == "1"
    assert before["variables"]["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert records.read(path).run.options["threads"] == 1


def test_worker_with_a_wrong_order_reports_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main([str(tmp_path / "order.json")]) == 2
    (kind, message) = reported_error(capsys.readouterr().out) or ("", "")
    assert kind == CANNOT_MEASURE
    assert message.endswith("order.json does not exist")
    order = written(tmp_path, MeasurementOptions(suite="quik", results=str(tmp_path / "r")))
    assert worker.main([str(order)]) == 2
    assert "did you mean quick?" in capsys.readouterr().out
    assert not (tmp_path / "r").exists()


def test_worker_that_cannot_write_reports_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r").write_text("a file stands here")
    chosen = vars(OPTIONS) | {"results": str(tmp_path / "r")}
    assert worker.main([str(written(tmp_path, MeasurementOptions(**chosen)))]) == worker.UNWRITABLE
    (kind, message) = reported_error(capsys.readouterr().out) or ("", "")
    assert kind == CANNOT_WRITE
    assert message.startswith(str(tmp_path / "r"))
    assert " cannot be written: " in message


def test_worker_on_a_busy_machine_measures_only_if_forced(
    tmp_path: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    chosen = vars(OPTIONS) | {"results": str(tmp_path / "r"), "mode": ("inference",)}
    with MachineLock(tmp_path / "lock") as lock:
        lock.acquire("another")
        assert worker.main([str(written(tmp_path, MeasurementOptions(**chosen)))]) == 2
        assert "another run measures on this machine" in capsys.readouterr().out
        assert not (tmp_path / "r").exists()
        forced = MeasurementOptions(**chosen | {"busy": "force"})
        assert worker.main([str(written(tmp_path, forced))]) == 0
    assert len(records.collect([tmp_path / "r"]).measurements) == 1


def test_worker_interrupted_keeps_what_was_finished(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Case] = []
    measure = group.measure_group

    def interrupted(cases: Any, *more: Any) -> Any:
        if measured:
            os.kill(os.getpid(), signal.SIGINT)
        measured.extend(cases)
        return measure(cases, *more)

    monkeypatch.setattr(recorder, "measure_group", interrupted)
    chosen = vars(OPTIONS) | {"results": str(tmp_path / "r"), "backends": ("numpy",)}
    assert worker.main([str(written(tmp_path, MeasurementOptions(**chosen)))]) == 130
    (path,) = (tmp_path / "r").iterdir()
    file = records.read(path)
    assert not file.run.complete
    assert len(file.measurements) == 1
    assert {each.outcome for each in file.outcomes} == {"interrupted"}


def test_worker_imports_no_pytest() -> None:
    assert "pytest" not in list_loaded("import bench.worker.recorder")


def test_machine_info_equals_that_of_pytest_benchmark() -> None:
    from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info

    theirs = pytest_benchmark_generate_machine_info()
    ours: dict[str, Any] = {**recorder.read_machine_info()}
    assert list(ours) == list(theirs)
    clocks = ("hz_actual", "hz_actual_friendly")  # change from one moment to the next
    for found in (ours, theirs):
        found["cpu"] = {name: each for name, each in found["cpu"].items() if name not in clocks}
    assert ours == theirs
