"""The report and its samples as tidy tables: CSV, JSON and the pandas frame are made from them.

``columns.csv`` and ``sample_columns.csv`` say what the columns mean; ``COLUMNS`` and
``SAMPLE_COLUMNS`` are how each is got of a row. Times are in seconds, ratios time over time. pandas
is imported only where a frame is asked for.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeAlias, TypeVar

from bench.records.files import collect
from bench.records.schema import Measurement, Results
from bench.stats.comparison import Apart, Comparison, Verdict
from bench.stats.intervals import PERCENTILES, CaseInterval, speed
from bench.stats.latency import PARTS, Stream
from bench.stats.ranking import break_even, build, sentence
from bench.stats.rows import Report, Row, Section

_T = TypeVar("_T")
_Of = ParamSpec("_Of")

Value: TypeAlias = str | float | int | bool | None

KINDS: dict[str, type[str | int | float]] = {"text": str, "whole": int, "real": float, "flag": bool}


@dataclass(frozen=True)
class Column(Generic[_Of]):
    """A column; unit is empty for what has none. kind: of its values, all of which may be None."""

    unit: str
    meaning: str
    kind: type[str | int | float]
    value: Callable[_Of, Value]


def described(file: str, values: Mapping[str, Callable[_Of, Value]]) -> dict[str, Column[_Of]]:
    """The columns that a file beside this one describes, in its order, with how each is got."""
    with Path(__file__).with_name(file).open(encoding="utf-8", newline="") as lines:
        return {
            row["column"]: Column(
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


def _paid_back(row: Row) -> Value:
    ratio = row.to_baseline
    if row.base is None or ratio is None or ratio.verdict is not Verdict.FASTER:
        return None
    found = break_even(row, row.base, ratio)
    return None if found is None else found.steps


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
    "invalid_reasons": lambda row: "; ".join(map(str, row.invalid)),
    "time_valid": lambda row: not row.validity.time if row.measured else None,
    "time_reasons": lambda row: "; ".join(map(str, row.validity.time)),
    "samples": lambda row: row.samples,
    "sequences_per_s": lambda row: row.sequences_per_s,
    "timesteps_per_s": lambda row: row.timesteps_per_s,
    "time_per_timestep_s": lambda row: row.time_per_timestep,
    "ratio_valid": lambda row: None if row.to_baseline is None else not row.ratio_doubts,
    "ratio_reasons": lambda row: "; ".join(map(str, row.ratio_doubts)),
    "rank": lambda row: row.rank,
    "ahead": lambda row: None if row.ahead is None else row.ahead.verdict.value,
    "fastest": lambda row: row.fastest if row.rank == 1 else None,
    "first_result_s": lambda row: row.first_result,
    "break_even_steps": _paid_back,
    "peak_memory_bytes": lambda row: row.memory.get("peak_bytes"),
    "operations": lambda row: row.roofs.get("operations"),
    "bytes_moved": lambda row: row.roofs.get("bytes"),
    "of_matmul_roof": lambda row: row.roofs.get("of_matmul"),
    "of_bandwidth_roof": lambda row: row.roofs.get("of_bandwidth"),
    "of_chain_roof": lambda row: row.roofs.get("of_chain"),
    "of_launch_roof": lambda row: row.roofs.get("of_launch"),
    "processors_busy": lambda row: row.roofs.get("processors_busy"),
    "bound_by": lambda row: None if row.bound is None else row.bound.kind,
    "why": lambda row: sentence(row) or None,
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

_OF_RATIO: dict[str, Callable[[Comparison], Value]] = {
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

OF_BRIDGE: dict[str, Callable[[Apart], Value]] = {
    "ratio_bridge": lambda apart: apart.bridge,
    "bridge_ratio": lambda apart: apart.found.ratio.mid,
    "bridge_ratio_low": lambda apart: apart.found.ratio.low,
    "bridge_ratio_high": lambda apart: apart.found.ratio.high,
    "ratio_note": lambda apart: apart.note if apart.uneven else None,
}
"""Of a bridge, over which backends of different environments are compared."""

_OF_STREAM: dict[str, Callable[[Stream], Value]] = {
    "calls": lambda stream: stream.calls,
    "latency_most_s": lambda stream: stream.most,
    "service_p50_s": lambda stream: stream.service[50.0].mid if 50.0 in stream.service else None,
    "deadline_s": lambda stream: stream.deadline,
    "missed": lambda stream: stream.missed,
    "load": lambda stream: stream.load,
}


def _latency(part: float, bound: str, stream: Stream) -> Value:
    found = stream.latency.get(part)
    return None if found is None else float(getattr(found, bound))


def _ratio_of_latency(part: float, bound: str, stream: Stream) -> Value:
    found = stream.to_baseline.get(part)
    return None if found is None else float(getattr(found.ratio, bound))


def _verdict_of_latency(part: float, stream: Stream) -> Value:
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


def _bridge(row: Row) -> Apart | None:
    return None if row.to_baseline is None else row.to_baseline.apart


COLUMNS: dict[str, Column[[Section, Row]]] = described(
    "columns.csv",
    {
        **{name: functools.partial(_of_section, get) for name, get in _OF_SECTION.items()},
        **_of(lambda row: row, _OF_ROW),
        **_of(lambda row: row.setup, _OF_SETUP),
        **_of(lambda row: row.interval, _OF_INTERVAL),
        **{f"p{part}_s": functools.partial(_percentile, part) for part in PERCENTILES},
        **_of(lambda row: row.to_baseline, _OF_RATIO),
        **_of(_bridge, OF_BRIDGE),
        **_of(lambda row: row.stream, _OF_STREAM),
    },
)
"""The columns of the tidy table, in their order."""


if TYPE_CHECKING:
    import pandas as pd


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
    return framed(COLUMNS, cells(build(results, baseline=baseline)))


_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""Of pandas: each knows what is not there, so that ``frame[frame.valid]`` works."""


def framed(columns: Mapping[str, Column[...]], rows: Iterable[list[Value]]) -> pd.DataFrame:
    """Rows as a pandas frame with a nullable type for each column, its unit and meaning beside."""
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


if TYPE_CHECKING:
    import pandas as pd


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
