"""Show a comparison: in a terminal, as Markdown, CSV, JSON or a picture, and to GitHub Actions.

Names and reasons come from result files, which may come from anywhere: each format escapes them.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from bench.case.cases import Case
from bench.machine.fields import InputError
from bench.records.schema import Outcome
from bench.render import plot, quantities, table
from bench.render.data import OF_BRIDGE
from bench.render.escape import clean, code, print_below
from bench.render.escape import markdown as escaped
from bench.render.labels import RATIO_INTERVAL, STYLES, compact_verdict
from bench.render.messages import (
    UnmeasuredCases,
    basis_text,
    doubt_line,
    gathered,
    headline,
    one_line,
    unclear,
    uneven,
)
from bench.render.plot import Axes, Figure
from bench.render.quantities import count, seconds
from bench.render.table import Cell, Column, Sheet
from bench.stats.comparison import SAME_WITHIN, Comparison, Verdict
from bench.stats.crossover import INVALID, SUITE, CrossoverCell, Map
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE, Interval, Reason, speed
from bench.stats.pairs import ComparisonReport, ComparisonRow, Gate, Mean, Rule

# A list of names longer than this says how many more there are; CSV and JSON have them all.
LONGEST_LIST = 20

# The same for a list within a line.
LONGEST_LINE = 5

_MOST_PACKAGES = 12


# What is said in words, in a terminal and in Markdown alike


def summary_lines(report: ComparisonReport) -> list[str]:
    """What was found: how many cases have which verdict, and what stands behind them."""
    lines = [clean_name(note_text(report.finding), 500)] if report.finding else []
    if report.rows:
        counts = Counter(row.comparison.verdict for row in report.rows)
        text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{count(len(report.rows), 'shared case')}: {text}.")
    lines.extend(_mean_line(mean) for mean in report.means)
    lines.extend(f"{clean_name(text, 1000)}." for text in uneven(r.comparison for r in report.rows))
    invalid = sum(bool(row.reasons) for row in report.rows)
    if invalid:
        lines.append(
            f"INVALID: {count(invalid, 'case')}, marked in the table; the reasons are below. Do "
            "not trust such a verdict before its reason is gone."
        )
    if report.gate is not None:
        lines.append(_gate_line(report.gate))
    return lines


def method_lines(report: ComparisonReport) -> list[str]:
    """How the numbers came about."""
    if not report.rows:
        return []
    percent = f"{100 * VERDICT_CONFIDENCE:g}%"
    lines = [
        f"speed: how many times as fast new is as base, with its {percent} interval; above 1, new "
        f"is faster. SAME: within ±{100 * SAME_WITHIN:g}%."
    ]
    hows = Counter(basis_text(row.comparison.basis) for row in report.rows)
    lines.extend(f"{count(number, 'case')}: {how}." for how, number in hows.items())
    lines.extend(f"{described}." for described in unclear([row.comparison for row in report.rows]))
    if any(row.comparison.nodes and row.comparison.allowance for row in report.rows):
        lines.append(
            f"* Fewer than {ENOUGH_PROCESSES} nodes cannot show how much nodes differ, so an "
            f"allowance was added; from {ENOUGH_PROCESSES} on they show it."
        )
    if any(row.comparison.allowance and not row.comparison.nodes for row in report.rows):
        lines.append(
            f"* Fewer than {ENOUGH_PROCESSES} processes cannot show how much processes differ, so "
            f"the allowance was added. Repeat the runs until there are {ENOUGH_PROCESSES} result "
            "files (on each side) to replace it by what they show."
        )
    return lines


NO_MAP = (
    "No map of batch × hidden size: no two shapes that both devices measured differ in these "
    f"alone. `pytest --benchmark-only --lstm-suite {SUITE}` measures a grid of them."
)

_NOTES = {
    "no_shared_case": "{sides[0]} and {sides[1]} share no case: there is nothing to compare.",
    "several_machines": "{side} holds runs of {number} machines ({names})",
    "other_gradients": "not compared: {training_cases} of {sides[0]} that {sides[1]} has only with "
    "other gradients ({ours}; {theirs}), which is other work. Results "
    'from before suites had the key have "all"',
    "no_backends": "No backend has results: there is nothing to compare. To add backends, run "
    "`pytest --benchmark-only --lstm-backends all`.",
    "one_backend": "Only {backends[0]} has results: there is nothing to compare. To add backends, "
    "run `pytest --benchmark-only --lstm-backends all`.",
    "no_two_backends": "No group has two backends: there is nothing to compare. To add backends, "
    "run `pytest --benchmark-only --lstm-backends all`.",
    "no_device": "No device has results: there is nothing to compare. {add_device}",
    "one_device": "Only one device has results ({names}): there is nothing to compare. "
    "{add_device}",
    "devices_share_no_case": "The devices ({names}) share no case: there is nothing to compare.",
    "few_processes": "left out: {left_out} of {streams} streams, whose p{part:g} fewer than "
    "{enough} processes have, too few for a verdict; measure with `python -m bench.run --processes "
    "{enough}`, and --seconds for more calls in each",
}
_ADD_DEVICE = (
    "To add another device, run `pytest --benchmark-only --lstm-device gpu:0` on a machine with a "
    "GPU, or copy a result file of another machine here and name it with the others."
)


def note_text(note: Reason | str | None) -> str:
    """Describe a finding or a note; what the files themselves said is text already."""
    if note is None or isinstance(note, str):
        return note or ""
    values, code = dict(note.values), note.code
    names = [str(each) for each in values.get("hosts") or values.get("devices") or ()]  # type: ignore[attr-defined]
    backends = values.get("backends", ())
    if code == "too_few_backends":
        code = {0: "no_backends", 1: "one_backend"}.get(len(backends), "no_two_backends")  # type: ignore[arg-type]
    if code == "too_few_devices":
        code = "one_device" if names else "no_device"
    ours, theirs = (", ".join(each) for each in values.get("gradients", ((), ())))  # type: ignore[attr-defined]
    more = {"names": ", ".join(names), "number": len(names), "add_device": _ADD_DEVICE}
    more |= {"ours": ours, "theirs": theirs, "enough": ENOUGH_PROCESSES}
    if "cases" in values:
        more["training_cases"] = count(values["cases"], "training case")  # type: ignore[arg-type]
    return _NOTES[code].format(**{**values, **more})


def reason_texts(row: ComparisonRow) -> list[str]:
    """Describe why the ratio of a row is INVALID, after the side whose time is meant."""
    return [f"{side}: {doubt_line(why)}" if side else doubt_line(why) for side, why in row.reasons]


def differences_line(base: str, new: str, found: Sequence[tuple[str, str, str]]) -> str:
    """Say which packages differ between two environments: name, version there and here."""
    sides = f"from {clean(base, 60)} to {clean(new, 60)}"
    if not found:
        return f"No package differs {sides}: what differs in time is chance, or the machine's."
    messages = [
        f"{clean(name, 60)} {clean(there, 60)} → {clean(here, 60)}" for name, there, here in found
    ]
    more = [f"{len(messages) - _MOST_PACKAGES} more"] if len(messages) > _MOST_PACKAGES else []
    return f"What differs {sides}: {'; '.join([*messages[:_MOST_PACKAGES], *more])}."


def beyond_words(rule: Rule) -> str:
    """Name the threshold of a rule."""
    return "" if rule.threshold is None else f" by more than {100 * rule.threshold:g}%"


def of_outcomes(outcomes: Iterable[Outcome]) -> tuple[UnmeasuredCases, ...]:
    """Gather cases without a time by their reasons."""
    return gathered((item.case, item.outcome, item.reason, item.advice) for item in outcomes)


def _mean_line(mean: Mean) -> str:
    found = mean.comparison
    invalid = f", {mean.invalid} of them INVALID" if mean.invalid else ""
    return (
        f"{clean_name(mean.new_label)} is {speed_words(found.ratio.mid)} times as fast as "
        f"{clean_name(mean.base_label)} ({bounds_words(found.ratio)}, {found.verdict}), geometric "
        f"mean over {count(mean.cases, 'shared case')}{invalid}."
    )


def _gate_line(gate: Gate) -> str:
    beyond = beyond_words(gate.rule)
    judged = f"{count(gate.judged, 'case')} judged together (Holm), {gate.unclear} UNCLEAR"
    if not gate.failed:
        return f"--fail-on {gate.rule.text}: passed, none is SLOWER{beyond}; {judged}."
    invalid = sum(bool(row.reasons) for row in gate.failed)
    marked = f" ({invalid} of them INVALID)" if invalid else ""
    names = _listed([clean_name(row.case.id) for row in gate.failed], LONGEST_LIST)
    return (
        f"--fail-on {gate.rule.text}: FAILED, {len(gate.failed)} slower{beyond}{marked}: {names}; "
        f"{judged}."
    )


def details(report: ComparisonReport) -> list[tuple[str, list[str]]]:
    """Headings with their lines: what is not in the table, and what may be the cause."""
    found = []
    by_reason: dict[str, list[str]] = {}
    for row in report.rows:
        for reason in reason_texts(row):
            by_reason.setdefault(clean_name(reason, 300), []).append(clean_name(row.case.id))
    if by_reason:
        lines = [f"{reason}: {_listed(cases)}" for reason, cases in by_reason.items()]
        found.append(("INVALID, and where", _listed_lines(lines)))
    for difference in report.differences:
        lines = [
            f"{clean_name(name)}: {clean_name(base)} → {clean_name(new)}"
            for name, base, new in difference.items
        ]
        base, new = clean_name(difference.base_label), clean_name(difference.new_label)
        heading = f"What else differs from {base} to {new} (it may be the cause)"
        if not lines:
            heading = f"Nothing else that was recorded differs from {base} to {new}"
        found.append((heading, _listed_lines(lines)))
    by_side: dict[str, list[str]] = {}
    for case in report.one_sided:
        why = f" ({clean_name(case.why, 300)})" if case.why else ""
        by_side.setdefault(case.label, []).append(clean_name(case.case.id) + why)
    for label, lines in by_side.items():
        heading = f"{count(len(lines), 'case')} only {clean_name(label)} has, so not compared"
        found.append((heading, _listed_lines(lines)))
    found += unmeasured_details(of_outcomes(report.unmeasured), report.list_unmeasured)
    if report.notes:
        notes = (clean_name(note_text(note), 500) for note in report.notes)
        found.append(("Notes", _listed_lines(notes)))
    return found


def unmeasured_details(
    groups: Sequence[UnmeasuredCases], all_of_them: bool
) -> list[tuple[str, list[str]]]:
    """What has no time: what went wrong with its cases, all else in one line if not requested."""
    found = [
        (
            clean_name(headline(group), 800),
            [clean_name(case.id) for case in group.cases]
            if all_of_them
            else _listed_lines(clean_name(case.id) for case in group.cases),
        )
        for group in groups
        if all_of_them or group.loud
    ]
    line = "" if all_of_them else one_line(groups)
    return [*found, (clean_name(line, 800), [])] if line else found


def case_fields(case: Case) -> dict[str, object]:
    """A case as flat fields."""
    return {
        "backend": case.backend,
        "shape": case.shape,
        "dtype": case.spec.dtype,
        "mode": case.workload.mode,
        "device": case.device,
    }


# Words and numbers


def speed_words(time_ratio: float) -> str:
    """How many times as fast, with the third digit, since SAME ends at 1.02."""
    return quantities.times_as_fast(time_ratio, 3)


def bounds_words(ratio: Interval) -> str:
    """The interval of it, from that of the ratio of times."""
    return quantities.times_bounds(ratio.low, ratio.high, 3)


def verdict_word(row: ComparisonRow) -> str:
    """The verdict of a row, and whether its times are to be trusted."""
    return f"{compact_verdict(row.comparison)}{' (INVALID)' if row.reasons else ''}"


def part_words(case: Case, part: str) -> str:
    """One field of a case."""
    return str(case_fields(case)[part])


def constant_parts(rows: Sequence[ComparisonRow]) -> tuple[str, ...]:
    """What is the same for all rows, said once and not in each."""
    if len(rows) < 2:
        return ()
    parts = ["dtype", "mode"]
    if all(row.case.device == row.base_case.device for row in rows):
        parts.append("device")
    return tuple(part for part in parts if len({part_words(row.case, part) for row in rows}) == 1)


def row_name(row: ComparisonRow, constant: Sequence[str]) -> str:
    """The case in words that a table can break between; what its heading says is left out."""
    if row.case.group in row.heading:
        return clean_name(row.case.backend)
    parts = ["backend", "shape", "dtype", "mode"]
    if row.case.device == row.base_case.device:
        parts.append("device")
    return " ".join(
        clean_name(part_words(row.case, part)) for part in parts if part not in constant
    )


def clean_name(text: str, limit: int = 120) -> str:
    """Text of a file on one line, harmless to a terminal and to a CI runner's log commands."""
    return clean(text, limit).replace("::", ": :").replace("##[", "# #[")


def _listed(names: Sequence[str], most: int = LONGEST_LINE) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _listed_lines(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    more = len(lines) - LONGEST_LIST
    described = [f"and {more} more (all of them with --format json)"] if more > 0 else []
    return lines[:LONGEST_LIST] + described


# GitHub Actions


def warning_lines(report: ComparisonReport) -> list[str]:
    """A line for each SLOWER case, in the form of GitHub's workflow commands.

    An ``::error`` if the case broke the rule, and so fails the step, else a ``::warning``. Only of
    new runs against older ones, or where a rule asked: that one backend or device is slower than
    another is what was requested, and no reason for alarm.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    """
    lines: list[str] = []
    if not report.over_time and report.gate is None:
        return lines
    broke = {id(row) for row in report.gate.failed} if report.gate is not None else set()
    for row in report.rows:
        found = row.comparison
        if found.verdict is not Verdict.SLOWER:
            continue
        text = (
            f"{clean_name(row.case.id)}: {clean_name(row.new_label)} is "
            f"{speed_words(found.ratio.mid)} times as fast as {clean_name(row.base_label)} "
            f"({bounds_words(found.ratio)}; {basis_text(found.basis)})"
        )
        if row.reasons:
            text += (
                f"; INVALID: {'; '.join(clean_name(reason, 300) for reason in reason_texts(row))}"
            )
        title = f"{verdict_word(row)}: {clean_name(row.case.backend)}"
        lines.append(annotation("error" if id(row) in broke else "warning", title, text))
    return lines


def annotation(level: str, title: str, messages: str) -> str:
    """A line that GitHub Actions shows next to the code; level: ``error`` or ``warning``."""
    title, messages = (clean_name(text, 3000) for text in (title, messages))
    title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(messages)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_BRIDGE = {name.removeprefix("ratio_"): get for name, get in OF_BRIDGE.items()}
"""The report's columns on bridges; here every row is of a ratio."""

CSV_COLUMNS = (
    *("kind", "base", "new", "base_backend", "backend", "shape", "dtype", "mode"),
    *("base_device", "device", "base_s", "new_s"),
    *("ratio", "ratio_low", "ratio_high", "speedup", "speedup_low", "speedup_high"),
    *("confidence", "verdict", "spread", "nodes", "spread_between_nodes", "valid"),
    *("processes", "pairing", "allowance", "how", *_BRIDGE, "reason"),
)


def as_csv(report: ComparisonReport) -> Iterator[str]:
    """One row a case, seconds and plain ratios; what has no time stands there with its reason."""
    return table.records(CSV_COLUMNS, [*_records(report), *_map_records(report)])


def as_json(report: ComparisonReport) -> str:
    """The whole report, seconds and plain ratios; a bound beyond every number is null."""
    gate = report.gate
    document = {
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
                        "batch": cell.batch,
                        "hidden_size": cell.hidden_size,
                        "base_backend": cell.base_case.backend,
                        "new_backend": cell.case.backend,
                        **_numbers(cell.comparison),
                        "valid": not cell.invalid,
                    }
                    for cell in found.cells
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
    return table.json_text(document)


def _records(report: ComparisonReport) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for row in report.rows:
        records.append(
            {
                "kind": "case",
                "base": row.base_label,
                "new": row.new_label,
                "base_backend": row.base_case.backend,
                **case_fields(row.case),
                "base_device": row.base_case.device,
                "base_s": row.base_s,
                "new_s": row.new_s,
                **_numbers(row.comparison),
                "valid": not row.reasons,
                "reason": "; ".join(reason_texts(row)),
            }
        )
    for mean in report.means:
        records.append(
            {
                "kind": "geometric mean",
                "base": mean.base_label,
                "new": mean.new_label,
                **_numbers(mean.comparison),
                "valid": not mean.invalid,
                "reason": f"{mean.invalid} of {mean.cases} cases INVALID" if mean.invalid else "",
            }
        )
    for one in report.one_sided:
        records.append({"kind": f"only {one.label}", **case_fields(one.case), "reason": one.why})
    for group in of_outcomes(report.unmeasured):
        reason = " ".join(text for text in (group.reason, group.advice) if text)
        for case in group.cases:
            records.append({"kind": group.outcome, **case_fields(case), "reason": reason})
    return records


def _map_records(report: ComparisonReport) -> list[dict[str, object]]:
    """The maps of each device's fastest backend; of one backend a cell is a case of its own."""
    return [
        {
            "kind": "fastest of each",
            "base": found.base_label,
            "new": found.new_label,
            "base_backend": cell.base_case.backend,
            **case_fields(cell.case),
            "base_device": cell.base_case.device,
            **_numbers(cell.comparison),
            "valid": not cell.invalid,
        }
        for found in report.maps
        if not found.backend
        for cell in found.cells
    ]


def _numbers(found: Comparison) -> dict[str, object]:
    ratio = found.ratio
    return {
        "ratio": table.finite(ratio.mid),
        "ratio_low": table.finite(ratio.low),
        "ratio_high": table.finite(ratio.high),
        "speedup": table.finite(speed(ratio.mid)),
        "speedup_low": table.finite(speed(ratio.high)),
        "speedup_high": table.finite(speed(ratio.low)),
        "confidence": ratio.confidence,
        "verdict": found.verdict.value,
        "spread": found.spread,
        "nodes": found.nodes or None,
        "spread_between_nodes": found.between,
        "processes": found.processes,
        "pairing": found.pairing.value,
        "allowance": found.allowance,
        "how": basis_text(found.basis),
        **{
            name: table.finite(get(found.heterogeneity))
            for name, get in _BRIDGE.items()
            if found.heterogeneity
        },
    }


# Of a map's cells, next to their ratios.
MARKS = {
    Verdict.FASTER.value: "F",
    Verdict.SLOWER.value: "S",
    Verdict.SAME.value: "=",
    Verdict.UNCLEAR.value: "?",
    INVALID: "!",
}

_LINE = "┃"
_MOST_MAPS = 12  # are shown; CSV and JSON have all
_WINS = "wins from hidden size"


def map_work(found: Map) -> str:
    """Describe what the shapes of a map share."""
    case = found.cells[0].case
    spec, work = case.spec, case.workload
    parts = [f"{work.mode}, {spec.dtype}, {count(work.timesteps, 'step')}"]
    parts.append("input as wide as the layer" if found.square else f"{spec.input_size} in")
    parts += quantities.shape_words(case)[2:]
    if work.window is not None:
        parts.append(f"windows of {work.window}")
    return ", ".join(parts)


def wins_from(found: Map, batch: int) -> str:
    """Say from which hidden size on the new device wins with this batch, and what comes before."""
    row, (won, before) = found.row(batch), found.first_win(batch)
    if not won:
        return f"nowhere measured ({row[-1].hidden_size}: {row[-1].state})"
    if before is not None:
        return f"{won[0]} ({before.hidden_size}: {before.state})"
    if len(won) == len(row):
        return f"{won[0]}, the narrowest measured"
    return f"only at {', '.join(map(str, won))}"


def map_title(found: Map) -> str:
    """``gpu:0 over cpu, the fastest backend of each: training, float32, 50 steps, 128 in``."""
    who = clean_name(found.backend, 60) if found.backend else "the fastest backend of each"
    devices = f"{clean_name(found.new_label)} over {clean_name(found.base_label)}"
    return f"{devices}, {who}: {map_work(found)}"


def map_legend(maps: Sequence[Map]) -> list[str]:
    """How to read the maps."""
    if not maps:
        return []
    kinds = {cell.state: None for found in maps for cell in found.cells}
    marks = ", ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in kinds)
    few = any(cell.comparison.allowance for found in maps for cell in found.cells)
    lines = [
        "In a map: how many times as fast the new device is as the base, above 1 it is faster; "
        f"{marks}. Blank: not measured on both."
    ]
    if any(cell.base_case.backend != cell.case.backend for found in maps for cell in found.cells):
        lines.append(
            "The fastest backend of each: picked after measuring, so that its time is a little too "
            "short on both sides; --format json says which it was."
        )
    if few:
        lines.append("With an allowance for the spread between processes, as * in the table.")
    return lines


def cell_text(cell: CrossoverCell) -> str:
    """``3.205 F``."""
    return f"{speed_words(cell.comparison.ratio.mid)} {MARKS[cell.state]}"


def _map_table(found: Map, line: str) -> Sheet:
    """Per batch: its name, its cells, and from where on the new device wins; line: before a cell
    at which it begins, or ceases, to win."""

    def place(batch: int, hidden: int) -> Cell:
        cell = found.by_place.get((batch, hidden))
        if cell is None:
            return Cell()
        style = "yellow" if cell.invalid else STYLES[cell.comparison.verdict]
        before = line if found.starts(cell) else ""
        return Cell(f"{before}{cell_text(cell)}", style=style, strong=cell.wins)

    return Sheet.of(
        [
            Column("batch \\ hidden", right=True, whole=True),
            *(Column(str(hidden), right=True, whole=True) for hidden in found.hidden_sizes),
            Column(_WINS),
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


def _shown_maps(report: ComparisonReport) -> tuple[Sequence[Map], list[str]]:
    """Those that are shown, and what stands below them."""
    maps, more = report.maps[:_MOST_MAPS], len(report.maps) - _MOST_MAPS
    text = f"{count(more, 'more map')}: --format json has all." if more > 0 else ""
    return maps, [
        line for line in (*map_legend(maps), text, NO_MAP if report.no_map else "") if line
    ]


def terminal_maps(report: ComparisonReport, console: Console) -> None:
    """Each map in a terminal, as wide as that is."""
    maps, lines = _shown_maps(report)
    for found in maps:
        console.print()
        console.print(Text(map_title(found), style="bold"))
        console.print(_map_table(found, _LINE).grid())
    if lines:
        console.print()
    for words in lines:
        console.print(Text(words, style="dim"))


def markdown_maps(report: ComparisonReport) -> list[str]:
    """Each map as a table, in lines of Markdown."""
    maps, lines = _shown_maps(report)
    out = []
    for found in maps:
        out += ["", f"### {escaped(map_title(found))}", "", _map_table(found, "").markdown()]
    if lines:
        out += ["", *(f"- {escaped(line, 500)}" for line in lines)]
    return out


MOST_MAPS = 6
"""So many are drawn on one page, the best of each device first."""

_MAPS_ABREAST = 2
_PAGE_WIDTH = 7.0  # inches
_ROW, _HEAD, _FOOT = 0.34, 0.85, 0.55
# Ratios beyond these have the palest and the strongest colour.
_STRONGEST = math.log(10)


def map_picture(maps: Sequence[Map], kind: str) -> bytes:
    """The maps, as a PNG, SVG or PDF file."""
    with plot.style():
        return plot.encoded(_draw_maps(maps), kind)


def _draw_maps(maps: Sequence[Map]) -> Figure:
    shown = maps[:MOST_MAPS]
    columns = min(_MAPS_ABREAST, len(shown))
    rows = math.ceil(len(shown) / columns)
    tallest = max(len(found.batches) for found in shown)
    figure = plot.empty_figure(_PAGE_WIDTH, rows * (_HEAD + _ROW * tallest) + _FOOT)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, found in zip(grid, shown, strict=False):
        _draw_map(axes, found)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    lines = map_legend(shown)
    if len(maps) > len(shown):
        lines.append(f"{count(len(maps) - len(shown), 'more map')} not drawn.")
    below = textwrap.fill(" ".join(lines), 125, break_long_words=False, break_on_hyphens=False)
    figure.supxlabel(below, fontsize=7, x=0.01, ha="left", color=plot.SUBTLE)
    return figure


def _draw_map(axes: Axes, found: Map) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    colours = colormaps["PuOr"]
    title, _, work = map_title(found).partition(": ")
    axes.set_title(f"{plot.label(title, 70)}\n{plot.label(work, 70)}", loc="left", fontsize=7.5)
    places = {
        (row, column): found.by_place[batch, hidden]
        for row, batch in enumerate(found.batches)
        for column, hidden in enumerate(found.hidden_sizes)
        if (batch, hidden) in found.by_place
    }
    for (row, column), cell in places.items():
        # Orange where the base is faster, violet where the new device is: both dark at the ends.
        strength = max(-1.0, min(1.0, -cell.comparison.log_ratio / _STRONGEST))
        colour = colours(0.5 + 0.5 * strength)
        # What cannot be trusted has no colour: it would say who wins.
        colour = to_rgba("#EEEEEE") if cell.invalid else colour
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor=colour,
                edgecolor="white",
                hatch="////" if cell.invalid else "",
            )
        )
        red, green, blue = (float(part) for part in colour[:3])
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axes.text(
            column,
            row,
            cell_text(cell),
            ha="center",
            va="center",
            fontsize=7.5,
            fontweight="bold" if cell.wins else "normal",
            color="white" if dark else plot.INK,
        )
    for start, end in _edges(places):
        axes.plot(*zip(start, end, strict=True), color="black", linewidth=2.4, zorder=3)
    axes.set_xlim(-0.5, len(found.hidden_sizes) - 0.5)
    axes.set_ylim(len(found.batches) - 0.5, -0.5)
    axes.set_xticks(range(len(found.hidden_sizes)), [str(each) for each in found.hidden_sizes])
    axes.set_yticks(range(len(found.batches)), [str(each) for each in found.batches])
    axes.set_xlabel("hidden size")
    axes.set_ylabel("batch")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


_Point = tuple[float, float]


def _edges(places: dict[tuple[int, int], CrossoverCell]) -> list[tuple[_Point, _Point]]:
    """The edges between neighbouring tiles, of which the new device wins one and not the other.

    Next to a blank there is no edge: what is not measured is on no side.
    """
    edges: list[tuple[_Point, _Point]] = []
    for (row, column), cell in places.items():
        right, below = places.get((row, column + 1)), places.get((row + 1, column))
        if right is not None and right.wins != cell.wins:
            edges.append(((column + 0.5, row - 0.5), (column + 0.5, row + 0.5)))
        if below is not None and below.wins != cell.wins:
            edges.append(((column - 0.5, row + 0.5), (column + 0.5, row + 0.5)))
    return edges


_COLUMNS = (
    Column("case", names=True, most=160 + len("...")),
    *(Column(heading, right=True, whole=True) for heading in ("base", "new", "speed")),
    *(Column(heading, whole=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("runs", right=True, whole=True),
)
_GAP = 2  # blanks between the columns of a terminal's table
_NARROWEST = 24  # of a case's name, before columns are left out for it


def texts(report: ComparisonReport) -> dict[str, Callable[[], str | bytes | Iterable[str]]]:
    """Return what makes each format but a terminal's."""
    return {
        "markdown": lambda: markdown(report),
        "csv": lambda: as_csv(report),
        "json": lambda: as_json(report),
        **{form: functools.partial(_picture, report, form) for form in plot.FORMATS},
    }


def _picture(report: ComparisonReport, kind: str) -> bytes:
    """The maps, drawn. Raises InputError where there is none."""
    if not report.maps:
        raise InputError(NO_MAP if report.no_map else "there is no map to draw")
    return map_picture(report.maps, kind)


# A terminal


def terminal(report: ComparisonReport, console: Console) -> None:
    """Print the comparison, as wide as the console is."""
    console.print(Text(clean_name(report.title, 300), style="bold"))
    for line in report.opening:
        console.print(Text(clean_name(line, 2000)))
    constant = constant_parts(report.rows)
    if constant:
        common = ", ".join(clean_name(part_words(report.rows[0].case, part)) for part in constant)
        console.print(Text(f"All of them: {common}.", style="dim"))
    sheets = {
        heading: _sheet(report, heading, lambda row: row_name(row, constant))
        for heading in dict.fromkeys(row.heading for row in report.rows)
    }
    columns, widths = _fitting(sheets.values(), console.width)
    for heading, sheet in sheets.items():
        console.print()
        if heading:
            console.print(Text(clean_name(heading, 200), style="bold"))
        # Columns are as wide as those of every other table of the report.
        shown = tuple(
            replace(column, least=width, widest=None if column.whole else width)
            for column, width in zip(sheet.columns, widths, strict=True)
        )
        console.print(replace(sheet, columns=shown).only(columns).grid())
    terminal_maps(report, console)
    for lines, style in ((summary_lines(report), ""), (method_lines(report), "dim")):
        if lines:
            console.print()
        for line in lines:
            console.print(Text(line, style=style))
    for title, lines in details(report):
        print_below(console, title, lines)


def _fitting(sheets: Iterable[Sheet], space: int) -> tuple[list[int], list[int]]:
    """The columns for which there is room, and how wide each of all is."""
    columns = [*range(len(_COLUMNS))]
    widths = [
        max(len(text) for text in (column.heading, *(line[at].text for line in lines)))
        for lines in [[line for sheet in sheets for line in sheet.lines]]
        for at, column in enumerate(_COLUMNS)
    ]

    def left() -> int:
        taken: int = sum(widths[index] + _GAP for index in columns[1:])
        return space - taken

    for index, column in enumerate(_COLUMNS):
        if column.heading in ("base", "new", "runs") and left() < min(_NARROWEST, widths[0]):
            columns.remove(index)
    widths[0] = max(8, min(widths[0], left()))
    return columns, widths


def _sheet(report: ComparisonReport, heading: str, name: Callable[[ComparisonRow], str]) -> Sheet:
    """The cases below a heading of the report."""
    return Sheet.of(
        _COLUMNS, [_cells(row, name(row)) for row in report.rows if row.heading == heading]
    )


def _cells(row: ComparisonRow, name: str) -> list[str | Cell]:
    found = row.comparison
    verdict = found.verdict
    return [
        name,
        seconds(row.base_s),
        seconds(row.new_s),
        speed_words(found.ratio.mid),
        bounds_words(found.ratio),
        Cell(
            verdict_word(row),
            style=STYLES[verdict],
            strong=verdict in (Verdict.FASTER, Verdict.SLOWER),
        ),
        f"{found.processes}{'*' if found.allowance else ''}",
    ]


# Markdown


def markdown(report: ComparisonReport) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {escaped(clean_name(report.title, 300))}", ""]
    out += [f"- {escaped(clean_name(line, 2000), 2000)}" for line in report.opening]
    out += [f"- {escaped(line)}" for line in summary_lines(report)]
    headings = dict.fromkeys(row.heading for row in report.rows)
    for heading in headings:
        out.append("")
        if heading:
            out += [f"### {escaped(clean_name(heading, 200))}", ""]
        out.append(_sheet(report, heading, lambda row: clean_name(row.case.id, 160)).markdown())
    out += markdown_maps(report)
    method = method_lines(report)
    if method:
        out += ["", *(f"- {escaped(line)}" for line in method)]
    for title, lines in details(report):
        shown = (code(clean_name(line, 1000), 1000 + len("...")) for line in lines)
        out += ["", f"#### {escaped(title)}", "", *(f"- {each}" for each in shown)]
    return "\n".join(out) + "\n"
