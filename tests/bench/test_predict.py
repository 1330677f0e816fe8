"""``python -m bench.predict``: what is said of a shape that nobody measured."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import predict
from bench.judging.predicting import rest_of_timestep
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError
from bench.reporting.predicted import Question, answers
from bench.results.schema import Measurement, Results, Run
from bench.suites.cases import Case, Shape
from bench.telling import filters
from bench.telling.command_line import BAD_INPUT
from lstm_impl import LSTMSpec, Workload
from tests.bench.harmless import assert_markdown
from tests.bench.made_results import gather, measured

DAY = datetime(2025, 1, 31, tzinfo=UTC)
RUN = Run("1", "s", "grid", 1, DAY, DAY, True, "host", "id", {}, {})
ASKED = ["--batch", "8", "--steps", "50", "--hidden", "128"]


def found(
    backend: str, shape: Shape, times: float = 1.0, roofs: bool = True, run: Run = RUN
) -> Measurement:
    work = Workload(shape.batch, shape.timesteps)
    chain = shape.timesteps * (1e-6 + 8e-11 * shape.batch * shape.hidden**2)
    rest = shape.timesteps * rest_of_timestep(shape, 1) / 1e11
    case = Case(backend, LSTMSpec(shape.inputs, shape.hidden), work)
    made = measured(case, times * (1e-4 + 2 * chain + 3 * rest), run)
    return replace(made, roofs={"chain_s": chain, "matmul_per_s": 1e11} if roofs else None)


def grid(backend: str, **rest: Any) -> list[Measurement]:
    return [
        found(backend, Shape(batch, timesteps, hidden, hidden), **rest)
        for batch in (1, 32)
        for timesteps in (20, 100)
        for hidden in (64, 256)
    ]


def results(*backends: Sequence[Measurement]) -> Results:
    return gather(*(each for backend in backends for each in backend))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(there: Results, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(filters, "read_results", lambda paths: there)
        code = predict.main([*ASKED, *words, "somewhere"])
        return (code, *capsys.readouterr())

    return ask


def test_what_is_predicted_is_called_so_in_title_and_column(asked: Any) -> None:
    there = results(grid("slow", times=2.0), grid("fast"))
    code, out, _ = asked(there)
    assert code == predict.PREDICTED
    first, *_ = out.splitlines()
    assert first == "Predicted, not measured: b8-t50-i128-h128, inference, float32, cpu"
    assert "predicted" in out.splitlines()[1]
    assert out.index("fast") < out.index("slow")
    _, marked, _ = asked(there, "--format", "markdown")
    assert marked.startswith("**Predicted, not measured: ")
    assert "| predicted time of a step |" in marked


def test_each_prediction_bears_its_error(asked: Any) -> None:
    there = results(grid("steady"))
    _, out, _ = asked(there, "--format", "json")
    data = json.loads(out)
    assert data["predicted"] is True
    (only,) = data["backends"]
    assert only["shapes"] == 8
    assert only["error_median"] == pytest.approx(0, abs=1e-3)
    assert only["error_worst_shape"].startswith("b")
    _, out, _ = asked(there, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert float(row["predicted_s"]) == pytest.approx(only["predicted_s"])


def test_nothing_predicted_is_told_of_each_backend(asked: Any) -> None:
    there = results(grid("few")[:3], grid("bare", roofs=False))
    code, out, _ = asked(there)
    assert code == predict.NOTHING_PREDICTED
    assert "few: 3 shapes are measured of it" in out
    assert "bare: its results hold no roofs" in out


def test_a_shape_that_was_measured_is_not_predicted(asked: Any) -> None:
    there = results([*grid("known"), found("known", Shape(8, 50, 128, 128))], grid("other"))
    code, out, _ = asked(there)
    assert code == predict.PREDICTED
    assert "known: it was measured on this very shape" in out


def test_what_differs_in_more_than_its_sizes_has_no_part() -> None:
    question = Question(Shape(8, 50, 128, 128), "inference", "cpu", "float32", "weights")
    base = found("a", Shape(1, 20, 64, 64)).case
    work, spec = base.workload, base.spec
    others = [
        replace(base, device="gpu:0"),
        replace(base, spec=replace(spec, num_layers=2)),
        replace(base, spec=replace(spec, bidirectional=True)),
        replace(base, spec=replace(spec, dtype="bfloat16")),
        replace(base, workload=replace(work, window=5)),
        replace(base, workload=replace(work, min_length=5)),
        replace(base, workload=replace(work, batch_major=True)),
        replace(base, workload=replace(work, mode="training")),
    ]
    report = build(gather(*(measured(each, 1.0, RUN) for each in (base, *others))))
    fitting = [
        row.case for section in report.sections for row in section.rows if question.fits(row)
    ]
    assert fitting == [base]


def test_two_machines_make_no_one_model() -> None:
    other = replace(RUN, id="2", machine_id="another", session="t")
    report = build(results(grid("a"), grid("a", run=other)))
    question = Question(Shape(8, 50, 128, 128), "inference", "cpu", "float32", "weights")
    with pytest.raises(NothingToReportError, match="several machines"):
        answers(report, question)


def test_where_nothing_is_alike_it_is_said(asked: Any) -> None:
    code, _, errors = asked(results(grid("a")), "--dtype", "float64")
    assert code == BAD_INPUT
    assert "nothing that is to be trusted was measured that differs in its sizes alone" in errors


@pytest.mark.parametrize("form", ["terminal", "markdown", "csv"])
def test_a_backend_s_name_from_a_file_is_text(form: str, asked: Any) -> None:
    evil = "=x|[red]<b>\x1b]52;c;cm0=\x07"
    _, out, _ = asked(results(grid(evil), grid(f"{evil}few")[:2]), "--format", form)
    assert "\x1b" not in out
    assert "\x07" not in out
    if form == "markdown":
        assert_markdown(out)
    if form == "csv":
        assert {row[0][:2] for row in csv.reader(io.StringIO(out))} == {"ba", "'="}


def test_the_latest_results_are_read_where_none_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    assert predict.main(ASKED) == BAD_INPUT
    assert "there are no results in" in capsys.readouterr().err
