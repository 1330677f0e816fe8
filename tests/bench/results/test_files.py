"""What result files may contain, and what is left of them when something goes wrong."""

import copy
import errno
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import results
from bench.disk import writing
from bench.disk.fields import ResultError
from bench.disk.writing import ResultWriteError, write
from bench.results.journal import Journal
from bench.results.schema import Measurement
from bench.suites.cases import Case
from tests.bench.mutations import mutate, patched, refusal_of, saved
from tests.places import GOLDEN, ROOT

REPLICATE = GOLDEN / "replicate-1.json"
CUT = GOLDEN / "cut.journal.jsonl"

Json = dict[str, Any]


@pytest.fixture
def golden() -> Json:
    document: Json = json.loads(REPLICATE.read_text())
    return document


@pytest.fixture
def entry(golden: Json) -> Json:
    found: Json = golden["benchmarks"][0]
    return found


@pytest.fixture
def run(golden: Json) -> Json:
    found: Json = golden["lstm"]["run"]
    return found


def put(document: Any, way: str, value: object) -> None:
    """Set ``benchmarks[0].stats.data`` and the like; the value DELETE takes the field away."""
    *parents, last = re.findall(r"\w+", way)
    for key in parents:
        document = document[int(key) if key.isdigit() else key]
    if value is DELETE:
        del document[last]
    else:
        document[int(last) if last.isdigit() else last] = value


DELETE = object()


def refusal(path: Path) -> str:
    return refusal_of(results.read, path)


# What is read


def test_a_golden_file_gives_the_values_that_stand_in_it() -> None:
    file = results.read(REPLICATE)
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
    assert last.reasons[0].advice == "close other programs and measure again"
    outcome = file.outcomes[0]
    assert (outcome.outcome, outcome.case.device) == ("not_measured", "gpu:0")
    assert outcome.reason == "no GPU is seen by TensorFlow"
    assert outcome.advice == "pip install 'tensorflow[and-cuda]'"


def test_a_journal_without_its_end_gives_the_finished_cases_and_says_so() -> None:
    file = results.read(CUT)
    assert [each.case.backend for each in file.measurements] == ["keras"]
    assert [each.case.backend for each in file.outcomes] == ["cudnn"]
    assert not file.run.complete
    assert file.run.finished is None
    assert "the last line is cut off and was dropped" in file.notes[0]
    assert "did not come to its end" in file.notes[1]


def test_a_time_whose_gate_did_not_pass_is_not_shown(tmp_path: Path, golden: Json) -> None:
    put(golden, "benchmarks[0].extra_info.lstm.gate", {"passed": False, "errors": {"y": None}})
    file = results.read(saved(tmp_path / "a.json", golden))
    backends = [(each.case.backend, each.case.workload.mode) for each in file.measurements]
    assert ("keras", "inference") not in backends
    assert [each.outcome for each in file.outcomes if each.case.backend == "keras"] == ["failed"]
    assert "benchmarks[0] did not pass its gate" in file.notes[0]


def test_a_case_that_was_measured_and_has_an_outcome_too_keeps_its_measurement(
    tmp_path: Path, golden: Json
) -> None:
    ours = golden["benchmarks"][0]["extra_info"]["lstm"]
    both = {"case": ours["case"], "case_id": ours["case_id"], "outcome": "crashed", "reason": "?"}
    golden["lstm"]["outcomes"].append(both)
    file = results.read(saved(tmp_path / "a.json", golden))
    assert len(file.measurements) == 6
    assert len(file.outcomes) == 3
    assert "outcomes[3] (crashed) is left out; its case stands at benchmarks[0]" in file.notes[0]


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + REPLICATE.read_bytes())
    assert len(results.read(path).measurements) == 6


# What is refused, and in which words

OURS = "benchmarks[3].extra_info.lstm"
WORK = f"{OURS}.case.workload"
SPEC = f"{OURS}.case.spec"
TIME = "expected a time in seconds between 1e-12 and 1e+09"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (f"{WORK}.batch", "many", f'{WORK}.batch is "many"; expected a positive integer'),
        (f"{WORK}.batch", 0, f"{WORK}.batch is 0; expected a positive integer"),
        (f"{WORK}.batch", True, f"{WORK}.batch is true; expected a positive integer"),
        (f"{WORK}.batch", 2.0, f"{WORK}.batch is 2.0; expected a positive integer"),
        (f"{WORK}.batch", DELETE, f"{WORK}.batch is missing; expected a positive integer"),
        (f"{WORK}.batch", None, f"{WORK}.batch is null; expected a positive integer"),
        (f"{WORK}.batch", 10**400, "positive integer and at most 9007199254740992"),
        (f"{WORK}.mode", "dreaming", f"{WORK}.mode is 'dreaming'; expected one of inference,"),
        (f"{WORK}.mode", ["a"], f"{WORK}.mode is a list; expected a name"),
        (f"{WORK}.window", 11, f"{WORK}.window is 11; expected at most the 10 timesteps"),
        (f"{WORK}.optimizer", "lion", f"{WORK}.optimizer is 'lion'; expected one of sgd, adam"),
        (f"{WORK}.optimizer", 3, f"{WORK}.optimizer is 3; expected a name"),
        (f"{WORK}.dropout", math.nan, f"{WORK}.dropout is NaN; expected a number of at least 0"),
        (f"{WORK}.depth", 2, f"{WORK} has an unknown field 'depth'"),
        (f"{WORK}", 5, f"{WORK} is 5; expected an object"),
        (f"{SPEC}.dtype", "int3", f"{SPEC}.dtype is 'int3'; expected one of float64,"),
        (f"{SPEC}.bidirectional", 1, f"{SPEC}.bidirectional is 1; expected true or false"),
        (f"{OURS}.case.backend", " ", f'{OURS}.case.backend is " "; expected a name'),
        (f"{OURS}.case_id", "x", f'{OURS}.case_id is "x"; expected "while_loop+xla/b2-t10-i3-h4/'),
        (f"{OURS}.case", DELETE, f"{OURS}.case is missing; expected an object"),
        (f"{OURS}.schema", 2, f"{OURS}.schema is 2; expected at most 1: this version knows"),
        (f"{OURS}.gate.passed", "yes", f'{OURS}.gate.passed is "yes"; expected true or false'),
        (f"{OURS}.gate.errors.y", "1", f'{OURS}.gate.errors.y is "1"; expected a finite number'),
        (f"{OURS}.setup.trace_s", -1, f"{OURS}.setup.trace_s is -1; expected a number of at"),
        (f"{OURS}.setup.trace_s", math.inf, f"{OURS}.setup.trace_s is Infinity; expected a finite"),
        (f"{OURS}.blocks.round", [0, 1], f"{OURS}.blocks.round is a list; expected a round for"),
        (f"{OURS}.blocks.round[2]", -1, f"{OURS}.blocks.round[2] is -1; expected an integer of"),
        (f"{OURS}.blocks.calls", 0, f"{OURS}.blocks.calls is 0; expected a positive integer"),
        (f"{OURS}.blocks.warmup[0]", None, f"{OURS}.blocks.warmup[0] is null; {TIME}"),
        (f"{OURS}.memory", [], f"{OURS}.memory is a list; expected an object"),
        (f"{OURS}.memory", {"seconds": "soon"}, f'{OURS}.memory.seconds is "soon"; expected a num'),
        (f"{OURS}.memory", {"seconds": -1.0}, f"{OURS}.memory.seconds is -1.0; expected a number"),
        (f"{OURS}.memory", {"seconds": math.inf}, f"{OURS}.memory.seconds is Infinity; expected"),
        (f"{OURS}.memory", {"peak_bytes": "2 MB"}, f'{OURS}.memory.peak_bytes is "2 MB"; expected'),
        (f"{OURS}.memory", {"steady_bytes": True}, f"{OURS}.memory.steady_bytes is true; expected"),
        (
            f"{OURS}.memory",
            {"peak_bytes": 1.7e308},
            "peak_bytes is 1.7e+308; expected a number from",
        ),
        (f"{OURS}.roofs", {"operations": 1e31}, f"{OURS}.roofs.operations is 1e+31; expected a nu"),
        (
            f"{OURS}.case.workload.min_length",
            2**31,
            f"{OURS}.case.workload.min_length is 2147483648; expected at most",
        ),
        (f"{OURS}.steady", "no", f'{OURS}.steady is "no"; expected true or false'),
        (f"{OURS}.validity.valid", False, f"{OURS}.validity.reasons is empty; expected at least"),
        (f"{OURS}.validity.reasons", [{}], f"{OURS}.validity.reasons[0].code is missing;"),
        ("benchmarks[3].stats.data[1]", -0.01, f"benchmarks[3].stats.data[1] is -0.01; {TIME}"),
        ("benchmarks[3].stats.data[1]", 0, f"benchmarks[3].stats.data[1] is 0; {TIME}"),
        ("benchmarks[3].stats.data[1]", math.nan, f"benchmarks[3].stats.data[1] is NaN; {TIME}"),
        ("benchmarks[3].stats.data[1]", math.inf, f"stats.data[1] is Infinity; {TIME}"),
        ("benchmarks[3].stats.data[1]", 10**400, f"{'0' * 20}...; {TIME}"),
        ("benchmarks[3].stats.data[1]", "1", f'benchmarks[3].stats.data[1] is "1"; {TIME}'),
        ("benchmarks[3].stats.data[1]", True, f"benchmarks[3].stats.data[1] is true; {TIME}"),
        ("benchmarks[3].stats.data", [], "benchmarks[3].stats.data is empty; expected at least"),
        ("benchmarks[3].stats.data", DELETE, "benchmarks[3].stats.data is missing; expected a"),
        ("benchmarks[3].extra_info", {}, f"{OURS} is missing; expected an object"),
        ("benchmarks[3]", None, "benchmarks[3] is null; expected an object"),
        ("benchmarks", {}, "benchmarks is an object; expected a list"),
        ("lstm.schema", 2, "lstm.schema is 2; expected at most 1: this version knows schema 1, up"),
        ("lstm.schema", "1", 'lstm.schema is "1"; expected a positive integer'),
        ("lstm.outcomes[0].outcome", "meh", 'lstm.outcomes[0].outcome is "meh"; expected one of'),
        ("lstm.outcomes[0].outcome", [], "lstm.outcomes[0].outcome is a list; expected one of"),
        ("lstm.outcomes[0].reason", 5, "lstm.outcomes[0].reason is 5; expected text"),
        ("lstm.run.id", "", 'lstm.run.id is ""; expected a name'),
        ("lstm.run.started", "today", 'lstm.run.started is "today"; expected a time with its zone'),
        ("lstm.run.started", "2025-01-31T12:00", "expected a time with its zone, like"),
        ("lstm.run.started", "0001-01-01T00:00:00+23:59", "expected a time with its zone, like"),
        ("lstm.run.complete", 1, "lstm.run.complete is 1; expected true or false"),
        ("lstm.run.seed", -1, "lstm.run.seed is -1; expected an integer of at least 0"),
        ("lstm.run.environment", [], "lstm.run.environment is a list; expected an object"),
        ("lstm.run", DELETE, "lstm.run is missing; expected an object"),
        ("lstm", "x", 'lstm is "x"; expected an object'),
    ],
)
def test_a_malformed_field_is_named_with_what_was_expected(
    tmp_path: Path, golden: Json, field: str, value: object, told: str
) -> None:
    put(golden, field, value)
    assert told in refusal(saved(tmp_path / "a.json", golden))


def test_a_case_that_was_read_before_lends_its_place_to_no_other(
    tmp_path: Path, golden: Json
) -> None:
    path = saved(tmp_path / "a.json", golden)
    first, again = results.read(path).measurements, results.read(path).measurements
    assert again[0].case is first[0].case
    batch = first[-1].case.workload.batch
    for equal in (float(batch), True):  # each the same number to Python, and no integer
        put(golden, f"{WORK}.batch", equal)
        assert f"{WORK}.batch is" in refusal(saved(path, golden))


def test_what_a_hostile_value_says_is_shown_short_and_without_control_characters(
    tmp_path: Path, golden: Json
) -> None:
    put(golden, "lstm.run.started", "\x1b[31m\n\u202e\ud800" + "x" * 1_000_000)
    told = refusal(saved(tmp_path / "a.json", golden))
    assert len(told) < 300
    put(golden, "lstm.run.started", "2025-01-31T12:00:00+00:00")
    put(golden, f"{WORK}.mode", "\x1b[31m\n" + "y" * 1_000_000)
    assert len(refusal(saved(tmp_path / "a.json", golden))) < 500


def test_two_measurements_of_one_case_in_one_run_are_refused(tmp_path: Path, golden: Json) -> None:
    golden["benchmarks"].append(copy.deepcopy(golden["benchmarks"][1]))
    told = refusal(saved(tmp_path / "a.json", golden))
    assert "benchmarks[6].extra_info.lstm.case_id" in told
    assert "it stands at benchmarks[1] too" in told


@pytest.mark.parametrize(
    ("content", "told"),
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
def test_bytes_that_are_no_result_file_are_refused(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert told in refusal(path)


def test_a_free_form_field_nested_without_end_is_refused(tmp_path: Path, golden: Json) -> None:
    nested: object = 1
    for _ in range(200):
        nested = [nested]
    put(golden, f"{OURS}.evidence", {"deep": nested})
    assert f"{OURS}.evidence is nested too deeply" in refusal(saved(tmp_path / "a.json", golden))


def test_a_plain_pytest_benchmark_file_is_told_from_ours() -> None:
    told = refusal(GOLDEN / "foreign-pytest-benchmark.json")
    assert told == ("holds no results of this suite (they are made by pytest --benchmark-only)")


def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    whole = REPLICATE.read_bytes()
    path = tmp_path / "a.json"
    for end in random.Random(5).sample(range(1, len(whole) - 2), 60):
        path.write_bytes(whole[:end])
        assert "is cut off or not JSON" in refusal(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder; expected a file"
    assert refusal(tmp_path / "none.json") == "does not exist"
    os.mkfifo(tmp_path / "pipe.json")
    assert refusal(tmp_path / "pipe.json") == "is not a regular file"
    with pytest.raises(ResultError, match="cannot be read: File name too long"):
        results.read("n" * 5000 + ".json")
    with pytest.raises(ResultError, match=r"a\?b\.json cannot be read: embedded null"):
        results.read("a\0b.json")


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not stop root, as whom tests in containers run.
    def denied(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("bench.disk.reading.os.open", denied)
    assert refusal(REPLICATE) == "cannot be read: Permission denied"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), count=st.integers(1, 4))
def test_a_golden_file_mutated_gives_a_result_or_a_clear_error(
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
def test_a_golden_file_with_other_bytes_gives_a_result_or_a_clear_error(
    tmp_path: Path, source: Path, where: float, length: int, patch: bytes
) -> None:
    check_survives(patched(source, tmp_path, where, length, patch))


def check_survives(path: Path) -> None:
    found = results.collect([path])
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
    """Two replicates of one session, and the JSON of the first has its journal beside it."""
    (tmp_path / "reference").mkdir()
    for number in (1, 2):
        name = f"replicate-{number}.json"
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    first = json.loads(REPLICATE.read_text())
    with Journal(tmp_path / "replicate-1.journal.jsonl") as journal:
        journal.start(first["lstm"]["run"])
        journal.benchmark(first["benchmarks"][0])
    return tmp_path


def test_a_folder_stands_for_its_files_and_a_journal_beside_its_json_is_not_read_twice(
    folder: Path,
) -> None:
    found = results.collect([folder])
    assert [file.path.name for file in found.files] == ["replicate-1.json", "replicate-2.json"]
    assert found.errors == ()
    assert found.notes == ()
    assert len(found.measurements) == 12
    assert len(found.outcomes) == 6


def test_a_run_named_in_several_ways_is_counted_once(folder: Path) -> None:
    journal = folder / "replicate-1.journal.jsonl"
    named: list[Path | str] = [
        journal,
        folder / "replicate-1.json",
        folder,
        str(folder / "replicate-1.json"),
    ]
    found = results.collect(named)
    assert [file.path.name for file in found.files] == ["replicate-1.json", "replicate-2.json"]
    assert (found.errors, found.notes) == ((), ())


def test_a_copy_of_a_run_is_no_replicate(folder: Path) -> None:
    (folder / "copy.json").write_bytes(REPLICATE.read_bytes())
    found = results.collect([folder])
    assert [file.run.id for file in found.files] == ["run-1", "run-2"]
    assert "holds the same run as" in found.notes[0]
    assert "counted once" in found.notes[0]


def test_the_journal_is_read_where_its_json_cannot_be(folder: Path) -> None:
    path = folder / "replicate-1.json"
    path.write_bytes(path.read_bytes()[:500])
    found = results.collect([folder])
    assert {file.path.name for file in found.files} == {
        "replicate-1.journal.jsonl",
        "replicate-2.json",
    }
    assert [str(error).split(": ")[0].split(" is ")[0] for error in found.errors] == [str(path)]


def test_bad_files_do_not_hide_the_good_ones(folder: Path) -> None:
    (folder / "empty.json").touch()
    found = results.collect([folder, folder / "missing.json", folder / "reference"])
    assert len(found.files) == 2
    assert [str(error).removeprefix(str(folder)) for error in found.errors] == [
        "/reference holds no result files",
        "/empty.json is empty",
        "/missing.json does not exist",
    ]


def test_the_latest_results_are_the_session_that_began_last(folder: Path, golden: Json) -> None:
    run = golden["lstm"]["run"]
    run.update(id="old", session="old", started="2024-01-01T00:00:00+00:00", finished=None)
    saved(folder / "zz-old.json", golden)
    names = [path.name for path in results.latest(folder)]
    assert names == ["replicate-1.json", "replicate-2.json"]
    run.update(id="new", session="new", started="2026-01-01T00:00:00+09:00")
    saved(folder / "aa-new.json", golden)
    assert [path.name for path in results.latest(folder)] == ["aa-new.json"]


def test_a_session_that_crashed_is_the_latest_too(folder: Path) -> None:
    (folder / "cut.journal.jsonl").write_bytes(CUT.read_bytes())
    assert [path.name for path in results.latest(folder)] == ["cut.journal.jsonl"]


def test_a_broken_file_comes_with_the_latest_so_that_it_is_seen(folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    found = results.collect(results.latest(folder))
    assert len(found.files) == 2
    assert len(found.errors) == 1


def test_reference_results_are_the_latest_only_where_nothing_else_is(folder: Path) -> None:
    reference = folder / "reference" / "ours.json"
    reference.write_bytes(REPLICATE.read_bytes())
    assert reference not in results.latest(folder)
    for path in folder.glob("*.json*"):
        path.unlink()
    assert results.latest(folder) == [reference]
    assert results.latest(folder / "nowhere") == []


# What is written


def test_what_a_journal_is_given_is_read_back_from_it_and_from_its_json(
    tmp_path: Path, golden: Json
) -> None:
    path = tmp_path / "new" / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(results.read(REPLICATE).run)
        for entry in golden["benchmarks"]:
            journal.benchmark(entry)
        for outcome in golden["lstm"]["outcomes"]:
            journal.outcome(outcome)
        unfinished = results.read(path)
        journal.finish("2025-01-31T12:05:00+00:00", {"load": 2.5})
    from_journal = results.read(path)
    made = results.journal_to_json(path, {"node": "x"}, {"id": "y"})
    assert made == tmp_path / "new" / "a.json"
    from_json = results.read(made)
    expected = results.read(REPLICATE)
    for file in (unfinished, from_journal, from_json):
        assert list(map(comparable, file.measurements)) == list(
            map(comparable, expected.measurements)
        )
        assert [(o.case, o.outcome, o.reason, o.advice) for o in file.outcomes] == [
            (o.case, o.outcome, o.reason, o.advice) for o in expected.outcomes
        ]
    assert from_json.run == from_journal.run
    assert from_json.run.finished == datetime(2025, 1, 31, 12, 5, tzinfo=UTC)
    assert from_json.run.environment["after"] == {"load": 2.5}
    document = json.loads(made.read_text())
    assert document["machine_info"] == {"node": "x"}
    assert document["commit_info"] == {"id": "y"}
    assert document["version"]
    assert path.exists()


@pytest.mark.parametrize(
    ("info", "wanted"),
    [
        ({"id": "abc", "dirty": False}, "abc"),
        ({"id": "abc", "dirty": True}, "abc with changes"),
        ({"id": 3}, ""),
        ([], ""),
        (None, ""),
        (DELETE, ""),
    ],
)
def test_the_commit_is_read_whatever_stands_there(
    tmp_path: Path, golden: Json, info: object, wanted: str
) -> None:
    put(golden, "commit_info", info)
    assert results.read(saved(tmp_path / "a.json", golden)).commit == wanted


def test_a_case_with_an_optimizer_is_read_as_it_was_written(tmp_path: Path, golden: Json) -> None:
    found = next(
        entry["extra_info"]["lstm"]
        for entry in golden["benchmarks"]
        if entry["extra_info"]["lstm"]["case"]["workload"]["mode"] == "training"
    )
    case = Case.from_dict(found["case"])
    case = replace(case, workload=replace(case.workload, optimizer="adam"))
    found["case"], found["case_id"] = case.to_dict(), case.id
    assert case in [
        each.case for each in results.read(saved(tmp_path / "a.json", golden)).measurements
    ]


def comparable(each: Measurement) -> tuple[object, ...]:
    return (
        each.case,
        each.samples.tolist(),
        each.rounds.tolist(),
        each.warmup,
        each.calls,
        each.setup,
        each.gate,
        each.evidence,
        each.reasons,
    )


def test_an_interrupted_run_says_that_it_is_not_complete(tmp_path: Path, run: Json) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(run)
        journal.finish(complete=False)
    read = results.read(results.journal_to_json(tmp_path / "a.journal.jsonl")).run
    assert not read.complete
    assert read.finished is not None


def test_numpy_values_and_numbers_that_json_lacks_are_written_as_plain_data(
    tmp_path: Path, run: Json, entry: Json
) -> None:
    ours = entry["extra_info"]["lstm"]
    entry["stats"]["data"] = np.array(entry["stats"]["data"])
    ours["evidence"] = {"nan": math.nan, "inf": -math.inf, "path": Path("a"), "n": np.int32(3)}
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(run)
        journal.benchmark(entry)
    for line in (tmp_path / "a.journal.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    read = results.read(tmp_path / "a.journal.jsonl").measurements[0]
    assert read.samples.tolist() == [0.010, 0.011, 0.012, 0.010, 0.011]
    assert read.evidence == {"nan": None, "inf": None, "path": "a", "n": 3}


def test_an_entry_that_could_not_be_read_back_is_refused_before_it_is_written(
    tmp_path: Path, run: Json, entry: Json
) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(run)
        journal.benchmark(entry)
        before = path.read_bytes()
        with pytest.raises(ResultError, match="each case once in a run"):
            journal.benchmark(entry)
        entry["extra_info"]["lstm"]["evidence"] = {"op": object()}
        with pytest.raises(ResultError, match=r"evidence.op is a object; expected plain data"):
            journal.benchmark(entry)
        entry["stats"]["data"] = [-1.0]
        entry["extra_info"]["lstm"]["evidence"] = {}
        with pytest.raises(ResultError, match=r"benchmark.stats.data\[0\] is -1.0"):
            journal.benchmark(entry)
        with pytest.raises(ResultError, match=r"outcome.outcome is missing"):
            journal.outcome({"case": 1})
    assert path.read_bytes() == before


def test_a_journal_begins_with_its_run_and_has_its_own_name(
    tmp_path: Path, run: Json, entry: Json
) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        with pytest.raises(RuntimeError):
            journal.benchmark(entry)
        # Without a run it is no journal: nobody finds one.
        (error,) = results.collect([tmp_path]).errors
        assert str(error) == f"{tmp_path} holds no result files"
        with pytest.raises(ResultError):
            journal.start({**run, "suite": 1})
        with pytest.raises(RuntimeError):
            journal.benchmark(entry)
    assert list(tmp_path.iterdir()) == []
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(run)
        assert [path.name for path in tmp_path.iterdir()] == ["a.journal.jsonl"]
    with pytest.raises(ResultWriteError, match=r"a\.journal\.jsonl cannot be written: File exists"):
        Journal(tmp_path / "a.journal.jsonl")
    with pytest.raises(ValueError, match=r"expected a name ending in \.journal\.jsonl"):
        Journal(tmp_path / "a.json")


def test_each_line_is_synced_before_the_call_returns(
    tmp_path: Path, run: Json, entry: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    path = tmp_path / "a.journal.jsonl"
    real = os.fsync

    def sync(file: int) -> None:
        real(file)
        synced.append(os.fstat(file).st_size)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", sync)
        journal.start(run)
        assert synced[0] == path.stat().st_size > 0
        assert len(synced) == 2  # the folder too, which then has its name
        journal.benchmark(entry)
        assert len(synced) == 3
        assert synced[-1] == path.stat().st_size


def full_disk(after: int) -> Callable[[int, memoryview], int]:
    """A disk that takes ``after`` bytes more."""
    real = os.write
    left = after

    def write(file: int, data: memoryview) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(file, data[:left])
        left -= taken
        return taken

    return write


@pytest.mark.parametrize("space", [0, 1, 700])
def test_a_full_disk_keeps_the_lines_before_and_nothing_of_the_one_that_failed(
    tmp_path: Path, run: Json, golden: Json, monkeypatch: pytest.MonkeyPatch, space: int
) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(run)
        journal.benchmark(golden["benchmarks"][0])
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk(space))
            with pytest.raises(ResultWriteError) as caught:
                journal.benchmark(golden["benchmarks"][1])
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
        assert path.read_bytes() == before
        journal.benchmark(golden["benchmarks"][1])  # there is room again
    assert len(results.read(path).measurements) == 2


def test_a_full_disk_leaves_no_journal_without_a_run(
    tmp_path: Path, run: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk(100))
            with pytest.raises(ResultWriteError, match="No space left on device"):
                journal.start(run)
        with pytest.raises(RuntimeError):
            journal.begin(["a case"])
        assert not path.exists()
        journal.start(run)  # there is room again
    assert results.read(path).run.id == run["id"]
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_who_want_one_name_the_second_is_refused(
    tmp_path: Path, run: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.journal.jsonl"
    for links in (True, False):
        with Journal(path) as first, Journal(path) as second:
            if not links:
                monkeypatch.setattr(os, "link", no_links)
            first.start(run)
            before = path.read_bytes()
            with pytest.raises(ResultWriteError, match="cannot be written: File exists"):
                second.start(run)
            assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


def no_links(*paths: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("space", [0, 10])
def test_a_full_disk_leaves_the_file_that_was_there_and_none_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int
) -> None:
    path = tmp_path / "a.json"
    write(path, {"old": True})
    monkeypatch.setattr(os, "write", full_disk(space))
    with pytest.raises(ResultWriteError, match=r"a\.json cannot be written: No space left"):
        write(path, {"new": list(range(100))})
    assert json.loads(path.read_text()) == {"old": True}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A file where a folder should be stops every user, root too.
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "a.journal.jsonl"):
        with pytest.raises(ResultWriteError) as caught:
            Journal(path) if path.name.endswith("l") else write(path, {})
        assert str(caught.value).startswith(f"{path} cannot be written: ")
    with pytest.raises(ResultWriteError, match="cannot be written"):
        write(tmp_path / "a\0b.json", {})
    with pytest.raises(ResultWriteError, match="cannot be written"):
        write(tmp_path / "a\nb" / ("n" * 500), {})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a\nb", "file"]


def test_a_file_is_readable_for_whom_the_user_allows(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write(tmp_path / "a.json", {})
    finally:
        os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


KILLED = """
import json, sys
from bench.results.journal import Journal
golden = json.load(open(sys.argv[2]))
with Journal(sys.argv[1]) as journal:
    journal.start(golden["lstm"]["run"])
    entry = golden["benchmarks"][0]
    ours = entry["extra_info"]["lstm"]
    for number in range(1, 100_000):
        ours["case"]["backend"] = f"backend-{number}"
        ours["case_id"] = f"backend-{number}/" + ours["case_id"].partition("/")[2]
        journal.benchmark(entry)
        print(ours["case_id"], flush=True)
"""


def test_what_was_acknowledged_before_a_sigkill_is_readable_after_it(tmp_path: Path) -> None:
    source = random.Random(11)
    for attempt in range(3):
        path = tmp_path / f"{attempt}.journal.jsonl"
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(REPLICATE)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            # It runs on while it is read, so that the kill meets it anywhere.
            read = source.randrange(1, 200)
            acknowledged = [process.stdout.readline().strip() for _ in range(read)]
            process.kill()
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        file = results.read(path)
        found = [each.case.id for each in file.measurements]
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1
        assert not file.run.complete
        # The JSON can be made from what is left, and holds the same.
        made = results.read(results.journal_to_json(path))
        assert [each.case.id for each in made.measurements] == found


def test_pytest_benchmark_itself_reads_the_file(tmp_path: Path, golden: Json) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(golden["lstm"]["run"])
        for entry in golden["benchmarks"]:
            journal.benchmark(entry)
        for outcome in golden["lstm"]["outcomes"]:
            journal.outcome(outcome)
        journal.finish()
    path = results.journal_to_json(tmp_path / "a.journal.jsonl")
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


def test_temporary_names_are_not_taken_for_results(
    tmp_path: Path, golden: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []
    real = writing._write_all

    def look(file: int, data: bytes) -> None:
        real(file, data)
        seen.append(results.latest(tmp_path))

    monkeypatch.setattr(writing, "_write_all", look)
    write(tmp_path / "a.json", golden)
    assert seen == [[]]
    assert results.latest(tmp_path) == [tmp_path / "a.json"]
