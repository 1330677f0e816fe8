"""The columns of the tidy table: the name of each, its unit, what it means, and how it is got.

This room knows the report's rows. ``judging.table`` makes the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from bench.judging import node_columns
from bench.judging.bridge_columns import BRIDGE_COLUMNS
from bench.judging.comparison import Comparison
from bench.judging.intervals import Interval, speed
from bench.judging.payback import break_even
from bench.judging.percentiles import FEWEST_BEYOND, PERCENTILES
from bench.judging.rows import Row, Section
from bench.judging.stream_columns import STREAM_COLUMNS
from bench.judging.streams import Stream
from bench.judging.verdict import Verdict
from bench.judging.why import sentence

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Column:
    """A column; unit is empty for what has none. kind: of its values, all of which may be None."""

    unit: str
    meaning: str
    value: Callable[[Section, Row], Value]
    kind: type[str | int | float]


COLUMNS: dict[str, Column] = {}
"""The columns of the tidy table, in their order."""


def _add(
    name: str,
    unit: str,
    meaning: str,
    value: Callable[[Section, Row], Value],
    kind: type[str | int | float] = str,
) -> None:
    COLUMNS[name] = Column(unit, meaning, value, kind)


_whole, _real, _flag = (functools.partial(_add, kind=kind) for kind in (int, float, bool))


def _of_interval(name: str) -> Callable[[Section, Row], Value]:
    return lambda _, row: None if row.interval is None else getattr(row.interval, name)


def _of_ratio(get: Callable[[Comparison], Value]) -> Callable[[Section, Row], Value]:
    return lambda _, row: None if row.to_baseline is None else get(row.to_baseline)


def _of_setup(name: str) -> Callable[[Section, Row], Value]:
    return lambda _, row: None if row.setup is None else row.setup[name]


def _of_samples(part: int) -> Callable[[Section, Row], Value]:
    return lambda _, row: row.percentiles.get(part)


def _paid_back(_: Section, row: Row) -> Value:
    ratio = row.to_baseline
    if row.base is None or ratio is None or ratio.verdict is not Verdict.FASTER:
        return None
    found = break_even(row, row.base, ratio)
    return None if found is None else found.steps


def _of_stream(get: Callable[[Stream], Value]) -> Callable[[Section, Row], Value]:
    return lambda _, row: None if row.stream is None else get(row.stream)


def _of_row(get: Callable[[Row], Value]) -> Callable[[Section, Row], Value]:
    return lambda _, row: get(row)


def _of_figures(kind: str, name: str) -> Callable[[Section, Row], Value]:
    return lambda _, row: getattr(row, kind).get(name)


def _upside_down(get: Callable[[Interval], float], found: Comparison) -> float:
    return speed(get(found.ratio))


_add("session", "", "what the replicates of one measurement share", lambda s, _: s.run.session)
_add("suite", "", "the list of cases that was run", lambda s, _: s.run.suite)
_add("started", "ISO 8601, UTC", "when its first run began", lambda s, _: s.started.isoformat())
_add("host", "", "name of the machine, or of all nodes", lambda s, _: node_columns.host(s))
_add(
    "machine_id",
    "",
    "hash of host, CPU and GPUs, or one of all nodes",
    lambda s, _: node_columns.machine_id(s),
)
_add("case_id", "", "backend/shape/dtype/mode/device", lambda _, r: r.case.id)
_add("backend", "", "the way of computing the LSTM", lambda _, r: r.case.backend)
_add("device", "", "cpu or gpu:N", lambda _, r: r.case.device)
_add(
    "mode",
    "",
    "inference, training (with all gradients), or streaming (chunks of a stream, a call each)",
    lambda _, r: r.case.workload.mode,
)
_add(
    "kind",
    "",
    "throughput, truncation (cut into windows), or streaming",
    lambda _, r: r.case.kind,
)
_add("shape", "", "spec and workload in short", lambda _, r: r.case.shape)
_add("dtype", "", "precision of weights and products", lambda _, r: r.case.spec.dtype)
_whole("batch", "sequences", "sequences in a step", lambda _, r: r.case.workload.batch)
_whole(
    "timesteps",
    "timesteps",
    "length of a sequence, or of a chunk of a stream",
    lambda _, r: r.case.workload.timesteps,
)
_whole(
    "window",
    "timesteps",
    "length of the windows that the sequence is cut into; empty if it is not cut",
    lambda _, r: r.case.workload.window,
)
_whole(
    "min_length",
    "timesteps",
    "of the shortest sequence; empty if all have the full length",
    lambda _, r: r.case.workload.min_length,
)
_real("dropout", "", "rate between layers", lambda _, r: r.case.workload.dropout)
_flag(
    "batch_major",
    "",
    "whether arrays are [batch, time, feature]",
    lambda _, r: r.case.workload.batch_major,
)
_add(
    "optimizer",
    "",
    "that updates the weights in each step or window; empty if none does",
    lambda _, r: r.case.workload.optimizer,
)
_add(
    "gradients",
    "",
    "what a training step differentiates: weights, weights+input, or all (the initial state "
    "too); empty in inference",
    lambda _, r: r.case.workload.gradients if r.case.workload.training else None,
)
_real(
    "period_s",
    "s",
    "from when one call of a stream is due to when the next is; empty where each comes as soon as "
    "the one before is done, and where there is no stream",
    lambda _, r: r.case.workload.period,
)
_whole("input_size", "features", "of one timestep", lambda _, r: r.case.spec.input_size)
_whole("hidden_size", "units", "of each layer and direction", lambda _, r: r.case.spec.hidden_size)
_whole("num_layers", "layers", "stacked", lambda _, r: r.case.spec.num_layers)
_flag("bidirectional", "", "whether in both directions", lambda _, r: r.case.spec.bidirectional)
_add(
    "outcome",
    "",
    "measured, or why there is no time: not_measured (cannot run there), refused (the backend "
    "cannot compute this), failed (a gate or an error), crashed, timed_out, interrupted",
    lambda _, r: r.outcome,
)
_add("reason", "", "of an outcome that is not measured", lambda _, r: r.reason)
_add("advice", "", "what to do about that reason", lambda _, r: r.advice)
_flag(
    "valid",
    "",
    "whether what was measured is to be trusted, times and ratios; empty where nothing was",
    lambda _, r: not r.invalid if r.measured else None,
)
_add("invalid_reasons", "", "why it is not", lambda _, r: "; ".join(map(str, r.invalid)))
_flag(
    "time_valid",
    "",
    "whether the time is to be trusted as one of this machine: valid, steady, and known well "
    "enough",
    lambda _, r: not r.validity.time if r.measured else None,
)
_add("time_reasons", "", "why it is not", lambda _, r: "; ".join(map(str, r.validity.time)))
_whole("processes", "processes", "that measured the case", _of_interval("processes"))
_whole("samples", "samples", "in all processes", lambda _, r: r.samples)
_real("time_s", "s", "of one step: the median of the processes' medians", _of_interval("mid"))
_real(
    "time_low_s",
    "s",
    "lower bound of its 95% interval: over the processes, or with one of its own samples",
    _of_interval("low"),
)
_real("time_high_s", "s", "upper bound of it", _of_interval("high"))
_real(
    "confidence",
    "",
    "of that interval, 0 to 1: under 0.95 where there were fewer than 6 samples",
    _of_interval("confidence"),
)
_real(
    "allowance",
    "",
    "least spread between processes (0.03 is 3%) that is assumed in that interval where there "
    "were 2 to 5 of them; empty with more, and with one, which says nothing of others",
    _of_interval("allowance"),
)
for part in PERCENTILES:
    needed = round(100 * FEWEST_BEYOND / min(part, 100 - part))
    _real(
        f"p{part}_s",
        "s",
        f"of one step: the {part}th percentile of the samples of all processes that nothing "
        f"disturbed; empty with fewer than {needed} samples",
        _of_samples(part),
    )
_real("sequences_per_s", "1/s", "batch / time_s", lambda _, r: r.sequences_per_s)
_real(
    "timesteps_per_s",
    "1/s",
    "timesteps of all sequences, padding not counted / time_s",
    lambda _, r: r.timesteps_per_s,
)
_real(
    "time_per_timestep_s",
    "s",
    "time_s / timesteps: one timestep of the whole batch",
    lambda _, r: r.time_per_timestep,
)
_add("baseline", "", "the backend that ratio refers to", lambda s, _: s.baseline)
_real(
    "ratio",
    "",
    "time over the baseline's for the same work, below 1 is faster: the geometric mean of the "
    "processes' own ratios; empty for the baseline itself and where that was not measured",
    _of_ratio(lambda found: found.ratio.mid),
)
_real(
    "ratio_low",
    "",
    "lower bound of its 99.5% interval",
    _of_ratio(lambda found: found.ratio.low),
)
_real("ratio_high", "", "upper bound of it", _of_ratio(lambda found: found.ratio.high))
_real(
    "ratio_confidence",
    "",
    "of that interval, 0 to 1",
    _of_ratio(lambda found: found.ratio.confidence),
)
_real(
    "ratio_allowance",
    "",
    "spread between processes that was assumed in that interval since too few were there to "
    "show it; empty where there were enough",
    _of_ratio(lambda found: found.allowance),
)
_real(
    "ratio_spread",
    "",
    "how far the processes' ratios spread (standard deviation of their logarithms: 0.06 is "
    "6%); empty with one process",
    _of_ratio(lambda found: found.spread),
)
for name, meaning, get in (
    ("speedup", "how many times as fast as the baseline: 1 / ratio", lambda r: r.mid),
    ("speedup_low", "lower bound of its 99.5% interval", lambda r: r.high),
    ("speedup_high", "upper bound of it", lambda r: r.low),
):
    _real(name, "", meaning, _of_ratio(functools.partial(_upside_down, get)))
_flag(
    "ratio_valid",
    "",
    "whether the ratio is to be trusted, whatever is said of the times; empty where there is none",
    lambda _, r: None if r.to_baseline is None else not r.ratio_doubts,
)
_add(
    "ratio_reasons",
    "",
    "why it is not, those of either side among them",
    lambda _, r: "; ".join(map(str, r.ratio_doubts)),
)
_add(
    "verdict",
    "",
    "FASTER or SLOWER than the baseline, SAME (within 2%), or UNCLEAR",
    _of_ratio(lambda found: found.verdict.value),
)
_whole(
    "rank",
    "",
    "1 for the smallest time_s among the backends of the same work",
    lambda _, r: r.rank,
)
_add(
    "ahead",
    "",
    "of rank 1: the verdict against rank 2",
    lambda _, r: None if r.ahead is None else r.ahead.verdict.value,
)
_flag(
    "fastest",
    "",
    "of rank 1: whether it is FASTER than each of the others that are valid, judged together",
    lambda _, r: r.fastest if r.rank == 1 else None,
)
_real("build_s", "s", "making the model with its weights on the device", _of_setup("build_s"))
_real("trace_s", "s", "tracing it into a graph", _of_setup("trace_s"))
_real("compile_s", "s", "compiling: the first call less a later one", _of_setup("compile_s"))
_real("first_call_s", "s", "the first call, compiling included", _of_setup("first_call_s"))
_real(
    "first_result_s",
    "s",
    "from nothing to the first result: build_s + trace_s + first_call_s",
    lambda _, r: r.first_result,
)
_real(
    "break_even_steps",
    "steps",
    "after which a later first result has paid back against the baseline, 0 if it is not "
    "later; empty where the row is not FASTER than the baseline",
    _paid_back,
)
_real(
    "peak_memory_bytes",
    "B",
    "peak of what the case needs beyond its loaded framework: on a GPU what the framework's "
    "allocator held, on a CPU the growth of the resident memory of a process of its own",
    _of_figures("memory", "peak_bytes"),
)
_real("operations", "", "of one step, counted from the spec", _of_figures("roofs", "operations"))
_real("bytes_moved", "B", "least that one step must move", _of_figures("roofs", "bytes"))
for name, roof in (
    ("matmul", "the device's rate of matrix products"),
    ("bandwidth", "its bandwidth of copying"),
    ("chain", "its time for the products that must follow one another"),
):
    meaning = f"part that was reached of {roof}, the best seen on its machine; may be above 1"
    _real(f"of_{name}_roof", "", meaning, _of_figures("roofs", f"of_{name}"))
_real(
    "of_launch_roof",
    "",
    "part of the step that starting as many operators takes where they do nothing; may be above 1, "
    "and is empty where it is not known what the step starts",
    _of_figures("roofs", "of_launch"),
)
_real(
    "processors_busy",
    "processors",
    "that the step keeps busy on average; empty on a GPU, and where others left it too few",
    _of_figures("roofs", "processors_busy"),
)
_add(
    "bound_by",
    "",
    "what takes more than half of the step: launches, host, chain, products, memory, padding or "
    "waiting; not known where nothing that has a roof does (why.md)",
    lambda _, r: None if r.bound is None else r.bound.kind,
)
_add(
    "why",
    "",
    "the same as a sentence: how it is known, and who of those measured on this work needs less",
    lambda _, r: sentence(r) or None,
)
_real("energy_j", "J", "of the GPU, for one step", _of_figures("energy", "joules"))
_flag(
    "steady",
    "",
    "whether every process reached a steady state; empty where it could not be told",
    lambda _, r: r.steady,
)
for name, each in STREAM_COLUMNS.items():
    _add(name, each.unit, each.meaning, _of_stream(each.value), each.kind)
for name, column in node_columns.NODE_COLUMNS.items():
    _add(name, column.unit, column.meaning, _of_row(column.value), column.kind)
for name, bridge in BRIDGE_COLUMNS.items():
    _add(name, "", bridge.meaning, _of_row(bridge.value), bridge.kind)
