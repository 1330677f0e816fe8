"""``python -m bench.profile``: a case by operator, and one file that Perfetto opens."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from bench import profile
from bench.judging.bound import Bound
from bench.measuring.outcomes import Unmeasured
from bench.measuring.profiling import Profiled
from bench.suites.cases import Case
from bench.telling.command_line import BAD_INPUT
from lstm_impl import Event, Profile

CASE_ID = "while_loop/b2-t3-i4-h5/float32/inference/cpu"
EVENTS = (
    Event("While", 0.0, 1.0, "main"),
    Event("MatMul", 0.1, 0.5, "main"),
    Event("Tanh", 0.7, 0.1, "main"),
    Event("<b>=1+1", 0.8, 0.1, "main"),
)


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def profiled(case: Case) -> Profiled:
        assert case.id == CASE_ID
        bound = Bound("copies", 0.6, "copies", profiled=True)
        return Profiled(case, Profile("a profiler", EVENTS), 0.9, bound, {})

    monkeypatch.setattr(profile, "profiled", profiled)


def test_the_sentence_the_operators_and_the_timeline_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file)]) == profile.PROFILED
    out = capsys.readouterr().out
    assert "900 ms a step without a profiler" in out
    assert "bound by copies: 60% of the step" in out
    assert out.index("MatMul") < out.index("While") < out.index("Tanh")
    data = json.loads(file.read_text())
    assert data["otherData"]["case"] == CASE_ID
    assert len([each for each in data["traceEvents"] if each["ph"] == "X"]) == len(EVENTS)


def test_data_has_every_operator_s_own_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["operator"]: row["kind"] for row in rows} == {
        "MatMul": "products",
        "While": "overhead",
        "Tanh": "gates",
        "<b>=1+1": "gates",
    }
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1.0)
    assert float(rows[0]["seconds"]) == pytest.approx(0.5)


def test_a_framework_without_a_profiler_is_told_and_no_file_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Unmeasured("refused", "numpy: no profiler of numpy is known here")
    monkeypatch.setattr(profile, "profiled", lambda case: said)
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file)]) == profile.NOT_PROFILED
    assert "no profiler of numpy is known here" in capsys.readouterr().err
    assert not file.exists()


def test_what_is_no_case_is_told_with_how_one_is_spelled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        profile.main(["keras", "--output", "x.json"])
    assert ended.value.code == BAD_INPUT
    assert "one is spelled backend/b32" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile.main([CASE_ID, "--output", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err
