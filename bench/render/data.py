"""Write the report and its samples as data: CSV, JSON, Parquet and pandas frames.

``columns.csv`` and ``sample_columns.csv`` describe the columns; ``COLUMNS`` and ``SAMPLE_COLUMNS``
compute them from a row. Seconds and plain ratios, never scaled or rounded. pandas and pyarrow are
imported only where they are used. Also the decisions that ``lstm_impl.keras.LSTM(backend="auto")``
reads.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeAlias, TypeVar

from bench.machine.fields import InputError, mapping, printable
from bench.records.files import collect
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Results, Run
from bench.render import table
from bench.render.labels import machine
from bench.render.messages import (
    bound_sentence,
    doubt_lines,
    error_text,
    findings,
    method,
    paid_back,
    uneven_note,
)
from bench.stats.comparison import Comparison, Heterogeneity
from bench.stats.intervals import PERCENTILES, CaseInterval, speed
from bench.stats.latency import PARTS, StreamProcesses
from bench.stats.rows import NothingToReportError, Report, Row, Section, build, pairs
from lstm_impl.tuning import Decision, Raced, TunedMachine, TuningRequest, folder, save
from lstm_impl.tuning.machine import DISTRIBUTIONS, cpu_words

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")
_Of = ParamSpec("_Of")

Value: TypeAlias = str | float | int | bool | None

KINDS: dict[str, type[str | int | float]] = {"text": str, "whole": int, "real": float, "flag": bool}


@dataclass(frozen=True)
class DataColumn(Generic[_Of]):
    """A column; unit is empty for what has none. kind: of its values, all of which may be None."""

    unit: str
    meaning: str
    kind: type[str | int | float]
    value: Callable[_Of, Value]


def described(file: str, values: Mapping[str, Callable[_Of, Value]]) -> dict[str, DataColumn[_Of]]:
    """The columns that a file next to this one describes, in its order, with how each is got."""
    with Path(__file__).with_name(file).open(encoding="utf-8", newline="") as lines:
        return {
            row["column"]: DataColumn(
                row["unit"], row["meaning"], KINDS[row["kind"]], values[row["column"]]
            )
            for row in csv.DictReader(lines, strict=True)
        }


def _host(section: Section) -> str:
    """The machine's name, or the names of all nodes."""
    return ", ".join(section.nodes.values()) or section.run.host


def _machine_id(section: Section) -> str:
    """The machine's id, or one for all nodes: the same for the same ones."""
    if not section.nodes:
        return section.run.machine_id
    text = "\0".join(sorted(section.nodes))
    return "nodes-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


_OF_SECTION: dict[str, Callable[[Section], Value]] = {
    "session": lambda section: section.run.session,
    "suite": lambda section: section.run.suite,
    "started": lambda section: section.started.isoformat(),
    "host": _host,
    "machine_id": _machine_id,
    "baseline": lambda section: section.baseline,
}

_OF_ROW: dict[str, Callable[[Row], Value]] = {
    "case_id": lambda row: row.case.id,
    "backend": lambda row: row.case.backend,
    "device": lambda row: row.case.device,
    "mode": lambda row: row.case.workload.mode,
    "kind": lambda row: row.case.kind,
    "shape": lambda row: row.case.shape,
    "dtype": lambda row: row.case.spec.dtype,
    "batch": lambda row: row.case.workload.batch,
    "timesteps": lambda row: row.case.workload.timesteps,
    "window": lambda row: row.case.workload.window,
    "min_length": lambda row: row.case.workload.min_length,
    "dropout": lambda row: row.case.workload.dropout,
    "batch_major": lambda row: row.case.workload.batch_major,
    "optimizer": lambda row: row.case.workload.optimizer,
    "gradients": lambda row: row.case.workload.gradients if row.case.workload.training else None,
    "period_s": lambda row: row.case.workload.period,
    "input_size": lambda row: row.case.spec.input_size,
    "hidden_size": lambda row: row.case.spec.hidden_size,
    "num_layers": lambda row: row.case.spec.num_layers,
    "bidirectional": lambda row: row.case.spec.bidirectional,
    "outcome": lambda row: row.outcome,
    "reason": lambda row: row.reason,
    "advice": lambda row: row.advice,
    "valid": lambda row: not row.invalid if row.measured else None,
    "invalid_reasons": lambda row: doubt_lines(row.invalid),
    "time_valid": lambda row: not row.validity.time if row.measured else None,
    "time_reasons": lambda row: doubt_lines(row.validity.time),
    "samples": lambda row: row.samples,
    "sequences_per_s": lambda row: row.sequences_per_s,
    "timesteps_per_s": lambda row: row.timesteps_per_s,
    "time_per_timestep_s": lambda row: row.time_per_timestep,
    "ratio_valid": lambda row: None if row.to_baseline is None else not row.ratio_doubts,
    "ratio_reasons": lambda row: doubt_lines(row.ratio_doubts),
    "rank": lambda row: row.rank,
    "ahead": lambda row: None if row.ahead is None else row.ahead.verdict.value,
    "fastest": lambda row: row.fastest if row.rank == 1 else None,
    "first_result_s": lambda row: row.first_result,
    "break_even_steps": lambda row: paid.steps if (paid := paid_back(row)) else None,
    "peak_memory_bytes": lambda row: row.memory.get("peak_bytes"),
    "operations": lambda row: row.roofs.get("operations"),
    "bytes_moved": lambda row: row.roofs.get("bytes"),
    "of_matmul_roof": lambda row: row.roofs.get("of_matmul"),
    "of_bandwidth_roof": lambda row: row.roofs.get("of_bandwidth"),
    "of_chain_roof": lambda row: row.roofs.get("of_chain"),
    "of_launch_roof": lambda row: row.roofs.get("of_launch"),
    "processors_busy": lambda row: row.roofs.get("processors_busy"),
    "bound_by": lambda row: None if row.bound is None else row.bound.kind,
    "why": lambda row: bound_sentence(row) or None,
    "energy_j": lambda row: row.energy.get("joules"),
    "steady": lambda row: row.steady,
    "variant": lambda row: row.case.variant or None,
    "error": lambda row: row.error,
}

_OF_SETUP: dict[str, Callable[[Mapping[str, float | None]], Value]] = {
    name: operator.itemgetter(name) for name in ("build_s", "trace_s", "compile_s", "first_call_s")
}

_OF_INTERVAL: dict[str, Callable[[CaseInterval], Value]] = {
    "processes": lambda interval: interval.processes,
    "time_s": lambda interval: interval.mid,
    "time_low_s": lambda interval: interval.low,
    "time_high_s": lambda interval: interval.high,
    "confidence": lambda interval: interval.confidence,
    "allowance": lambda interval: interval.allowance,
    "nodes": lambda interval: interval.nodes or None,
    "spread_between_nodes": lambda interval: interval.between,
    "spread_within_nodes": lambda interval: interval.within,
}

OF_RATIO: dict[str, Callable[[Comparison], Value]] = {
    "ratio": lambda found: found.ratio.mid,
    "ratio_low": lambda found: found.ratio.low,
    "ratio_high": lambda found: found.ratio.high,
    "ratio_confidence": lambda found: found.ratio.confidence,
    "ratio_allowance": lambda found: found.allowance,
    "ratio_spread": lambda found: found.spread,
    "speedup": lambda found: speed(found.ratio.mid),
    "speedup_low": lambda found: speed(found.ratio.high),
    "speedup_high": lambda found: speed(found.ratio.low),
    "verdict": lambda found: found.verdict.value,
    "ratio_nodes": lambda found: found.nodes or None,
    "ratio_spread_between_nodes": lambda found: found.between,
}

OF_BRIDGE: dict[str, Callable[[Heterogeneity], Value]] = {
    "ratio_bridge": lambda heterogeneity: heterogeneity.bridge,
    "bridge_ratio": lambda heterogeneity: heterogeneity.found.ratio.mid,
    "bridge_ratio_low": lambda heterogeneity: heterogeneity.found.ratio.low,
    "bridge_ratio_high": lambda heterogeneity: heterogeneity.found.ratio.high,
    "ratio_note": lambda heterogeneity: (
        uneven_note(heterogeneity) if heterogeneity.uneven else None
    ),
}
"""Of a bridge, over which backends of different environments are compared."""

_OF_STREAM: dict[str, Callable[[StreamProcesses], Value]] = {
    "calls": lambda stream: stream.calls,
    "latency_most_s": lambda stream: stream.most,
    "service_p50_s": lambda stream: stream.service[50.0].mid if 50.0 in stream.service else None,
    "deadline_s": lambda stream: stream.deadline,
    "missed": lambda stream: stream.missed,
    "load": lambda stream: stream.load,
}


def _latency(part: float, bound: str, stream: StreamProcesses) -> Value:
    found = stream.latency.get(part)
    return None if found is None else float(getattr(found, bound))


def _ratio_of_latency(part: float, bound: str, stream: StreamProcesses) -> Value:
    found = stream.to_baseline.get(part)
    return None if found is None else float(getattr(found.ratio, bound))


def _verdict_of_latency(part: float, stream: StreamProcesses) -> Value:
    found = stream.to_baseline.get(part)
    return None if found is None else found.verdict.value


for _part in PARTS:
    _key = f"latency_p{_part:g}".replace(".", "")
    for _end, _bound in (("", "mid"), ("_low", "low"), ("_high", "high")):
        _OF_STREAM[f"{_key}{_end}_s"] = functools.partial(_latency, _part, _bound)
        _OF_STREAM[f"{_key}_ratio{_end}"] = functools.partial(_ratio_of_latency, _part, _bound)
    _OF_STREAM[f"{_key}_verdict"] = functools.partial(_verdict_of_latency, _part)


def _of(
    part: Callable[[Row], _T | None], values: Mapping[str, Callable[[_T], Value]]
) -> dict[str, Callable[[Section, Row], Value]]:
    """Values of a part of a row; None where it has none."""

    def of_part(get: Callable[[_T], Value], _: Section, row: Row) -> Value:
        found = part(row)
        return None if found is None else get(found)

    return {name: functools.partial(of_part, get) for name, get in values.items()}


def _of_section(get: Callable[[Section], Value], section: Section, _: Row) -> Value:
    return get(section)


def _percentile(part: int, _: Section, row: Row) -> Value:
    return row.percentiles.get(part)


def _bridge(row: Row) -> Heterogeneity | None:
    return None if row.to_baseline is None else row.to_baseline.heterogeneity


COLUMNS: dict[str, DataColumn[[Section, Row]]] = described(
    "columns.csv",
    {
        **{name: functools.partial(_of_section, get) for name, get in _OF_SECTION.items()},
        **_of(lambda row: row, _OF_ROW),
        **_of(lambda row: row.setup, _OF_SETUP),
        **_of(lambda row: row.interval, _OF_INTERVAL),
        **{f"p{part}_s": functools.partial(_percentile, part) for part in PERCENTILES},
        **_of(lambda row: row.to_baseline, OF_RATIO),
        **_of(_bridge, OF_BRIDGE),
        **_of(lambda row: row.stream, _OF_STREAM),
    },
)
"""The columns of the tidy table, in their order."""


def load_frame(
    paths: Iterable[str | os.PathLike[str]], baseline: str | None = None
) -> pd.DataFrame:
    """The results in these files and folders as a tidy table: a row a case, ``COLUMNS`` as columns.

    Replicates are pooled; what has no time is there with its outcome. Units and meanings of the
    columns stand in ``frame.attrs["units"]`` and ``frame.attrs["meanings"]``, and in
    ``docs/columns.md``. baseline: as in ``build``.

    Raises ResultError for the first file that cannot be read, NothingToReportError where the files
    hold no case.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    try:
        report = build(results, baseline=baseline)
    except NothingToReportError as error:
        error.add_note(error_text(error.reason))
        raise
    return framed(COLUMNS, cells(report))


_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""Of pandas: each knows what is not there, so that ``frame[frame.valid]`` works."""


def framed(columns: Mapping[str, DataColumn[...]], rows: Iterable[list[Value]]) -> pd.DataFrame:
    """Rows as a pandas frame with a nullable type for each column, its unit and meaning next to."""
    import pandas as pd

    values = list(rows)
    frame = pd.DataFrame(
        {
            name: pd.Series([row[index] for row in values], dtype=_DTYPES[column.kind])
            for index, (name, column) in enumerate(columns.items())
        }
    )
    frame.attrs["units"] = {name: column.unit for name, column in columns.items()}
    frame.attrs["meanings"] = {name: column.meaning for name, column in columns.items()}
    return frame


def records(report: Report) -> list[dict[str, Value]]:
    """The report as flat rows, ``COLUMNS`` by name; what says nothing is None."""
    return [dict(zip(COLUMNS, values, strict=True)) for values in cells(report)]


def cells(report: Report) -> Iterator[list[Value]]:
    """The same row by row, each in the order of ``COLUMNS``: a large report is not held twice."""
    getters = [column.value for column in COLUMNS.values()]
    for section in report.sections:
        for row in section.rows:
            values = [get(section, row) for get in getters]
            yield [None if _is_none(value) else value for value in values]


def _is_none(value: Value) -> bool:
    """Whether it says nothing: a text without a letter, a number beyond all numbers."""
    return value == "" or (type(value) is float and not isfinite(value))


_VALUES: dict[str, Callable[[Measurement, int], Value]] = {
    "session": lambda measured, _: measured.run.session,
    "run": lambda measured, _: measured.run.id,
    "started": lambda measured, _: measured.run.started.isoformat(),
    "host": lambda measured, _: measured.run.host,
    "machine_id": lambda measured, _: measured.run.machine_id,
    "case_id": lambda measured, _: measured.case.id,
    "backend": lambda measured, _: measured.case.backend,
    "device": lambda measured, _: measured.case.device,
    "mode": lambda measured, _: measured.case.workload.mode,
    "shape": lambda measured, _: measured.case.shape,
    "dtype": lambda measured, _: measured.case.spec.dtype,
    "sample": lambda _, number: number,
    "round": lambda measured, number: int(measured.rounds[number]),
    "calls": lambda measured, _: measured.calls,
    "time_s": lambda measured, number: float(measured.samples[number]),
    "valid": lambda measured, _: measured.valid,
}
"""Of a measurement and a sample's number in it."""

SAMPLE_COLUMNS = described("sample_columns.csv", _VALUES)
"""The columns, in their order."""


def sample_rows(results: Results) -> Iterator[list[Value]]:
    """A row a sample, each in the order of ``SAMPLE_COLUMNS``, process by process."""
    getters = [column.value for column in SAMPLE_COLUMNS.values()]
    for measurement in results.measurements:
        for number in range(measurement.samples.size):
            yield [get(measurement, number) for get in getters]


def load_samples(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """The samples in these files and folders as a tidy table.

    Units and meanings stand in ``frame.attrs["units"]`` and ``frame.attrs["meanings"]``.

    Raises ResultError for the first file that cannot be read.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    return framed(SAMPLE_COLUMNS, sample_rows(results))


EXTRA = "lstm-benchmark-suite[parquet]"
"""What brings pyarrow."""

# Rows that are turned into columns in one go: enough for a good compression, and a tenth of the
# memory that a hundred thousand at once would take.
_BATCH = 10_000


def comma_separated(report: Report) -> Iterator[str]:
    """One line a case under a line of column names; empty where there is no value."""
    return table.comma_separated(COLUMNS, cells(report))


def as_json(report: Report) -> str:
    """The columns with their units, the sections in words, and the cases; text as it was read."""
    document = {
        "columns": {
            name: {"unit": column.unit, "meaning": column.meaning}
            for name, column in COLUMNS.items()
        },
        "sections": [
            {
                "session": section.run.session,
                "machine_id": section.run.machine_id,
                **({"nodes": dict(section.nodes)} if section.nodes else {}),
                "machine": dict(machine(section)),
                "findings": [finding.text for finding in findings(section)],
                "method": method(section),
                "break_even": break_evens(section),
            }
            for section in report.sections
        ],
        "cases": records(report),
        "notes": list(report.notes),
    }
    return table.json_text(document)


def break_evens(section: Section) -> list[dict[str, Value]]:
    """For each case that is FASTER than another of the same work and starts later: when.

    steps: after which both have taken the same time from nothing on; the bounds are for the ends of
    the ratio's interval, the upper one None where there is none.
    """
    groups = grouped(section.rows, lambda row: row.case.group)
    return [
        {
            "case_id": row.case.id,
            "against": other.case.backend,
            "later_s": after.later,
            "steps": after.steps,
            "steps_low": after.low,
            "steps_high": table.finite(after.high),
        }
        for group in groups.values()
        for row, other, after in pairs(group)
    ]


# Parquet


class NoParquetError(InputError):
    """What writes Parquet is not installed."""


def check_parquet() -> None:
    """Raise NoParquetError, saying what to install, if Parquet cannot be written here."""
    if find_spec("pyarrow") is None:
        raise NoParquetError(
            f"--format parquet needs pyarrow, which is not installed: pip install '{EXTRA}'"
        )


def parquet(report: Report) -> bytes:
    """The table as a Parquet file: null where there is no value.

    Raises NoParquetError where pyarrow is missing.
    """
    return as_parquet(COLUMNS, cells(report))


def as_parquet(columns: Mapping[str, DataColumn[...]], rows: Iterable[list[Value]]) -> bytes:
    """Rows as a Parquet file, each column with its type, unit and meaning.

    Raises NoParquetError where pyarrow is missing.
    """
    check_parquet()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    described = {
        name: {"unit": column.unit, "meaning": column.meaning} for name, column in columns.items()
    }
    schema = pa.schema(
        pa.field(name, types[column.kind], metadata=described[name])
        for name, column in columns.items()
    )
    out = pa.BufferOutputStream()
    left = iter(rows)
    with ParquetWriter(out, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(left, _BATCH)):
            arrays = [
                pa.array([_encodable(value) for value in values], type=field.type)
                for values, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(out.getvalue())


def _encodable(value: Value) -> Value:
    """Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


BY = "bench.report --teach"


def write(report: Report) -> tuple[Path, list[Decision]]:
    """Write the decisions of a report to where ``backend="auto"`` looks for them; there, and which.

    Raises InputError where there are none, or the folder cannot be written to.
    """
    found = list({each.question.digest: each for each in decisions(report)}.values())
    if not found:
        raise InputError(
            "nothing to teach: no shape has two backends with times that are VALID on a machine "
            "that its file describes"
        )
    place = folder()
    try:
        for each in found:
            save(each, place)
    except OSError as error:
        raise InputError(f"{printable(str(place))} cannot be written: {error}") from error
    return place, found


def decisions(report: Report) -> Iterator[Decision]:
    """A decision for each group in which two backends or more have a time to be trusted.

    The newest session's comes last, so that of two on the same question it stays. A run that was
    told how many threads to use says nothing of one that was not, and teaches nothing.
    """
    for section in reversed(report.sections):
        if any(run.options.get("threads") for run in section.runs):
            continue
        for each in section.tables:
            for group in each.groups:
                if (decision := _decision(section, group)) is not None:
                    yield decision


def _decision(section: Section, group: tuple[Row, ...]) -> Decision | None:
    first = group[0]
    machine = _machine(section.run, first.case.device)
    if machine is None or first.invalid:
        return None
    raced = [_raced(first, first)]
    raced += [_raced(row, first) for row in group[1:] if row.case.backend in first.behind]
    if len(raced) < 2:
        return None
    # Whose median is shortest is not always who was the fastest in pairs, where the two are level.
    raced.sort(key=lambda each: each.ratio)
    requested = TuningRequest(first.case.spec, first.case.workload, "model", machine)
    made = section.started.isoformat(timespec="seconds")
    return Decision(requested, tuple(raced), "", made, BY)


def _raced(row: Row, first: Row) -> Raced:
    first_call = float((row.setup or {}).get("first_call_s") or 0.0)
    if row is first:
        return Raced(row.case.backend, row.time, 1.0, 1.0, 1.0, row.samples, first_call)
    ratio = first.behind[row.case.backend].ratio
    return Raced(
        row.case.backend, row.time, ratio.mid, ratio.low, ratio.high, row.samples, first_call
    )


def _machine(run: Run, device: str) -> TunedMachine | None:
    """Where a run measured; None where its file does not say enough."""
    before = mapping(run.environment.get("before"))
    installed = mapping(before.get("libraries"))
    versions = {
        name: str(installed[name]) for name in DISTRIBUTIONS if isinstance(installed.get(name), str)
    }
    if device == "cpu":
        cpu = mapping(before.get("cpu"))
        name, usable = cpu.get("name"), cpu.get("usable")
        if not isinstance(name, str) or not isinstance(usable, int):
            return None
        return TunedMachine(cpu_words(name, usable), versions)
    gpus, index = before.get("gpus"), device.partition(":")[2]
    if not isinstance(gpus, list) or not index.isdigit() or int(index) >= len(gpus):
        return None
    name = mapping(gpus[int(index)]).get("name")
    return TunedMachine(name, versions) if isinstance(name, str) else None
