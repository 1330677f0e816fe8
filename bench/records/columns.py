"""Measurements as the columns of one table, and the rows of such a table as measurements again.

What few readers ask for (what the gate found, the evidence) stays in its column until it is asked
for; everything else comes back as the objects that ``results.read`` makes. This room knows the
types of a result file and Arrow's arrays; which file is kept where is ``results.cache``'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.case.cases import Case
from bench.machine.fields import LARGEST_INTEGER, LONGEST, SHORTEST, Field
from bench.records import streaming
from bench.records.schema import Measurement, Reason, ResultFile, Run
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_SPEC = tuple(each.name for each in fields(LSTMSpec))
_WORK = tuple(each.name for each in fields(Workload))
LISTS = ("samples", "rounds", "warmup")
"""Columns of lists of numbers, of which hardly any is there twice."""
_PLAIN = ("calls", "steady", "valid", "stopped")
_FIGURES = ("setup", "memory", "roofs", "energy")
_BULK = (*_FIGURES, "reasons", "remarks", "streaming")
"""Columns of JSON of which every row is asked for."""
RARE = ("gate", "evidence")
"""Columns of JSON of which few rows are: read when the first is."""


def schema() -> pa.Schema:
    """The columns and their types."""
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    whole, real, flag = pa.int64(), pa.float64(), pa.bool_()
    # By the annotations: a field that is new in a spec or a workload is a column at once.
    types = {"int": whole, "float": real, "bool": flag, "str": word}
    kinds: dict[str, pa.DataType] = {
        **dict.fromkeys(("file", "session", "run", "suite", "host", "machine_id"), word),
        "started": pa.timestamp("us", tz="UTC"),
        "case_id": pa.string(),
        "backend": word,
        "device": word,
        **{
            each.name: types[str(each.type).removesuffix(" | None")]
            for each in (*fields(LSTMSpec), *fields(Workload))
        },
        "samples": pa.list_(real),
        "rounds": pa.list_(whole),
        "warmup": pa.list_(real),
        "calls": whole,
        "steady": flag,
        "valid": flag,
        "stopped": word,
        **dict.fromkeys((*_BULK, *RARE), pa.string()),
    }
    return pa.schema(list(kinds.items()))


def table(file: ResultFile) -> pa.Table:
    """The measurements of a file, a row each.

    Raises UnicodeEncodeError for a text that is no UTF-8 (half of a surrogate pair).
    """
    import pyarrow as pa

    items, run = file.measurements, file.run
    shared = {
        "file": file.path.name,
        "session": run.session,
        "run": run.id,
        "suite": run.suite,
        "host": run.host,
        "machine_id": run.machine_id,
        "started": run.started,
    }
    columns: dict[str, Any] = {
        **{name: [value] * len(items) for name, value in shared.items()},
        "case_id": [item.case.id for item in items],
        "backend": [item.case.backend for item in items],
        "device": [item.case.device for item in items],
        **{name: [getattr(item.case.spec, name) for item in items] for name in _SPEC},
        **{name: [getattr(item.case.workload, name) for item in items] for name in _WORK},
        "samples": _nested([item.samples for item in items], np.dtype(np.float64)),
        "rounds": _nested([item.rounds for item in items], np.dtype(np.int64)),
        "warmup": [item.warmup for item in items],
        **{name: [getattr(item, name) for item in items] for name in _PLAIN},
        **{
            name: [json.dumps(getattr(item, name)) for item in items]
            for name in (*_FIGURES, "remarks")
        },
        **{name: [json.dumps(dict(getattr(item, name))) for item in items] for name in RARE},
        "streaming": [json.dumps(item.streaming and item.streaming.to_dict()) for item in items],
        "reasons": [
            json.dumps([[each.code, each.text, each.advice] for each in item.reasons])
            for item in items
        ],
    }
    # A file's columns are small, and Arrow's own pools give each of them a page or more.
    pool = pa.system_memory_pool()
    arrays = [
        columns[each.name]
        if isinstance(columns[each.name], pa.Array)
        else pa.array(columns[each.name], type=each.type, memory_pool=pool)
        for each in schema()
    ]
    return pa.Table.from_arrays(arrays, schema=schema())


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all of them."""
    import pyarrow as pa

    return pa.concat_tables(tables).unify_dictionaries()


def with_rare_in_columns(file: ResultFile, rows: pa.Table) -> ResultFile:
    """The same file, what is seldom looked at left in the columns of its ``table``."""
    gate, evidence = (Column(rows.select([name]), name) for name in RARE)
    return replace(
        file,
        measurements=tuple(
            replace(item, gate=Lazy(gate, row), evidence=Lazy(evidence, row))
            for row, item in enumerate(file.measurements)
        ),
    )


def _nested(arrays: Sequence[npt.NDArray[Any]], kind: np.dtype[Any]) -> pa.Array:
    import pyarrow as pa

    ends = np.cumsum([0, *(values.size for values in arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate([np.empty(0, kind), *arrays]))


class Rows:
    """The rows of a cache, as measurements again.

    What the file says is bound by the same rules as what a result file says: its numbers are
    checked here in bulk, its cases by their own types.

    Raises ValueError for what cannot be.
    """

    def __init__(self, file: pq.ParquetFile) -> None:
        rows = file.read(columns=[name for name in schema().names if name not in RARE])
        self._rare = {name: Column(file, name) for name in RARE}
        self._samples, self._rounds, self._warmup = (_lists(rows, name) for name in LISTS)
        values, ends = self._samples
        if not np.array_equal(ends, self._rounds[1]) or np.any(np.diff(ends) < 1):
            raise ValueError("a round for each sample is missing")
        for times in (values, self._warmup[0]):
            if times.size and not (times.min() >= SHORTEST and times.max() <= LONGEST):
                raise ValueError("a time is none")
        rounds = self._rounds[0]
        if rounds.size and not (rounds.min() >= 0 and rounds.max() <= LARGEST_INTEGER):
            raise ValueError("a round is none")
        self._columns = {
            name: _values(rows[name]) for name in ("backend", "device", *_SPEC, *_WORK, *_PLAIN)
        }
        self._columns.update((name, _decoded(rows, name)) for name in _BULK)
        self._specs: dict[tuple[object, ...], LSTMSpec] = {}
        self._works: dict[tuple[object, ...], Workload] = {}

    def measurements(self, rows: range, run: Run, path: Path) -> Iterator[Measurement]:
        """These rows, which are what a run measured and stand for a file.

        Raises ValueError or TypeError for what cannot be.
        """
        at = self._columns
        for row in rows:
            yield Measurement(
                case=self._case(row),
                run=run,
                samples=_part(self._samples, row),
                rounds=_part(self._rounds, row),
                warmup=tuple(_part(self._warmup, row).tolist()),
                gate=Lazy(self._rare["gate"], row),
                evidence=Lazy(self._rare["evidence"], row),
                reasons=tuple(Reason(*each) for each in at["reasons"][row]),
                path=path,
                remarks=tuple(at["remarks"][row]),
                streaming=streaming.parse(Field(path, "streaming", at["streaming"][row])),
                **{name: at[name][row] for name in (*_PLAIN, *_FIGURES)},
            )

    def _case(self, row: int) -> Case:
        at = self._columns
        numbers = tuple(at[name][row] for name in _SPEC)
        spec = self._specs.get(numbers)
        if spec is None:
            spec = self._specs[numbers] = LSTMSpec(**dict(zip(_SPEC, numbers, strict=True)))
        numbers = tuple(at[name][row] for name in _WORK)
        work = self._works.get(numbers)
        if work is None:
            work = self._works[numbers] = Workload(**dict(zip(_WORK, numbers, strict=True)))
        return Case(at["backend"][row], spec, work, at["device"][row])


def _lists(rows: pa.Table, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    column = rows[name].combine_chunks()
    if column.null_count or column.values.null_count:
        raise ValueError(f"{name} are missing")
    return column.values.to_numpy(), column.offsets.to_numpy()


def _values(column: pa.ChunkedArray) -> list[Any]:
    """What ``to_pylist`` gives, in a tenth of the time for words and whole numbers."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        found = column.unify_dictionaries().combine_chunks()
        words = [*found.dictionary.to_pylist(), None]
        return [words[place] for place in found.indices.fill_null(-1).to_numpy().tolist()]
    if pa.types.is_integer(column.type) and not column.null_count:
        return list(column.to_numpy().tolist())
    return list(column.to_pylist())


def _decoded(rows: pa.Table, name: str) -> list[Any]:
    texts = rows[name].to_pylist()
    # All in one go, which takes half the time of one by one.
    found = json.loads(f"[{','.join(texts)}]")
    if len(found) != len(texts):
        raise ValueError(f"{name} are not one a row")
    return list(found)


def _part(lists: tuple[npt.NDArray[Any], npt.NDArray[Any]], row: int) -> npt.NDArray[Any]:
    values, ends = lists
    return values[ends[row] : ends[row + 1]]


@dataclass
class Column:
    """A column of JSON, read when it is first asked for."""

    source: pq.ParquetFile | pa.Table
    name: str

    @cached_property
    def texts(self) -> pa.ChunkedArray:
        """The rows as they stand in the table."""
        import pyarrow as pa

        if isinstance(self.source, pa.Table):
            return self.source[self.name]
        return self.source.read(columns=[self.name])[self.name]

    def value(self, row: int) -> dict[str, object]:
        """A row's object."""
        found: dict[str, object] = json.loads(self.texts[row].as_py())
        return found


class Lazy(Mapping[str, object]):
    """An object of a row that is decoded each time it is asked for, since hardly any ever is."""

    __slots__ = ("_column", "_row")

    def __init__(self, column: Column, row: int) -> None:
        self._column = column
        self._row = row

    def __getitem__(self, key: str) -> object:
        return self._column.value(self._row)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._column.value(self._row))

    def __len__(self) -> int:
        return len(self._column.value(self._row))

    def __repr__(self) -> str:
        return repr(self._column.value(self._row))
