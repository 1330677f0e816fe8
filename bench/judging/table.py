"""The report as one flat, tidy table: a row a case, and what each column holds, in which unit.

``COLUMNS`` is the only list of the columns; CSV, JSON and the pandas frame are made from it and
``docs/columns.md`` is tested against it. Times are in seconds and ratios are time over time. This
room knows the report's rows; pandas is imported only where a frame is asked for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from bench.judging.intervals import Interval, speed
from bench.judging.payback import break_even
from bench.judging.percentiles import FEWEST_BEYOND, PERCENTILES
from bench.judging.ranking import build
from bench.judging.ratios import Comparison
from bench.judging.rows import Report, Row, Section
from bench.judging.verdict import Verdict
from bench.results.files import collect

if TYPE_CHECKING:
    import pandas as pd

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Column:
    """A column; unit is empty for what has none. kind: of its values, all of which may be None."""

    unit: str
    meaning: str
    value: Callable[[Section, Row], Value]
    kind: type[str | int | float]


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


class Described(Protocol):
    """What a column of any tidy table says of itself."""

    @property
    def unit(self) -> str:
        """Empty for what has none."""

    @property
    def meaning(self) -> str:
        """In words."""

    @property
    def kind(self) -> type[str | int | float]:
        """Of its values, all of which may be None."""


_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
"""Of pandas: each knows what is not there, so that ``frame[frame.valid]`` works."""


def framed(columns: Mapping[str, Described], rows: Iterable[list[Value]]) -> pd.DataFrame:
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


def _upside_down(get: Callable[[Interval], float], found: Comparison) -> float:
    return speed(get(found.ratio))


def _columns() -> dict[str, Column]:
    found: dict[str, Column] = {}

    def add(
        name: str,
        unit: str,
        meaning: str,
        value: Callable[[Section, Row], Value],
        kind: type[str | int | float] = str,
    ) -> None:
        found[name] = Column(unit, meaning, value, kind)

    whole, real, flag = (functools.partial(add, kind=kind) for kind in (int, float, bool))

    def of_interval(name: str) -> Callable[[Section, Row], Value]:
        return lambda _, row: None if row.interval is None else getattr(row.interval, name)

    def of_ratio(get: Callable[[Comparison], Value]) -> Callable[[Section, Row], Value]:
        return lambda _, row: None if row.to_baseline is None else get(row.to_baseline)

    def of_setup(name: str) -> Callable[[Section, Row], Value]:
        return lambda _, row: None if row.setup is None else row.setup[name]

    add("session", "", "what the replicates of one measurement share", lambda s, _: s.run.session)
    add("suite", "", "the list of cases that was run", lambda s, _: s.run.suite)
    add("started", "ISO 8601, UTC", "when its first run began", lambda s, _: s.started.isoformat())
    add("host", "", "name of the machine", lambda s, _: s.run.host)
    add("machine_id", "", "hash of host, CPU and GPUs", lambda s, _: s.run.machine_id)
    add("case_id", "", "backend/shape/dtype/mode/device", lambda _, r: r.case.id)
    add("backend", "", "the way of computing the LSTM", lambda _, r: r.case.backend)
    add("device", "", "cpu or gpu:N", lambda _, r: r.case.device)
    add(
        "mode", "", "inference, or training (with all gradients)", lambda _, r: r.case.workload.mode
    )
    add("kind", "", "throughput, or truncation (cut into windows)", lambda _, r: r.case.kind)
    add("shape", "", "spec and workload in short", lambda _, r: r.case.shape)
    add("dtype", "", "precision of weights and products", lambda _, r: r.case.spec.dtype)
    whole("batch", "sequences", "sequences in a step", lambda _, r: r.case.workload.batch)
    whole("timesteps", "timesteps", "length of a sequence", lambda _, r: r.case.workload.timesteps)
    whole(
        "window",
        "timesteps",
        "length of the windows that the sequence is cut into; empty if it is not cut",
        lambda _, r: r.case.workload.window,
    )
    whole(
        "min_length",
        "timesteps",
        "of the shortest sequence; empty if all have the full length",
        lambda _, r: r.case.workload.min_length,
    )
    real("dropout", "", "rate between layers", lambda _, r: r.case.workload.dropout)
    flag(
        "batch_major",
        "",
        "whether arrays are [batch, time, feature]",
        lambda _, r: r.case.workload.batch_major,
    )
    add(
        "optimizer",
        "",
        "that updates the weights in each step or window; empty if none does",
        lambda _, r: r.case.workload.optimizer,
    )
    add(
        "gradients",
        "",
        "what a training step differentiates: weights, weights+input, or all (the initial state "
        "too); empty in inference",
        lambda _, r: r.case.workload.gradients if r.case.workload.training else None,
    )
    whole("input_size", "features", "of one timestep", lambda _, r: r.case.spec.input_size)
    whole(
        "hidden_size", "units", "of each layer and direction", lambda _, r: r.case.spec.hidden_size
    )
    whole("num_layers", "layers", "stacked", lambda _, r: r.case.spec.num_layers)
    flag("bidirectional", "", "whether in both directions", lambda _, r: r.case.spec.bidirectional)
    add(
        "outcome",
        "",
        "measured, or why there is no time: not_measured (cannot run there), refused (the backend "
        "cannot compute this), failed (a gate or an error), crashed, timed_out, interrupted",
        lambda _, r: r.outcome,
    )
    add("reason", "", "of an outcome that is not measured", lambda _, r: r.reason)
    add("advice", "", "what to do about that reason", lambda _, r: r.advice)
    flag(
        "valid",
        "",
        "whether what was measured is to be trusted, times and ratios; empty where nothing was",
        lambda _, r: not r.invalid if r.measured else None,
    )
    add("invalid_reasons", "", "why it is not", lambda _, r: "; ".join(map(str, r.invalid)))
    flag(
        "time_valid",
        "",
        "whether the time is to be trusted as one of this machine: valid, steady, and known well "
        "enough",
        lambda _, r: not r.validity.time if r.measured else None,
    )
    add("time_reasons", "", "why it is not", lambda _, r: "; ".join(map(str, r.validity.time)))
    whole("processes", "processes", "that measured the case", of_interval("processes"))
    whole("samples", "samples", "in all processes", lambda _, r: r.samples)
    real("time_s", "s", "of one step: the median of the processes' medians", of_interval("mid"))
    real(
        "time_low_s",
        "s",
        "lower bound of its 95% interval: over the processes, or with one of its own samples",
        of_interval("low"),
    )
    real("time_high_s", "s", "upper bound of it", of_interval("high"))
    real(
        "confidence",
        "",
        "of that interval, 0 to 1: under 0.95 where there were fewer than 6 samples",
        of_interval("confidence"),
    )
    real(
        "allowance",
        "",
        "least spread between processes (0.03 is 3%) that is assumed in that interval where there "
        "were 2 to 5 of them; empty with more, and with one, which says nothing of others",
        of_interval("allowance"),
    )

    def of_samples(part: int) -> Callable[[Section, Row], Value]:
        return lambda _, row: row.percentiles.get(part)

    for part in PERCENTILES:
        needed = round(100 * FEWEST_BEYOND / min(part, 100 - part))
        real(
            f"p{part}_s",
            "s",
            f"of one step: the {part}th percentile of the samples of all processes that nothing "
            f"disturbed; empty with fewer than {needed} samples",
            of_samples(part),
        )
    real("sequences_per_s", "1/s", "batch / time_s", lambda _, r: r.sequences_per_s)
    real(
        "timesteps_per_s",
        "1/s",
        "timesteps of all sequences, padding not counted / time_s",
        lambda _, r: r.timesteps_per_s,
    )
    real(
        "time_per_timestep_s",
        "s",
        "time_s / timesteps: one timestep of the whole batch",
        lambda _, r: r.time_per_timestep,
    )
    add("baseline", "", "the backend that ratio refers to", lambda s, _: s.baseline)
    real(
        "ratio",
        "",
        "time over the baseline's for the same work, below 1 is faster: the geometric mean of the "
        "processes' own ratios; empty for the baseline itself and where that was not measured",
        of_ratio(lambda found: found.ratio.mid),
    )
    real(
        "ratio_low",
        "",
        "lower bound of its 99.5% interval",
        of_ratio(lambda found: found.ratio.low),
    )
    real("ratio_high", "", "upper bound of it", of_ratio(lambda found: found.ratio.high))
    real(
        "ratio_confidence",
        "",
        "of that interval, 0 to 1",
        of_ratio(lambda found: found.ratio.confidence),
    )
    real(
        "ratio_allowance",
        "",
        "spread between processes that was assumed in that interval since too few were there to "
        "show it; empty where there were enough",
        of_ratio(lambda found: found.allowance),
    )
    real(
        "ratio_spread",
        "",
        "how far the processes' ratios spread (standard deviation of their logarithms: 0.06 is "
        "6%); empty with one process",
        of_ratio(lambda found: found.spread),
    )
    for name, meaning, get in (
        ("speedup", "how many times as fast as the baseline: 1 / ratio", lambda r: r.mid),
        ("speedup_low", "lower bound of its 99.5% interval", lambda r: r.high),
        ("speedup_high", "upper bound of it", lambda r: r.low),
    ):
        real(name, "", meaning, of_ratio(functools.partial(_upside_down, get)))
    flag(
        "ratio_valid",
        "",
        "whether the ratio is to be trusted, whatever is said of the times; empty where there is "
        "none",
        lambda _, r: None if r.to_baseline is None else not r.ratio_doubts,
    )
    add(
        "ratio_reasons",
        "",
        "why it is not, those of either side among them",
        lambda _, r: "; ".join(map(str, r.ratio_doubts)),
    )
    add(
        "verdict",
        "",
        "FASTER or SLOWER than the baseline, SAME (within 2%), or UNCLEAR",
        of_ratio(lambda found: found.verdict.value),
    )
    whole(
        "rank",
        "",
        "1 for the smallest time_s among the backends of the same work",
        lambda _, r: r.rank,
    )
    add(
        "ahead",
        "",
        "of rank 1: the verdict against rank 2",
        lambda _, r: None if r.ahead is None else r.ahead.verdict.value,
    )
    flag(
        "fastest",
        "",
        "of rank 1: whether it is FASTER than each of the others that are valid, judged together",
        lambda _, r: r.fastest if r.rank == 1 else None,
    )
    real("build_s", "s", "making the model with its weights on the device", of_setup("build_s"))
    real("trace_s", "s", "tracing it into a graph", of_setup("trace_s"))
    real("compile_s", "s", "compiling: the first call less a later one", of_setup("compile_s"))
    real("first_call_s", "s", "the first call, compiling included", of_setup("first_call_s"))
    real(
        "first_result_s",
        "s",
        "from nothing to the first result: build_s + trace_s + first_call_s",
        lambda _, r: r.first_result,
    )

    def paid_back(_: Section, row: Row) -> Value:
        ratio = row.to_baseline
        if row.base is None or ratio is None or ratio.verdict is not Verdict.FASTER:
            return None
        found = break_even(row, row.base, ratio)
        return None if found is None else found.steps

    real(
        "break_even_steps",
        "steps",
        "after which a later first result has paid back against the baseline, 0 if it is not "
        "later; empty where the row is not FASTER than the baseline",
        paid_back,
    )

    def of_figures(kind: str, name: str) -> Callable[[Section, Row], Value]:
        return lambda _, row: getattr(row, kind).get(name)

    real(
        "peak_memory_bytes",
        "B",
        "peak of what the case needs beyond its loaded framework: on a GPU what the framework's "
        "allocator held, on a CPU the growth of the resident memory of a process of its own",
        of_figures("memory", "peak_bytes"),
    )
    real("operations", "", "of one step, counted from the spec", of_figures("roofs", "operations"))
    real("bytes_moved", "B", "least that one step must move", of_figures("roofs", "bytes"))
    for name, roof in (
        ("matmul", "the device's rate of matrix products"),
        ("bandwidth", "its bandwidth of copying"),
        ("chain", "its time for the products that must follow one another"),
    ):
        meaning = f"part that was reached of {roof}, the best seen on its machine; may be above 1"
        real(f"of_{name}_roof", "", meaning, of_figures("roofs", f"of_{name}"))
    real("energy_j", "J", "of the GPU, for one step", of_figures("energy", "joules"))
    flag(
        "steady",
        "",
        "whether every process reached a steady state; empty where it could not be told",
        lambda _, r: r.steady,
    )
    return found


COLUMNS = _columns()
"""The columns of the tidy table, in their order."""
