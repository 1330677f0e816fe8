"""Write the report and its samples as data: CSV, JSON, Parquet, pandas, and for other tools.

``columns.csv`` and ``sample_columns.csv`` describe the columns; ``COLUMNS`` and ``SAMPLE_COLUMNS``
compute them from a row. Values are seconds and plain ratios, never scaled or rounded. pandas and
pyarrow are imported only where they are used. The module also writes the decisions that
``lstm_impl.keras.LSTM(backend="auto")`` reads.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import json
import operator
import os
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

from bench.machine.fields import InputError, mapping, printable, require
from bench.records.files import collect
from bench.records.grouping import group_by
from bench.records.schema import TIERS, Measurement, Results, Run
from bench.render import escape, messages
from bench.render.labels import machine
from bench.stats.comparison import Comparison, Heterogeneity, Verdict
from bench.stats.intervals import PERCENTILES, speed
from bench.stats.latency import PARTS, StreamProcesses
from bench.verdicts.break_even import break_even, break_even_pairs
from bench.verdicts.case_results import CaseResult
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import NothingToReportError, Report, Section, build
from lstm_impl.tuning import Decision, RacedBackend, TunedMachine, TuningRequest, folder, save
from lstm_impl.tuning.machine import describe_cpu, list_distributions

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")
_Of = ParamSpec("_Of")

Value: TypeAlias = str | float | int | bool | None

KINDS: dict[str, type[str | int | float]] = {
    "text": str,
    "integer": int,
    "real": float,
    "flag": bool,
}


@dataclass(frozen=True)
class DataColumn(Generic[_Of]):
    """Describe a column: its unit, its meaning, the type of its values, and its getter.

    The unit is "" for a column without one.

    Every value may be None.
    """

    unit: str
    meaning: str
    kind: type[str | int | float]
    value: Callable[_Of, Value]


def describe_columns(
    file: str, values: Mapping[str, Callable[_Of, Value]]
) -> dict[str, DataColumn[_Of]]:
    """Return the columns that a file next to this one describes, each with its getter."""
    with Path(__file__).with_name(file).open(encoding="utf-8", newline="") as lines:
        return {
            row["column"]: DataColumn(
                row["unit"], row["meaning"], KINDS[row["kind"]], values[row["column"]]
            )
            for row in csv.DictReader(lines, strict=True)
        }


_Getter: TypeAlias = Callable[[Section, RankedRow], Value]


def _of(
    part: Callable[[RankedRow], _T | None], values: Mapping[str, Callable[[_T], Value]]
) -> dict[str, _Getter]:
    """Return getters of a part of a row. They return None where the row has no such part."""

    def get_from_part(get: Callable[[_T], Value], _: Section, row: RankedRow) -> Value:
        found = part(row)
        return None if found is None else get(found)

    return {name: functools.partial(get_from_part, get) for name, get in values.items()}


def attributes(*names: str, **paths: str) -> dict[str, Callable[[Any], Value]]:
    """Return getters of attributes, by the attributes' own names or by other names."""
    paths |= {name: name for name in names}
    return {name: operator.attrgetter(path) for name, path in paths.items()}


def _at(part: str, *names: str, **paths: str) -> dict[str, _Getter]:
    """Return getters of attributes of one attribute of a row, by their own or other names."""
    found = attributes(*names, **paths)
    return _of(operator.attrgetter(part), found)


def _in(part: str, *names: str, **keys: str | int) -> dict[str, _Getter]:
    """Return getters of the keys of a mapping that is an attribute of a row."""
    keys |= {name: name for name in names}
    values = {name: operator.methodcaller("get", key) for name, key in keys.items()}
    return _of(operator.attrgetter(part), values)


def _break_even_steps(row: RankedRow) -> Value:
    """Return after how many steps a backend FASTER than the baseline has made up for its start."""
    ratio = row.to_baseline
    if row.base is None or ratio is None or ratio.verdict is not Verdict.FASTER:
        return None
    paid = break_even(row.result, row.base, ratio)
    return None if paid is None else paid.steps


def _machine_id(section: Section) -> str:
    """Return the id of the machine, or one id for a set of nodes."""
    if not section.nodes:
        return section.run.machine_id
    text = "\0".join(sorted(section.nodes))
    return "nodes-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


OF_RATIO: dict[str, Callable[[Comparison], Value]] = {
    **attributes(ratio="ratio.mid", ratio_low="ratio.low", ratio_high="ratio.high"),
    **attributes(ratio_confidence="ratio.confidence", ratio_allowance="allowance"),
    **attributes(ratio_spread="spread", ratio_spread_between_nodes="between"),
    **attributes(verdict="verdict.value"),
    "speedup": lambda found: speed(found.ratio.mid),
    "speedup_low": lambda found: speed(found.ratio.high),
    "speedup_high": lambda found: speed(found.ratio.low),
    "ratio_nodes": lambda found: found.nodes or None,
}

OF_BRIDGE: dict[str, Callable[[Heterogeneity], Value]] = {
    **attributes(ratio_bridge="reference", bridge_ratio="found.ratio.mid"),
    **attributes(bridge_ratio_low="found.ratio.low", bridge_ratio_high="found.ratio.high"),
    "ratio_note": lambda heterogeneity: (
        messages.heterogeneity_note(heterogeneity) if heterogeneity.significant else None
    ),
}
"""Columns on a reference backend, through which backends of different environments are compared."""


def _get_percentile(row: RankedRow, part: float, ratio: bool, path: str) -> Value:
    """Return a number of a percentile of a stream's calls, or of its ratio to the baseline's."""
    latency = row.result.stream.latency if row.result.stream is not None else {}
    found = row.stream_to_baseline.get(part) if ratio else latency.get(part)
    if found is None:
        return None
    value = operator.attrgetter(path)(found)
    return value if isinstance(value, str) else float(value)


def _service(stream: StreamProcesses) -> Value:
    """Return the median time of a stream's calls, counted from when each call began."""
    return stream.service[50.0].mid if 50.0 in stream.service else None


_OF_STREAM: dict[str, Callable[[RankedRow], Value]] = {}
for _part in PARTS:
    _key = f"latency_p{_part:g}".replace(".", "")
    _paths = {f"{_key}_verdict": (True, "verdict.value")}
    for _end, _bound in (("", "mid"), ("_low", "low"), ("_high", "high")):
        _paths[f"{_key}{_end}_s"] = False, _bound
        _paths[f"{_key}_ratio{_end}"] = True, f"ratio.{_bound}"
    for _name, (_ratio, _path) in _paths.items():
        _OF_STREAM[_name] = functools.partial(_get_percentile, part=_part, ratio=_ratio, path=_path)

OF_VALIDITY: dict[str, Callable[[CaseResult], Value]] = {
    "valid": lambda result: not result.invalid if result.measured else None,
    "invalid_reasons": lambda result: messages.problem_lines(result.invalid),
    "time_valid": lambda result: not result.validity.time if result.measured else None,
    "time_reasons": lambda result: messages.problem_lines(result.validity.time),
}
"""Columns that say whether a case's time can be trusted, and why not."""

COLUMNS: dict[str, DataColumn[[Section, RankedRow]]] = describe_columns(
    "columns.csv",
    {
        "session": lambda section, _: section.run.session,
        "suite": lambda section, _: section.run.suite,
        "started": lambda section, _: section.started.isoformat(),
        "host": lambda section, _: ", ".join(section.nodes.values()) or section.run.host,
        "machine_id": lambda section, _: _machine_id(section),
        "baseline": lambda section, _: section.baseline,
        "tier": lambda section, _: max((run.tier for run in section.runs), key=("", *TIERS).index),
        **_at("case", "backend", "device", "kind", "shape", "variant", "call", case_id="id"),
        **_at("case.spec", "dtype", "input_size", "hidden_size", "num_layers", "bidirectional"),
        **_at("case.workload", "mode", "batch", "timesteps", "window", "min_length", "dropout"),
        **_at("case.workload", "batch_major", "optimizer", period_s="period"),
        **_at("result", "outcome", "samples", "steady", "error", "sequences_per_s"),
        **_at("result", "timesteps_per_s", time_per_timestep_s="time_per_timestep"),
        **_at("result", first_result_s="first_result"),
        **_of(
            lambda row: messages.reason_texts(row.result.reason),
            {"reason": lambda texts: texts[0], "advice": lambda texts: texts[1]},
        ),
        **_of(lambda row: row.result, OF_VALIDITY),
        **_in("result.setup", "build_s", "trace_s", "compile_s", "first_call_s"),
        **_in("result.memory", peak_memory_bytes="peak_bytes"),
        **_in("result.energy", energy_j="joules"),
        **_in("result.roofs", "operations", "processors_busy", bytes_moved="bytes"),
        **_in("result.roofs", of_matmul_roof="of_matmul", of_bandwidth_roof="of_bandwidth"),
        **_in("result.roofs", of_chain_roof="of_chain", of_launch_roof="of_launch"),
        **_at("result.bound", bound_by="kind"),
        **_at("ahead", ahead="verdict.value"),
        **_at("result.interval", "processes", "confidence", "allowance", time_s="mid"),
        **_at("result.interval", time_low_s="low", time_high_s="high"),
        **_at("result.interval", spread_between_nodes="between"),
        **_at("result.interval", spread_within_nodes="within"),
        **_at("result.stream", "calls", "missed", "load"),
        **_at("result.stream", latency_most_s="most", deadline_s="deadline"),
        **_of(
            lambda row: row,
            {
                "gradients": lambda row: (
                    row.case.workload.gradients if row.case.workload.training else None
                ),
                "ratio_valid": lambda row: not row.ratio_problems if row.to_baseline else None,
                "ratio_reasons": lambda row: messages.problem_lines(row.ratio_problems),
                "rank": lambda row: row.rank,
                "fastest": lambda row: row.fastest if row.rank == 1 else None,
                "break_even_steps": _break_even_steps,
                "why": messages.bound_sentence,
                "nodes": lambda row: (
                    row.result.interval.nodes or None if row.result.interval else None
                ),
            },
        ),
        **_of(lambda row: row.to_baseline, OF_RATIO),
        **_of(lambda row: row.to_baseline.heterogeneity if row.to_baseline else None, OF_BRIDGE),
        **_in("result.percentiles", **{f"p{part}_s": part for part in PERCENTILES}),
        **_of(lambda row: row.result.stream, {"service_p50_s": _service}),
        **_of(lambda row: row, _OF_STREAM),
    },
)
"""The columns of the tidy table, in their order."""


def load_frame(
    paths: Iterable[str | os.PathLike[str]], baseline: str | None = None
) -> pd.DataFrame:
    """Return the results in files and folders as a tidy table with one row per case.

    The columns are those of ``COLUMNS``; see also ``docs/columns.md``. Replicates of a case are
    pooled. A case without a time has a row with its outcome.

    Parameters
    ----------
    paths
        Result files, or folders that are searched for them.
    baseline
        The backend that ratios refer to, as in ``build``.

    Returns
    -------
    DataFrame
        ``frame.attrs["units"]`` and ``frame.attrs["meanings"]`` hold the units and the meanings of
        the columns, by column.

    Raises
    ------
    ResultError
        If a file cannot be read. It is the error of the first such file.
    NothingToReportError
        If the files hold no case.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    try:
        report = build(results, baseline=baseline)
    except NothingToReportError as error:
        error.add_note(messages.reason_texts(error.reason)[0])
        raise
    return make_frame(COLUMNS, cells(report))


_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""The pandas types by Python type. All are nullable, so that ``frame[frame.valid]`` works."""


def make_frame(columns: Mapping[str, DataColumn[...]], rows: Iterable[list[Value]]) -> pd.DataFrame:
    """Return rows as a pandas frame with nullable columns, their units and their meanings."""
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
    """Return the report as flat rows, by the names in ``COLUMNS``. Empty values are None."""
    return [dict(zip(COLUMNS, values, strict=True)) for values in cells(report)]


def cells(report: Report) -> Iterator[list[Value]]:
    """Yield the cells of each row in the order of ``COLUMNS``, one row at a time to save memory."""
    getters = [column.value for column in COLUMNS.values()]
    for section in report.sections:
        for row in section.rows:
            values = [get(section, row) for get in getters]
            yield [None if v == "" or (type(v) is float and not isfinite(v)) else v for v in values]


class _Sample(NamedTuple):
    """Hold the number of a sample, and the measurement that it is of."""

    of: Measurement
    sample: int


SAMPLE_COLUMNS: dict[str, DataColumn[[_Sample]]] = describe_columns(
    "sample_columns.csv",
    {
        **attributes("sample", session="of.run.session", run="of.run.id", host="of.run.host"),
        **attributes(
            machine_id="of.run.machine_id", case_id="of.case.id", backend="of.case.backend"
        ),
        **attributes(device="of.case.device", shape="of.case.shape", dtype="of.case.spec.dtype"),
        **attributes(mode="of.case.workload.mode", calls="of.calls", valid="of.valid"),
        "started": lambda each: each.of.run.started.isoformat(),
        "round": lambda each: int(each.of.rounds[each.sample]),
        "time_s": lambda each: float(each.of.samples[each.sample]),
    },
)
"""The columns of the samples, in their order."""


def sample_rows(results: Results) -> Iterator[list[Value]]:
    """Yield one row per sample in the order of ``SAMPLE_COLUMNS``, process by process."""
    getters = [column.value for column in SAMPLE_COLUMNS.values()]
    for measured in results.measurements:
        for sample in (_Sample(measured, number) for number in range(measured.samples.size)):
            yield [get(sample) for get in getters]


def load_samples(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Return the samples in files and folders as a tidy table with one row per sample.

    Parameters
    ----------
    paths
        Result files, or folders that are searched for them.

    Returns
    -------
    DataFrame
        ``frame.attrs["units"]`` and ``frame.attrs["meanings"]`` hold the units and the meanings of
        the columns, by column.

    Raises
    ------
    ResultError
        If a file cannot be read. It is the error of the first such file.
    """
    results = collect(paths)
    if results.errors:
        raise results.errors[0]
    return make_frame(SAMPLE_COLUMNS, sample_rows(results))


# Rows that are converted to columns at once: enough for good compression, and little memory.
_BATCH = 10_000


def as_csv(report: Report) -> Iterator[str]:
    """Return the table as CSV: one line per case, below a line of column names."""
    return csv_lines(COLUMNS, cells(report))


def as_json(report: Report) -> str:
    """Return columns with units, the sections' sentences and the cases as JSON.

    Texts are not changed.
    """
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
                "findings": [finding.text for finding in messages.findings(section)],
                "method": messages.method(section),
                "break_even": break_evens(section),
            }
            for section in report.sections
        ],
        "cases": records(report),
        "notes": list(report.notes),
    }
    return json_text(document)


def break_evens(section: Section) -> list[dict[str, Value]]:
    """Return after how many steps each faster case that starts later has caught up with another.

    ``steps`` is the number of steps after which both cases have taken the same time, including the
    start. Its bounds belong to those of the ratio's interval; the upper one is None where there is
    none.
    """
    groups = group_by(section.rows, lambda row: row.case.group)
    return [
        {
            "case_id": row.case.id,
            "against": other.case.backend,
            "later_s": after.later,
            "steps": after.steps,
            "steps_low": after.low,
            "steps_high": finite(after.high),
        }
        for group in groups.values()
        for row, other, after in break_even_pairs(group)
    ]


# Files


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield CSV line by line: rows, below a line of column names, with blanks for None.

    Text is on one line, and begins with an apostrophe where a spreadsheet would take it for a
    formula.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for values in rows:
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        writer.writerow([None if value is None else _format_for_csv(value) for value in values])
    yield out.getvalue()


def _format_for_csv(value: object) -> object:
    if isinstance(value, str):
        return escape.spreadsheet(value)
    return ("false", "true")[value] if isinstance(value, bool) else finite(value)


def csv_records(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield CSV line by line for rows by column name. A column that a row lacks is blank."""

    def values(row: Mapping[str, object]) -> list[object]:
        assert row.keys() <= set(columns), f"no such columns: {row.keys() - set(columns)}"
        return [row.get(name) for name in columns]

    return csv_lines(columns, map(values, rows))


def finite(value: Any) -> Any:
    """Return the value, or None if it is NaN or infinite, which JSON cannot hold.

    Lists and objects are returned as they are; their elements are not checked.
    """
    return None if isinstance(value, float) and not isfinite(value) else value


def json_text(document: Mapping[str, object]) -> str:
    """Return data for other programs as JSON that every reader accepts."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_parquet(columns: Mapping[str, DataColumn[...]], rows: Iterable[list[Value]]) -> bytes:
    """Return rows as a Parquet file with types, units and meanings.

    Raises InputError without pyarrow.
    """
    require("pyarrow", "--format parquet", "parquet")
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
    """Replace each half of a surrogate pair, which JSON can hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


# Other tools


def github_action(report: Report) -> str:
    """Return times for github-action-benchmark, as its ``customSmallerIsBetter`` reads them.

    Each measured case has the time of its newest session in seconds, and half its interval. The
    fields are those of "Custom benchmarks" in
    https://github.com/benchmark-action/github-action-benchmark. Its alert is on a rise in per cent
    and knows no intervals, in contrast to ``bench.compare --fail-on``.
    """
    found: dict[Value, dict[str, object]] = {}
    for row in (row for row in records(report) if row["time_s"] is not None):
        entry: dict[str, object] = {"name": row["case_id"], "unit": "s", "value": row["time_s"]}
        low, high = row["time_low_s"], row["time_high_s"]
        if isinstance(low, float) and isinstance(high, float):
            entry["range"] = f"± {(high - low) / 2:.3g}"
        invalid = "" if row["valid"] else f"; INVALID: {row['invalid_reasons']}"
        entry["extra"] = f"{row['processes']} processes, session {row['session']}{invalid}"
        found.setdefault(row["case_id"], entry)
    return json.dumps(list(found.values()), indent=2) + "\n"


_PARAMETERS = ("backend", "device", "mode", "dtype", "batch", "timesteps", "hidden_size", "session")


def hyperfine(report: Report) -> str:
    """Return the measured cases with all samples, in seconds, in hyperfine's format.

    hyperfine's scripts and Bencher read it.

    The fields are those of ``BenchmarkResult`` of https://github.com/sharkdp/hyperfine (1.20). Of
    the time on processors only the sum is known, and only for some cases: ``user`` is that sum or
    0, and ``system`` is 0. The parameters are those that differ between the cases, because
    ``plot_parametrized.py`` takes only one.
    """
    rows = [row for section in report.sections for row in section.rows]
    found = [
        (row, data) for row, data in zip(rows, records(report), strict=True) if row.result.measured
    ]
    varied = [name for name in _PARAMETERS if len({data[name] for _, data in found}) > 1]
    results: list[dict[str, object]] = []
    for row, data in found:
        times = [float(sample) for run in row.result.runs for sample in run.samples]
        mean, spread = statistics.fmean(times), statistics.stdev(times) if len(times) > 1 else None
        result = {"command": row.case.id, "mean": mean, "stddev": spread, "times": times}
        result |= {"median": statistics.median(times), "min": min(times), "max": max(times)}
        result |= {"user": mean * row.result.roofs.get("processors_busy", 0.0), "system": 0.0}
        parameters = {name: str(data[name]) for name in varied}
        results.append(result | {"exit_codes": [0] * len(times), "parameters": parameters})
    return json_text({"results": results})


_SCALARS = ("time_s", "speedup", "first_result_s", "peak_memory_bytes")


def check_tensorboard(folder: Path | None) -> None:
    """Raise InputError if scalars for TensorBoard cannot be written into this folder."""
    if folder is None:
        raise InputError("--format tensorboard writes files: name a new folder with --output DIR")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{printable(str(folder))} already exists; name a new folder")


def write_tensorboard(report: Report, folder: Path) -> None:
    """Write scalars into a new folder with TensorBoard's own writer, one run per backend.

    A tag is a column and a case without its backend, so that a chart compares backends. A step is a
    session, and the oldest one is step 0. ``check_tensorboard`` says whether the folder can be
    written.
    """
    from tensorboard.summary import Writer

    steps = {each.run.session: step for step, each in enumerate(reversed(report.sections))}
    with contextlib.ExitStack() as stack:

        @functools.cache
        def writer(name: str) -> Any:
            return stack.enter_context(contextlib.closing(Writer(str(folder / name))))

        for row in records(report):
            backend, _, case = str(row["case_id"]).partition("/")
            name, step = re.sub(r"[^\w+@-]", "_", backend)[:100], steps[str(row["session"])]
            at = datetime.fromisoformat(str(row["started"])).timestamp()
            for column in (each for each in _SCALARS if row[each] is not None):
                writer(name).add_scalar(f"{column}/{case}", row[column], step, wall_time=at)


# Decisions

BY = "bench.report --teach"


def write(report: Report) -> tuple[Path, list[Decision]]:
    """Write decisions for ``backend="auto"``; return their folder and the decisions.

    Raises InputError if no decision follows from the report, or if the folder cannot be written.
    """
    found = list({each.question.digest: each for each in decisions(report)}.values())
    if not found:
        raise InputError(
            "there is nothing to teach: a decision needs a shape for which two backends have VALID "
            "times, and a result file that describes the machine"
        )
    place = folder()
    try:
        for each in found:
            save(each, place)
    except OSError as error:
        raise InputError(f"{printable(str(place))} cannot be written: {error}") from error
    return place, found


def decisions(report: Report) -> Iterator[Decision]:
    """Yield a decision for each group in which two or more backends have a reliable time.

    The decisions of the newest session come last, so that of two for the same case it is the one
    that is kept. A run with a fixed number of threads gives no decision, because ``backend="auto"``
    does not know that number.
    """
    for section in reversed(report.sections):
        fixed = any(run.options.get("threads") for run in section.runs)
        made = section.started.isoformat(timespec="seconds")
        for group in (group for each in section.tables for group in each.groups if not fixed):
            first = group[0]
            machine = _machine(section.run, first.case.device)
            others = [row for row in group[1:] if row.case.backend in first.behind]
            if machine is None or first.result.invalid or not others:
                continue
            # Of nearly equal backends, the one with the shortest median may not be the one that
            # leads in pairs.
            raced = sorted(
                (_make_raced(row, first) for row in (first, *others)), key=lambda r: r.ratio
            )
            requested = TuningRequest(first.case.spec, first.case.workload, "model", machine)
            yield Decision(requested, tuple(raced), "", made, BY)


def _make_raced(row: RankedRow, first: RankedRow) -> RacedBackend:
    ratio = None if row is first else first.behind[row.case.backend].ratio
    ends = (ratio.mid, ratio.low, ratio.high) if ratio else (1.0, 1.0, 1.0)
    first_call = float(row.result.setup.get("first_call_s") or 0.0)
    return RacedBackend(row.case.backend, row.result.time, *ends, row.result.samples, first_call)


def _machine(run: Run, device: str) -> TunedMachine | None:
    """Return the machine on which a run measured.

    The result is None if the file does not describe the machine fully.
    """
    installed = mapping(run.before.get("libraries"))
    versions = {
        each: v for each in list_distributions() if isinstance(v := installed.get(each), str)
    }
    name = run.hardware(device)
    if name and device == "cpu":
        usable = mapping(run.before.get("cpu")).get("usable")
        name = describe_cpu(name, usable) if isinstance(usable, int) else ""
    return TunedMachine(name, versions) if name else None
