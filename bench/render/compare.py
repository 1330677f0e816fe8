"""Show a comparison in a terminal, as Markdown, CSV, JSON or SVG, and in GitHub Actions."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.grouping import group_by
from bench.render import quantities
from bench.render.data import OF_BRIDGE, OF_RATIO, csv_records, finite, json_text
from bench.render.escape import clean, terminal_picture
from bench.render.labels import RATIO_INTERVAL, compact_verdict
from bench.render.messages import (
    UnmeasuredCases,
    basis_text,
    group_unmeasured,
    heterogeneous,
    problem_line,
    reason_texts,
    unclear,
    unmeasured_heading,
    unmeasured_summary,
)
from bench.render.quantities import count, join_names, seconds, times_as_fast, times_bounds
from bench.render.table import Block, Column, Document, Standing, TableCell, TextTable
from bench.stats.comparison import SAME_WITHIN, Comparison, Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE
from bench.stats.trust import Problem
from bench.verdicts.pairs import INVALID, ComparisonReport, ComparisonRow, Gate, Map, OneSided, Rule

LONGEST_LIST = 20
"""The number of entries of a list that are shown. CSV and JSON have them all."""

_MOST_PACKAGES = 12
WIDTH = 100  # The width of a picture, in letters.
_MOST_MAPS = 12  # This many maps are shown; CSV and JSON have them all.

NO_MAP = (
    "There is no map of batch × hidden size, because no two shapes that both devices measured "
    "differ in only these sizes. `pytest --benchmark-only --lstm-suite crossover` measures a grid "
    "of them."
)


def note_text(note: Reason | str | None) -> str:
    """Return the text of a finding or a note. Notes on files are text already."""
    return reason_texts(note)[0] if isinstance(note, Reason) else note or ""


def invalid_texts(row: ComparisonRow) -> list[str]:
    """Return why the ratio of a row is INVALID.

    Each reason follows the side whose time it concerns.
    """
    return [
        f"{side}: {problem_line(why)}" if side else problem_line(why) for side, why in row.reasons
    ]


def by_reason(found: Iterable[tuple[Problem, str]]) -> list[str]:
    """Return one line for each kind of reason: the text of the first, and where it holds."""
    lines = []
    for same in group_by(found, lambda each: each[0].code).values():
        texts = list(dict.fromkeys(problem_line(problem) for problem, _ in same))
        where = join_names([clean(place, 200) for _, place in same], 5)
        lines.append(f"{'for example, ' * (len(texts) > 1)}{clean(texts[0])}: {where}")
    return lines


def differences_line(base: str, new: str, found: Sequence[tuple[str, str, str]]) -> str:
    """Return which packages differ between two environments, with both versions."""
    sides = f"from {clean(base, 60)} to {clean(new, 60)}"
    if not found:
        return (
            f"No package differs {sides}. A difference in time is then due to chance or to the "
            "machine."
        )
    messages = [
        f"{clean(name, 60)} {clean(there, 60)} → {clean(here, 60)}" for name, there, here in found
    ]
    return f"What differs {sides}: {'; '.join(quantities.shorten(messages, _MOST_PACKAGES))}."


def threshold_text(rule: Rule) -> str:
    """Return the threshold of a rule as text (" by more than 5%"), or nothing without one."""
    return "" if rule.threshold is None else f" by more than {100 * rule.threshold:g}%"


def summary_lines(report: ComparisonReport) -> list[str]:
    """Return how many cases have which verdict, and the result of the rule."""
    lines = [note_text(report.finding)] if report.finding else []
    if report.rows:
        counts = Counter(row.comparison.verdict for row in report.rows)
        text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{count(len(report.rows), 'shared case')}: {text}.")
    for mean in report.means:
        found = mean.comparison
        invalid = f", {mean.invalid} of them INVALID" if mean.invalid else ""
        lines.append(
            f"{clean(mean.new_label, 120)} is {times_as_fast(found.ratio.mid, 3)} times as fast as "
            f"{clean(mean.base_label, 120)} ({_bounds(found)}, {found.verdict}), geometric mean "
            f"over {count(mean.cases, 'shared case')}{invalid}."
        )
    lines.extend(f"{text}." for text in heterogeneous(row.comparison for row in report.rows))
    if invalid_rows := sum(bool(row.reasons) for row in report.rows):
        lines.append(
            f"INVALID: {count(invalid_rows, 'case')}, marked in the table. Do not rely on these "
            "verdicts; the reasons are listed below."
        )
    return [*lines, _gate_line(report.gate)] if report.gate is not None else lines


def _gate_line(gate: Gate) -> str:
    beyond = threshold_text(gate.rule)
    judged = f"{count(gate.judged, 'case')} judged together (Holm), {gate.unclear} UNCLEAR"
    if not gate.failed:
        return f"--fail-on {gate.rule.text}: passed, no case is SLOWER{beyond}; {judged}."
    invalid = sum(bool(row.reasons) for row in gate.failed)
    marked = f" ({invalid} of them INVALID)" if invalid else ""
    names = join_names([clean(row.case.id, 120) for row in gate.failed], LONGEST_LIST)
    return (
        f"--fail-on {gate.rule.text}: FAILED, {len(gate.failed)} SLOWER{beyond}{marked}: {names}; "
        f"{judged}."
    )


def method_lines(report: ComparisonReport) -> list[str]:
    """Return how to read the numbers, and what their intervals are based on."""
    if not report.rows:
        return []
    found = [row.comparison for row in report.rows]
    lines = [
        "speed: how many times as fast as base new is, with a "
        f"{100 * VERDICT_CONFIDENCE:g}% interval. Above 1, new is faster. SAME: within "
        f"±{100 * SAME_WITHIN:g}%."
    ]
    hows = Counter(basis_text(each.basis) for each in found)
    lines.extend(f"{count(number, 'case')}: {how}." for how, number in hows.items())
    lines.extend(f"{described}." for described in unclear(found))
    for of_nodes, units in ((True, "nodes"), (False, "processes")):
        if any(each.allowance and bool(each.nodes) is of_nodes for each in found):
            lines.append(
                f"* Fewer than {ENOUGH_PROCESSES} {units} cannot show how much {units} differ, so "
                f"an allowance for that is added to the interval."
            )
    return lines


def details(report: ComparisonReport) -> list[tuple[str, list[str]]]:
    """Return headings with lines: cases that are not in the table, and possible causes."""
    found = []
    invalid = by_reason(
        (problem, f"{row.case.id} ({side})" if side else row.case.id)
        for row in report.rows
        for side, problem in row.reasons
    )
    if invalid:
        found.append(("Why ratios are INVALID, and where", _listed_lines(invalid)))
    for difference in report.differences:
        lines = [
            f"{clean(name, 120)}: {clean(base, 120)} → {clean(new, 120)}"
            for name, base, new in difference.items
        ]
        sides = f"from {clean(difference.base_label, 120)} to {clean(difference.new_label, 120)}"
        heading = f"What else differs {sides} (it may be the cause)"
        if not lines:
            heading = f"Nothing else that was recorded differs {sides}"
        found.append((heading, _listed_lines(lines)))
    for label, cases in group_by(report.one_sided, lambda case: case.label).items():
        heading = f"Not compared: {count(len(cases), 'case')} that only {clean(label, 120)} has"
        lines = [
            clean(each.case.id, 120) + (f" ({clean(why)})" if (why := _lacking(each)) else "")
            for each in cases
        ]
        found.append((heading, _listed_lines(lines)))
    found += unmeasured_details(group_unmeasured(report.unmeasured), report.list_unmeasured)
    if report.notes:
        found.append(("Notes", _listed_lines(clean(note_text(each), 500) for each in report.notes)))
    return found


def unmeasured_details(
    groups: Sequence[UnmeasuredCases], all_of_them: bool
) -> list[tuple[str, list[str]]]:
    """Return the cases without a time. By default only errors list their cases."""
    found = []
    for group in groups:
        if all_of_them or group.failed:
            cases = [clean(case.id, 120) for case in group.cases]
            found.append(
                (unmeasured_heading(group), cases if all_of_them else _listed_lines(cases))
            )
    line = "" if all_of_them else unmeasured_summary(groups)
    return [*found, (line, [])] if line else found


def _bounds(found: Comparison) -> str:
    return times_bounds(found.ratio.low, found.ratio.high, 3)


def _verdict(row: ComparisonRow) -> str:
    """Return the verdict of a row, and whether it is INVALID."""
    return f"{compact_verdict(row.comparison)}{' (INVALID)' if row.reasons else ''}"


def _listed_lines(lines: Iterable[str]) -> list[str]:
    return quantities.shorten(
        list(lines), LONGEST_LIST, "and {} more (all of them with --format json)"
    )


# Documents

_COLUMNS = (
    Column("case", names=True, most=160),
    *(Column(heading, right=True, no_wrap=True, needed=1) for heading in ("base", "new")),
    Column("speed", right=True, no_wrap=True),
    *(Column(heading, no_wrap=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("runs", right=True, no_wrap=True, needed=1),
)


def document(report: ComparisonReport) -> Document:
    """Return the comparison for people."""
    blocks = [Block(report.title, report.opening, level=2)]
    for heading, rows in group_by(report.rows, lambda row: row.heading).items():
        blocks.append(Block(heading, table=TextTable.of(_COLUMNS, map(_cells, rows))))
    blocks += [Block(map_title(each), table=_map_table(each)) for each in report.maps[:_MOST_MAPS]]
    texts = [(map_lines(report), "dim"), (summary_lines(report), ""), (method_lines(report), "dim")]
    blocks += [Block(lines=lines, style=style) for lines, style in texts if lines]
    blocks += [Block(title, lines, level=4, indent=2) for title, lines in details(report)]
    return Document(blocks)


def _cells(row: ComparisonRow) -> list[str | TableCell]:
    found = row.comparison
    return [
        row.case.backend if row.case.group in row.heading else row.case.id,
        seconds(row.base.time),
        seconds(row.new.time),
        times_as_fast(found.ratio.mid, 3),
        _bounds(found),
        TableCell(
            _verdict(row),
            style=Standing.of(found.verdict).style,
            strong=found.verdict in (Verdict.FASTER, Verdict.SLOWER),
        ),
        f"{found.processes}{'*' if found.allowance else ''}",
    ]


def texts(report: ComparisonReport) -> dict[str, Callable[[], str | Iterable[str]]]:
    """Return the function that makes each format other than a terminal's."""
    shown = document(report)
    return {
        "markdown": shown.markdown,
        "csv": lambda: as_csv(report),
        "json": lambda: as_json(report),
        "svg": lambda: terminal_picture(shown.terminal, "python -m bench.compare", WIDTH),
    }


# GitHub Actions


def warning_lines(report: ComparisonReport) -> list[str]:
    """Return one line for each SLOWER case, as a workflow command of GitHub Actions.

    A case that broke the rule, and so fails the step, is an ``::error``; any other is a
    ``::warning``. Without a rule there is none where backends or devices are compared.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    """
    if not report.over_time and report.gate is None:
        return []
    broke = {id(row) for row in report.gate.failed} if report.gate is not None else set()
    lines = []
    for row in report.rows:
        found = row.comparison
        if found.verdict is not Verdict.SLOWER:
            continue
        text = (
            f"{clean(row.case.id, 120)}: {clean(row.new_label, 120)} is "
            f"{times_as_fast(found.ratio.mid, 3)} times as fast as {clean(row.base_label, 120)} "
            f"({_bounds(found)}; {basis_text(found.basis)})"
        )
        if row.reasons:
            text += f"; INVALID: {'; '.join(map(clean, invalid_texts(row)))}"
        level = "error" if id(row) in broke else "warning"
        lines.append(annotation(level, f"{_verdict(row)}: {clean(row.case.backend, 120)}", text))
    return lines


def annotation(level: str, title: str, messages: str) -> str:
    """Return a line that GitHub Actions shows as an ``error`` or a ``warning``."""
    title, messages = (clean(text, 3000).replace("%", "%25") for text in (title, messages))
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{messages}"


# Data

_BRIDGE = {name.removeprefix("ratio_"): get for name, get in OF_BRIDGE.items()}
"""The report's columns on reference backends. Here every row is a ratio."""

RATIO = {
    name: OF_RATIO[name]
    for name in (
        *("ratio", "ratio_low", "ratio_high", "speedup", "speedup_low", "speedup_high"),
        *("ratio_confidence", "verdict"),
    )
}
"""The report's columns on ratios that other commands share."""

CSV_COLUMNS = (
    *("kind", "base", "new", "base_backend", "backend", "shape", "dtype", "mode"),
    *("base_device", "device", "base_s", "new_s"),
    *(name for name in RATIO if name != "ratio_confidence"),
    *("confidence", "spread", "nodes", "spread_between_nodes", "valid"),
    *("processes", "pairing", "allowance", "how", *_BRIDGE, "reason"),
)


def _numbers(found: Comparison) -> dict[str, object]:
    numbers = {
        **{name.replace("ratio_c", "c"): get(found) for name, get in RATIO.items()},
        "spread": found.spread,
        "nodes": found.nodes or None,
        "spread_between_nodes": found.between,
        "processes": found.processes,
        "pairing": found.pairing.value,
        "allowance": found.allowance,
        "how": basis_text(found.basis),
    }
    if found.heterogeneity:
        numbers |= {name: get(found.heterogeneity) for name, get in _BRIDGE.items()}
    return {name: finite(value) for name, value in numbers.items()}


def _case(case: Case) -> dict[str, object]:
    return {
        "backend": case.backend,
        "shape": case.shape,
        "dtype": case.spec.dtype,
        "mode": case.workload.mode,
        "device": case.device,
    }


def as_csv(report: ComparisonReport) -> Iterator[str]:
    """Yield one line of CSV for each case, with times in seconds, or the reason if it has no time.

    The maps of the fastest backend on each device follow. Maps of a single backend are left out,
    because each of their cells repeats a line.
    """
    cells = [
        {"kind": "fastest of each", **_record(cell)}
        for found in report.maps
        if not found.backend
        for cell in found.cells.values()
    ]
    return csv_records(CSV_COLUMNS, [*_records(report), *cells])


def _record(row: ComparisonRow) -> dict[str, object]:
    return {
        "base": row.base_label,
        "new": row.new_label,
        "base_backend": row.base.case.backend,
        **_case(row.case),
        "base_device": row.base.case.device,
        "base_s": row.base.time,
        "new_s": row.new.time,
        **_numbers(row.comparison),
        "valid": not row.reasons,
        "reason": "; ".join(invalid_texts(row)),
    }


def as_json(report: ComparisonReport) -> str:
    """Return the report as JSON, in seconds and plain ratios. Infinite bounds are null."""
    gate = report.gate
    document: dict[str, object] = {
        "title": report.title,
        "finding": note_text(report.finding),
        "opening": list(report.opening),
        "cases": _records(report),
        "differences": [
            {
                "base": each.base_label,
                "new": each.new_label,
                "items": [
                    {"name": name, "base": base, "new": new} for name, base, new in each.items
                ],
            }
            for each in report.differences
        ],
        "crossover": [
            {
                "base": found.base_label,
                "new": found.new_label,
                "backend": found.backend or None,
                "work": map_work(found),
                "cells": [
                    {
                        "batch": batch,
                        "hidden_size": hidden_size,
                        "base_backend": cell.base.case.backend,
                        "new_backend": cell.case.backend,
                        **_numbers(cell.comparison),
                        "valid": not cell.reasons,
                    }
                    for (batch, hidden_size), cell in found.cells.items()
                ],
                "wins_from": {str(batch): wins_from(found, batch) for batch in found.batches},
            }
            for found in report.maps
        ],
        "notes": list(map(note_text, report.notes)),
        "fail_on": gate
        and {
            "rule": gate.rule.text,
            "judged": gate.judged,
            "failed": [row.case.id for row in gate.failed],
        },
    }
    return json_text(document)


def _records(report: ComparisonReport) -> list[dict[str, object]]:
    records: list[dict[str, object]] = [{"kind": "case", **_record(row)} for row in report.rows]
    records += [
        {
            "kind": "geometric mean",
            "base": mean.base_label,
            "new": mean.new_label,
            **_numbers(mean.comparison),
            "valid": not mean.invalid,
            "reason": f"{mean.invalid} of {mean.cases} cases INVALID" if mean.invalid else "",
        }
        for mean in report.means
    ]
    for one in report.one_sided:
        records.append({"kind": f"only {one.label}", **_case(one.case), "reason": _lacking(one)})
    for group in group_unmeasured(report.unmeasured):
        reason = " ".join(filter(None, (group.reason, group.advice)))
        records += [
            {"kind": group.outcome, **_case(case), "reason": reason} for case in group.cases
        ]
    return records


def _lacking(case: OneSided) -> str:
    """Return why the other side has no time for a case, if its files say so."""
    return ": ".join(filter(None, (case.lacking, case.outcome, reason_texts(case.reason)[0])))


# Maps of two devices

MARKS = {
    Verdict.FASTER.value: "F",
    Verdict.SLOWER.value: "S",
    Verdict.SAME.value: "=",
    Verdict.UNCLEAR.value: "?",
    INVALID: "!",
}
"""The letters next to the ratios of a map."""

_LINE = "┃"


def map_work(found: Map) -> str:
    """Return what the shapes of a map share."""
    case = next(iter(found.cells.values())).case
    spec, work = case.spec, case.workload
    parts = [f"{work.mode}, {spec.dtype}, {count(work.timesteps, 'timestep')}"]
    parts.append("input as wide as the layer" if found.square else f"{spec.input_size} in")
    parts += quantities.shape_texts(case)[2:]
    if work.window is not None:
        parts.append(f"windows of {work.window}")
    return ", ".join(parts)


def wins_from(found: Map, batch: int) -> str:
    """Return from which hidden size on the new device wins with a batch, and what precedes it."""
    row = found.row(batch)
    sizes = list(row)
    won = [size for size in sizes if row[size].wins]
    if not won:
        return f"nowhere measured ({sizes[-1]}: {row[sizes[-1]].state})"
    if won != sizes[-len(won) :]:
        return f"only at {', '.join(map(str, won))}"
    if len(won) == len(sizes):
        return f"{won[0]}, the narrowest measured"
    before = sizes[-len(won) - 1]
    return f"{won[0]} ({before}: {row[before].state})"


def map_title(found: Map) -> str:
    """Return ``gpu:0 over cpu, the fastest backend of each: training, float32, 50 timesteps``."""
    backend = clean(found.backend, 60) if found.backend else "the fastest backend of each"
    devices = f"{clean(found.new_label, 120)} over {clean(found.base_label, 120)}"
    return f"{devices}, {backend}: {map_work(found)}"


def map_lines(report: ComparisonReport) -> list[str]:
    """Return how to read the maps, and how many of them are not shown."""
    if not report.maps:
        return [NO_MAP] if report.no_map else []
    cells = [cell for found in report.maps for cell in found.cells.values()]
    states = {cell.state for cell in cells}
    marks = ", ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in states)
    lines = [
        "Each number in a map says how many times as fast as the base the new device is. Above 1, "
        f"it is faster. Marks: {marks}; {_LINE} stands where it begins or ceases to win. A blank "
        "was not measured on both devices."
    ]
    if any(cell.base.case.backend != cell.case.backend for cell in cells):
        lines.append(
            "The fastest backend of each device was chosen by the same times that are compared, so "
            "both times are slightly too short. --format json says which backends they are."
        )
    if any(cell.comparison.allowance for cell in cells):
        lines.append(
            "Where processes were few, an allowance for the spread between processes is included, "
            "as at * in the table."
        )
    if (more := len(report.maps) - _MOST_MAPS) > 0:
        lines.append(f"{count(more, 'more map')} not shown; --format json has them all.")
    return lines


def _map_table(found: Map) -> TextTable:
    """Lay out one line per batch: its cells, and from where on the new device wins."""

    def place(batch: int, hidden: int) -> TableCell:
        cell = found.cells.get((batch, hidden))
        if cell is None:
            return TableCell()
        style = "yellow" if cell.reasons else Standing.of(cell.comparison.verdict).style
        line = _LINE * found.starts(batch, hidden)
        text = f"{line}{times_as_fast(cell.comparison.ratio.mid, 3)} {MARKS[cell.state]}"
        return TableCell(text, style=style, strong=cell.wins)

    columns = ["batch \\ hidden", *map(str, found.hidden_sizes)]
    return TextTable.of(
        [
            *(Column(heading, right=True, no_wrap=True) for heading in columns),
            Column("wins from hidden size"),
        ],
        [
            [
                str(batch),
                *(place(batch, hidden) for hidden in found.hidden_sizes),
                wins_from(found, batch),
            ]
            for batch in found.batches
        ],
    )
