"""A comparison in sentences, and as GitHub Actions shows it: warnings beside the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.case.cases import Case
from bench.comparing.comparison import Gate, Mean, Report, Row
from bench.render import quantities
from bench.render.escape import clean
from bench.render.marks import compact_verdict
from bench.render.messages import Unmeasured, headline, one_line, unclear, uneven
from bench.render.quantities import count
from bench.stats.comparison import SAME_WITHIN, Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE, Interval

# A list of names longer than this says how many more there are; CSV and JSON have them all.
LONGEST_LIST = 20

# The same for a list within a line.
LONGEST_LINE = 5


# What is said in words, in a terminal and in Markdown alike


def summary_lines(report: Report) -> list[str]:
    """What was found: how many cases have which verdict, and what stands behind them."""
    lines = [clean_name(report.finding, 500)] if report.finding else []
    if report.rows:
        counts = Counter(row.comparison.verdict for row in report.rows)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{count(len(report.rows), 'shared case')}: {told}.")
    lines.extend(_mean_line(mean) for mean in report.means)
    lines.extend(f"{clean_name(told, 1000)}." for told in uneven(r.comparison for r in report.rows))
    invalid = sum(bool(row.reasons) for row in report.rows)
    if invalid:
        lines.append(
            f"INVALID: {count(invalid, 'case')}, marked in the table; the reasons are below. Do "
            "not trust such a verdict before its reason is gone."
        )
    if report.gate is not None:
        lines.append(_gate_line(report.gate))
    return lines


def method_lines(report: Report) -> list[str]:
    """How the numbers came about."""
    if not report.rows:
        return []
    percent = f"{100 * VERDICT_CONFIDENCE:g}%"
    lines = [
        f"speed: how many times as fast new is as base, with its {percent} interval; above 1, new "
        f"is faster. SAME: within ±{100 * SAME_WITHIN:g}%."
    ]
    hows = Counter(row.comparison.how for row in report.rows)
    lines.extend(f"{count(number, 'case')}: {how}." for how, number in hows.items())
    lines.extend(f"{told}." for told in unclear([row.comparison for row in report.rows]))
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


def _mean_line(mean: Mean) -> str:
    found = mean.comparison
    invalid = f", {mean.invalid} of them INVALID" if mean.invalid else ""
    return (
        f"{clean_name(mean.new_label)} is {speed_words(found.ratio.mid)} times as fast as "
        f"{clean_name(mean.base_label)} ({bounds_words(found.ratio)}, {found.verdict}), geometric "
        f"mean over {count(mean.cases, 'shared case')}{invalid}."
    )


def _gate_line(gate: Gate) -> str:
    beyond = gate.rule.beyond
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


def details(report: Report) -> list[tuple[str, list[str]]]:
    """Headings with their lines: what is not in the table, and what may be the cause."""
    found = []
    by_reason: dict[str, list[str]] = {}
    for row in report.rows:
        for reason in row.reasons:
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
    found += unmeasured_details(report.unmeasured, report.list_unmeasured)
    if report.notes:
        found.append(("Notes", _listed_lines(clean_name(note, 500) for note in report.notes)))
    return found


def unmeasured_details(
    groups: Sequence[Unmeasured], all_of_them: bool
) -> list[tuple[str, list[str]]]:
    """What has no time: what went wrong with its cases, all else in one line if not asked for."""
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


def verdict_word(row: Row) -> str:
    """The verdict of a row, and whether its times are to be trusted."""
    return f"{compact_verdict(row.comparison)}{' (INVALID)' if row.reasons else ''}"


def part_words(case: Case, part: str) -> str:
    """One field of a case."""
    return str(case_fields(case)[part])


def constant_parts(rows: Sequence[Row]) -> tuple[str, ...]:
    """What is the same for all rows, said once and not in each."""
    if len(rows) < 2:
        return ()
    parts = ["dtype", "mode"]
    if all(row.case.device == row.base_case.device for row in rows):
        parts.append("device")
    return tuple(part for part in parts if len({part_words(row.case, part) for row in rows}) == 1)


def row_name(row: Row, constant: Sequence[str]) -> str:
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
    told = [f"and {more} more (all of them with --format json)"] if more > 0 else []
    return lines[:LONGEST_LIST] + told


# GitHub Actions


def warning_lines(report: Report) -> list[str]:
    """A line for each SLOWER case, in the form of GitHub's workflow commands.

    An ``::error`` if the case broke the rule, and so fails the step, else a ``::warning``. Only of
    new runs against older ones, or where a rule asked: that one backend or device is slower than
    another is what was asked, and no reason for alarm.

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
        told = (
            f"{clean_name(row.case.id)}: {clean_name(row.new_label)} is "
            f"{speed_words(found.ratio.mid)} times as fast as {clean_name(row.base_label)} "
            f"({bounds_words(found.ratio)}; {found.how})"
        )
        if row.reasons:
            told += f"; INVALID: {'; '.join(clean_name(reason, 300) for reason in row.reasons)}"
        title = f"{verdict_word(row)}: {clean_name(row.case.backend)}"
        lines.append(annotation("error" if id(row) in broke else "warning", title, told))
    return lines


def annotation(level: str, title: str, told: str) -> str:
    """A line that GitHub Actions shows beside the code; level: ``error`` or ``warning``."""
    title, told = (clean_name(text, 3000) for text in (title, told))
    title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(told)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
