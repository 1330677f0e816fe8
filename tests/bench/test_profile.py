"""``python -m bench.profile``: a case by operator, and one file that Perfetto opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import profile
from bench.case.cases import Case
from bench.cli.command_line import BAD_INPUT
from bench.stats.bound import Bound
from bench.studies.profiling import Profiled
from bench.worker.outcomes import Unmeasured
from lstm_impl import Event, Profile

CASE_ID = "while_loop/b2-t3-i4-h5/float32/inference/cpu"


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def profiled(case: Case) -> Profiled:
        assert case.id == CASE_ID
        bound = Bound("copies", 0.6, "copies", profiled=True)
        events = (Event("While", 0.0, 1.0, "main"), Event("MatMul", 0.1, 0.5, "main"))
        return Profiled(case, Profile("a profiler", events), 0.9, bound, {})

    monkeypatch.setattr(profile, "profiled", profiled)


def test_what_was_seen_is_told_and_its_timeline_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file), "--format", "csv"]) == profile.PROFILED
    assert capsys.readouterr().out.startswith("operator,kind,count,seconds,share")
    assert json.loads(file.read_text())["otherData"]["case"] == CASE_ID


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
