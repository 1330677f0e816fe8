"""The report as data: what a row says of its runs, and how rows stand together in tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.case.cases import Case
from bench.records.schema import Measurement, RecordedReason
from bench.render.data import COLUMNS, records
from bench.stats.intervals import FEWEST_BEYOND, PERCENTILES
from bench.stats.rows import Row, Table, build, ranked_backends, stream, usual_baseline
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_reports import (
    BUSY,
    SPEC,
    TRAINING,
    a_run,
    measured,
    report_of,
    results_of,
    the_row,
    without_time,
)

UNSTEADY = RecordedReason("not_steady", "the halves differ", "give it more time")


def test_percentiles_leave_a_disturbed_process_out_and_not_one_that_spreads_by_itself() -> None:
    def process(number: int, low: float, *reasons: RecordedReason) -> Measurement:
        item = measured("keras", 1.0, a_run(number), reasons=reasons)
        return replace(item, samples=np.linspace(low, low + 1, 60), rounds=np.arange(60))

    items = [process(0, 1.0), process(1, 2.0, UNSTEADY), process(2, 100.0, BUSY)]
    (row,) = records(report_of(*items))
    both = np.concatenate([np.linspace(1.0, 2.0, 60), np.linspace(2.0, 3.0, 60)])
    for part in PERCENTILES:
        assert row[f"p{part}_s"] == pytest.approx(np.percentile(both, part))
    (alone,) = records(report_of(items[2]))
    assert [alone[f"p{part}_s"] for part in PERCENTILES] == [None] * 4
    for part in PERCENTILES:
        needed = round(100 * FEWEST_BEYOND / min(part, 100 - part))
        assert COLUMNS[f"p{part}_s"].meaning.endswith(f"fewer than {needed} samples")


def test_padding_is_not_counted_among_the_timesteps() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload(2, 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((10 + 4) / 0.5)


def test_a_batch_of_any_size_is_counted_at_once() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload((2**31 - 1), 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((2**31 - 1) * 7 / 0.5)


def a_row(backend: str = "keras", rank: int | None = None, work: Workload = TRAINING) -> Row:
    return Row(Case(backend, SPEC, work), "measured", rank=rank)


def test_the_first_result_is_what_is_known_of_the_way_there() -> None:
    setup = {"build_s": 1.0, "trace_s": None, "compile_s": 7.0, "first_call_s": 0.5}
    assert replace(a_row(), setup=setup).first_result == 1.5
    assert replace(a_row(), setup=dict.fromkeys(setup)).first_result is None
    assert a_row().first_result is None


def test_what_has_no_time_has_no_speed() -> None:
    found = report_of(measured("keras", 0.5), without_time("cudnn"))
    none, row = the_row(found, "cudnn"), the_row(found, "keras")
    assert not none.measured
    assert none.sequences_per_s is none.timesteps_per_s is none.time_per_timestep is None
    assert (row.sequences_per_s, row.timesteps_per_s, row.time_per_timestep) == (4, 40, 0.05)


# Tables


def test_cases_that_differ_in_their_window_are_of_one_stream() -> None:
    five, ten = (Case("keras", SPEC, replace(TRAINING, window=window)) for window in (5, 10))
    assert stream(five) == stream(ten) == Case("torch", SPEC, TRAINING).group
    assert stream(Case("keras", SPEC, TRAINING)) == ""


def test_a_section_s_tables_are_by_device_kind_mode_and_stream() -> None:
    window = replace(TRAINING, window=5)
    wide = LSTMSpec(3, 8)
    (section,) = report_of(
        measured("keras", 1.0),
        measured("keras", 1.0, spec=wide),
        measured("keras", 1.0, work=TRAINING),
        measured("keras", 1.0, work=window),
        measured("keras", 1.0, work=replace(TRAINING, window=2)),
        measured("keras", 1.0, work=window, spec=wide),
        without_time("cudnn"),
    ).sections
    tables = [(each.device, each.kind, each.mode, len(each.rows)) for each in section.tables]
    assert tables == [
        ("cpu", "throughput", "inference", 2),
        ("cpu", "throughput", "training", 1),
        ("cpu", "truncation", "training", 2),
        ("cpu", "truncation", "training", 1),
        ("gpu:0", "throughput", "inference", 1),
    ]
    assert [each.noun for each in section.tables[1:4]] == ["shape", "window", "window"]
    assert section.timed_tables == list(section.tables[:4])


def test_groups_have_the_fastest_first_and_what_has_no_time_last() -> None:
    slow, fast, none = (measured("b", 2.0), measured("a", 1.0), without_time("c", device="cpu"))
    lonely = without_time("c", device="cpu", spec=LSTMSpec(3, 8))
    (section,) = report_of(slow, none, fast, lonely).sections
    (table,) = section.tables
    assert [[row.case.backend for row in group] for group in table.groups] == [["a", "b", "c"]]
    assert len(table.rows) == 4


@pytest.mark.parametrize(
    ("most", "shown", "left"), [(0, 1, 2), (2, 1, 2), (3, 1, 2), (4, 2, 1), (6, 3, 0), (99, 3, 0)]
)
def test_a_table_s_beginning_is_of_whole_groups_and_at_least_one(
    most: int, shown: int, left: int
) -> None:
    specs = [LSTMSpec(3, hidden) for hidden in (4, 5, 6)]
    items = [measured(name, 1.0, spec=spec) for spec in specs for name in ("a", "b")]
    (section,) = report_of(*items).sections
    begun, rest = section.tables[0].begin(most)
    assert (len(begun.groups), rest) == (shown, left)
    assert begun.groups == section.tables[0].groups[:shown]


def test_a_table_that_is_shown_whole_keeps_what_has_no_time() -> None:
    lonely = without_time("c", device="cpu", spec=LSTMSpec(3, 8))
    (section,) = report_of(measured("a", 1.0), lonely).sections
    begun, _ = section.tables[0].begin(1)
    assert len(begun.rows) == 2


def test_backends_stand_by_how_well_they_rank_after_the_baseline() -> None:
    places = {"a": (3, 3), "b": (1, 2), "c": (2, 1), "base": (4, 4), "none": (None,)}
    rows = [a_row(name, rank) for name, ranks in places.items() for rank in ranks]
    assert ranked_backends(rows, "base") == ["base", "b", "c", "a"]
    assert Table("cpu", "throughput", "training", tuple(rows), "a").backends == (
        *("a", "b", "c", "base"),
    )


@pytest.mark.parametrize(
    ("counts", "baseline"),
    [
        ({"torch": 9, "while_loop": 1, "keras": 1}, "keras"),
        ({"torch": 9, "while_loop": 1}, "while_loop"),
        ({"numpy": 1, "torch": 9}, "torch"),
        ({}, ""),
    ],
)
def test_the_usual_baseline_is_the_first_of_its_list_or_what_is_there_most(
    counts: dict[str, int], baseline: str
) -> None:
    assert usual_baseline(counts) == baseline
