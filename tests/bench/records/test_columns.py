"""Measurements as the columns of a table, and back: nothing is lost, nothing wrong is believed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from bench import records
from bench.machine.fields import LARGEST_INTEGER, LONGEST, SHORTEST
from bench.records import columns
from bench.records.schema import Measurement, ResultFile
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.places import GOLDEN

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ("replicate-1.json", "streaming.json")


def a_file(name: str = NAMES[0]) -> ResultFile:
    return records.read(GOLDEN / name)


def rows_of(table: Any) -> columns.Rows:
    """The rows of a table that was written and read."""
    out = io.BytesIO()
    pq.write_table(table, out)
    return columns.Rows(pq.ParquetFile(pa.BufferReader(out.getvalue())))


def again(file: ResultFile, table: Any = None) -> list[Measurement]:
    rows = rows_of(columns.table(file) if table is None else table)
    return list(rows.measurements(range(len(file.measurements)), file.run, file.path))


def plain(item: Measurement) -> dict[str, object]:
    """All that a measurement holds, as what can be compared."""
    found = {each.name: getattr(item, each.name) for each in fields(item)}
    for name in ("gate", "evidence"):
        found[name] = dict(found[name])
    for name in ("samples", "rounds"):
        found[name] = (found[name].dtype, found[name].tolist())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_into_columns_comes_back(name: str) -> None:
    file = a_file(name)
    assert [*map(plain, again(file))] == [*map(plain, file.measurements)]


def test_what_is_seldom_asked_for_is_the_same_in_its_column() -> None:
    file = a_file()
    numbered = (replace(each, evidence={"n": n}) for n, each in enumerate(file.measurements))
    file = replace(file, measurements=tuple(numbered))
    left = columns.with_rare_in_columns(file, columns.table(file))
    assert [*map(plain, left.measurements)] == [*map(plain, file.measurements)]
    lazy = left.measurements[0].gate
    assert isinstance(lazy, columns.Lazy)
    assert (len(lazy), repr(lazy)) == (len(file.measurements[0].gate), repr(dict(lazy)))


def test_the_rows_of_several_files_stand_one_after_the_other() -> None:
    files = [a_file(name) for name in NAMES]
    whole = rows_of(columns.together([columns.table(file) for file in files]))
    first = len(files[0].measurements)
    second = range(first, first + len(files[1].measurements))
    found = list(whole.measurements(second, files[1].run, files[1].path))
    assert [*map(plain, found)] == [*map(plain, files[1].measurements)]


def test_each_field_of_a_case_has_its_column() -> None:
    names = set(columns.schema().names)
    assert names >= {each.name for kind in (LSTMSpec, Workload) for each in fields(kind)}
    file = a_file()
    table = columns.table(file)
    assert table.schema == columns.schema()
    assert table["hidden_size"].to_pylist() == [
        item.case.spec.hidden_size for item in file.measurements
    ]
    assert set(table["run"].to_pylist()) == {"run-1"}
    assert columns.table(replace(file, measurements=())).num_rows == 0


def changed(name: str, change: Callable[[list[Any]], list[Any]]) -> Any:
    """The golden file's table, one column of which is another."""
    table = columns.table(a_file())
    at = table.schema.get_field_index(name)
    values = pa.array(change(table[name].to_pylist()), type=table.schema.field(name).type)
    return table.set_column(at, table.schema.field(name), values)


def of_first(change: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [change(rows[0]), *rows[1:]]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("rounds", of_first(lambda each: each[1:]), "a round for each sample"),
        ("rounds", of_first(lambda each: [-1, *each[1:]]), "a round is none"),
        ("rounds", of_first(lambda each: [LARGEST_INTEGER + 1, *each[1:]]), "a round is none"),
        ("samples", of_first(lambda each: [0.0, *each[1:]]), "a time is none"),
        ("samples", of_first(lambda each: [1e10, *each[1:]]), "a time is none"),
        ("samples", of_first(lambda each: [float("nan"), *each[1:]]), "a time is none"),
        ("samples", of_first(lambda each: [None, *each[1:]]), "samples are missing"),
        ("warmup", of_first(lambda each: [-1.0]), "a time is none"),
        ("warmup", lambda rows: [None, *rows[1:]], "warmup are missing"),
        ("setup", lambda rows: ["{}, {}", *rows[1:]], "setup are not one a row"),
        ("hidden_size", lambda rows: [0, *rows[1:]], "hidden_size"),
    ],
)
def test_what_cannot_be_is_refused(
    name: str, change: Callable[[list[Any]], list[Any]], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        again(a_file(), changed(name, change))


def test_samples_and_rounds_that_are_missing_together_are_refused() -> None:
    table = changed("samples", of_first(lambda each: []))
    at = table.schema.get_field_index("rounds")
    rows = table["rounds"].to_pylist()
    empty = pa.array([[], *rows[1:]], type=table.schema.field("rounds").type)
    with pytest.raises(ValueError, match="a round for each sample"):
        rows_of(table.set_column(at, table.schema.field("rounds"), empty))


def test_half_of_a_surrogate_pair_is_refused() -> None:
    file = a_file()
    hosts = replace(file, run=replace(file.run, host="\ud800"))
    with pytest.raises(UnicodeEncodeError):
        columns.table(hosts)


@pytest.mark.parametrize("time", [SHORTEST, LONGEST])
def test_the_shortest_and_the_longest_time_are_times(time: float) -> None:
    found = again(a_file(), changed("samples", of_first(lambda each: [time, *each[1:]])))
    assert found[0].samples[0] == time


def test_measurements_of_the_same_sizes_share_them() -> None:
    cases = [each.case for each in again(a_file())]
    specs = {id(case.spec): case.spec for case in cases}
    works = {id(case.workload): case.workload for case in cases}
    assert len(set(specs.values())) == len(specs)
    assert len(set(works.values())) == len(works)
