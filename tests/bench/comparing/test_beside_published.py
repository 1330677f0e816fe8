"""Ours beside published times: what stands side by side, what does not, and how it is shown."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench import compare
from bench.comparing import beside_published, published_words
from bench.comparing.beside_published import Report
from bench.results.schema import Measurement, Outcome, Reason, Run
from bench.suites import published
from bench.suites.cases import Case
from bench.telling.deliver import Target
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import a_run, gather, measured

BRAUN = Workload(64, 100, "training")
SPEC = LSTMSpec(123, 320)


def run(name: str, environment: object = None) -> Run:
    before = {"cpu": {"name": "Test CPU"}} if environment is None else environment
    return a_run(0, suite="braun", id=name, environment={"before": before})


def beside(*items: Measurement | Outcome) -> Report:
    return beside_published.beside_published(gather(*items), published.steps(published.read()))


def shown(report: Report, kind: str, tmp_path: Path) -> str:
    path = tmp_path / "out"
    published_words.show(report, kind, Target(path, {}))
    return path.read_text(encoding="utf-8")


def test_what_has_the_same_shape_and_mode_stands_side_by_side_the_fastest_first() -> None:
    slow, fast = Case("keras", SPEC, BRAUN), Case("torch", SPEC, BRAUN)
    (shared,) = beside(measured(slow, 2.0, run("a")), measured(fast, 1.0, run("a"))).shared
    assert [ours.case for ours in shared.ours] == [fast, slow]
    assert shared.ours[0].time.mid == pytest.approx(1.0)
    assert shared.ours[0].hardware == "Test CPU"
    assert {step.first.source.name for step in shared.theirs} == {"braun"}
    assert [step.seconds for step in shared.theirs[:2]] == pytest.approx([0.010, 0.011])
    assert len(shared.theirs) == 9


@pytest.mark.parametrize(("disturbed", "invalid"), [(1, False), (2, True)])
def test_of_six_processes_one_that_was_disturbed_spoils_nothing_and_two_do(
    disturbed: int, invalid: bool
) -> None:
    busy = Reason("busy", "the cores were busy", "close what runs")
    of = Case("torch", SPEC, BRAUN)
    items = [measured(of, 1.0, run(f"r{n}"), [busy] if n < disturbed else []) for n in range(6)]
    (shared,) = beside(*items).shared
    assert bool(shared.ours[0].reasons) is invalid


def test_processes_of_one_case_are_one_time() -> None:
    case = Case("keras", SPEC, BRAUN)
    items = [measured(case, seconds, run(name)) for name, seconds in (("a", 1.0), ("b", 3.0))]
    (shared,) = beside(*items).shared
    (ours,) = shared.ours
    assert ours.time.processes == 2
    # Theirs are no part of the interval.
    assert ours.time.low > max(step.seconds for step in shared.theirs)


@pytest.mark.parametrize(
    ("spec", "work"),
    [
        (SPEC, Workload(64, 100, "inference")),
        (SPEC, Workload(63, 100, "training")),
        (SPEC, Workload(64, 99, "training")),
        (LSTMSpec(122, 320), BRAUN),
        (LSTMSpec(123, 321), BRAUN),
        (LSTMSpec(123, 320, num_layers=2), BRAUN),
        (LSTMSpec(123, 320, bidirectional=True), BRAUN),
        (SPEC, Workload(64, 100, "training", window=10)),
        (SPEC, Workload(64, 100, "training", min_length=10)),
    ],
)
def test_what_is_other_work_is_not_shared_and_the_suites_to_run_are_named(
    spec: LSTMSpec, work: Workload
) -> None:
    report = beside(measured(Case("keras", spec, work), 1.0, run("a")))
    assert report.shared == ()
    assert report.finding == (
        "No measured shape is among the 43 that others have published times for. "
        "To measure theirs, run `pytest --benchmark-only --lstm-suite braun`, or one of "
        "the suites deepbench-train, deepbench-inference, returnn, flashrnn."
    )


def test_what_could_not_be_measured_of_a_published_shape_is_told_with_its_reason() -> None:
    case, other = Case("cudnn", SPEC, BRAUN, "gpu:0"), Case("cudnn", LSTMSpec(1, 1), BRAUN)
    outcomes = [
        Outcome(each, run("a"), "not_measured", "no GPU", "get one", Path("a.json"))
        for each in (case, other)
    ]
    (group,) = beside(*outcomes).unmeasured
    assert (group.outcome, group.reason, group.cases) == ("not_measured", "no GPU", (case,))


def full_report(backend: str = "torch") -> Report:
    busy = Reason("busy", "others kept it busy", "close them")
    return beside(
        measured(Case(backend, SPEC, BRAUN), 1.0, run("a"), [busy]),
        measured(Case("keras", LSTMSpec(512, 512), Workload(16, 25, "training")), 0.1, run("a")),
    )


def test_the_terminal_says_whose_times_they_are_and_what_was_measured(tmp_path: Path) -> None:
    text = " ".join(shown(full_report(), "terminal", tmp_path).split())
    assert "training: batch 64 × 100 steps, 123 in, 320 hidden" in text
    assert "ours (INVALID) torch cpu (Test CPU) float32 1.00 s" in text
    assert "published TensorFlow cuDNNLSTM NVIDIA GTX 1080 float32 10.0 ms [2]" in text
    assert "[1] published by baidu-research/DeepBench" in text
    assert "the input product is skipped there" in text
    assert "forward, backward_data and backward_weights added up" in text
    assert "[2] published by stefbraun/rnn_benchmarks" in text
    assert "copy from the host" in text
    assert "no ratio and no verdict is made of them" in text
    assert "others kept it busy" in text


def test_markdown_is_tables_whose_rows_are_as_wide_as_their_head(tmp_path: Path) -> None:
    text = shown(full_report("a|b`c"), "markdown", tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {8}
    assert any(row.startswith("| published | `TensorFlow cuDNNLSTM` |") for row in rows)
    assert "stefbraun/rnn\\_benchmarks" in text or "stefbraun/rnn_benchmarks" in text


def test_csv_has_a_row_for_each_time_in_seconds(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(shown(full_report(), "csv", tmp_path))))
    assert tuple(rows[0]) == published_words.CSV_COLUMNS
    ours = [row for row in rows if row["kind"] == "ours"]
    assert [float(row["seconds"]) for row in ours] == pytest.approx([0.1, 1.0])
    assert [row["valid"] for row in ours] == ["true", "false"]
    theirs = next(row for row in rows if row["implementation"] == "TensorFlow cuDNNLSTM")
    assert float(theirs["seconds"]) == 0.01
    assert (theirs["kind"], theirs["source"]) == ("published", "braun")
    assert (theirs["seconds_low"], theirs["valid"]) == ("", "")


def test_json_has_the_figures_that_a_step_is_made_of(tmp_path: Path) -> None:
    document = json.loads(shown(full_report(), "json", tmp_path))
    first = document["shapes"][0]
    assert (first["batch"], first["hidden_size"], first["mode"]) == (16, 512, "training")
    (v100,) = [
        step
        for step in first["published"]
        if (step["device"], step["dtype"]) == ("NV V100", "float32")
    ]
    assert sum(each["seconds"] for each in v100["figures"]) == pytest.approx(v100["seconds"])
    assert len(v100["figures"]) == 3
    assert first["ours"][0]["seconds"] == pytest.approx(0.1)
    assert "ratio" not in json.dumps(first)


@pytest.mark.parametrize("kind", ["terminal", "markdown", "csv"])
def test_text_from_a_file_stays_text(kind: str, tmp_path: Path) -> None:
    text = shown(full_report("=[red]<b>\x1b[31m\n| x"), kind, tmp_path)
    assert "\x1b" not in text
    assert "\n| x" not in text
    if kind == "markdown":
        assert "<b>" not in text.replace("\\<b", "")
    else:
        assert "[red]" in text
    if kind == "csv":
        assert "'=[red]" in text


@pytest.mark.parametrize("kind", compare.FORMATS)
def test_a_finding_is_told_in_every_format_that_has_words(kind: str, tmp_path: Path) -> None:
    report = beside(measured(Case("keras", LSTMSpec(1, 1), BRAUN), 1.0, run("a")))
    text = shown(report, kind, tmp_path)
    assert ("deepbench-train" in text) == (kind != "csv")


def test_a_narrow_terminal_loses_no_time() -> None:
    console = Console(file=io.StringIO(), width=60)
    published_words._terminal(full_report(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "10.0 ms" in text
    assert re.search(r"^whose +implementation +device +step +note", text, re.MULTILINE)
    # What has no column here stands below: ours with its precision and its interval.
    assert re.search(r"^ +.*float32 +\S+–\S+", text, re.MULTILINE)
    assert all(cell_len(line) <= 60 for line in text.splitlines())


def test_github_actions_gets_the_tables(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    target = Target(tmp_path / "out", {"GITHUB_STEP_SUMMARY": str(summary)})
    published_words.show(full_report(), "json", target)
    assert "## Our times beside published ones" in summary.read_text(encoding="utf-8")


def test_the_command_without_results_names_a_suite_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    assert compare.main(["published"]) == 2
    assert "pytest --benchmark-only --lstm-suite braun" in capsys.readouterr().err


def test_the_command_makes_no_verdict_that_could_fail() -> None:
    with pytest.raises(SystemExit) as raised:
        compare.main(["published", "--fail-on", "slower"])
    assert raised.value.code == 2


def test_a_file_that_cannot_be_written_is_told_in_one_line_by_the_command_itself(
    tmp_path: Path,
) -> None:
    # The command runs as __main__, and its errors are bench.compare's.
    from bench.results.files import journal_to_json
    from bench.results.journal import Journal

    journal = Journal(tmp_path / "a.journal.jsonl")
    with journal:
        journal.start(run("a"))
    journal_to_json(journal.path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.compare", "published", str(tmp_path / "a.json")),
            *("--output", str(tmp_path / "a.json" / "x")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cannot be written: Not a directory" in done.stderr
