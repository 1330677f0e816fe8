"""Test ``bench.recommend``: what it reads, its answers and bad input."""

import json
from pathlib import Path

import pytest

from bench import case as suites
from bench import recommend
from tests.bench import made_windows as made

QUERY = ("--dependency", 14, "--batch", 64, "--hidden", 256)


def run(*arguments: object) -> int:
    return recommend.main([str(each) for each in arguments])


def test_recommend_format_or_file_name_decides_the_form(
    usual_windows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = {"terminal": "No map says", "markdown": "## No map says", "json": "{"}
    for name, form in (("a.md", "markdown"), ("a.json", "json"), ("a.txt", "terminal")):
        assert run(*QUERY, usual_windows, "--output", tmp_path / name) == 0
        assert capsys.readouterr().out == ""
        assert run(*QUERY, usual_windows, "--format", form) == 0
        message = capsys.readouterr().out
        lines = [line.rstrip() for line in message.splitlines()]
        assert lines == (tmp_path / name).read_text().splitlines()
        assert message.startswith(starts[form])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dependency", "0"], "'0' is not a whole number from 1"),
        (["--batch", "many"], "'many' is not a whole number from 1"),
        (["--device", "tpu"], "'tpu' is not a device"),
        (["--mode", "serving"], "invalid choice: 'serving'"),
        (["--mode", "inference"], "--mode inference needs --steps N"),
        (["--backend", "nothing"], "--backend nothing: no case matches"),
        (["--write-suite", "a.txt"], "expected a name ending in .toml"),
        (["--write-suite", "nowhere/a.toml"], "nowhere"),
    ],
)
def test_recommend_bad_input_is_one_line_and_code_2(
    arguments: list[str],
    message: str,
    one_process: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").write_text("")
    try:
        code = run(*QUERY, one_process, *arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    out = capsys.readouterr()
    assert message in out.err
    assert (len(out.err.splitlines()), out.out) == (1, "")
    assert not list(tmp_path.glob("a.*"))


SHAPE = ("--batch", 64, "--hidden", 256)
DEPENDENCY = ("--dependency", 14)
COSTS = {"keras": made.Cost(1e-3, 1e-4)}


@pytest.fixture(autouse=True)
def _no_reference_of_this_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recommend, "SHARED", tmp_path / "clone")


def answered(*arguments: object) -> int:
    words = [str(each) for each in (*SHAPE, *arguments)]
    return recommend._recommend(recommend._parser().parse_args(words))


def read_answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """Return the answer as data."""
    capsys.readouterr()
    answered(*arguments, "--format", "json")
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


# Which results


def test_recommend_without_paths_reads_sessions_and_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    made.write_windows(tmp_path, COSTS, session="old", day=1, processes=1)
    made.write_windows(tmp_path, COSTS, session="new", day=2, batch=8, processes=1)
    reference = tmp_path / "clone/results/reference"
    made.write_windows(reference, COSTS, session="theirs", batch=1024, processes=1)
    found = read_answer(capsys, *DEPENDENCY)
    assert (found["session"], found["own"]) == ("old", True)
    found = read_answer(capsys, *DEPENDENCY, "--batch", 1024)
    assert (found["session"], found["own"]) == ("theirs", False)
    # Named paths are never the reference.
    assert read_answer(capsys, *DEPENDENCY, "--batch", 1024, reference)["own"] is True


def test_recommend_without_results_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "none", tmp_path):
        monkeypatch.setenv("LSTM_RESULTS", str(folder))
        assert answered(*DEPENDENCY) == recommend.NO_RESULTS
        out = capsys.readouterr()
        assert "there are no results for training" in out.out
        assert out.err == ""


def test_recommend_reads_learning_map_in_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, COSTS, processes=1)
    made.write_learning(tmp_path, {10: 8, 15: 20, 30: 50})
    for paths in ((tmp_path,), ()):
        monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
        found = read_answer(capsys, *DEPENDENCY, *paths)
        assert found["window"] == 15
        assert str(found["learned_from"]).startswith("learning-made-up.json: the echo")


def test_recommend_without_own_map_reads_the_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    made.write_windows(tmp_path, COSTS, processes=1)
    made.write_learning(tmp_path / "clone/results/reference", {10: 8, 15: 20}, name="learning-b")
    assert read_answer(capsys, *DEPENDENCY)["window"] == 15
    made.write_learning(tmp_path, {10: 8, 60: 20})
    assert read_answer(capsys, *DEPENDENCY)["window"] == 60


# Bad files, and written suites


def test_recommend_bad_file_is_reported_and_others_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert answered(*DEPENDENCY, tmp_path / "bad.json") == 2
    assert capsys.readouterr().out == ""
    made.write_windows(tmp_path, COSTS, processes=1)
    (tmp_path / "learning-bad.json").write_text("{")
    capsys.readouterr()
    assert answered(*DEPENDENCY, tmp_path) == 2
    out = capsys.readouterr()
    # Each once, though both the reader of times and that of maps read a broken map.
    assert [line.partition(" is cut off")[0] for line in out.err.splitlines()] == [
        f"error: {tmp_path}/{name}" for name in ("bad.json", "learning-bad.json")
    ]
    assert out.out.startswith("No map says which window learns a dependency of 14. Assuming at")


def test_recommend_write_suite_writes_and_names_it(
    usual_windows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    answered(*DEPENDENCY, usual_windows, "--write-suite", path)
    suite = suites.load(str(path))
    assert {case.workload.window for case in suite.cases} == {29, 58, 116}
    out = capsys.readouterr()
    assert out.err.endswith(f"written: {path}\n")
    assert f"python -m bench.run {path} --processes 6" in out.out
    assert "--write-suite" not in out.out
