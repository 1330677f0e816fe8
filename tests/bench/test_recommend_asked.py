"""What ``bench.recommend`` is asked of windows: which question, of which results, what is bad."""

import json
from pathlib import Path

import pytest

from bench import case as suites
from bench import recommend
from bench.cli.command_line import UsageError
from bench.records.only import NothingThereError
from bench.stats.recommend import Query
from tests.bench import made_windows as made

ASKED = ("--batch", 64, "--hidden", 256)
DEPENDENCY = ("--dependency", 14)
COSTS = {"keras": made.Cost(1e-3, 1e-4)}


@pytest.fixture(autouse=True)
def _no_reference_of_this_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommend, "CLONE", tmp_path / "clone")


def answered(*arguments: object) -> int:
    words = [str(each) for each in (*ASKED, *arguments)]
    return recommend._recommend(recommend._parser().parse_args(words))


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """The answer as data."""
    capsys.readouterr()
    answered(*arguments, "--format", "json")
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


# -- the question


def test_each_option_is_part_of_the_question() -> None:
    more = ("--input", 100, "--layers", 2, "--dtype", "float64", "--device", "gpu", "--steps", 90)
    words = [str(each) for each in (*ASKED, *DEPENDENCY, *more)]
    found = recommend._question(recommend._parser().parse_args(words))
    assert found == Query(14, 64, 256, "gpu:0", 100, 2, "float64", 90)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--dependency N is missing"),
        (("--mode", "inference"), "--mode inference needs --steps N"),
        (("--dependency", 50, "--steps", 50), "nothing lies so far back in sequences of 50"),
    ],
)
def test_options_that_ask_nothing_are_refused(
    arguments: tuple[object, ...], told: str, usual_windows: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        answered(*arguments, usual_windows)


# -- of which results


def test_by_default_all_sessions_and_the_reference_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    made.write_windows(tmp_path, COSTS, session="old", day=1, processes=1)
    made.write_windows(tmp_path, COSTS, session="new", day=2, batch=8, processes=1)
    reference = tmp_path / "clone/results/reference"
    made.write_windows(reference, COSTS, session="theirs", batch=1024, processes=1)
    found = answer_of(capsys, *DEPENDENCY)
    assert (found["session"], found["own"]) == ("old", True)
    found = answer_of(capsys, *DEPENDENCY, "--batch", 1024)
    assert (found["session"], found["own"]) == ("theirs", False)
    # Of those that are named none is a reference.
    assert answer_of(capsys, *DEPENDENCY, "--batch", 1024, reference)["own"] is True


def test_where_nothing_was_ever_measured_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "none", tmp_path):
        monkeypatch.setenv("LSTM_RESULTS", str(folder))
        assert answered(*DEPENDENCY) == recommend.NO_RESULTS
        out = capsys.readouterr()
        assert "there are no results of training" in out.out
        assert out.err == ""


def test_a_map_beside_the_results_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, COSTS, processes=1)
    made.write_learning(tmp_path, {10: 8, 15: 20, 30: 50})
    for paths in ((tmp_path,), ()):
        monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
        found = answer_of(capsys, *DEPENDENCY, *paths)
        assert found["window"] == 15
        assert str(found["learned_from"]).startswith("learning-made-up.json: the echo")


def test_the_map_of_the_reference_is_asked_where_there_is_none_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    made.write_windows(tmp_path, COSTS, processes=1)
    made.write_learning(tmp_path / "clone/results/reference", {10: 8, 15: 20}, name="learning-b")
    assert answer_of(capsys, *DEPENDENCY)["window"] == 15
    made.write_learning(tmp_path, {10: 8, 60: 20})
    assert answer_of(capsys, *DEPENDENCY)["window"] == 60


def test_the_answer_is_of_the_backends_that_are_named(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = answer_of(capsys, *DEPENDENCY, usual_windows, "--backend", "while_loop")
    assert named["backend"] == "while_loop"
    like = answer_of(capsys, *DEPENDENCY, usual_windows, "--backend", "*hoisted*")
    assert "hoisted" in str(like["backend"])
    with pytest.raises(NothingThereError, match="--backend nothing: there are no results of it"):
        answered(*DEPENDENCY, usual_windows, "--backend", "nothing")


# -- what cannot be read, and what is written


def test_a_file_that_cannot_be_read_is_told_and_the_others_answer(
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
    # Each once, though the reader of times meets the file of a map that cannot be told to be one.
    assert [line.partition(" is cut off")[0] for line in out.err.splitlines()] == [
        f"error: {tmp_path}/{name}" for name in ("bad.json", "learning-bad.json")
    ]
    assert out.out.startswith("No map says which window learns a dependency of 14. Assuming at")


def test_the_suite_that_measures_it_is_written_and_told(
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
