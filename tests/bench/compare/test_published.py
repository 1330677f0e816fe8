"""Test our times next to published ones: the shared shapes, and their formats."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.case import published
from bench.case.cases import Case
from bench.records.schema import Measurement, Outcome
from bench.render import published as published_words
from bench.render.messages import problem_line
from bench.render.published import PublishedReport, with_published
from bench.stats.trust import NOT_STEADY
from bench.verdicts.sections import build
from lstm_impl import LSTMSpec, Workload
from tests.bench.compare.shown import show_published
from tests.bench.made_reasons import recorded
from tests.bench.made_results import BUSY, gather, measured, run, unmeasured

BRAUN = Workload(64, 100, "training")
SPEC = LSTMSpec(123, 320)


def make_report(*items: Measurement | Outcome) -> PublishedReport:
    return with_published(build(gather(*items)), published.steps(published.read()))


def test_with_published_same_shape_has_both_sides_fastest_first() -> None:
    slow, fast = Case("keras", SPEC, BRAUN), Case("torch", SPEC, BRAUN)
    (shared,) = make_report(measured(slow, 2.0, run("a")), measured(fast, 1.0, run("a"))).shared
    assert [row.case for row, *_ in shared.ours] == [fast, slow]
    row, *place = shared.ours[0]
    assert place == ["cpu", "Test CPU"]
    assert row.result.time == pytest.approx(1.0)
    assert {step.source.name for step in shared.theirs} == {"braun"}
    assert [step.seconds for step in shared.theirs[:2]] == pytest.approx([0.010, 0.011])
    assert len(shared.theirs) == 9


def test_with_published_two_sessions_of_one_machine_takes_the_newest_time() -> None:
    of = Case("torch", SPEC, BRAUN)
    days = (replace(run("a"), started=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2))
    sessions = [replace(each, id=f"{n}", session=f"{n}") for n, each in enumerate(days)]
    (shared,) = make_report(
        *(measured(of, 1.0 + n, each) for n, each in enumerate(sessions))
    ).shared
    assert [row.result.time for row, *_ in shared.ours] == pytest.approx([2.0])


def test_with_published_failed_is_invalid_and_unsteady_unreliable() -> None:
    of = Case("torch", SPEC, BRAUN)
    failed = unmeasured(of, run("b"), "failed", "the outputs differ")
    moved = measured(of, 1.0, run("a"), [recorded(NOT_STEADY, "it became slower", "wait")])
    (shared,) = make_report(measured(of, 1.0, run("a")), failed).shared
    (problem,) = shared.ours[0][0].result.invalid
    assert problem_line(problem) == "failed: the outputs differ [in 1 of 2 runs]"
    (shared,) = make_report(moved).shared
    validity = shared.ours[0][0].result.validity
    assert validity.invalid == ()
    assert [problem_line(each) for each in validity.of_time] == ["it became slower (wait)"]


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
def test_with_published_other_work_names_the_suites_to_run(spec: LSTMSpec, work: Workload) -> None:
    report = make_report(measured(Case("keras", spec, work), 1.0, run("a")))
    assert report.shared == ()
    assert report.finding == (
        "None of the 43 shapes with published times was measured. "
        "To measure them, run `pytest --benchmark-only --lstm-suite braun`, or one of "
        "the suites deepbench-train, deepbench-inference, returnn, flashrnn."
    )


def test_with_published_unmeasured_case_has_its_reason() -> None:
    case, other = Case("cudnn", SPEC, BRAUN, "gpu:0"), Case("cudnn", LSTMSpec(1, 1), BRAUN)
    outcomes = [
        Outcome(each, run("a"), "not_measured", recorded("", "no GPU", "get one"), Path("a.json"))
        for each in (case, other)
    ]
    (group,) = make_report(*outcomes).unmeasured
    assert (group.outcome, group.reason, group.cases) == ("not_measured", "no GPU", (case,))


def shown(report: PublishedReport, kind: str, tmp_path: Path) -> str:
    path = tmp_path / "out"
    show_published(report, kind, path)
    return path.read_text(encoding="utf-8")


def full_report(backend: str = "torch") -> PublishedReport:
    return make_report(
        measured(Case(backend, LSTMSpec(123, 320), BRAUN), 1.0, run("a"), [BUSY]),
        measured(Case("keras", LSTMSpec(512, 512), Workload(16, 25, "training")), 0.1, run("a")),
    )


def test_markdown_hostile_name_keeps_the_columns(tmp_path: Path) -> None:
    text = shown(full_report("a|b`c"), "markdown", tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {8}
    assert any(row.startswith("| published | `TensorFlow cuDNNLSTM` |") for row in rows)
    assert "stefbraun/rnn\\_benchmarks" in text or "stefbraun/rnn_benchmarks" in text


def test_csv_has_a_row_for_each_time(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(shown(full_report(), "csv", tmp_path))))
    assert tuple(rows[0]) == published_words.CSV_COLUMNS
    ours = [row for row in rows if row["kind"] == "ours"]
    assert [float(row["seconds"]) for row in ours] == pytest.approx([0.1, 1.0])
    assert [row["valid"] for row in ours] == ["true", "false"]
    theirs = next(row for row in rows if row["implementation"] == "TensorFlow cuDNNLSTM")
    assert float(theirs["seconds"]) == 0.01
    assert (theirs["kind"], theirs["source"]) == ("published", "braun")
    assert (theirs["seconds_low"], theirs["valid"]) == ("", "")


def test_json_has_the_rows_and_no_ratio(tmp_path: Path) -> None:
    document = json.loads(shown(full_report(), "json", tmp_path))
    first = document["rows"][0]
    assert (first["batch"], first["hidden_size"], first["mode"]) == (16, 512, "training")
    assert first["seconds"] == pytest.approx(0.1)
    assert "ratio" not in json.dumps(document["rows"])


@pytest.mark.parametrize("kind", ["terminal", "markdown", "csv", "json"])
def test_finding_is_shown_in_each_format_with_sentences(kind: str, tmp_path: Path) -> None:
    report = make_report(measured(Case("keras", LSTMSpec(1, 1), BRAUN), 1.0, run("a")))
    text = shown(report, kind, tmp_path)
    assert ("deepbench-train" in text) == (kind != "csv")
