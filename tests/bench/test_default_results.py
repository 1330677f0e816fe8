"""Test what commands show by default: after empty, foreign and reference sessions."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import compare, plot, report
from bench.machine import environment
from bench.machine.writing import JOURNAL_SUFFIX
from bench.records.schema import Run
from tests.bench.made_nodes import a_case, on
from tests.bench.made_results import gather, measured, save, unmeasured

HERE = environment.read().machine_id
TIMES = (("keras", 2e-4), ("while_loop", 1e-4))
"""Seconds of a sequence."""

TITLE = "Reference results of the project, measured on another machine"


def own(session: str, hours: float, suite: str = "mine") -> Run:
    made = vars(on("here", 0, session=session, hours=hours, suite=suite))
    return Run(**{**made, "machine_id": HERE})


def measure(folder: Path, during: Run) -> None:
    """Save a run of two batches, in which keras takes twice as long as while_loop."""
    cases = {a_case(name, batch): seconds * batch for batch in (8, 16) for name, seconds in TIMES}
    save(folder, gather(*(measured(case, seconds, during) for case, seconds in cases.items())))


def kill(folder: Path, during: Run) -> None:
    """Leave what a process leaves that is killed before its first case has a time."""
    folder.mkdir(exist_ok=True)
    run = {**during.to_dict(), "finished": None, "complete": False}
    line = json.dumps({"schema": 1, "run": run})
    (folder / f"{during.id}{JOURNAL_SUFFIX}").write_text(f"{line}\n")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "results"


def read(capsys: pytest.CaptureFixture[str], words: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return the report without a named file, and its lines on standard error."""
    assert report.main([*words]) == 0
    out, err = capsys.readouterr()
    return out, err.splitlines()


def test_report_after_killed_run_names_it_and_shows_earlier_results(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results, own("before", 0))
    kill(results, own("killed", 5, "asked"))
    out, (line,) = read(capsys)
    assert line.startswith("note: session killed (asked, 20")
    assert "its process ended before it had measured a case" in line
    assert line.endswith("The newest session that has results is shown instead.")
    assert "while_loop" in out
    assert TITLE not in out


def test_report_after_run_without_a_time_says_why_and_shows_earlier_results(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results, own("before", 0))
    during = own("after", 5)
    cases = [a_case("keras"), a_case("while_loop"), a_case("cudnn", device="gpu:0")]
    outcomes = ("failed", "failed", "not_measured")
    reasons = ("no space is left", "no space is left", "this machine has no GPU")
    save(
        results,
        gather(
            *(unmeasured(c, during, o, r) for c, o, r in zip(cases, outcomes, reasons, strict=True))
        ),
    )
    out, (line,) = read(capsys)
    assert "session after (mine, 20" in line
    assert "3 cases have no time; for one, failed: no space is left." in line
    path = Path("results", f"{during.id}.json")
    assert f"bench.report {path} --unmeasured` shows why" in line
    assert "Nothing was measured" not in out
    # The command in the line does show why.
    shown = report.main([str(path), "--unmeasured"])
    assert (shown, "no space is left" in capsys.readouterr().out) == (0, True)


def test_report_without_any_measured_case_shows_what_the_newest_run_holds(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    during = own("only", 0)
    save(results, gather(unmeasured(a_case(), during, "failed", "no space is left")))
    out, (line,) = read(capsys)
    assert "Nothing was measured." in out
    assert "no space is left" in out
    assert "shown instead" not in line


def test_report_with_only_killed_run_shows_reference_results_under_their_title(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill(results, own("killed", 5))
    measure(results / "reference", on("theirs", 0))
    out, (line,) = read(capsys)
    assert out.splitlines()[0] == TITLE
    assert "session killed" in line


@pytest.mark.parametrize("words", ["", "--brief", "--format markdown", "--format html"])
def test_report_in_fresh_clone_titles_reference_results(
    words: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results / "reference", on("theirs", 0))
    for folder in ([], ["results"]):
        out, err = read(capsys, [*folder, *words.split()])
        assert TITLE in out
        assert err == []
    out, _ = read(capsys, ["results/reference", *words.split()])  # named, so they are no surprise
    assert TITLE not in out


def test_report_brief_markdown_begins_with_title_of_reference_results(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results / "reference", on("theirs", 0))
    out, _ = read(capsys, ["--format", "markdown", "--brief"])
    assert out.startswith(f"# {TITLE}\n\n|")


@pytest.mark.parametrize(
    "words", ["backends", "backends --format markdown", "backends --format json", "published"]
)
def test_compare_in_fresh_clone_titles_reference_results(
    words: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results / "reference", on("theirs", 0))
    for folder, titled in (([], True), (["results/reference"], False)):
        assert compare.main([*words.split(), *folder]) == 0
        assert (TITLE in capsys.readouterr().out) is titled


@pytest.mark.parametrize("words", ["", "--along batch"])
def test_plot_in_fresh_clone_titles_reference_results(words: str, results: Path) -> None:
    measure(results / "reference", on("theirs", 0))
    picture = results.with_name("picture.svg")
    for folder, titled in (([], True), (["results/reference"], False)):
        assert plot.main([*folder, *words.split(), "--output", str(picture)]) == 0
        assert (TITLE in picture.read_text("utf-8")) is titled


def test_report_on_the_machine_of_the_reference_results_has_no_title(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results / "reference", own("ours", 0))
    assert TITLE not in read(capsys)[0]


def test_report_prefers_results_of_this_machine_and_names_newer_foreign_ones(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(results, own("mine", 0, "ours"))
    theirs = on("theirs", 0, session="copied", hours=5, suite="theirs")
    measure(results, theirs)
    out, (line,) = read(capsys)
    assert out.startswith("ours on ")
    assert "session copied (theirs, 20" in line
    assert f"is newer, but was measured on another machine ({theirs.machine})" in line
    assert line.endswith(f"results/{theirs.id}.json.")
