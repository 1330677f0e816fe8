"""Test the decisions that a report writes for ``backend="auto"``."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import report
from bench.records.files import collect
from bench.records.schema import Run
from bench.render import data
from bench.stats.rows import Report, Section, build
from lstm_impl.tuning import load
from tests.places import ROOT

FUSED = sorted((ROOT / "results" / "reference").glob("fused-*.json"))


def taught(changed: Report | None = None) -> list[str]:
    return [each.backend for each in data.decisions(changed or build(collect(FUSED)))]


def with_runs(found: Report, **changed: object) -> Report:
    def run(each: Run) -> Run:
        return replace(each, **changed)  # type: ignore[arg-type]

    sections = [
        Section(tuple(map(run, each.runs)), each.rows, each.baseline) for each in found.sections
    ]
    return Report(tuple(sections), found.notes)


def test_decisions_of_a_session_have_one_per_shape() -> None:
    found = list(data.decisions(build(collect(FUSED))))
    processor = json.loads(FUSED[0].read_text())["machine_info"]["cpu"]["brand_raw"]
    assert len(found) == len({each.question.digest for each in found}) >= 8
    for each in found:
        assert each.question.machine.device == f"{processor}, 2 usable"
        assert each.question.machine.versions["tensorflow-cpu"]
        assert each.question.through == "model"
        ratios = [raced.ratio for raced in each.raced]
        assert 1.0 in ratios  # of the shortest median
        assert ratios == sorted(ratios)
        assert all(raced.low <= raced.ratio <= raced.high for raced in each.raced)
    training = [each for each in found if each.question.workload.training]
    assert {each.best(lambda name: name in ("keras", "fused_cpu")) for each in training} == {
        "fused_cpu"
    }


def test_decisions_undescribed_machine_or_threads_give_none() -> None:
    found = build(collect(FUSED))
    assert taught(found)
    changes: list[dict[str, object]] = [
        {"environment": {}},
        {"environment": {"before": {"cpu": {"name": 3, "usable": 2}}}},
        {"environment": {"before": []}},
        {"options": {"threads": 1}},
    ]
    for changed in changes:
        assert taught(with_runs(found, **changed)) == []


def test_report_teach_writes_where_auto_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    assert report.main(["--teach", *map(str, FUSED)]) == 0
    out = capsys.readouterr().out
    written = load()
    assert f"{len(written)} decisions for backend='auto' written to" in out
    assert report.main(["--teach", *map(str, FUSED)]) == 0
    assert load() == written


def test_report_teach_without_decision_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    alone = [str(path) for path in FUSED[:1]]
    assert report.main(["--teach", "--backend", "keras", *alone]) == 2
    assert "nothing to teach" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "file" / "decisions"))
    assert report.main(["--teach", *map(str, FUSED)]) == 2
    assert "cannot be written" in capsys.readouterr().err
