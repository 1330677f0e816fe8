"""Name machines, sessions and tables, and write the marks and verdicts next to numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.machine.fields import mapping
from bench.render.escape import LONGEST_NAME, clean
from bench.render.quantities import (
    bounds,
    count,
    listed,
    percent,
    seconds_range,
    shape_words,
    times_as_fast,
    times_bounds,
)
from bench.render.quantities import ratio as ratio_words
from bench.stats.comparison import (
    PLAIN_MEAN_OPPOSED,
    PROCESSES_SHIFTED,
    Comparison,
    Verdict,
)
from bench.stats.intervals import CASE_CONFIDENCE, VERDICT_CONFIDENCE, Interval, Reason
from bench.stats.rows import KINDS, Row, Section, Table

# The libraries that backends compute with, in the order in which they are named.
_LIBRARIES = (
    *("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "tf-keras"),
    *("torch", "jax", "flax", "onnxruntime", "openvino"),
)

_MOST_NODES = 4  # that are named on a line


def heading(section: Section) -> str:
    """What was run where and when, on one line."""
    run = section.run
    parts = [
        f"{name(run.suite) or 'unnamed suite'} on {where(section)}",
        f"{section.started:%Y-%m-%d %H:%M} UTC",
        count(len(section.runs), "process"),
    ]
    return " · ".join(parts)


def where(section: Section) -> str:
    """The machine by its name, or the nodes by theirs: ``3 nodes (a, b and c)``."""
    if section.nodes:
        names = [name(each) or "an unnamed machine" for each in section.nodes.values()]
        return f"{count(len(names), 'node')} ({listed(names, _MOST_NODES)})"
    return name(section.run.machine) or "an unnamed machine"


def nodes(section: Section) -> str:
    """Each node with the number of its processes; empty where machines are not distinguished."""
    processes = Counter(section.node_of.values())
    messages = [
        f"{name(text) or 'an unnamed machine'} ({count(processes[node], 'process')})"
        for node, text in section.nodes.items()
    ]
    return listed(messages, 2 * _MOST_NODES) if messages else ""


def machine(section: Section) -> list[tuple[str, str]]:
    """What the machine is, as far as its files say: label and text."""
    before = mapping(section.run.environment.get("before"))
    found: list[tuple[str, str]] = [("Nodes", nodes(section))]
    cpu = mapping(before.get("cpu"))
    words = [_text(cpu.get("name"))]
    for key, unit in (("cores", "core"), ("usable", "usable thread")):
        number = cpu.get(key)
        if type(number) is int and 0 < number < 100_000:
            words.append(count(number, unit))
    found.append(("CPU", ", ".join(word for word in words if word)))
    gpus = before.get("gpus")
    for index, gpu in enumerate(gpus[:16] if isinstance(gpus, list) else []):
        facts = mapping(gpu)
        driver = _text(facts.get("driver"))
        words = [_text(facts.get("name")), f"driver {driver}" if driver else ""]
        found.append((f"GPU {index}", ", ".join(word for word in words if word)))
    found.append(("System", _text(before.get("system"))))
    libraries = mapping(before.get("libraries"))
    versions = [f"{each} {_text(libraries[each])}" for each in _LIBRARIES if each in libraries]
    found.append(("Libraries", ", ".join([_text(before.get("python")), *versions]).strip(", ")))
    return [(label, text) for label, text in found if text]


def caption(section: Section) -> str:
    """What stands under a table that has no heading: what was run, and the machine."""
    return "; ".join([heading(section), *(text for _, text in machine(section))]) + "."


def name(text: str) -> str:
    """A name from a file, short and on one line."""
    return clean(text, LONGEST_NAME)


def title(table: Table) -> str:
    """Device and mode, and of truncation what is cut into windows."""
    words = f"{name(table.device)}, {table.mode}"
    if table.kind == KINDS[1]:
        words += f" in windows ({', '.join(shape_words(table.rows[0].case))})"
    dtypes = {row.case.spec.dtype for row in table.rows}
    return words if dtypes == {"float32"} else f"{words}, {listed(sorted(dtypes))}"


def _text(value: object) -> str:
    return name(value) if isinstance(value, str) else ""


_MOST = 24
"""GPUs, threads or variables beyond these are left out."""


def details(section: Section) -> list[tuple[str, str]]:
    """Label and text of what its first run recorded, as far as it did."""
    environment = section.run.environment
    before = mapping(environment.get("before"))
    # Frameworks are loaded while a run goes on: what they say of themselves is there at its end.
    end = mapping(environment.get("after"))
    after = {**before, **{name: end[name] for name in ("threads", "tensorflow") if end.get(name)}}
    container = _word(before.get("container"))
    found = [
        ("Processor", _processor(mapping(before.get("cpu")))),
        ("Memory", _memory(mapping(before.get("memory")))),
        ("Kernel", _listed(_word(before.get("kernel")), f"in {container}" if container else "")),
    ]
    gpus = before.get("gpus")
    for index, gpu in enumerate(gpus[:_MOST] if isinstance(gpus, list) else []):
        found.append((f"GPU {index}, in detail", _gpu(mapping(gpu))))
    # TensorFlow says 0 where it chooses for itself.
    threads = {
        name: "of its own choice" if value == 0 else value
        for name, value in mapping(after.get("threads")).items()
    }
    found.append(("Threads", _pairs(threads, " ")))
    found.append(("TensorFlow", _tensorflow(mapping(after.get("tensorflow")))))
    found.append(("Variables", _pairs(mapping(before.get("variables")), "=")))
    return [(label, text) for label, text in found if text]


def _processor(cpu: Mapping[str, object]) -> str:
    governor, quota = _word(cpu.get("governor")), _number(cpu.get("quota"))
    return _listed(
        _word(cpu.get("architecture")),
        _hertz(cpu.get("clock_hz"), "at {} when it began"),
        _hertz(cpu.get("clock_max_hz"), "at most {}"),
        f"governor {governor}" if governor else "",
        _switch("turbo", cpu.get("turbo")),
        "a virtual machine" if cpu.get("virtual") is True else "",
        f"{quota:g} of its processors allowed" if quota else "",
    )


def _memory(memory: Mapping[str, object]) -> str:
    swap = _number(memory.get("swap_used_bytes"))
    return _listed(
        _bytes(memory.get("total_bytes"), "{}"),
        _bytes(memory.get("available_bytes"), "{} of it free when it began"),
        _bytes(swap, "{} swapped out") if swap else "",
    )


def _gpu(gpu: Mapping[str, object]) -> str:
    cuda, capability = _word(gpu.get("cuda_version")), _word(gpu.get("compute_capability"))
    power = _number(gpu.get("power_limit_w"))
    return _listed(
        f"CUDA {cuda}" if cuda else "",
        f"compute capability {capability}" if capability else "",
        _bytes(gpu.get("memory_total_bytes"), "{}"),
        _hertz(gpu.get("clock_sm_max_hz"), "at most {}"),
        f"power limit {power:.0f} W" if power else "",
        _switch("MIG", gpu.get("mig")),
    )


def _tensorflow(tensorflow: Mapping[str, object]) -> str:
    build = mapping(tensorflow.get("build"))
    versions = [
        f"{label} {_word(build.get(key))}"
        for key, label in (("cuda_version", "built for CUDA"), ("cudnn_version", "for cuDNN"))
        if _word(build.get(key))
    ]
    tf32 = _switch("TF32", tensorflow.get("tf32"))
    return _listed(_word(tensorflow.get("version")), *versions, tf32)


def _pairs(values: Mapping[str, object], sign: str) -> str:
    messages = [
        f"{_word(name)}{sign}{_word(value)}"
        for name, value in list(values.items())[:_MOST]
        if isinstance(value, str | int) and not isinstance(value, bool)
    ]
    return _listed(*messages)


def _switch(what: str, value: object) -> str:
    return f"{what} {'on' if value else 'off'}" if isinstance(value, bool) else ""


def _hertz(value: object, words: str) -> str:
    found = _number(value)
    return words.format(f"{found / 1e9:.3g} GHz") if found else ""


def _bytes(value: object, words: str) -> str:
    found = _number(value)
    return words.format(f"{found / 2**30:.3g} GiB") if found else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e30 and math.isfinite(value) else None


def _word(value: object) -> str:
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return clean(str(value), LONGEST_NAME) if known else ""


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


FASTEST, SHORTEST = "★", "☆"

MARKS = (
    f"{FASTEST} significantly FASTER than each of the others, tested jointly; "
    f"{SHORTEST} only the shortest median"
)
"""What the marks mean, with any number of processes: FASTER is a verdict, and ``method`` says what
stands behind it."""

BARS = "Bars show speed: the longer the faster"
"""In every table and picture that has them, whatever number is next to them."""

DOUBTFUL = "~"
DOUBTFUL_TIME = f"{DOUBTFUL} an unreliable time; ratios are judged separately"
TIME_INTERVAL = f"{100 * CASE_CONFIDENCE:g}% CI"

RATIO_INTERVAL = f"{100 * VERDICT_CONFIDENCE:g}% CI"
"""Headings: two intervals that are next to one another are not of one level."""


APPROXIMATE = (
    "error: of a backend that approximates, the root mean square of its outputs' difference from "
    "the float64 reference, relative to the outputs; it is not ranked"
)


def notes(rows: Sequence[Row]) -> list[str]:
    """What the marks in the tables of these rows mean, as far as there are any."""
    found = [MARKS] if any(mark(row) for row in rows) else []
    found += [DOUBTFUL_TIME] * any(row.validity.of_time for row in rows)
    return found + [APPROXIMATE] * any(row.case.approximate for row in rows)


def mark(row: Row) -> str:
    """Whether this row, the first of its group, is FASTER than the others; empty if not first."""
    if row.rank != 1 or row.ahead is None:
        return ""
    return FASTEST if row.fastest else SHORTEST


def bounds_of_time(interval: Interval, time: float, steps: int = 1) -> str:
    """The bounds of a time, with their level where it is not that of the heading.

    So few samples were taken that they cannot give it; a single one has no interval at all. steps:
    that ``time`` is a part of.
    """
    if interval.confidence <= 0:
        return ""
    described = seconds_range(interval.low / steps, interval.high / steps, time)
    short = interval.confidence < CASE_CONFIDENCE - 1e-9
    return f"{described} ({percent(interval.confidence)})" if short else described


STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}
"""Rich's, for a verdict in a comparison."""


_REASONS = {PROCESSES_SHIFTED: "shifted by {shift}", PLAIN_MEAN_OPPOSED: "outliers decide"}


def reason_words(reason: Reason) -> str:
    """Return in two or three words why a verdict is UNCLEAR though its processes agree."""
    shift = reason.values.get("shift")
    return _REASONS[reason.code].format(shift=percent(shift) if isinstance(shift, float) else "")


def verdict_words(found: Comparison) -> str:
    """A verdict, and where it is UNCLEAR how far the processes spread, which is why.

    ``UNCLEAR, processes spread by 6%``; on several nodes ``..., nodes by 3%``.
    """
    if found.reasons:
        return f"{found.verdict.value}, {reason_words(found.reasons[0])}"
    spread = spread_words(found, " by")
    return f"{found.verdict.value}, processes spread by {spread}" if spread else found.verdict.value


def spread_words(found: Comparison, by: str = "") -> str:
    """Where a verdict is UNCLEAR how far processes spread, and nodes: ``6%``, ``6%, nodes 3%``.

    Empty of another verdict, where neither is known, and over an uneven bridge, which is why then.
    by: stands before the nodes' number.
    """
    if found.verdict is not Verdict.UNCLEAR or found.spread is None or found.uneven:
        return ""
    if found.reasons:
        return ""
    nodes = "" if found.between is None else f", nodes{by} {percent(found.between)}"
    return f"{percent(found.spread)}{nodes}"


def versus(found: Comparison, other: str, apposition: str = "") -> str:
    """Say how a backend compares: ``2.40× faster than keras, the next (99.5% CI 2.10–2.70)``.

    other: whose time it is compared with. apposition: what is said of that one.
    """
    ratio, than = found.ratio, f"{clean(other, LONGEST_NAME)}{apposition}"
    speedup = f"{RATIO_INTERVAL} {times_bounds(ratio.low, ratio.high)}"
    if found.verdict is Verdict.FASTER:
        return f"{times_as_fast(ratio.mid)}× faster than {than} ({speedup})"
    if found.verdict is Verdict.SLOWER:
        slowdown = f"{RATIO_INTERVAL} {bounds(ratio.low, ratio.high)}"
        return f"{ratio_words(ratio.mid)}× slower than {than} ({slowdown})"
    inside = f"{times_as_fast(ratio.mid)}×, {speedup}"
    if found.verdict is Verdict.SAME:
        return f"as fast as {than} ({inside})"
    why = verdict_words(found).partition(", ")[2]
    return f"not significantly faster or slower than {than} ({inside}{why and f'; {why}'})"


def compact_verdict(found: Comparison) -> str:
    """The same for a table's cell: ``UNCLEAR, spread 6%``."""
    if found.reasons:
        return f"{found.verdict.value}, {reason_words(found.reasons[0])}"
    spread = spread_words(found)
    return f"{found.verdict.value}, spread {spread}" if spread else found.verdict.value
