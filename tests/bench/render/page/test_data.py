"""The data that the page carries: the numbers of the report's table, and no text that ends them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.schema import Outcome, Reason
from bench.render import drawing
from bench.render.escape import clean
from bench.render.page import data
from bench.stats.ranking import build
from bench.stats.rows import Report
from bench.stats.table import records
from lstm_impl.workload import Workload
from tests.bench.made_reports import INFERENCE, SPEC, a_run, measured, report_of
from tests.bench.made_streams import streams


def read(found: Report) -> dict[str, Any]:
    """The data as the page's script gets it."""
    text: dict[str, Any] = json.loads(data.as_block(data.data(found)))
    assert not set(text["cases"]) & set(text["same"])
    for column, value in text["same"].items():
        text["cases"][column] = [value] * text["count"]
    return text


def in_words(found: dict[str, Any], column: str) -> list[str]:
    return [found["words"][column][n] if n >= 0 else "" for n in found["cases"][column]]


def test_the_page_has_the_numbers_of_the_tidy_table() -> None:
    made = report_of(
        measured("keras", 0.02, memory={"peak_bytes": 4096.0}),
        measured("torch", 0.01, roofs={"operations": 9.0, "bytes": 3.0, "matmul_per_s": 7.0}),
    )
    found = read(made)
    table = records(made)
    for column in ("time_s", "time_low_s", "timesteps_per_s", "speedup", "rank", "compile_s"):
        for value, row in zip(found["cases"][column], table, strict=True):
            assert value == (None if row[column] is None else pytest.approx(row[column], rel=1e-4))
    # What is told in words has every digit: else a page would round what is rounded already.
    for column in ("time_s", "time_low_s", "timesteps_per_s", "speedup", "speedup_high"):
        assert found["cases"][column] == [row[column] for row in table]
    assert in_words(found, "backend") == ["torch", "keras"]
    assert in_words(found, "verdict") == ["FASTER", ""]
    assert found["cases"]["peak_memory_bytes"] == [None, 4096]
    assert found["cases"]["operations"] == [9, None]
    assert found["cases"]["matmul_per_s"] == [7, None]
    assert found["words"]["backend"][found["sections"][0]["baseline"]] == "keras"
    assert found["works"]["text"] == ["batch 2 × 10 steps, 3 in, 4 hidden"]
    assert found["works"]["group"] == ["b2-t10-i3-h4/float32/inference/cpu"]
    assert found["works"]["variant"] == [""]
    ((use, inside, source),) = found["works"]["said"]
    assert use.startswith("Use torch, 10.0 ms a step (")
    assert inside == "Inside TensorFlow: keras itself, 20.0 ms."
    assert source == "From 1 process on host, 2025-01-31 12:01 UTC."
    # Columns that no case fills are left out, and what all have in common stands once.
    assert "energy_j" not in found["cases"]
    assert found["same"]["batch"] == 2
    assert "backend" not in found["same"]


def test_what_the_question_leaves_open_is_told_of_each_work() -> None:
    work = [
        Workload(2, 10, "training", gradients="weights"),
        Workload(2, 10, "training", gradients="weights+input"),
        Workload(2, 10, "training", batch_major=True, min_length=3),
    ]
    found = read(report_of(*(measured("keras", 0.01, work=each) for each in work)))
    assert found["works"]["variant"] == [
        "",
        "gradients of weights, input",
        "lengths from 3, batch-major, gradients of weights, input, state",
    ]


def test_each_backend_looks_as_in_the_pictures() -> None:
    found = read(report_of(*(measured(name, 0.01) for name in ("torch", "keras", "my_own"))))
    for name, (colour, shape) in zip(found["words"]["backend"], found["looks"], strict=True):
        assert (colour, shape) == (drawing.look(name).colour, drawing.look(name).shape)


def test_every_sample_is_there_with_its_process() -> None:
    runs = [a_run(1), a_run(2)]
    items = [measured("keras", 0.02 * (1 + n), run) for n, run in enumerate(runs)]
    found = read(report_of(*items))
    ((first, second),) = found["samples"]
    assert found["whole_samples"] is True
    assert (first[0], second[0]) == (1, 2)
    time = found["cases"]["time_s"][0]
    for process, item in zip((first, second), items, strict=True):
        assert process[1] == np.median(item.samples)
        assert np.array(process[2]) * time / 1e4 == pytest.approx(item.samples, rel=1e-3)


def test_of_too_many_samples_each_process_keeps_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_SAMPLES", 40)
    items = [measured("keras", 0.02, a_run(n), samples=200) for n in (1, 2)]
    found = read(report_of(*(replace(each, samples=each.samples[::-1]) for each in items)))
    assert found["whole_samples"] is False
    for _, _, parts in found["samples"][0]:
        assert len(parts) == 20
        assert parts == sorted(parts)
        assert (parts[0], parts[-1]) == (9900, 10100)


def test_numbers_that_nobody_reads_to_their_end_are_short() -> None:
    item = measured("keras", 0.02)
    found = read(report_of(replace(item, setup={**item.setup, "build_s": 1 / 3})))
    assert found["same"]["build_s"] == 0.33333


def test_of_a_histogram_that_cannot_be_read_there_is_none() -> None:
    (section,) = build(streams({"keras": 5.0})).sections
    (row,) = section.rows
    assert row.stream is not None
    broken = replace(row.stream, histograms=(*row.stream.histograms[:2], "HISTFAAAA"))
    for stream, calls in ((row.stream, row.stream.calls), (broken, 0)):
        made = Report((replace(section, rows=(replace(row, stream=stream),)),))
        (latency,) = read(made)["latency"].values()
        assert sum(latency["counts"]) == calls
        assert latency["calls"] == row.stream.calls


def test_cases_that_do_not_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_CASES", 2)
    found = read(report_of(*(measured(name, 0.01) for name in "abcde")))
    assert found["left_out"] == 3
    assert len(found["cases"]["time_s"]) == len(found["samples"]) == 2


def test_names_that_look_alike_stay_apart() -> None:
    long = "x" * 500
    found = read(report_of(measured(long + "1", 0.01), measured(long + "2", 0.02)))
    assert found["cases"]["backend"] == [0, 1]
    assert found["words"]["backend"][0] == found["words"]["backend"][1]


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"quoted\" 'single' \\ &lt;",
    "\x1b[31m\x00\u202e\u2028\ud800",
    "x" * 1_000_000,
    "constructor",
    "__proto__",
]


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=30)))
@example(HOSTILE[1])
@example(HOSTILE[5])
def test_no_text_can_end_the_data_or_grow_it(text: str) -> None:
    run = a_run(host=text)
    outcome = Outcome(Case(text + "2", SPEC, INFERENCE), run, "failed", text, text, Path("a.json"))
    reason = Reason("busy", text, text)
    made = report_of(measured(text, 0.01, run, reasons=[reason]), outcome)
    written = data.as_block(data.data(made))
    assert not re.search("[<>&\u2028\u2029\ud800]", written)
    assert len(written) < 20_000
    assert in_words(read(made), "backend")[0] == clean(text, 60)
