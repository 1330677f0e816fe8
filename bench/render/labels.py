"""Name machines, sessions and tables, and write the marks and verdicts next to numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bench.machine.fields import mapping
from bench.render.escape import LONGEST_NAME, clean
from bench.render.quantities import (
    bounds,
    count,
    join_names,
    percent,
    seconds_range,
    shape_texts,
    times_as_fast,
    times_bounds,
)
from bench.render.quantities import ratio as ratio_words
from bench.stats.comparison import (
    PLAIN_MEAN_OPPOSED,
    PROCESSES_CORRELATED,
    PROCESSES_SHIFTED,
    Comparison,
    Verdict,
)
from bench.stats.intervals import CASE_CONFIDENCE, VERDICT_CONFIDENCE, Interval
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import KINDS, Section, Table
from lstm_impl.frameworks import list_frameworks

_MOST_NODES = 4  # This many nodes are named on a line.


REFERENCE_TITLE = "Reference results of the project, measured on another machine"
"""The title of a report that users could otherwise mistake for their own results."""


def heading(section: Section) -> str:
    """Return what was run, where and when, on one line."""
    suite, runs = name(section.run.suite) or "unnamed suite", count(len(section.runs), "process")
    return f"{suite} on {where(section)} · {section.started:%Y-%m-%d %H:%M} UTC · {runs}"


def where(section: Section) -> str:
    """Return the name of the machine, or of the nodes: ``3 nodes (a, b and c)``."""
    if section.nodes:
        names = [name(each) or "an unnamed machine" for each in section.nodes.values()]
        return f"{count(len(names), 'node')} ({join_names(names, _MOST_NODES)})"
    return name(section.run.machine) or "an unnamed machine"


class MachineFact(NamedTuple):
    """Hold what is known of one part of a machine: ``cpu``, ``gpu``, ``libraries``, ...."""

    part: str
    label: str
    text: str


def machine(section: Section) -> list[tuple[str, str]]:
    """Return what is known about the machine as pairs of a label and a text.

    For a run on several nodes of a cluster, it also says how many processes ran on each node.
    """
    return [(fact.label, fact.text) for fact in machine_facts(section)]


def machine_facts(section: Section) -> list[MachineFact]:
    """Return the facts of ``machine``, each with the part of the machine that it describes."""
    before = section.run.before
    processes = Counter(section.node_by_run.values())
    nodes = [
        f"{name(text) or 'an unnamed machine'} ({count(processes[node], 'process')})"
        for node, text in section.nodes.items()
    ]
    found = [MachineFact("nodes", "Nodes", join_names(nodes, 2 * _MOST_NODES) if nodes else "")]
    cpu, libraries = mapping(before.get("cpu")), mapping(before.get("libraries"))
    numbers = [(cpu.get("cores"), "core"), (cpu.get("usable"), "usable thread")]
    counts = [count(n, unit) for n, unit in numbers if type(n) is int and 0 < n < 100_000]
    found.append(MachineFact("cpu", "CPU", _joined(cpu.get("name"), *counts)))
    gpus = before.get("gpus")
    for index, gpu in enumerate(map(mapping, gpus[:MOST_FACTS] if isinstance(gpus, list) else [])):
        driver = _joined(gpu.get("driver"))
        text = _joined(gpu.get("name"), driver and f"driver {driver}")
        found.append(MachineFact("gpu", f"GPU {index}", text))
    computing = [each for framework in list_frameworks() for each in framework.named_distributions]
    versions = [f"{each} {_joined(libraries[each])}" for each in computing if each in libraries]
    found.append(MachineFact("system", "System", _joined(before.get("system"))))
    found.append(MachineFact("libraries", "Libraries", _joined(before.get("python"), *versions)))
    return [fact for fact in found if fact.text]


def _joined(*parts: object) -> str:
    """Join those parts that are texts, each short and on one line."""
    return ", ".join(name(part) for part in parts if isinstance(part, str) and part)


MOST_FACTS = 24
"""The number of GPUs that are shown, and on a page of threads and of variables."""


def caption(section: Section) -> str:
    """Return what was run and the machine, for use below a table without a heading."""
    return "; ".join([heading(section), *(text for _, text in machine(section))]) + "."


def name(text: str) -> str:
    """Return a name from a file, short and on one line."""
    return clean(text, LONGEST_NAME)


def title(table: Table) -> str:
    """Return the device and the mode, and for truncation what is cut into windows."""
    words = f"{name(table.device)}, {table.mode}"
    if table.kind == KINDS[1]:
        words += f" in windows ({', '.join(shape_texts(table.rows[0].case))})"
    dtypes = {row.case.spec.dtype for row in table.rows}
    return words if dtypes == {"float32"} else f"{words}, {join_names(sorted(dtypes))}"


FASTEST, SHORTEST = "★", "☆"

MARKS = (
    f"{FASTEST} means significantly FASTER than each of the other backends, tested jointly; "
    f"{SHORTEST} means only the shortest median"
)
"""Explains the marks. ``method`` explains the verdict FASTER."""

BARS = "Bars show the speed: a longer bar is faster"
"""Explains the bars of every table and picture that has them."""

UNRELIABLE = "~"
UNRELIABLE_TIME = f"{UNRELIABLE} marks an unreliable time; ratios are judged separately"
TIME_INTERVAL = f"{100 * CASE_CONFIDENCE:g}% CI"

RATIO_INTERVAL = f"{100 * VERDICT_CONFIDENCE:g}% CI"
"""Headings of intervals. Those of times and of ratios have different confidence levels."""


APPROXIMATE = (
    "error: how far the outputs of a backend that approximates differ from the float64 reference, "
    "as the root mean square relative to the outputs. Such a backend is not ranked"
)


def notes(rows: Sequence[RankedRow]) -> list[str]:
    """Return what the marks in the tables of these rows mean, if there are any marks."""
    found = [MARKS] if any(mark(row) for row in rows) else []
    found += [UNRELIABLE_TIME] * any(row.result.validity.of_time for row in rows)
    return found + [APPROXIMATE] * any(row.case.approximate for row in rows)


def mark(row: RankedRow) -> str:
    """Return the mark of the first row of a group. Any other row has none."""
    if row.rank != 1 or row.ahead is None:
        return ""
    return FASTEST if row.fastest else SHORTEST


def bounds_of_time(interval: Interval, time: float, steps: int = 1) -> str:
    """Return the bounds of a time, with their level where it is not that of the heading.

    Few samples cannot give that level, and a single sample has no interval. The bounds are divided
    by ``steps``.
    """
    if interval.confidence <= 0:
        return ""
    described = seconds_range(interval.low / steps, interval.high / steps, time)
    short = interval.confidence < CASE_CONFIDENCE - 1e-9
    return f"{described} ({percent(interval.confidence)})" if short else described


def spread_text(found: Comparison, by: str = "") -> str:
    """Return how far processes and nodes of an UNCLEAR ratio spread: ``6%``, ``6%, nodes 3%``.

    The text is empty for other verdicts, where neither spread is known, and where another reason
    explains the verdict. ``by`` precedes the spread between nodes.
    """
    explained = found.heterogeneous or found.reasons
    if found.verdict is not Verdict.UNCLEAR or found.spread is None or explained:
        return ""
    nodes = "" if found.between is None else f", nodes{by} {percent(found.between)}"
    return f"{percent(found.spread)}{nodes}"


def versus(found: Comparison, other: str, apposition: str = "") -> str:
    """Say how a backend compares: ``2.40 times as fast as keras (99.5% CI 2.10–2.70)``.

    Parameters
    ----------
    found
        The ratio of the two times, and its verdict.
    other
        The backend it is compared with.
    apposition
        A text after the name of that backend.
    """
    ratio, than = found.ratio, f"{clean(other, LONGEST_NAME)}{apposition}"
    speedup = f"{RATIO_INTERVAL} {times_bounds(ratio.low, ratio.high)}"
    if found.verdict is Verdict.FASTER:
        return f"{times_as_fast(ratio.mid)} times as fast as {than} ({speedup})"
    if found.verdict is Verdict.SLOWER:
        slowdown = f"{RATIO_INTERVAL} {bounds(ratio.low, ratio.high)}"
        return f"takes {ratio_words(ratio.mid)} times as long as {than} ({slowdown})"
    if found.verdict is Verdict.SAME:
        return f"as fast as {than} ({times_as_fast(ratio.mid)}×, {speedup})"
    why = spread_text(found, " by")
    why = f"; processes differ by {why}" if why else f"; {_reason(found)}" if found.reasons else ""
    return f"{times_as_fast(ratio.mid)} times as fast as {than}, but UNCLEAR ({speedup}{why})"


_REASONS = {
    PROCESSES_SHIFTED: "shifted by {shift}",
    PROCESSES_CORRELATED: "successive processes alike",
    PLAIN_MEAN_OPPOSED: "outliers decide",
}


def _reason(found: Comparison) -> str:
    """Return in a few words why a verdict is UNCLEAR although its processes agree."""
    shift = found.reasons[0].values.get("shift")
    shown = percent(shift) if isinstance(shift, float) else ""
    return _REASONS[found.reasons[0].code].format(shift=shown)


def compact_verdict(found: Comparison) -> str:
    """Return a verdict for a cell, with the reason for UNCLEAR: ``UNCLEAR, spread 6%``."""
    spread = spread_text(found)
    why = _reason(found) if found.reasons else f"spread {spread}" if spread else ""
    return f"{found.verdict.value}{why and f', {why}'}"
