"""Test reading result files, also damaged, copied and unfinished ones."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import records
from bench.records import files
from bench.records.journal import Journal
from bench.render.messages import reason_texts
from tests.bench.made_results import SHAPES, make_store
from tests.bench.mutations import mutate, patched, read_refusal, saved
from tests.places import GOLDEN, ROOT

REPLICATE = GOLDEN / "replicate-1.json"
CUT = GOLDEN / "cut.journal.jsonl"

Json = dict[str, Any]


def refusal(path: Path) -> str:
    return read_refusal(records.read, path)


# Contents


def test_read_golden_file_gives_its_values() -> None:
    file = records.read(REPLICATE)
    assert file.path == REPLICATE
    assert file.notes == ()
    run = file.run
    assert (run.id, run.session, run.suite, run.seed) == ("run-1", "session-golden", "golden", 1)
    assert run.started == datetime(2025, 1, 31, 12, 1, tzinfo=UTC)
    assert run.finished == datetime(2025, 1, 31, 12, 1, 30, tzinfo=UTC)
    assert run.complete
    assert (run.host, run.machine_id) == ("golden-host", "cafe01")
    assert run.environment["after"] == {"load": 0.5}
    first = file.measurements[0]
    assert first.case.id == "keras/b2-t10-i3-h4/float32/inference/cpu"
    assert first.run is run
    assert first.samples.dtype == np.float64
    assert first.samples.tolist() == [0.010, 0.011, 0.012, 0.010, 0.011]
    assert first.rounds.tolist() == [0, 1, 2, 3, 4]
    assert first.warmup == (0.02,)
    assert first.calls == 4
    assert first.setup == {"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1.0, "compile_s": None}
    assert first.gate["judge"] == "numpy float64 reference"
    assert first.evidence == {"ops": ["MatMul"]}
    assert (first.memory, first.roofs, first.energy) == (None, None, None)
    assert first.steady is True
    assert (first.valid, first.reasons, first.stopped) == (True, (), "precise")
    last = file.measurements[-1]
    assert not last.valid
    assert [reason.code for reason in last.reasons] == ["busy"]
    assert reason_texts(last.reasons[0])[1] == "close other programs and measure again"
    outcome = file.outcomes[0]
    assert (outcome.outcome, outcome.case.device) == ("not_measured", "gpu:0")
    assert reason_texts(outcome.reason)[0] == "no GPU is seen by TensorFlow"
    assert reason_texts(outcome.reason)[1] == "pip install 'tensorflow[and-cuda]'"


def test_read_unfinished_journal_gives_finished_cases_and_note() -> None:
    file = records.read(CUT)
    assert [each.case.backend for each in file.measurements] == ["keras"]
    assert [each.case.backend for each in file.outcomes] == ["cudnn"]
    assert not file.run.complete
    assert file.run.finished is None
    assert "the last line is cut off and was ignored" in file.notes[0]
    assert "holds an unfinished run" in file.notes[1]


def test_read_case_with_outcome_keeps_measurement(tmp_path: Path, golden: Json) -> None:
    ours = golden["benchmarks"][0]["extra_info"]["lstm"]
    both = {"case": ours["case"], "case_id": ours["case_id"], "outcome": "crashed", "reason": "?"}
    golden["lstm"]["outcomes"].append(both)
    file = records.read(saved(tmp_path / "a.json", golden))
    assert len(file.measurements) == 6
    assert len(file.outcomes) == 3
    assert "outcomes[3] (crashed) is left out; the same case is at benchmarks[0]" in file.notes[0]


# Refused files and their errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"\xff\xfe{}", "is not UTF-8 text (byte 0)"),
        (b"\x00" * 50, "is cut off or not JSON"),
        (b"hello", "is cut off or not JSON (Expecting value at line 1, column 1)"),
        (b"[1, 2]", "holds no results of this suite"),
        (b"5", "holds no results of this suite"),
        (b"9" * 5000, "holds a number of too many digits"),
        (b"[" * 200_000, "is nested too deeply to be a result file"),
        (b'{"lstm":' * 200_000, "is nested too deeply to be a result file"),
        (b'{"lstm": {"schema": 1}}', "lstm.run is missing"),
    ],
)
def test_read_other_bytes_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert message in refusal(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), count=st.integers(1, 4))
def test_read_mutated_golden_file_gives_result_or_clear_error(
    tmp_path: Path, data: st.DataObject, count: int
) -> None:
    document = json.loads(REPLICATE.read_text())
    mutate(document, data.draw(st.randoms(use_true_random=False)), count)
    check_survives(saved(tmp_path / "a.json", document))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    source=st.sampled_from([REPLICATE, CUT]),
    where=st.floats(0, 1),
    length=st.integers(0, 30),
    patch=st.binary(max_size=30),
)
def test_read_changed_bytes_give_result_or_clear_error(
    tmp_path: Path, source: Path, where: float, length: int, patch: bytes
) -> None:
    check_survives(patched(source, tmp_path, where, length, patch))


def check_survives(path: Path) -> None:
    found = records.collect([path])
    for error in found.errors:
        assert str(error).startswith(str(path))
        assert str(error).isprintable()
    assert len(found.files) + len(found.errors) == 1
    for each in found.measurements:
        assert np.all(np.isfinite(each.samples))
        assert np.all(each.samples > 0)
        assert each.samples.shape == each.rounds.shape


# Many files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two replicates of one session, of which the first has its JSON and its journal."""
    (tmp_path / "reference").mkdir()
    for number in (1, 2):
        name = f"replicate-{number}.json"
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    first = json.loads(REPLICATE.read_text())
    with Journal(tmp_path / "replicate-1.journal.jsonl") as journal:
        journal.start(first["lstm"]["run"])
        journal.benchmark(first["benchmarks"][0])
    return tmp_path


def test_collect_folder_skips_journal_next_to_json(folder: Path) -> None:
    found = records.collect([folder])
    assert [file.path.name for file in found.files] == ["replicate-1.json", "replicate-2.json"]
    assert found.errors == ()
    assert found.notes == ()
    assert len(found.measurements) == 12
    assert len(found.outcomes) == 6


def test_collect_run_named_twice_is_counted_once(folder: Path) -> None:
    journal = folder / "replicate-1.journal.jsonl"
    named: list[Path | str] = [
        journal,
        folder / "replicate-1.json",
        folder,
        str(folder / "replicate-1.json"),
    ]
    found = records.collect(named)
    assert [file.path.name for file in found.files] == ["replicate-1.json", "replicate-2.json"]
    assert (found.errors, found.notes) == ((), ())


def test_collect_copied_run_is_no_replicate(folder: Path) -> None:
    (folder / "copy.json").write_bytes(REPLICATE.read_bytes())
    found = records.collect([folder])
    assert [file.run.id for file in found.files] == ["run-1", "run-2"]
    assert "holds the same run as" in found.notes[0]
    assert "the run counts once" in found.notes[0]


def test_collect_unreadable_json_reads_journal(folder: Path) -> None:
    path = folder / "replicate-1.json"
    path.write_bytes(path.read_bytes()[:500])
    found = records.collect([folder])
    assert {file.path.name for file in found.files} == {
        "replicate-1.journal.jsonl",
        "replicate-2.json",
    }
    assert [str(error).split(": ")[0].split(" is ")[0] for error in found.errors] == [str(path)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_report_100000_cases_fit_in_memory(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is printed and not asserted, since it depends on the machine."""
    make_store(tmp_path / "store", shape)
    for kind in ("csv", "terminal"):
        command = [sys.executable, "-m", "bench.report", str(tmp_path / "store"), "--format", kind]
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(command, stdout=out, cwd=ROOT)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with capsys.disabled():
            took, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10
            print(f"\n{shape}, {kind}: {took:.1f} s of processor, {peak:.0f} MiB")
        assert process.returncode == 0
        # ru_maxrss is in KiB on Linux.
        assert sys.platform != "linux" or used.ru_maxrss < 1.5 * 2**20


def test_latest_gives_last_started_session(folder: Path, golden: Json) -> None:
    run = golden["lstm"]["run"]
    run.update(id="old", session="old", started="2024-01-01T00:00:00+00:00", finished=None)
    saved(folder / "zz-old.json", golden)
    names = [path.name for path in records.latest(folder)]
    assert names == ["replicate-1.json", "replicate-2.json"]
    run.update(id="new", session="new", started="2026-01-01T00:00:00+09:00")
    saved(folder / "aa-new.json", golden)
    assert [path.name for path in records.latest(folder)] == ["aa-new.json"]


def test_latest_reference_results_are_last_resort(folder: Path) -> None:
    reference = folder / "reference" / "ours.json"
    reference.write_bytes(REPLICATE.read_bytes())
    assert reference not in records.latest(folder)
    for path in folder.glob("*.json*"):
        path.unlink()
    assert records.latest(folder) == [reference]
    assert records.latest(folder / "nowhere") == []


# Written files


def test_json_is_read_by_pytest_benchmark(tmp_path: Path, golden: Json) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(golden["lstm"]["run"])
        for entry in golden["benchmarks"]:
            journal.benchmark(entry)
        for outcome in golden["lstm"]["outcomes"]:
            journal.outcome(outcome)
        journal.finish()
    path = records.journal_to_json(tmp_path / "a.journal.jsonl")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "Failed to load" not in done.stdout + done.stderr
    for entry in golden["benchmarks"]:
        assert entry["name"] in done.stdout


# Unfinished runs


def begun(folder: Path, golden: Json, *cases: list[str], done: int = 1, name: str = "a") -> Path:
    """Return a journal that begins these lists of cases and finishes some of them."""
    path = folder / f"{name}.journal.jsonl"
    with Journal(path) as journal:
        journal.start({**golden["lstm"]["run"], "id": name})
        for each in cases:
            journal.begin(each)
        for entry in golden["benchmarks"][:done]:
            journal.benchmark(entry)
    return path


def test_read_dead_run_names_its_last_case(
    tmp_path: Path, golden: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "running_writer", lambda path: "")
    first = golden["benchmarks"][0]["extra_info"]["lstm"]["case_id"]
    path = begun(tmp_path, golden, ["x"], [first, "y", "z"])
    (note,) = records.read(path).notes
    assert note.endswith("(its process ended while it worked on y and 1 more)")
    path.unlink()
    (note,) = records.read(begun(tmp_path, golden, ["x"], [first, "y"])).notes
    assert note.endswith("while it worked on y)")
    path.unlink()
    (note,) = records.read(begun(tmp_path, golden, [first])).notes
    assert note.endswith("its finished cases are read")
    # Notes of several files are collected.
    assert records.collect([path]).notes == (note,)


def test_unfinished_lists_dead_runs_newest_first(
    tmp_path: Path, golden: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = begun(tmp_path, golden, ["x"], name="alive")
    old, new = (begun(tmp_path, golden, [name], name=name) for name in ("old", "new"))
    os.utime(old, (1, 1))
    done = begun(tmp_path, golden, name="done")
    with done.open("a") as file:
        file.write(json.dumps({"finished": "2025-01-31T12:05:00+00:00"}) + "\n")
    (tmp_path / "broken.journal.jsonl").write_text("{")
    monkeypatch.setattr(files, "running_writer", lambda path: "pid 1" if path == alive else "")
    message = records.unfinished(tmp_path)
    assert [note.split()[0] for note in message] == [str(new), str(old)]
    (note,) = records.read(alive).notes
    assert "is still being written by pid 1" in note
