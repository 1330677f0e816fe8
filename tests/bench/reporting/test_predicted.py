"""What is said of a shape that was not measured: by whom, how sure, or why not; as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from bench.case.cases import Shape
from bench.cli.deliver import plain_text
from bench.records.schema import Measurement
from bench.reporting.predicted import Predicted, Question, answers, uses
from bench.stats.ranking import build
from bench.stats.rows import NothingToReportError
from tests.bench.harmless import assert_markdown, assert_plain, assert_sheet
from tests.bench.made_modelled import DAY, RUN, found, grid, results
from tests.bench.made_reports import BUSY
from tests.bench.made_results import gather, measured
from tests.bench.made_texts import PAYLOADS

ASKED = Question(Shape(8, 50, 128, 128), "inference", "cpu", "float32", "weights")


def predicted(*backends: Sequence[Measurement]) -> Predicted:
    return Predicted(ASKED, answers(build(results(*backends)), ASKED))


def test_each_backend_has_a_prediction_with_its_error_the_shortest_first() -> None:
    slow, fast = grid("slow", times=2.0), grid("fast")
    made = predicted(slow, fast)
    assert [each.backend for each in made.found] == ["fast", "slow"]
    true = found("fast", ASKED.shape).samples[5]
    data = json.loads(made.as_json())
    assert data["predicted"] is True
    assert data["question"] == {
        "batch": 8,
        "timesteps": 50,
        "inputs": 128,
        "hidden": 128,
        "mode": "inference",
        "device": "cpu",
        "dtype": "float32",
        "gradients": "weights",
    }
    for each, times in zip(data["backends"], (1, 2), strict=True):
        assert each["predicted_s"] == pytest.approx(times * true, rel=1e-3)
        assert each["shapes"] == 8
        assert each["error_median"] == pytest.approx(0, abs=1e-3)
        assert each["error_worst_shape"].startswith("b")
        assert each["reason"] is None
    rows = list(csv.DictReader(io.StringIO("".join(made.comma_separated()))))
    assert [float(row["predicted_s"]) for row in rows] == pytest.approx(
        [each["predicted_s"] for each in data["backends"]]
    )


def test_what_is_predicted_is_called_so_in_title_and_column() -> None:
    made = predicted(grid("a"))
    first, second, *_ = plain_text(made.terminal, 100).splitlines()
    assert first == "Predicted, not measured: b8-t50-i128-h128, inference, float32, cpu"
    assert "predicted" in second
    assert made.markdown().startswith("**Predicted, not measured: ")
    assert "| predicted time of a step |" in made.markdown()
    training = replace(ASKED, mode="training")
    assert training.words == ("b8-t50-i128-h128, training, gradients of weights, float32, cpu")


def test_where_nothing_is_predicted_it_is_said_why_and_there_is_no_table() -> None:
    known = [*grid("known"), found("known", ASKED.shape)]
    made = predicted(known, grid("few")[:3], grid("bare", roofs=False))
    assert not any(each.found for each in made.found)
    text, marked = plain_text(made.terminal, 200), made.markdown()
    assert "Not predicted of 3 backends:" in text
    assert "predicted time" not in text + marked
    for backend, why in (
        ("few", "3 shapes are measured of it"),
        ("bare", "its results hold no roofs"),
        ("known", "it was measured on this very shape"),
    ):
        assert f"{backend}: {why}" in text
        assert f"- `{backend}`: {why}" in marked


def test_what_differs_in_more_than_its_sizes_has_no_part() -> None:
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
    fitting = [row.case for section in report.sections for row in section.rows if ASKED.fits(row)]
    assert fitting == [base]


def test_what_is_not_to_be_trusted_has_no_part() -> None:
    """Of eight shapes three are left: too few."""
    items = [
        replace(each, valid=False, reasons=(BUSY,)) if place < 5 else each
        for place, each in enumerate(grid("a"))
    ]
    (only,) = predicted(items).found
    assert only.reason.startswith("3 shapes are measured of it")


def test_of_a_shape_s_sessions_the_newest_is_taken() -> None:
    later = replace(RUN, id="2", session="t", started=DAY + timedelta(days=1))
    both, new = (
        predicted(grid("a"), grid("a", times=2.0, run=later)),
        predicted(grid("a", times=2.0)),
    )
    assert both.found == new.found


def test_two_machines_make_no_one_model() -> None:
    other = replace(RUN, id="2", machine_id="another", session="t")
    with pytest.raises(NothingToReportError, match="several machines"):
        predicted(grid("a"), grid("a", run=other))


@pytest.mark.parametrize(
    ("mode", "gradients", "times"),
    [("inference", "all", 1), ("training", "weights", 2), ("training", "weights+input", 3)],
)
def test_the_input_stands_in_a_product_forward_for_the_weights_and_for_itself(
    mode: str, gradients: str, times: int
) -> None:
    assert uses(mode, gradients) == times


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_a_backend_s_name_from_a_file_is_text(payload: str) -> None:
    made = predicted(grid(f"{payload}a"), grid(f"{payload}few")[:2])
    assert_plain(plain_text(made.terminal, 100))
    assert_markdown(made.markdown())
    assert_sheet("".join(made.comma_separated()))
