"""Studies in files: written, found, told from results, and refused where they are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.machine.fields import ResultError
from bench.records import files, study

WHEN = datetime(2025, 1, 31, 12, tzinfo=UTC)


def saved(folder: Path, kind: str = "denormals", day: int = 1) -> Path:
    when = WHEN.replace(day=day)
    return study.save(study.document(kind, when, {"seed": day}, [[{"a": 1}], [{"a": 2}]]), folder)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path)
    found = study.read(path, ("denormals",))
    assert path.name.startswith("denormals-20250101T120000Z-")
    assert found.question["seed"].integer(0) == 1
    assert [[each["a"].integer(0) for each in answer] for answer in found.answers] == [[1], [2]]
    assert found.run.started == WHEN.replace(day=1)
    assert found.run.host


def test_one_that_was_changed_is_refused_and_an_older_one_without_a_digest_is_read(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path)
    data = json.loads(path.read_bytes())
    data["answers"][0][0]["a"] = 7
    path.write_text(json.dumps(data))
    with pytest.raises(ResultError, match=r"\.json was changed after it was written"):
        study.read(path, ("denormals",))
    del data["digest"]
    path.write_text(json.dumps(data))
    assert study.read(path, ("denormals",)).answers[0][0]["a"].integer(0) == 7


def test_readers_of_results_pass_studies_over(tmp_path: Path) -> None:
    saved(tmp_path)
    found = files.collect([tmp_path])
    assert [str(error) for error in found.errors] == [f"{tmp_path} holds no result files"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"study": "lengths"}, "study is 'lengths'|study is \"lengths\"|study"),
        ({"schema": 2}, "schema"),
        ({"answers": []}, "answers"),
        ({"answers": [[]]}, "answers"),
        ({"run": {}}, "run"),
    ],
)
def test_a_file_that_is_no_such_study_is_reported(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = saved(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError, match=words):
        study.read(path, ("denormals",))
