"""Test headings, machine descriptions and marks above and below tables."""

from dataclasses import replace

import pytest

from bench.render import labels
from bench.stats.intervals import Interval
from bench.verdicts.sections import build
from tests.bench.made_reports import (
    PROBLEM,
    SPEC,
    TRAINING,
    a_run,
    make_report,
    make_results,
    measured,
    replicated,
)


def test_caption_of_a_section_has_session_and_machine() -> None:
    (section,) = build(make_results(measured("keras", 0.01))).sections
    assert labels.caption(section) == (
        "quick on A 3040d4 · 2025-01-31 12:01 UTC · 1 process; A CPU, 2 cores; keras 3."
    )
    (unnamed,) = build(make_results(measured("keras", 0.01, a_run(suite="", host="")))).sections
    assert labels.heading(unnamed).startswith("unnamed suite on A 034903 · ")


def test_machine_partly_known_gpus_and_threads_are_named() -> None:
    gpus = [{"name": "A GPU", "driver": "550"}, {"name": 5}, {"driver": "551"}]
    cpu = {"name": "A CPU", "cores": 1, "usable": 4}
    before = {"cpu": cpu, "gpus": gpus, "system": "Linux", "python": "3.11"}
    (section,) = build(
        make_results(measured("a", 0.1, a_run(environment={"before": before})))
    ).sections
    assert labels.machine(section) == [
        ("CPU", "A CPU, 1 core, 4 usable threads"),
        ("GPU 0", "A GPU, driver 550"),
        ("GPU 2", "driver 551"),
        ("System", "Linux"),
        ("Libraries", "3.11"),
    ]
    odd = {"cpu": {"name": "A CPU", "cores": 0, "usable": 10**30}, "gpus": "none"}
    (section,) = build(
        make_results(measured("a", 0.1, a_run(environment={"before": odd})))
    ).sections
    assert labels.machine(section) == [("CPU", "A CPU")]


def test_title_of_a_table_has_device_mode_and_unusual_properties() -> None:
    half = replace(SPEC, dtype="float16")
    items = [
        measured("keras", 0.01),
        measured("keras", 0.01, work=TRAINING, spec=half),
        measured("keras", 0.01, work=TRAINING),
        measured("keras", 0.01, work=replace(TRAINING, window=5), device="gpu:0"),
    ]
    (section,) = build(make_results(*items)).sections
    assert [labels.title(table) for table in section.tables] == [
        "cpu, inference",
        "cpu, training, float16 and float32",
        "gpu:0, training in windows (batch 2 × 10 timesteps, 3 in, 4 hidden, gradients of weights, "
        "input, state)",
    ]


def test_notes_of_rows_explain_only_their_marks() -> None:
    (section,) = make_report(*replicated(6, ("keras", 0.020), ("torch", 0.010))).sections
    assert labels.notes(section.rows) == [labels.MARKS]
    assert labels.notes(section.rows[1:]) == []
    first = section.rows[0]
    problem = replace(first.result.validity, of_time=(PROBLEM,))
    unreliable = replace(first, result=replace(first.result, validity=problem))
    assert labels.notes([unreliable]) == [labels.MARKS, labels.UNRELIABLE_TIME]


@pytest.mark.parametrize(
    ("confidence", "message"),
    [(0.95, "0.900–1.20"), (0.95 - 1e-12, "0.900–1.20"), (0.75, "0.900–1.20 (75%)"), (0.0, "")],
)
def test_bounds_of_time_few_samples_names_lower_confidence(confidence: float, message: str) -> None:
    assert labels.bounds_of_time(Interval(0.9, 1.0, 1.2, confidence), 1.0) == message
