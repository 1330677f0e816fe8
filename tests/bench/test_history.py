"""The command that shows a history: what it reads, where its answer goes, and its exit codes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from bench import history
from tests.bench.made_history import SLOW_SCAN, nights, upgrade
from tests.bench.made_results import save


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def slow_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The files of thirty nights, of which from the eighteenth on one backend was slower."""
    return str(save(tmp_path_factory.mktemp("nights"), nights(slower=SLOW_SCAN)))


def test_the_command_reads_all_sessions_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "results", upgrade())
    assert history.main([]) == 0
    out = capsys.readouterr().out
    assert "History on laptop: 3 sessions, 1 case" in out
    assert "tensorflow 2.20.0 → 2.21.0" in out
    assert "▁██" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_command_fails_on_a_rule_and_names_what_broke_it(
    slow_files: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.main([slow_files, "--fail-on", "slower:5%"]) == 1
    assert "FAILED, SLOWER by more than 5%: scan (2 cases) since #18" in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert history.main([slow_files, "--format", "csv", "--fail-on", "slower:5%"]) == 1
    out, err = capsys.readouterr()
    assert "FAILED" in err
    assert "::error title=SLOWER since 2026-01-19::scan (2 cases): 0.8" in err
    assert len([row for row in csv.DictReader(io.StringIO(out)) if row["moved"]]) == 2


def test_what_is_accepted_is_left_out_by_its_time(
    slow_files: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert history.main([slow_files, "--fail-on", "slower", "--since", "2026-01-19"]) == 0
    assert "13 sessions" in capsys.readouterr().out
    assert history.main([slow_files, "--since", "2027-01-01"]) == 2
    assert "--since 2027-01-01 00:00 (UTC): no session began" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        history.main([slow_files, "--since", "yesterday"])
    assert "is not a time; write 2026-01-31" in capsys.readouterr().err


def test_a_picture_is_written_to_a_file(tmp_path: Path) -> None:
    folder = save(tmp_path / "results", upgrade())
    path = tmp_path / "history.svg"
    assert history.main([str(folder), "--format", "svg", "--output", str(path)]) == 0
    assert "#2: tensorflow 2.20.0 → 2.21.0" in path.read_text(encoding="utf-8")


def test_a_bad_file_is_told_and_the_good_ones_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "results", upgrade())
    (folder / "z.json").write_text("{")
    assert history.main([str(folder), "--sessions"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {folder}/z.json")
    assert "changed since" in out


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "some", upgrade())
    for arguments, told in (
        ([], "there are no results in results/; make some with"),
        ([str(folder), "--case", "nothing"], "--case nothing: no measured case fits"),
        ([str(folder), "--format", "png"], "--format png needs --output FILE.png"),
        ([str(folder), "--output", f"{next(folder.iterdir())}/x"], "cannot be"),
    ):
        assert history.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert told in error
        assert error.count("\n") == 1
