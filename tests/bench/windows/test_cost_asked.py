"""What ``bench.truncation`` reads and shows: which files, which streams, and what is no answer."""

import csv
import io
from pathlib import Path

import pytest

from bench import truncation
from bench.cli.command_line import BAD_INPUT, ToldError
from bench.stats.rows import NothingToReportError
from bench.windows.cost_asked import show
from tests.bench import made_windows as made

COSTS = {"while_loop": made.Cost(1e-3, 1e-4)}


def shown(*arguments: str | Path) -> int:
    return show(truncation._parser().parse_args([str(each) for each in arguments]))


def sessions(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> set[str]:
    """Those of the windows that are shown."""
    assert shown(*arguments, "--format", "csv") == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    return {row["session"] for row in rows}


def test_brief_is_refused_where_nothing_is_brief(
    one_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NothingToReportError, match="add --format markdown"):
        shown(one_process, "--brief")
    assert shown(one_process, "--brief", "--format", "markdown") == 0
    assert capsys.readouterr().out.startswith("**")


def test_pictures_of_several_streams_are_a_file_each(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for session, batch in (("a", 64), ("b", 32), ("c", 32), ("d", 32)):
        made.write_windows(tmp_path / "in", COSTS, session=session, processes=1, batch=batch)
    assert shown(tmp_path / "in", "--output", tmp_path / "a.svg") == 0
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "a-b32-i128-h256-training-cpu-2.svg",
        "a-b32-i128-h256-training-cpu-3.svg",
        "a-b32-i128-h256-training-cpu.svg",
        "a-b64-i128-h256-training-cpu.svg",
    ]
    # One alone has the name that was asked for; a stream without any time has no picture.
    nowhere = made.refused("while_loop")
    made.write_windows(tmp_path / "one", COSTS, session="a", processes=1)
    made.write_windows(tmp_path / "one", nowhere, session="b", processes=1, batch=32)
    assert shown(tmp_path / "one", "--output", tmp_path / "one/a.svg") == 0
    assert [path.name for path in (tmp_path / "one").glob("*.svg")] == ["a.svg"]


def test_results_without_windows_say_how_to_measure_some(tmp_path: Path) -> None:
    made.write_windows(tmp_path, COSTS, (None,), processes=1)
    with pytest.raises(NothingToReportError, match=r"python -m bench\.run truncation"):
        shown(tmp_path)


def test_where_no_window_has_a_time_the_reasons_are_the_error(tmp_path: Path) -> None:
    made.write_windows(tmp_path, made.refused("while_loop", "keras"), processes=1)
    told = "no window has a time: keras and while_loop reach no window: refused: it runs on GPUs"
    with pytest.raises(NothingToReportError, match=told):
        shown(tmp_path)


def test_backend_and_device_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_windows(tmp_path, session="a", processes=1)
    made.write_windows(tmp_path, session="b", device="gpu:0", processes=1)
    assert shown(tmp_path, "--backend", "while_loop", "--device", "gpu:0", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["backend"], row["device"]) for row in rows} == {("while_loop", "gpu:0")}


def test_bad_files_are_told_and_the_good_ones_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ToldError):
        shown(bad)
    assert "bad.json" in capsys.readouterr().err
    made.write_windows(tmp_path, COSTS, processes=1)
    assert shown(tmp_path) == BAD_INPUT
    out = capsys.readouterr()
    assert "bad.json" in out.err
    assert "fixed per step" in out.out


def test_by_default_the_newest_session_with_windows_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, COSTS, session="old", day=1, processes=1)
    made.write_windows(tmp_path, COSTS, session="new", day=2, processes=1)
    made.write_windows(tmp_path, COSTS, (None,), session="plain", day=3, processes=1)
    made.write_windows(tmp_path / "reference", COSTS, session="theirs", day=4, processes=1)
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    assert sessions(capsys) == {"new"}
    (tmp_path / "bad.json").write_text("{")
    assert shown() == BAD_INPUT
    assert "bad.json" in capsys.readouterr().err
    (tmp_path / "bad.json").unlink()
    assert sessions(capsys, tmp_path) == {"old", "new"}


def test_without_any_of_ones_own_the_reference_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, COSTS, (None,), session="plain", processes=1)
    made.write_windows(tmp_path / "reference", COSTS, session="reference", processes=1)
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    assert sessions(capsys) == {"reference"}
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path / "nothing"))
    with pytest.raises(NothingToReportError, match="no stream cut into windows"):
        shown()


def test_a_map_of_what_was_learned_is_found_beside_the_results_or_named(
    one_process: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = made.write_learning(tmp_path / "maps", {10: 8, 30: 20})
    assert shown(one_process) == 0
    assert "learns" not in capsys.readouterr().out
    assert shown(one_process, path) == 0
    out = capsys.readouterr().out
    assert "d ≤ 20" in out
    assert "learning-made-up.json: the echo with while_loop, 2 seeds" in " ".join(out.split())
    monkeypatch.setenv("LSTM_RESULTS", str(one_process))
    assert shown(path) == 0
    assert "d ≤ 20" in capsys.readouterr().out
    path.write_text("{")
    assert shown(one_process, path) == BAD_INPUT
    assert "learning-made-up.json" in capsys.readouterr().err
    # Told once, though both readers meet it.
    made.write_windows(path.parent, COSTS, processes=1)
    assert shown(path.parent) == BAD_INPUT
    assert capsys.readouterr().err.count("learning-made-up.json") == 1
