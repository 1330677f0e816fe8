"""The report in sentences: which backend wins, what is doubtful, what has no time and why.

Every format shows these same sentences. This room knows the report's rows and makes plain strings;
the names in them are cut short and on one line, but each format still has to make them harmless.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.cli.unmeasured import LOUD, Unmeasured, gathered, one_line
from bench.records.grouping import grouped
from bench.render.headings import name, speed_moved, title, uneven_bridges
from bench.render.inert import clean
from bench.render.quantities import bounds, count, first_few, listed, of_them, seconds
from bench.render.verdict_words import versus
from bench.reporting import machines, streams, whys
from bench.stats.bridges import all_doubts, compare_rows
from bench.stats.comparison import Comparison
from bench.stats.payback import BreakEven, break_even
from bench.stats.ratios import all_slower, compare, together
from bench.stats.rows import KINDS, MEASURED, Row, Section, Table
from bench.stats.trust import FEW_PROCESSES, OF_RATIO, WIDE_INTERVAL, Doubt
from bench.stats.verdict import Verdict
from bench.windows.cost import cost
from bench.windows.cost import streams as cut_streams
from bench.windows.words import sentence

# More lines than this are a wall; CSV and JSON have every case.
_MOST_LINES = 12
_MOST_STREAMS = 4
_MOST_REMARKS = 4
_MOST_PAYBACKS = 3

_LATER = 0.1
"""Seconds by which a first result must come later for it to be worth a sentence."""

_OUTCOME_WORDS = {"failed": "FAILED", "crashed": "CRASHED", "timed_out": "TIMED OUT"}


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it is an answer, or a warning that must not be overlooked."""

    text: str
    answer: bool = False
    loud: bool = False


def findings(section: Section) -> list[Finding]:
    """What was found, what went wrong, and what has no time and why: in this order."""
    found = [Finding(_answer(table), answer=True) for table in section.timed_tables]
    if not found:
        found.append(Finding("Nothing was measured.", loud=True))
    found.extend(Finding(told, answer=True) for told in machines.of_devices(section))
    reached = ((table, whys.of_roofs(table)) for table in section.tables)
    found.extend(Finding(f"{title(table)}: {told}.") for table, told in reached if told)
    bound = (whys.of_winner(table) for table in section.tables)
    found.extend(Finding(f"{told}.") for told in bound if told)
    found.extend(Finding(told) for table in section.tables for told in whys.fallbacks(table))
    found.extend(Finding(told) for table in section.tables for told in streams.sentences(table))
    found.extend(_costs(section))
    found.extend(_paybacks(section))
    found.extend(Finding(told, loud=loud) for told, loud in machines.of_nodes(section))
    if not section.complete:
        told = "A run did not come to its end: cases may be missing."
        found.append(Finding(told, loud=True))
    found.extend(Finding(f"{told}.", loud=True) for told in uneven_bridges(section.rows))
    found.extend(_doubtful(section.rows))
    found.extend(_noted(section.rows))
    found.extend(_remarks(section.rows))
    found.extend(_without_time(section.rows))
    if told := one_line(unmeasured(section), "python -m bench.report --unmeasured"):
        found.append(Finding(f"{told}."))
    return found


def unmeasured(section: Section) -> tuple[Unmeasured, ...]:
    """What has no time, by reason."""
    return gathered(
        (row.case, row.outcome, row.reason, row.advice)
        for row in section.rows
        if row.outcome != MEASURED
    )


# Who wins


def _answer(table: Table) -> str:
    start = f"{title(table)}: "
    places = count(len(table.groups), table.noun)
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({places}).{_windows(table)}"
    # Only who was measured on all the work can lead over all of it.
    rows = {backend: _rows(table, backend) for backend in table.backends}
    whole = [backend for backend in rows if len(rows[backend]) == len(table.groups)]
    if not whole:
        return f"{start}no backend was measured on all {places}. {_leaders(table)}"
    whole.sort(key=lambda backend: sum(math.log(row.time) for row in rows[backend]))
    first = whole[0]
    if len(whole) == 1:
        told = f"only {name(first)} was measured on all {places}. {_leaders(table)}"
        return start + told + _windows(table)
    second = whole[1]
    among = f"of those measured on all {places}, " if len(whole) < len(rows) else ""
    ahead = _over_all(rows[first], rows[second])
    pairs = list(zip(rows[first], rows[second], strict=True))
    doubtful = sum(bool(all_doubts(*pair)) for pair in pairs)
    # Who is not even ahead of the next is not held against the others, which takes its time.
    judged = {second: ahead}
    if ahead.verdict is Verdict.FASTER:
        judged |= {other: _over_all(rows[first], rows[other]) for other in whole[2:]}
    (fastest,) = all_slower([[found.inverse for found in judged.values()]])
    if ahead.verdict is Verdict.SAME:
        lead = f"{name(first)} and {name(second)} have the shortest times, alike within 2%"
    elif fastest and not doubtful:
        lead = f"{name(first)} is the fastest"
    else:
        lead = f"{name(first)} has the shortest times"
    parts = [f"{among}{lead}: "]
    base = rows.get(table.baseline, [])
    if table.baseline not in (first, second) and len(base) == len(table.groups):
        parts.append(f"{versus(_over_all(rows[first], base), table.baseline)}, and ")
    over = "" if len(table.groups) == 1 or among else f" over {places}"
    parts.append(f"{versus(ahead, second, ', the next')}{over}.")
    behind = [name(other) for other, found in judged.items() if found.verdict is not Verdict.FASTER]
    if ahead.verdict is Verdict.FASTER and not fastest:
        parts.append(
            f" It is not surely faster than {listed(behind) if behind else 'all others at once'}."
        )
    if doubtful:
        parts.append(f" Do not rely on it: {of_them(doubtful, len(pairs), 'ratio')} INVALID.")
    if {group[0].case.backend for group in table.groups} != {first}:
        parts.append(f" {_leaders(table)}")
    return start + "".join(parts) + _windows(table)


def _rows(table: Table, backend: str) -> list[Row]:
    return [
        row
        for group in table.groups
        for row in group
        if row.measured and row.case.backend == backend
    ]


def _over_all(new: Sequence[Row], base: Sequence[Row]) -> Comparison:
    """The ratio over all groups, in which both sides stand in the same order."""
    found = [one.behind.get(other.case.backend) for one, other in zip(new, base, strict=True)]
    known = [each for each in found if each is not None]
    if len(known) == len(found):  # what leads everywhere was held against all others already
        return together(known).inverse
    return together(compare_rows(list(zip(new, base, strict=True))))


def _leaders(table: Table) -> str:
    counts = Counter(group[0].case.backend for group in table.groups)
    of = len(table.groups)
    told = [f"{name(backend)} in {number} of {of}" for backend, number in counts.most_common()]
    return f"By {table.noun}, the shortest times: {listed(told)}."


def _windows(table: Table) -> str:
    """What short windows cost, with the backend that leads at the longest."""
    if table.kind != KINDS[1] or len(table.groups) < 2:
        return ""
    backend = table.groups[-1][0].case.backend
    rows = _rows(table, backend)
    small, large = rows[0], rows[-1]
    if small is large:
        return ""
    # Rounds of different groups are numbered alike but were not taken in turn.
    found = compare(streams.unpaired(small), streams.unpaired(large))
    times = [seconds(row.time_per_timestep or 0.0) for row in (small, large)]
    ratio = found.ratio
    if found.verdict is Verdict.UNCLEAR:
        return (
            f" With {name(backend)} a timestep takes {times[0]} in windows of "
            f"{small.case.workload.window} and {times[1]} in windows of "
            f"{large.case.workload.window}, which is not enough to tell them apart."
        )
    return (
        f" With {name(backend)} a timestep in windows of {small.case.workload.window} costs "
        f"{ratio.mid:.2f} times one in windows of {large.case.workload.window} "
        f"({times[0]} against {times[1]}; {bounds(ratio.low, ratio.high)})."
    )


def _costs(section: Section) -> list[Finding]:
    """From which window on the leader of each stream is cheap, and what a step costs it."""
    found = []
    cut = [stream for stream in cut_streams([section]) if stream.windows]
    for stream in cut:
        leader = cost(stream.ranked[0], stream.table.rows)
        if leader.cheapest is not None:
            start = f"{title(stream.table)}: " if len(cut) > 1 else ""
            found.append(f"{start}{sentence(leader)}.")
    rest = "; python -m bench.truncation has them all."
    return [Finding(told) for told in first_few(found, _MOST_STREAMS, "stream", rest)]


def _paybacks(section: Section) -> list[Finding]:
    """Of each table's fastest backends: when a slower start than the baseline's has paid back."""
    found = []
    for table in section.tables:
        if table.kind != KINDS[0]:
            continue
        after: dict[str, list[BreakEven]] = {}
        for row in (row for group in table.groups for row in group):
            ratio = row.to_baseline
            if row.base is None or ratio is None or ratio.verdict is not Verdict.FASTER:
                continue
            paid = break_even(row, row.base, ratio)
            if paid is not None and paid.later >= _LATER:
                after.setdefault(row.case.backend, []).append(paid)
        for backend in [each for each in table.backends if each in after][:_MOST_PAYBACKS]:
            steps = sorted(each.steps for each in after[backend])
            least, most = (f"{round(each):,}" for each in (steps[0], steps[-1]))
            told = least if least == most else f"{least} to {most}"
            later = seconds(max(each.later for each in after[backend]))
            alone = len(steps) == 1
            where = f" at the {count(len(steps), 'shape')} where it is FASTER"
            where *= len(table.groups) > 1
            found.append(
                Finding(
                    f"{title(table)}: {name(backend)} starts {'' if alone else 'up to '}{later} "
                    f"later than {name(section.baseline)}{where}, and has "
                    f"made up for it after {told} steps."
                )
            )
    return _not_too_many(found)


# What is doubtful, and what has no time


def _doubtful(rows: Sequence[Row]) -> list[Finding]:
    """What is not to be trusted: of measurements, then of ratios alone, then of times alone."""
    measured = [row for row in rows if row.measured]
    compared = [row for row in measured if row.to_baseline is not None]
    found = _by_reason(
        [(row, doubt) for row in measured for doubt in row.invalid],
        "INVALID: {}",
        "measurement",
        len(measured),
    )
    found += _by_reason(
        [(row, doubt) for row in compared for doubt in row.ratio_doubts if doubt.code in OF_RATIO],
        "INVALID: {}",
        "ratio",
        len(compared),
    )
    found += _by_reason(
        [(row, doubt) for row in measured for doubt in row.validity.of_time],
        "Doubtful: {} (ratios are judged apart)",
        "time",
        len(measured),
        loud=False,
    )
    return _not_too_many(found)


def _by_reason(
    doubted: Sequence[tuple[Row, Doubt]], start: str, noun: str, among: int, loud: bool = True
) -> list[Finding]:
    """One line a kind of reason, in the words of its first case.

    start: with a place for how many there are, of how many of what.
    """
    found = []
    for doubts in grouped(doubted, lambda each: each[1].code).values():
        row, first = doubts[0]
        of = f"{among:,} {noun}s"
        which = f"all {of}" if len(doubts) == among else f"{len(doubts)} of {of}"
        which = f"the only {noun}" if among == 1 else which
        differ = any(doubt.text != first.text for _, doubt in doubts)
        told = f"{start.format(which)}: {'for one, ' * differ}{clean(first.text)}"
        if differ:
            told += f" ({name(row.case.id)})"
        elif len(doubts) < among:
            told += f" ({listed([name(row.case.id) for row, _ in doubts], 2)})"
        most = max(doubt.runs for _, doubt in doubts)
        if most < first.of:
            told += f", in {'up to ' if len(doubts) > 1 else ''}{most} of {first.of} processes"
        told = _ended(told)
        if first.advice:
            told += f" To change that: {_ended(clean(first.advice))}"
        found.append(Finding(told, loud=loud))
    return found


def _noted(rows: Iterable[Row]) -> list[Finding]:
    """One line for what happened in a few processes and spoils nothing."""
    by_code: dict[str, list[Doubt]] = {}
    moved: list[float] = []
    for row in rows:
        for doubt in row.validity.noted:
            if doubt.code == WIDE_INTERVAL and row.interval is not None:
                if not row.interval.nodes:  # of nodes their own sentence says it
                    moved.append(row.interval.half_width)
            elif doubt.code != FEW_PROCESSES:  # ``method`` says what stands in for them
                by_code.setdefault(doubt.code, []).append(doubt)
    found = []
    if moved:
        found.append(Finding(speed_moved(moved)))
    if by_code:
        told = [
            f"{clean(doubts[0].text)} ({count(len(doubts), 'case')})" for doubts in by_code.values()
        ]
        found.append(
            Finding(
                "Noted, in a quarter of a case's processes at most, which is too few to move its "
                f"time: {_ended('; '.join(told))}"
            )
        )
    return found


def _without_time(rows: Iterable[Row]) -> list[Finding]:
    """What went wrong: one line a backend, so that no backend hides."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.outcome in LOUD:
            key = (row.outcome, row.case.backend, row.case.device)
            groups.setdefault(key, []).append(row)
    order = list(_OUTCOME_WORDS)
    found = []
    for (outcome, *_), cases in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        reasons = dict.fromkeys(row.reason for row in cases)
        advice = next((row.advice for row in cases if row.advice), "")
        told = (
            f"{_OUTCOME_WORDS[outcome]}: {count(len(cases), 'case')} ({_which(cases)}): "
            f"{_ended(clean(next(iter(reasons))) or 'no reason was recorded')}"
        )
        if len(reasons) > 1:
            told += f" And {count(len(reasons) - 1, 'other reason')}."
        if advice:
            told += f" To change that: {_ended(clean(advice))}"
        found.append(Finding(told, loud=True))
    return _not_too_many(found)


def _which(rows: Sequence[Row]) -> str:
    backends = sorted({name(row.case.backend) for row in rows})
    devices = sorted({name(row.case.device) for row in rows})
    return f"{listed(backends)} on {listed(devices)}"


def _remarks(rows: Iterable[Row]) -> list[Finding]:
    """One line for what backends' code warned of, and for what it changed of its process."""
    by_text: dict[str, list[str]] = {}
    for row in rows:
        for text in row.remarks:
            by_text.setdefault(text, []).append(row.case.backend)
    told = [
        f"{clean(text)} ({listed(list(map(name, dict.fromkeys(found))), 3)}, "
        f"{count(len(found), 'case')})"
        for text, found in itertools.islice(by_text.items(), _MOST_REMARKS)
    ]
    if (more := len(by_text) - _MOST_REMARKS) > 0:
        told.append(f"and {more} more, which the files have")
    return [Finding(f"Said by the backends' code: {_ended('; '.join(told))}")] if told else []


def _not_too_many(found: list[Finding]) -> list[Finding]:
    more = len(found) - _MOST_LINES
    if more > 0:
        told = f"And {count(more, 'more reason')}; --format csv has every case."
        found = [*found[:_MOST_LINES], Finding(told, loud=any(f.loud for f in found))]
    return found


def _ended(text: str) -> str:
    """With a full stop, unless a command or another mark stands at its end."""
    return text if text.endswith((".", "!", "?", "'", '"', "`")) else f"{text}."
