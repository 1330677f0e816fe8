"""What stands above a report and its parts: the machine, the method, what is alike in all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.machine.fields import mapping
from bench.render.inert import LONGEST_NAME, clean
from bench.render.quantities import count, listed, percent, shape_words
from bench.render.verdict_words import unclear, uneven
from bench.stats.basis import Pairing
from bench.stats.comparison import Apart
from bench.stats.intervals import CASE_CONFIDENCE, LEAST_SPREAD, MOST_SPREAD
from bench.stats.process_means import ENOUGH_PROCESSES, VERDICT_CONFIDENCE
from bench.stats.rows import KINDS, Row, Section, Table
from bench.stats.verdict import SAME_WITHIN

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
    return name(section.run.host) or "an unnamed machine"


def nodes(section: Section) -> str:
    """Each node with the number of its processes; empty where machines are not told apart."""
    processes = Counter(section.node_of.values())
    told = [
        f"{name(text) or 'an unnamed machine'} ({count(processes[node], 'process')})"
        for node, text in section.nodes.items()
    ]
    return listed(told, 2 * _MOST_NODES) if told else ""


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


def method(section: Section) -> list[str]:
    """How to read the numbers, and what stands behind their intervals."""
    rows = [row for row in section.rows if row.measured]
    if not rows:
        return []
    on = [
        "Nodes are machines of one kind. Each counts alike in every interval, by the mean over its "
        "processes, however many these are: an interval says what such a machine does."
    ]
    kinds = {row.case.kind for row in rows}
    lines = [
        f"Times are of one step: medians, with their {100 * CASE_CONFIDENCE:g}% intervals. "
        "Inference is the forward pass; training is that and all gradients. The first result comes "
        "after building, tracing, compiling and one step."
    ]
    if any(row.to_baseline for row in rows):
        base = name(section.baseline)
        lines.append(
            f"vs {base}: how many times as fast for the same work, so above 1 is faster. FASTER "
            f"and SLOWER: the ratio's whole {100 * VERDICT_CONFIDENCE:g}% interval is on that side "
            f"of 1, SAME: within ±{100 * SAME_WITHIN:g}%, UNCLEAR: anything else. Over several "
            "shapes the ratio is the geometric mean."
        )
        lines += [f"{told}." for told in unclear([row.to_baseline for row in rows])]
    if KINDS[1] in kinds:
        lines.append(
            "A time per timestep is the step's time over its timesteps: of the whole batch at once."
        )
    if KINDS[2] in kinds:
        lines.append(
            "A stream: each call takes a chunk and is timed by itself, from when it was due, or "
            "back to back from when it began, until its output is there. Its median is that of the "
            "blocks' medians; a percentile is the median over the processes of each one's own, "
            "told where each has calls enough. late: calls that missed their deadline."
        )
    loads = sorted({row.stream.load for row in rows if row.stream is not None and row.stream.load})
    if loads:
        told = count(loads[-1], "processor")
        lines.append(f"The suite kept {told} busy while streams were timed (--load).")
    if any("peak_bytes" in row.memory for row in rows):
        lines.append(
            "Memory is the peak of what a case needs beyond its framework: on a CPU in a process "
            "of its own, on a GPU what the framework's allocator held."
        )
    lines += on if section.nodes else []
    lines += [f"{told}." for told in over_bridges(rows)]
    return lines + [f"{told}." for told in few(rows)]


def over_bridges(rows: Sequence[Row]) -> list[str]:
    """Whose ratios stand on a third backend, that was measured in the processes of both sides.

    And how far that one differs between these.
    """
    found: dict[str, dict[str, dict[str, Apart]]] = {}
    for row in rows:
        ratio = row.to_baseline
        if row.bridge and ratio and ratio.pairing is Pairing.BRIDGED:
            backends = found.setdefault(name(row.bridge.case.backend), {})
            known = backends.setdefault(name(row.case.backend), {})
            if ratio.apart is not None:
                known[name(row.case.device)] = ratio.apart
    return [
        f"Over {bridge}, which is in the processes of both sides: the ratios of "
        f"{listed(list(backends))}, measured in processes of another environment than the baseline"
        + _itself(bridge, backends)
        for bridge, backends in found.items()
    ]


def _itself(bridge: str, backends: Mapping[str, Mapping[str, Apart]]) -> str:
    """How long a bridge took in the processes of these backends; by device, if there are several.

    ``; torch itself took 1.01 times as long in those of keras_jax (0.94–1.08, over 10 cases) ...``
    """
    devices = {device for each in backends.values() for device in each}
    told = [
        f"{apart.found.ratio.mid:.2f} times as long in those of {backend}"
        f"{f' on {device}' if len(devices) > 1 else ''} ({apart.bounds})"
        for backend, each in backends.items()
        for device, apart in each.items()
    ]
    return f"; {bridge} itself took {listed(told)} as in the baseline's" if told else ""


def uneven_bridges(rows: Sequence[Row]) -> list[str]:
    """Each bridge that is not the same in the processes of both sides of a ratio of these rows."""
    return uneven(
        [
            *(row.to_baseline for row in rows),
            *(ratio for row in rows for ratio in row.behind.values()),
            *(row.helper_ratio for row in rows),
        ]
    )


def few(rows: Sequence[Row]) -> list[str]:
    """What the intervals of fewer processes than six stand on, without a full stop; once a page."""
    counts = {
        row.interval.processes
        for row in rows
        if row.interval is not None and row.interval.nodes < 2
    }
    found = []
    if 1 in counts:
        found.append(
            "1 process: the interval of a time is of its own samples and says how well they fix "
            "this process's median, nothing of other processes, whose medians were seen to spread "
            f"by {percent(LEAST_SPREAD)} to {percent(MOST_SPREAD)} on one machine"
        )
    on = {row.interval.nodes for row in rows if row.interval is not None}
    for noun, plural, numbers in (("process", "processes", counts), ("node", "nodes", on)):
        if some := [each for each in numbers if 1 < each < ENOUGH_PROCESSES]:
            found.append(
                f"{count(max(some), noun)}: the interval of a time is a t-interval over the "
                f"{plural}' medians, which are taken to spread by {percent(LEAST_SPREAD)} at least"
            )
    for noun in ("process", "node"):
        of_ratios = {
            row.to_baseline.allowance
            for row in rows
            if row.to_baseline and bool(row.to_baseline.nodes) == (noun == "node")
        }
        if any(of_ratios):
            allowed = " and ".join(f"{100 * each:g}%" for each in sorted(filter(None, of_ratios)))
            found.append(
                f"Fewer than {count(ENOUGH_PROCESSES, noun)} cannot show how far they differ: the "
                f"intervals of ratios allow for {allowed}, and verdicts are as good "
                f"as that is; from {ENOUGH_PROCESSES} on they stand on what was measured"
            )
    return found


def speed_moved(widths: Sequence[float]) -> str:
    """That the machine's speed moved; widths: of the times' intervals that show it, one or more."""
    reach = f"±{min(widths):.0%} to ±{max(widths):.0%}" if len(widths) > 1 else f"±{widths[0]:.0%}"
    return (
        "The machine's speed changed from process to process: the intervals of "
        f"{count(len(widths), 'time')} reach {reach}. Ratios to other backends are taken inside "
        "each process, and do not move with it."
    )


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
