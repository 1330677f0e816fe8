"""What stands in the cells of a report's tables, and under which headings."""

from __future__ import annotations

from dataclasses import replace

from bench.records.schema import Measurement
from bench.render.table import parts, work_words
from bench.stats.rows import Report, Row, Table, build
from tests.bench.made_reports import (
    BUSY,
    DOUBT,
    SPEC,
    TRAINING,
    measured,
    replicated,
    report_of,
    the_row,
    without_time,
)
from tests.bench.made_streams import streams

WINDOW = replace(TRAINING, window=5)


def headings(table: Table) -> list[str]:
    return [part.heading for part in parts(table)]


def cells(report: Report, backend: str) -> dict[str, str]:
    """What is told of this backend's only case, by the heading."""
    (table,) = report.sections[0].tables
    row = the_row(report, backend)
    return {part.heading: part.text(row).strip() for part in parts(table)}


def test_a_table_has_only_what_any_of_its_cases_has() -> None:
    usual = ["median", "95% CI", "sequences/s", "timesteps/s", "first result"]

    def heads(*items: Measurement) -> list[str]:
        (table,) = report_of(*items).sections[0].tables
        return headings(table)

    keras, torch = measured("keras", 0.02), measured("torch", 0.01)
    assert heads(keras) == usual
    assert heads(keras, torch) == [*usual, "vs keras"]
    assert heads(keras, replace(torch, memory={"peak_bytes": 1.0})) == [
        *(*usual, "memory", "vs keras"),
    ]
    busy = measured("torch", 0.01, reasons=[BUSY])
    assert heads(keras, busy) == [*usual, "vs keras", "trust"]
    assert heads(measured("keras", 0.01, work=WINDOW)) == ["per timestep", "95% CI"]


def test_what_is_told_is_that_of_the_case() -> None:
    found = report_of(
        *replicated(6, ("keras", 0.020), ("torch", 0.010)), without_time("jax", device="cpu")
    )
    told = cells(found, "torch")
    assert told["median"] == "10.0 ms"
    assert told["sequences/s"] == "200"  # two in ten milliseconds
    assert told["timesteps/s"] == "1,995"
    assert told["first result"] == "1.75 s"
    assert told["vs keras"] == "2.00× FASTER"
    assert cells(found, "keras")["vs keras"] == "1× baseline"
    assert set(cells(found, "jax").values()) == {"not measured", ""}


def test_a_time_is_told_a_timestep_where_a_stream_is_cut_into_windows() -> None:
    found = report_of(measured("keras", 0.02, work=WINDOW))
    told = cells(found, "keras")
    row = the_row(found, "keras")
    assert row.interval is not None
    assert told["per timestep"] == "2.00 ms"
    assert told["95% CI"] == f"{100 * row.interval.low:.2f}–{100 * row.interval.high:.2f}"


def test_doubts_stand_beside_what_is_doubted() -> None:
    found = report_of(measured("keras", 0.02), measured("torch", 0.01, reasons=[BUSY]))
    assert cells(found, "torch")["trust"] == "INVALID"
    assert cells(found, "keras")["trust"] == ""
    row = the_row(found, "keras")
    doubtful = replace(row, validity=replace(row.validity, of_time=(DOUBT,)))
    (table,) = found.sections[0].tables
    assert parts(table)[0].text(doubtful) == "~20.0 ms"


def test_the_spread_stands_beside_what_it_leaves_unclear() -> None:
    wild = [
        replace(item, samples=item.samples * (0.8 + 0.08 * number))
        for number, item in enumerate(replicated(6, ("torch", 0.02)))
    ]
    found = report_of(*replicated(6, ("keras", 0.02)), *wild)
    told = cells(found, "torch")
    assert told["vs keras"].endswith("UNCLEAR")
    assert told["processes spread"].endswith("%")
    assert cells(found, "keras")["processes spread"] == ""


def test_a_stream_has_its_percentiles_and_the_verdict_on_its_tail() -> None:
    found = build(streams({"keras": 5.0, "torch": 8.0}))
    (table,) = found.sections[0].tables
    assert headings(table) == [
        *("median", "95% CI", "p90", "p99", "p99, 95% CI", "p99.9", "first result"),
        *("vs keras", "p99 vs keras"),
    ]
    assert cells(found, "torch")["p99 vs keras"].endswith("SLOWER")
    needed = {part.heading: part.needed for part in parts(table)}
    assert (needed["p99"], needed["p90"]) == (0, 3)


def test_who_how_long_and_the_ratio_are_never_left_out() -> None:
    found = report_of(*replicated(6, ("keras", 0.02), ("torch", 0.01)))
    needed = {part.heading: part.needed for part in parts(found.sections[0].tables[0])}
    assert [heading for heading, order in needed.items() if order == 0] == ["median", "vs keras"]
    assert min(order for order in needed.values() if order) == needed["95% CI"]


def work(row: Row, report: Report) -> list[str]:
    (table,) = report.sections[0].tables
    return work_words(row, table)


def test_the_work_is_told_by_what_differs_in_its_table() -> None:
    plain = report_of(measured("keras", 0.02))
    words = ["batch 2 × 10 steps", "3 in, 4 hidden", "b2-t10-i3-h4"]
    assert work(the_row(plain, "keras"), plain) == words
    both = report_of(
        measured("keras", 0.02), measured("torch", 0.02, spec=replace(SPEC, dtype="float16"))
    )
    assert work(the_row(both, "torch"), both) == [*words[:2], "float16", words[2]]
    cut = report_of(measured("keras", 0.02, work=WINDOW))
    assert work(the_row(cut, "keras"), cut) == ["window 5"]
