"""The command that hands results in: what it says of them, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import submit
from bench.sharing import submission
from tests.bench.mutations import signed
from tests.places import REFERENCE

SESSION = sorted(REFERENCE.glob("fused-*.json"))[:2]


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.chdir(tmp_path)


def main(*words: object) -> int:
    return submit.main([str(each) for each in words])


def test_what_was_written_is_named_and_what_was_there_already(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(*SESSION) == 0
    *paths, last = capsys.readouterr().out.splitlines()
    assert [Path(path).name for path in paths] == [path.name for path in SESSION]
    assert all(Path(path).is_relative_to("results/community") for path in paths)
    assert last.startswith("2 files for a pull request")
    assert main(SESSION[0], "--to", "results/community") == 0
    assert capsys.readouterr().out == f"there already: {paths[0]}\n"


def test_a_file_that_cannot_be_is_refused_with_each_reason_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(SESSION[0].read_text())
    document["benchmarks"][0]["stats"]["median"] *= 0.9
    path = signed(tmp_path / "a.json", document)
    assert main(SESSION[1], path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"refused: {path}: benchmarks[0].stats.median is ")
    assert not Path("results").exists()


def test_what_is_no_result_file_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.journal.jsonl").write_text("{}\n")
    (tmp_path / "empty").mkdir()
    (learning,) = REFERENCE.glob("learning-*.json")
    for place in (tmp_path / "a.journal.jsonl", learning, "nowhere.json", tmp_path / "empty"):
        assert main(place) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
