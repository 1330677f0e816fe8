"""Compose every sentence of a report: verdicts, warnings, reasons and what to do about them."""

from __future__ import annotations

import contextlib
import math
import statistics
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.case.cases import Case
from bench.machine.fields import printable
from bench.machine.reasons import HelpfulOption, Reason, WrittenTexts
from bench.records.grouping import group_by
from bench.records.schema import OUTCOMES, Outcome, ResultFile
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import (
    RATIO_INTERVAL,
    TIME_INTERVAL,
    UNRELIABLE,
    bounds_of_time,
    name,
    title,
    versus,
    where,
)
from bench.render.quantities import count, format_part, join_names, percent, seconds
from bench.render.table import Finding
from bench.stats import bound as step
from bench.stats import comparison, intervals, trust
from bench.stats.comparison import SAME_WITHIN, Comparison, Heterogeneity, Pairing, Verdict
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.stats.ratios import HETEROGENEOUS, OF_CASES_TOGETHER, all_slower, geometric_mean
from bench.stats.trust import Problem
from bench.verdicts.case_results import MEASURED, CaseResult
from bench.verdicts.outliers import outliers
from bench.verdicts.ranking import RankedRow, all_problems, compare_rows
from bench.verdicts.sections import KINDS, Section, Table
from lstm_impl.frameworks import get_framework
from lstm_impl.names import framework

_MOST_PROBLEMS = 2  # This many fit an answer; the report has all.

# The answer for one shape


def answer(section: Section, options: OptionNames | None = None) -> list[str]:
    """Return the decision for a shape, and in the last line where it was measured.

    section, options: see ``decision``.
    """
    runs, started = count(len(section.runs), "process"), f"{section.started:%Y-%m-%d %H:%M}"
    return [*decision(section, options), f"From {runs} on {where(section)}, {started} UTC."]


def decision(section: Section, options: OptionNames | None = None) -> list[str]:
    """Return what to use and how much faster it is, with an interval.

    If a backend of a different framework is the fastest, the next line has the best backend of the
    baseline's framework.

    section: the rows for one amount of work, the fastest first. At least one has a time.
    options: the names of the options in advice, by default those of the command that measured.
    """
    measured = [row for row in section.rows if row.result.measured]
    unranked = [row for row in measured if not row.case.ranked]
    ranked = measured[: len(measured) - len(unranked)] or unranked
    first, *others = ranked
    lines = [f"Only {name(first.case.backend)} was measured: {_cost(first)}."]
    if others:
        lines = [_use(first, others[0], section.baseline)]
        home = framework(section.baseline)
        inside = [row for row in ranked if home and framework(row.case.backend) == home]
        if inside and inside[0] is not first:
            best = inside[0]
            itself = " itself" if best.case.backend == section.baseline else ""
            text = f"{name(best.case.backend)}{itself}, {seconds(best.result.time)}"
            text += f", {versus(best.to_baseline, section.baseline)}" if best.to_baseline else ""
            lines.append(f"Inside {get_framework(home).title}: {text}.")
    for row in unranked if ranked is not unranked else ():
        text = "approximates" if row.case.approximate else "has no rank"
        text = f"{name(row.case.backend)} {text} and takes {_cost(row)}"
        if (error := row.result.error) is not None:
            text += f", outputs differ from the reference by {error:.2%}"
        text += f": {versus(row.to_baseline, section.baseline)}" if row.to_baseline else ""
        lines.append(f"{text}.")
    if text := _few_problems((*first.result.invalid, *first.ratio_problems), options):
        lines.append(f"Do not rely on it yet: {text}.")
    elif text := _few_problems(first.result.validity.of_time, options):
        lines.append(f"{UNRELIABLE} The time is unreliable (ratios are judged separately): {text}.")
    return lines + [f"{text}." for text in heterogeneous_references(ranked)]


def _few_problems(problems: Iterable[Problem], options: OptionNames | None) -> str:
    """Return the first of these problems, each once."""
    lines = dict.fromkeys(problem_line(each, options) for each in problems)
    return "; ".join(map(clean, list(lines)[:_MOST_PROBLEMS]))


def _use(first: RankedRow, second: RankedRow, baseline: str) -> str:
    parts = [] if first.to_baseline is None else [versus(first.to_baseline, baseline)]
    if second.case.backend != baseline and (ahead := first.behind.get(second.case.backend)):
        parts.append(versus(ahead.inverse, second.case.backend, ", the next fastest"))
    text = f": {'; '.join(parts)}" if parts else ""
    if first.fastest:
        return f"Use {name(first.case.backend)}, {_cost(first)}{text}."
    # The user needs to know what to do, even if the data do not single out one backend.
    near = (Verdict.SAME, Verdict.UNCLEAR)
    tied = {other: found.verdict for other, found in first.behind.items() if found.verdict in near}
    if not tied and (first.result.invalid or first.ratio_problems):
        # The next line says why the numbers are INVALID.
        return f"Use {name(first.case.backend)} for now, {_cost(first)}{text}."
    choice = join_names([name(first.case.backend), *map(name, tied)], word="or")
    shortest = f"{name(first.case.backend)} has the shortest times, {_cost(first)}{text}"
    if not tied:
        why = "no backend was shown to be faster than all others together"
    elif set(tied.values()) == {Verdict.SAME}:
        why = "their times are equal within 2%"
    else:
        why = "the results do not show which is faster"
    return f"Use {choice}: {why}. {shortest}."


def _cost(row: RankedRow) -> str:
    assert row.result.interval is not None
    around = bounds_of_time(row.result.interval, row.result.time)
    sign = UNRELIABLE if row.result.validity.of_time else ""
    # "Step" alone could mean a timestep, since shapes are given as batch and steps.
    mode = row.result.case.workload.mode
    what = "call of the stream" if mode == "streaming" else f"{mode} step"
    return f"{sign}{seconds(row.result.time)} per {what}{around and f' ({TIME_INTERVAL} {around})'}"


# CSV and JSON list every case.
_MOST_LINES = 12
_MOST_REMARKS = 4


def findings(section: Section) -> list[Finding]:
    """Return which backend is the fastest, what went wrong, and what has no time and why."""
    rows, tables = section.rows, section.timed_tables
    found = [Finding(_answer(table), answer=True) for table in tables]
    if not found:
        found.append(Finding("Nothing was measured.", warning=True))
    found += [Finding(text) for table in tables for text in _fallbacks(table)]
    found += [Finding(text, warning=True) for text in describe_nodes(section)]
    if not section.complete:
        found.append(Finding("A run did not finish, so cases may be missing.", warning=True))
    found += [Finding(f"{text}.", warning=True) for text in heterogeneous_references(rows)]
    found += [*unreliable(rows), *_remarks(rows), *_without_time(rows)]
    if text := unmeasured_summary(unmeasured(section), "python -m bench.report --unmeasured"):
        found.append(Finding(f"{text}."))
    return found


def summary(found: Sequence[Finding]) -> list[Finding]:
    """Return the answers among findings, and how many warnings there are besides."""
    answers, wrong = [each for each in found if each.answer], sum(each.warning for each in found)
    text = f"Read the {count(wrong, 'warning')} below, under Findings, before you rely on this."
    return [*answers, *[Finding(text, warning=True)] * bool(wrong)]


def unmeasured(section: Section) -> tuple[UnmeasuredCases, ...]:
    """Return the cases without a time, by reason."""
    return group_unmeasured(row.result for row in section.rows if row.result.outcome != MEASURED)


def _answer(table: Table) -> str:
    """Return which backend is the fastest over all the work of a table, if one is."""
    start, places = f"{title(table)}: ", count(len(table.groups), table.noun)
    if not table.backends:
        return f"{start}only backends that approximate were measured."
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({places})."
    rows: dict[str, list[RankedRow]] = {backend: [] for backend in table.backends}
    for row in (row for group in table.groups for row in group if row.result.measured):
        rows.setdefault(row.case.backend, []).append(row)
    counts = Counter(group[0].case.backend for group in table.groups)
    led = [
        f"{name(each)} in {number} of {len(table.groups)}" for each, number in counts.most_common()
    ]
    leaders = f" Shortest times by {table.noun}: {join_names(led)}."
    # Only a backend that was measured on all the work can lead over all of it.
    complete = sorted(
        (each for each in table.backends if len(rows[each]) == len(table.groups)),
        key=lambda backend: sum(math.log(row.result.time) for row in rows[backend]),
    )
    if len(complete) < 2:
        which = f"only {name(complete[0])}" if complete else "no backend"
        return f"{start}{which} was measured on all {places}.{leaders}"
    first, second, *others = complete
    among = "" if len(complete) == len(table.backends) else f"of those measured on all {places}, "
    ahead = _over_all(rows[first], rows[second])
    # A backend that is not even ahead of the next one is not compared with the others.
    ratios = {second: ahead}
    if ahead.verdict is Verdict.FASTER:
        ratios |= {other: _over_all(rows[first], rows[other]) for other in others}
    (fastest,) = all_slower([[found.inverse for found in ratios.values()]])
    pairs = list(zip(rows[first], rows[second], strict=True))
    unreliable = sum(bool(all_problems(*pair)) for pair in pairs)
    if ahead.verdict is Verdict.SAME:
        lead = f"{name(first)} and {name(second)} have the shortest times, equal within 2%"
    elif fastest and not unreliable:
        lead = f"{name(first)} is the fastest"
    else:
        lead = f"{name(first)} has the shortest times"
    text = f"{start}{among}{lead}: "
    base = rows.get(table.baseline, [])
    if table.baseline not in (first, second) and len(base) == len(table.groups):
        text += f"{versus(_over_all(rows[first], base), table.baseline)}, and "
    text += versus(ahead, second, ", the next fastest")
    text += "." if len(table.groups) == 1 or among else f" over {places}."
    if ahead.verdict is Verdict.FASTER and not fastest:
        near = [name(each) for each, of in ratios.items() if of.verdict is not Verdict.FASTER]
        text += (
            f" It was not shown to be faster than {join_names(near or ['all others together'])}."
        )
    if unreliable:
        text += f" Do not rely on it: {format_part(unreliable, len(pairs), 'ratio')} INVALID."
    return text + (leaders if {*counts} != {first} else "")


def _over_all(new: Sequence[RankedRow], base: Sequence[RankedRow]) -> Comparison:
    """Return the ratio over all groups, which both sides have in the same order."""
    found = [one.behind.get(other.case.backend) for one, other in zip(new, base, strict=True)]
    known = [each for each in found if each is not None]
    # The leader of every group has already been compared with all others.
    if len(known) == len(found):
        return geometric_mean(known).inverse
    return geometric_mean(compare_rows(list(zip(new, base, strict=True))))


# Unreliable numbers, and cases without a time


def unreliable(rows: Sequence[RankedRow]) -> list[Finding]:
    """Return what is INVALID or unreliable: measurements first, then ratios, then times."""
    measured = [row for row in rows if row.result.measured]
    compared = [row for row in measured if row.to_baseline is not None]
    unreliable = "Unreliable: {} (ratios are judged separately)"
    found = _by_reason(measured, lambda row: row.result.invalid, "INVALID: {}", "measurement")
    found += _by_reason(
        compared,
        lambda row: [each for each in row.ratio_problems if each.code in trust.OF_RATIO],
        *("INVALID: {}", "ratio"),
    )
    found += _by_reason(
        measured, lambda row: row.result.validity.of_time, unreliable, "time", warning=False
    )
    return _not_too_many(found)


def _by_reason(
    rows: Sequence[RankedRow],
    problems_of: Callable[[RankedRow], Iterable[Problem]],
    start: str,
    noun: str,
    warning: bool = True,
) -> list[Finding]:
    """Return a line for each kind of reason, in the words of its first case.

    start: a sentence with a place for the number of cases.
    """
    found = []
    pairs = [(row, problem) for row in rows for problem in problems_of(row)]
    for problems in group_by(pairs, lambda each: each[1].code).values():
        first = problems[0][1]
        reason, advice = reason_texts(first.reason)
        differ = any(reason_texts(each.reason) != (reason, advice) for _, each in problems)
        text = start.format(format_part(len(problems), len(rows), noun))
        text += f": {'for one, ' * differ}{clean(reason)}"
        if differ or len(problems) < len(rows):
            cases = [name(row.case.id) for row, _ in problems]
            text += f" ({join_names(cases[:1] if differ else cases, 2)})"
        most = max(problem.runs for _, problem in problems)
        if most < first.of:
            text += f", in {'up to ' if len(problems) > 1 else ''}{most} of {first.of} processes"
        found.append(Finding(_with_advice(text, advice), warning=warning))
    return found


def _with_advice(text: str, advice: str) -> str:
    change = f" To change that: {_with_stop(clean(advice))}" if advice else ""
    return _with_stop(text) + change


def _without_time(rows: Iterable[RankedRow]) -> list[Finding]:
    """Return what went wrong, with a line for each backend."""
    wrong = [row for row in rows if row.result.outcome in FAILURES]
    groups = group_by(wrong, lambda row: (row.result.outcome, row.case.backend, row.case.device))
    found = []
    for outcome, backend, device in sorted(groups, key=lambda key: FAILURES.index(key[0])):
        cases = groups[outcome, backend, device]
        texts = [reason_texts(row.result.reason) for row in cases]
        reasons = list(dict.fromkeys(text for text, _ in texts))
        text = (
            f"{outcome.upper().replace('_', ' ')}: {count(len(cases), 'case')} "
            f"({name(backend)} on {name(device)}): {clean(reasons[0]) or 'no reason was recorded'}"
        )
        if len(reasons) > 1:
            text = f"{_with_stop(text)} And {count(len(reasons) - 1, 'other reason')}."
        advice = next((advice for _, advice in texts if advice), "")
        found.append(Finding(_with_advice(text, advice), warning=True))
    return _not_too_many(found)


def _remarks(rows: Iterable[RankedRow]) -> list[Finding]:
    """Return a line about the warnings of backends and what backends changed in their process."""
    by_text = group_by(
        ((text, row) for row in rows for text in row.result.remarks), lambda each: each[0]
    )
    messages = []
    for text, found in by_text.items():
        backends = list(dict.fromkeys(name(row.case.backend) for _, row in found))
        messages.append(f"{clean(text)} ({join_names(backends, 3)}, {count(len(found), 'case')})")
    text = f"Warnings from the backends: {join_names(messages, _MOST_REMARKS)}" if messages else ""
    return [Finding(_with_stop(text))] if text else []


def _not_too_many(found: list[Finding]) -> list[Finding]:
    more = len(found) - _MOST_LINES
    if more > 0:
        text = f"And {count(more, 'more reason')}; --format csv lists every case."
        found = [*found[:_MOST_LINES], Finding(text, warning=any(f.warning for f in found))]
    return found


def _with_stop(text: str) -> str:
    """Return a sentence with a full stop, unless it ends in a command or another mark."""
    return text if text.endswith((".", "!", "?", "'", '"', "`")) else f"{text}."


def unclear(ratios: Iterable[Comparison | None]) -> list[str]:
    """Return why ratios are UNCLEAR, and whether more processes would decide.

    Ratios over a heterogeneous reference are left out, because more processes do not help them.
    """
    judged = [ratio for ratio in ratios if ratio is not None and not ratio.heterogeneous]
    open_ones = [ratio for ratio in judged if ratio.verdict is Verdict.UNCLEAR]
    counts = Counter(reason.code for ratio in open_ones for reason in ratio.reasons)
    why = [(number, SENTENCES[code]) for code, number in counts.items()]
    if by_spread := [ratio for ratio in open_ones if not ratio.reasons]:
        why.append((len(by_spread), _why_unclear(by_spread)))
    return [f"UNCLEAR: {format_part(number, len(judged), 'ratio')}: {text}" for number, text in why]


def _why_unclear(ratios: Sequence[Comparison]) -> str:
    """Return how far the processes of UNCLEAR ratios spread, and how many would decide."""
    spreads = [ratio.spread for ratio in ratios if ratio.spread is not None]
    between = [ratio.between for ratio in ratios if ratio.between is not None]
    if not spreads or (any(ratio.nodes for ratio in ratios) and not between):
        return (
            f"one process does not show how many are needed; measure in {ENOUGH_PROCESSES} "
            f"processes (python -m bench.run --processes {ENOUGH_PROCESSES})"
        )
    spread = statistics.median(spreads)
    text = f"processes differ by {percent(spread)}{' (median)' * (len(spreads) > 1)}"
    if between:
        nodes = percent(statistics.median(between))
        return f"on a node, {text}, and nodes differ by {nodes} beyond that; measure on more nodes"
    small, large = (
        comparison.processes_needed(spread, effect) or f"over {comparison.MOST_NEEDED}"
        for effect in (0.05, 0.1)
    )
    return (
        f"{text}. To detect a difference of 5%, measure in {small} processes; for 10%, in {large} "
        "(python -m bench.run --processes N)"
    )


def heterogeneous(ratios: Iterable[Comparison | None]) -> list[str]:
    """Return the references that differ between the two sides of a ratio, without full stops."""
    found: dict[object, Heterogeneity] = {}
    for each in (ratio.heterogeneity for ratio in ratios if ratio is not None):
        if each is not None and each.significant:
            # On another device, the difference is another one.
            by = round(abs(each.found.log_ratio), 9)
            found.setdefault((each.reference, frozenset((each.new, each.base)), by), each)
    return [
        f"Heterogeneous reference: {clean(heterogeneity_note(each), LONGEST_SENTENCE)}"
        for each in found.values()
    ]


_METHOD = {
    "times": f"Each time is the median of one step, with its {TIME_INTERVAL}. A row whose name has "
    "a call (+predict, :forward) times that call. Other rows time one step of the backend on "
    "arrays that are already on the device. Inference is the forward pass; training is forward and "
    "backward. The first result includes building, tracing, compiling and one step.",
    "ratios": "vs {base}: how many times as fast as {base} on the same work; above 1 is faster. "
    f"FASTER, SLOWER: the whole {RATIO_INTERVAL} is on that side of 1 (statistically significant). "
    f"SAME: the interval is within ±{100 * SAME_WITHIN:g}%. UNCLEAR: anything else. Over several "
    "shapes, the speedup is the geometric mean.",
    KINDS[1]: "Per timestep: the time of a step divided by its timesteps, for the whole batch.",
    KINDS[2]: "Streaming: each call is timed separately, from when it was due (or from when it "
    "began, if calls run back to back) until its output exists. A percentile is the median over "
    "the processes, and is shown if each process has enough calls. late: calls that missed their "
    "deadline.",
    "load": "The suite kept {processors} busy while streams were timed (--load).",
    "memory": "Memory is the peak of what a case needs beyond its framework. On a CPU it is "
    "measured in a process of its own; on a GPU it is what the framework's allocator held.",
    "nodes": "Nodes are machines of one kind. Each has the same weight in every interval, through "
    "the mean over its processes. An interval describes a machine of this kind.",
}


def method(section: Section) -> list[str]:
    """Return how to read the numbers, and what their intervals are based on."""
    rows = [row for row in section.rows if row.result.measured]
    if not rows:
        return []
    lines = [_METHOD["times"]]
    if any(row.to_baseline for row in rows):
        lines.append(_METHOD["ratios"].format(base=name(section.baseline)))
        lines += [f"{each}." for each in unclear(row.to_baseline for row in rows)]
    kinds = {row.case.kind for row in rows}
    lines += [_METHOD[kind] for kind in KINDS[1:] if kind in kinds]
    if load := max(
        (row.result.stream.load for row in rows if row.result.stream is not None), default=0
    ):
        lines.append(_METHOD["load"].format(processors=count(load, "processor")))
    lines += [_METHOD["memory"]] * any("peak_bytes" in row.result.memory for row in rows)
    lines += [_METHOD["nodes"]] * bool(section.nodes)
    return lines + [f"{each}." for each in (*over_references(rows), *assumptions(rows))]


def over_references(rows: Sequence[RankedRow]) -> list[str]:
    """Return which ratios go through a third backend, which ran in the processes of both sides."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.reference and row.to_baseline and row.to_baseline.pairing is Pairing.BRIDGED:
            reference = name(row.reference.result.case.backend)
            found.setdefault(reference, {})[name(row.case.backend)] = None
    return [
        f"The ratios of {join_names(list(backends))} go through {reference}, which ran in the "
        "processes of both sides, because the baseline ran in another environment"
        for reference, backends in found.items()
    ]


def heterogeneous_references(rows: Sequence[RankedRow]) -> list[str]:
    """Return the references that differ between the two sides of a ratio of these rows."""
    return heterogeneous(
        [
            *(row.to_baseline for row in rows),
            *(ratio for row in rows for ratio in row.behind.values()),
            *(row.helper_ratio for row in rows),
        ]
    )


def assumptions(rows: Sequence[RankedRow]) -> list[str]:
    """Return what the intervals assume with fewer than six processes or nodes.

    The sentences have no full stop.
    """
    known = [row.result.interval for row in rows if row.result.interval is not None]
    ratios = [row.to_baseline for row in rows if row.to_baseline is not None]
    found = []
    if any(each.processes == 1 for each in known):
        found.append(
            "1 process: the interval of a time covers only the samples of this process. Medians of "
            f"other processes on one machine were seen to differ by "
            f"{percent(intervals.LEAST_SPREAD)} to {percent(intervals.MOST_SPREAD)}"
        )
    for noun, of_nodes in (("process", False), ("node", True)):
        assumed = []
        for what, judged in (("times", known), ("ratios", ratios)):
            here = {e.allowance for e in judged if e.allowance and (e.nodes > 1) == of_nodes}
            if here:
                assumed.append(f"{' and '.join(map(percent, sorted(here)))} for {what}")
        if assumed:
            found.append(
                f"Fewer than {count(ENOUGH_PROCESSES, noun)} do not show how far they differ. The "
                f"intervals therefore assume {', '.join(assumed)}, and the verdicts depend on it"
            )
    return found


def _fallbacks(table: Table) -> list[str]:
    """Return what backends ran in place of what their names suggest."""
    fallen = [row for row in table.rows if row.result.measured and row.result.fallback]
    found = group_by(fallen, lambda row: (row.case.backend, row.result.fallback))
    return [
        f"{title(table)}: {name(backend)} ran {clean(ran)} ({count(len(rows), table.noun)})."
        for (backend, ran), rows in found.items()
    ]


LOOK = (
    "Its results are included in every interval. Check its clock, temperature and other load "
    "(run python -m bench.doctor there). To exclude it, name only the files of the other nodes"
)
"""What to do about an outlying node."""


def describe_nodes(section: Section) -> Iterable[str]:
    """Yield which of several machines of one kind differs from the others or was disturbed."""
    if not section.nodes:
        return
    results = [row.result for row in section.rows if row.result.measured]
    for found in outliers(results):
        where, side = name(section.nodes.get(found.node, found.node)), "slower"
        text = f"{found.factor:.2f} times as slow"
        if found.factor <= 1:
            text, side = f"{1 / found.factor:.2f} times as fast", "faster"
        start = f"Node {where} is an outlier: it is {text} as"
        if found.backend:
            start = (
                f"Node {where} differs in one backend: {name(found.backend)} is {text} there as on"
            )
        cases = f"{side} than each of them in {found.beyond} of {count(found.cases, 'case')}"
        yield f"{start} the other {found.others} ({name(found.device)}; {cases}). {LOOK}."
    node_by_run = section.node_by_run
    invalid = [each for each in results if each.invalid]
    processes = Counter(node_by_run[run.run] for each in invalid for run in each.runs)
    disturbed = Counter(
        node_by_run[run] for each in invalid for run in each.disturbed if run in node_by_run
    )
    bad = [node for node, number in disturbed.items() if number > trust.MINORITY * processes[node]]
    if bad and len(bad) < len(section.nodes):
        yield (
            f"INVALID because of {join_names([name(section.nodes[node]) for node in bad])}: on the "
            "other nodes, at most a quarter of the processes were disturbed. Measure there again "
            "when it is quiet, or name only the files of the other nodes."
        )


FAILURES = ("failed", "crashed", "timed_out")
"""The outcomes that are errors, the most severe first."""

_OUTCOMES = {
    "refused": "refused by the backend",
    "not_measured": "not measured",
    "timed_out": "over their time limit",
}


@dataclass(frozen=True)
class UnmeasuredCases:
    """Cases without a time that share a reason.

    outcome: one of ``schema.OUTCOMES``.
    """

    outcome: str
    reason: str
    advice: str
    cases: tuple[Case, ...]

    @property
    def failed(self) -> bool:
        """Return whether the outcome is an error."""
        return self.outcome in FAILURES

    @property
    def text(self) -> str:
        """Return outcome and reason: ``not measured: no gpu:0: this machine has no GPU``."""
        parts = [clean(text, 300).rstrip(".") for text in (self.reason, self.advice) if text]
        return f"{outcome_text(self.outcome)}: {'. '.join(parts) or 'no reason was recorded'}"

    @property
    def which(self) -> str:
        """Return backends and devices: ``cudnn and torch on gpu:0``."""
        backends = sorted({name(case.backend) for case in self.cases})
        devices = sorted({name(case.device) for case in self.cases})
        return f"{join_names(backends)} on {join_names(devices)}"


def group_unmeasured(items: Iterable[CaseResult | Outcome]) -> tuple[UnmeasuredCases, ...]:
    """Group cases without a time by outcome, reason and advice, each case once."""
    found = group_by(items, lambda item: (item.outcome, *reason_texts(item.reason)))
    return tuple(
        UnmeasuredCases(*key, tuple({item.case.id: item.case for item in same}.values()))
        for key, same in found.items()
    )


def unmeasured_summary(groups: Sequence[UnmeasuredCases], option: str = "--unmeasured") -> str:
    """Return how many cases have no time, and why if there is a single reason.

    Such as ``108 cases have no time: 98 not measured, 10 refused by the backend (--unmeasured lists
    them)``. Empty if every case has a time.

    option: the option that lists these cases.
    """
    quiet = [group for group in groups if not group.failed]
    cases = [case for group in quiet for case in group.cases]
    if not quiet:
        return ""
    text = f"{count(len(cases), 'case')} {'has' if len(cases) == 1 else 'have'} no time"
    if len(quiet) == 1:
        return f"{text}, {quiet[0].text} ({quiet[0].which})"
    counts = Counter(group.outcome for group in quiet for _ in group.cases)
    messages = [f"{number:,} {outcome_text(outcome)}" for outcome, number in counts.most_common()]
    return f"{text}: {', '.join(messages)} ({option} lists them)"


def unmeasured_heading(group: UnmeasuredCases) -> str:
    """Return a heading: ``98 cases not measured: no gpu:0: this machine has no GPU``."""
    return f"{count(len(group.cases), 'case')} {group.text}"


def outcome_text(outcome: str) -> str:
    """Return the outcome of a case without a time as a short text."""
    return _OUTCOMES.get(outcome, name(outcome.replace("_", " ")))


# Sessions that a command passes over


def empty_session(
    files: Sequence[ResultFile], writer: str, show: str, *, goes_on: bool = True
) -> str:
    """Return in one line which session holds no measured case, why, and what to do.

    files: those of the session, at least one. writer: the process that still writes one of them, or
    empty. show: the command that shows why each case has no time. goes_on: whether the results of
    another session are shown instead.
    """
    outcomes = [each for file in files for each in file.outcomes]
    if writer:
        why, advice = f"{clean(writer)} is still measuring", "Wait for it to end"
    elif outcomes:
        groups = sorted(group_unmeasured(outcomes), key=lambda group: not group.failed)
        cases = len({each.case.id for each in outcomes})
        for_one = "for one, " * (len(groups) > 1)
        why = f"{count(cases, 'case')} {'has' if cases == 1 else 'have'} no time; {for_one}"
        why += groups[0].text
        advice = f"`{show}` shows why each case has no time"
    elif any(file.run.finished is None for file in files):
        why = "its process ended before it had measured a case"
        advice = "To measure, repeat the command that was stopped"
    else:
        why = "its process ended normally without a case"
        advice = "To measure, repeat the command with a longer --budget or other cases"
    instead = " The newest session that has results is shown instead." * goes_on
    return f"{_session(files)} holds no measured case: {why}. {advice}.{instead}"


def foreign_session(files: Sequence[ResultFile]) -> str:
    """Return that a newer session of another machine is not shown, and how to see it.

    files: those of the session, at least one.
    """
    machine, first = name(files[0].run.machine) or "an unnamed machine", files[0].path
    return (
        f"{_session(files)} is newer, but was measured on another machine ({machine}). The results "
        f"of this machine are shown. To see the others, name their files, such as "
        f"{clean(str(first))}."
    )


def _session(files: Sequence[ResultFile]) -> str:
    run = min((file.run for file in files), key=lambda run: run.started)
    suite = name(run.suite) or "unnamed suite"
    return f"session {name(run.session)} ({suite}, {run.started:%Y-%m-%d %H:%M} UTC)"


# What bounds a case


_BOUND_KINDS = {step.CHAIN: "the chain of products", step.HOST: "the host"}
"""The names after "bound by", if they differ from the codes."""

_BOUND_PARTS = {
    step.LAUNCHES: "starting its operators",
    step.HOST: "calling its operators from Python",
    step.CHAIN: "the chain of products",
    step.PRODUCTS: "its products",
    step.MEMORY: "moving its data",
    step.WAITING: "waiting",
}
"""The names of the parts, for a case in which no part is most of a step."""

_BOUND = {
    step.LAUNCHES: "starting as many operators ({launches}) that do nothing takes {part} of the "
    "step",
    step.HOST: "calling as many operators ({launches}) that do nothing from Python takes {part} of "
    "the step",
    step.CHAIN: "the products that wait for one another take {part} of the step at the best speed "
    "measured here",
    "above_chain": "it is as fast as the products that wait for one another, at the best speed "
    "measured here ({part})",
    step.PRODUCTS: "the products take {part} of the step at the best rate measured here",
    "too_many": "it makes {times} times as many multiplications as the step needs, which take "
    "{part} of the step at the best rate measured here",
    step.MEMORY: "moving the data once takes {part} of the step at the best bandwidth measured "
    "here",
    step.WAITING: "no processor computes for {part} of the step",
    step.PADDING: "{part} of the timesteps are padding, and with them {of} would take {padded} of "
    "the step",
}

_BOUND_BY_PROFILE = {
    step.LAUNCHES: "no operator was running for {part} of the step",
    step.HOST: "no operator was running for {part} of the step, because Python had not called the "
    "next one",
    step.PRODUCTS: "the profile shows {part} of the step in products",
    step.COPIES: "the profile shows {part} of the step in moving, transposing, cutting and joining",
    step.GATES: "the profile shows {part} of the step in element-wise operators",
}


def bound_sentence(row: RankedRow) -> str:
    """Return ``bound by launches: ...`` or ``not known: ...``, or an empty text if not measured.

    The sentence adds what was faster on the same work, or else what is worth a try.
    """
    if row.result.bound is None:
        return ""
    if row.result.invalid:
        return "not known: its measurement is INVALID"
    text = bound_text(row.result.bound, row.result.roofs)
    found = row.helper_ratio
    if row.helper is not None and found is not None and found.verdict is Verdict.FASTER:
        return (
            f"{text}; {row.helper.case.backend} takes {found.ratio.mid:.2f} of its time on the "
            f"same work ({found.ratio.low:.2f}–{found.ratio.high:.2f}, FASTER)"
        )
    if row.untried:
        tries = " or ".join(row.untried)
        return f"{text}; not measured on this work, but worth a try: {tries}"
    return text


def unknown_bounds(section: Section) -> list[str]:
    """Return what is unknown about the limits of a section's cases, a line for each."""
    timed = [row for row in section.rows if row.result.measured]
    open_cases = [
        row for row in timed if row.result.bound is None or row.result.bound.kind == step.NOT_KNOWN
    ]
    found = []
    if open_cases:
        found.append(
            f"What limits {len(open_cases):,} of {count(len(timed), 'case')} is unknown. For "
            "TensorFlow, PyTorch and JAX, python -m bench.profile CASE_ID --output FILE shows "
            "where the time goes"
        )
    if silent := {row.case.backend for row in open_cases if "of_launch" not in row.result.roofs}:
        found.append(
            f"How many operators these backends start is unknown: {join_names(sorted(silent))}"
        )
    return [*found, *filter(None, [unmeasured_summary(unmeasured(section))])]


def bound_text(bound: step.Bound, figures: Mapping[str, float]) -> str:
    """Return what binds a case, and how that is known.

    figures: those of its roofs.
    """
    kind, part, of = bound.kind, f"{bound.share:.0%}", _BOUND_PARTS.get(bound.of, "")
    if kind == step.NOT_KNOWN and not of:
        return "not known: no roofs are recorded"
    if kind == step.NOT_KNOWN:
        return (
            f"not known: the largest known part is {of}, at least {part} of the step; no part is "
            "known to take more than half"
        )
    template, named = _BOUND.get(kind, ""), kind
    if kind == step.CHAIN and bound.share >= 1.0:
        template = _BOUND["above_chain"]
    elif bound.times > 1.0 and kind in (step.CHAIN, step.PRODUCTS):
        template, named = _BOUND["too_many"], step.PRODUCTS
    elif bound.profiled:
        template = _BOUND_BY_PROFILE.get(kind, template)
    padded = bound.parts[bound.of] / (1.0 - bound.share) if kind == step.PADDING else 0.0
    launches, times = f"{figures.get('launches', 0.0):,.0f}", f"{bound.times:.1f}"
    text = template.format(part=part, of=of, padded=f"{padded:.0%}", launches=launches, times=times)
    return f"bound by {_BOUND_KINDS.get(named, named)}: {text}"


# Why a number is unreliable or missing, and what to change before a measurement

_STAGES = {
    "lookup": "while it was looked up",
    "start": "while its framework was started",
    "build": "while it was built",
    "first_call": "in its first call",
    "gate": "while the gate compared it with the reference",
    "evidence": "while its evidence was read",
    "calibration": "while the number of calls in a block was chosen",
    "warm_up": "while it was warmed up",
    "round": "in round {round}",
    "copy": "when its results were copied",
    "last_results": "when its last results were read",
    "timed_results": "while its timed results were judged",
    "profile": "while it was profiled",
    "suite": "in the suite itself",
}

_TOO_LARGE = {
    "large_for_gpu": "needs about {needed:GiB} on the GPU; {device} has {free:GiB}",
    "large_for_memory": "needs about {needed:GiB}{judge:? to check its results in float64}; "
    "{free:GiB} are free",
    "long_step": "needs about {operations:.1e} operations a step, about {minutes:.0f} minutes "
    "here; the suite starts no step that takes more than {limit:.0f} minutes",
}

_OVER = "the interval of the median over {nodes:?{nodes:#node}}{processes:?{processes:#process}}"

SENTENCES = {
    "": "",
    # About the samples of a process
    trust.FEW_SAMPLES: "{samples:#sample}: a 95% interval of their median needs at least "
    f"{intervals.FEWEST_SAMPLES}",
    trust.WIDE_INTERVAL: f"the median's interval is ±{{width:.1%}}, wider than ±{trust.WIDE:.0%}",
    trust.NOT_STEADY: "the earlier and the later half of the samples differ, so there was no "
    "steady state",
    "behind": "a call takes {call_ms:.3g} ms, but one is due every {period_ms:g} ms, so the "
    "latency keeps growing",
    "above_roof": "it reaches {part:.0%} of the {roof}, the best seen here ({by}), even after "
    "that was measured again",
    # Over processes and nodes
    trust.FEW_PROCESSES: "{processes:#process}: a 95% interval of their median needs at least "
    f"{ENOUGH_PROCESSES}",
    trust.FEW_ROUNDS: f"fewer than {intervals.FEWEST_SAMPLES} rounds: a 95% interval of their "
    "median needs more",
    trust.UNSTEADY_RATIO: "the earlier and the later half of the rounds have different ratios",
    "wide": f"{_OVER} is ±{{width:.1%}}, wider than ±{trust.WIDE_OVER_PROCESSES:.0%}",
    "uneven": f"{_OVER} is ±{{width:.1%}}: {{nodes:nodes|the speed of the machine}} differed",
    **{outcome: f"{outcome.replace('_', ' ')}: {{of}}" for outcome in OUTCOMES},
    # About a ratio that is UNCLEAR though its processes agree
    comparison.PROCESSES_SHIFTED: "the difference between the two sides shifted during the "
    "session, so a part of its processes disagrees with the rest; measure again, or in more "
    "processes",
    comparison.PROCESSES_CORRELATED: "successive processes are alike (correlation "
    "{correlation:.2f}), so they say less than as many independent ones; measure again, or in more "
    "processes",
    comparison.PLAIN_MEAN_OPPOSED: "a few outlying processes decide which side is faster, and the "
    "mean of all processes says the opposite; measure in more processes",
    # About the machine
    "busy": "others kept {others:.1f} of {processors} processors busy{busiest:? ({busiest})}",
    "swap": "the machine swapped {megabytes:.1f} MB during the measurement",
    "throttled": "the {processor} was slowed down by heat{times:? {times} times}"
    "{hot:? for {hot:.1f} of {seconds:.1f} s}",
    "clock": "the CPU's clock at the end was {times:.2f} times that at the start",
    "threads": "more threads than usable processors: {variables}",
    "memory": "only {free:GiB} of memory is free",
    "quota": "a control group limits this process to the time of {quota:g} processors, but "
    "{usable} are visible: frameworks start too many threads, which the system pauses again and "
    "again",
    "instructions": "{variables}: a library may leave out instructions of this CPU, and then "
    "compute at half the rate",
    "governor": "the CPU's governor is {governor}: its clock follows the load",
    "turbo": "the CPU's turbo is on: its clock depends on how warm it is",
    "virtual": "this is a virtual machine: others on its host may slow it down unseen",
    "gpu": "CUDA does not see this machine's GPU",
    "nvml": "the GPU's clocks, temperature and other processes cannot be read, so they are not "
    "recorded",
    "gpu_shared": "{gpu}: other processes use it: {processes}",
    "gpu_busy": "{gpu}: it is {percent:.0f}% busy with processes that are not visible here",
    "gpu_slowed": "{gpu}: its clock is limited: {reasons}",
    "mig": "{gpu}: it is cut into slices (MIG): times are those of a slice",
    "persistence": "{gpu}: its driver is unloaded when idle: the next first call takes seconds",
    "tensorflows": "{both} are installed in the same folder and overwrite each other: which of "
    "them runs, and whether it supports the GPU, depends on which was installed last",
    "launch_blocking": "CUDA_LAUNCH_BLOCKING is set: the host waits for every kernel, so small "
    "kernels look slow",
    # About a device that is missing
    "gpu_hidden": "no {device}: CUDA_VISIBLE_DEVICES={variable!r} hides it ({visible} of "
    "{installed:#GPU} left); change or unset the variable",
    "gpu_absent": "no {device}: this machine has {visible:#GPU}, {names}",
    "gpu_problem": "no {device}: {problem}; see what nvidia-smi says (after an update of the "
    "driver, the machine needs a restart)",
    "gpu_not_shown": "no {device}: NVIDIA's driver is loaded but shows no GPU; see what nvidia-smi "
    "says",
    "gpu_without_driver": "no {device}: this machine has an NVIDIA GPU, but its driver is not "
    "loaded; install NVIDIA's driver",
    "gpu_outside_container": "no {device}: this container has no access to an NVIDIA GPU; if its "
    "host has one, start the container with --gpus all",
    "no_gpu": "no {device}: this machine has no NVIDIA GPU; run the suite on a machine with one to "
    "add its results",
    # About a case without a time
    **{
        f"raised_in_{stage}": f"{{error}} {words}: {{message}}"
        "{own:?; the backend's own code raised it, nobody pressed Ctrl-C}"
        for stage, words in _STAGES.items()
    },
    **_TOO_LARGE,
    "unavailable": "{why}",
    "needs_environment": "{why}",
    "unsupported": "{why}",
    "gate_not_passed": "its results differ from the reference, so its time is not shown",
    "differs": "it does not compute what the reference computes: {errors}",
    "differs_when_timed": "what was timed does not compute what the reference computes: {errors}",
    "no_evidence": "{missing}",
    "impossible": "accounting error: {seconds:.3g} s per step would be {part:.0%} of the {roof}, "
    "over {limit:.0%} of what the fastest library here reaches ({by})",
    "not_recordable": "it cannot be recorded: {error}",
    "stopped": "stopped from the keyboard while its group was measured",
    "process_ended": "its process {ending}",
    "process_killed": "its process {ending}",
    "over_limit": "it took longer than its limit of {limit:g} s, which includes tracing and "
    "compiling, and was stopped while it was {timing:timed|prepared}",
    "machines_lost": "machines were lost while it was measured; the last one: {error}",
    # About memory and energy
    "server_not_started": "the process for memory cannot be started: {error}",
    "server_ended": "the process for memory has ended",
    "server_not_ready": "the process for memory was not ready within {limit:.0f} s",
    "server_silent": "the process for memory did not answer within {limit:.0f} s",
    "import_failed": "{framework} cannot be imported: {error}",
    "over_memory_limit": "it took longer than {limit:.0f} s",
    **{f"{code}_too": f"next to the process that times, {why}" for code, why in _TOO_LARGE.items()},
    "only_linux": "on a CPU it is read from Linux's /proc",
    "no_time_left": "no time was left for it within the time limit of the case",
    "not_counted": "the allocator that JAX was set to use does not count memory",
    "framework_silent": "{framework} does not say what it holds on a GPU",
    "earlier_peak": "something earlier in the process needed more memory, and {allocator} cannot "
    "reset its peak",
    "part_of_gpu": "the device is a part of a GPU, but the energy counter covers the whole GPU",
    "counter_stood": "the GPU's energy counter did not advance",
    "raised": "{error}",
    "escaped": "{error} while it was measured",
    # About what was requested
    "no_case": "the files hold no case: nothing was measured or left out. Measure first, for "
    "example with `python -m bench.run quick`, or name other files",
    "no_measured_case": "the files hold no measured case; `python -m bench.report --unmeasured` "
    "shows why each case has no time",
    "no_case_of_kind": "--kind {kind}: the results hold no such case, only {kinds}; choose one of "
    "these, or all",
    "unknown_name": "{option} {name}: the results hold no {what} of that name; choose one of "
    "{known}",
    "nothing_to_name": "{option} {name}: the results hold no {what} with a time, so none can be "
    "chosen; leave out {option}",
    "no_case_fits": "--case {pattern}: no measured case matches; a case has an id like {example}, "
    "and * stands for any part. The measured backends are {known}",
    "no_session_since": "--since {moment:%Y-%m-%d %H:%M} (UTC): no session began then or later; "
    "the last one began at {last:%Y-%m-%d %H:%M}; give that time or an earlier one",
    "same_run": "{new} of NEW holds the same run as {base} of BASE; they must be different runs",
    # About a comparison
    "no_shared_case": "{base} and {new} share no case, so there is nothing to compare. Measure the "
    "same suite on both sides.",
    "several_machines": "{side} holds runs of several machines ({hosts})",
    "too_few_backends": "No group has two backends with results ({backends}): there is nothing to "
    "compare. To add backends, run `pytest --benchmark-only --lstm-backends all`.",
    "too_few_devices": "No two devices have results ({devices}): there is nothing to compare. To "
    "add another, run `pytest --benchmark-only --lstm-device gpu:0` on a machine with a GPU, or "
    "copy a result file of another machine here and name it with the others.",
    "devices_share_no_case": "The devices ({devices}) share no case, so there is nothing to "
    "compare. The two nearest shapes are {base_work} on {base} and {new_work} on {new}; measure "
    "one of them on the other device, too.",
    "devices_share_no_backend": "The devices ({devices}) share no case, so there is nothing to "
    "compare. Both measured {work}, but with different backends.",
    "streams_left_out": "{left_out} of {streams} streams are left out: fewer than "
    f"{ENOUGH_PROCESSES} of their processes have a p{{part:g}}, which is too few for a verdict; "
    f"measure with `python -m bench.run --processes {ENOUGH_PROCESSES}`, and with --seconds for "
    "more calls in each process",
}
"""What is wrong, by the code of the reason."""

_QUIET = "close other programs, or measure on an idle machine"
_MORE_TIME = "give it more time: {option_more_time}"
_SMALLER = "choose fewer sequences, timesteps or units, or a larger machine"
_NOT_TIMED = "it was not timed, because its time would be that of another"

ADVICE = {
    trust.FEW_SAMPLES: _MORE_TIME,
    trust.WIDE_INTERVAL: f"{{short_of_time:{_MORE_TIME}|{_QUIET}}}",
    trust.NOT_STEADY: f"{_MORE_TIME}; if it stays, {_QUIET}",
    "behind": "choose a longer period (--period), shorter chunks, or a faster backend",
    "above_roof": "measure it again on an idle machine; if it stays, the step does less work than "
    "is counted, or the roof is too low: please report it",
    trust.FEW_PROCESSES: "continue with python -m bench.run --resume",
    trust.FEW_ROUNDS: _MORE_TIME,
    trust.UNSTEADY_RATIO: _MORE_TIME,
    "wide": "measure {nodes:on more nodes|in more processes}, or on a machine of its own",
    "uneven": "ratios to other backends come from inside each {nodes:node|process} and differ less",
    **dict.fromkeys(OUTCOMES, "{of:advice}"),
    "busy": _QUIET,
    "swap": "free some memory, or choose a smaller case",
    "throttled": "cool it, or {times:use fewer threads: {option_threads} N|lower its clock: "
    "nvidia-smi -lgc}",
    "clock": "fix the clock: cpupower frequency-set -g performance, and switch turbo off",
    "threads": "set {option_threads} to the number of processors or fewer, or unset these "
    "variables",
    "memory": "close the programs that use it, or omit large shapes",
    "quota": "measure with {option_threads} {threads}, or lift the limit",
    "instructions": "unset these variables unless they are set on purpose",
    "governor": "cpupower frequency-set -g performance (as root)",
    "turbo": "for the steadiest times, switch it off: echo 0 > /sys/devices/system/cpu/cpufreq/"
    "boost, or echo 1 > .../intel_pstate/no_turbo",
    "virtual": "measure again at another time, and compare: python -m bench.compare runs",
    "gpu": "{why}",
    "nvml": "{silent:?its management library does not answer}{why}"
    "{installed:?; see what nvidia-smi says}",
    "gpu_shared": "stop them, or choose another GPU with CUDA_VISIBLE_DEVICES",
    "gpu_busy": "another container or a screen uses it; see nvidia-smi, or choose another GPU",
    "gpu_slowed": "let it cool, or check its power limit: nvidia-smi -q -d PERFORMANCE,POWER",
    "mig": "compare them only with slices of the same size",
    "persistence": "nvidia-smi -pm 1 (as root)",
    "tensorflows": "pip uninstall {packages}, then install the one you want",
    "launch_blocking": "unset it",
    **dict.fromkeys(_TOO_LARGE, _SMALLER),
    "unavailable": "{install}",
    "needs_environment": "python -m bench.run measures it in a process of its own; for pytest, put "
    "{variables} before the command",
    "differs": f"{_NOT_TIMED} function",
    "differs_when_timed": "it was right before it was timed, so its time would be that of another "
    "function",
    "no_evidence": f"{_NOT_TIMED} kernel",
    "impossible": "its result is not waited for, it does too little work, or it uses more threads "
    "than requested; if none of this is so, the roof is too low: please report it",
    "stopped": "run it again; earlier measurements are kept",
    "process_ended": "its backend or framework is at fault; run it alone to see its complete "
    "output",
    "process_killed": "free memory, or choose a smaller case",
    "over_limit": "allow more time: --case-limit TIME",
    "machines_lost": "its backend or framework is at fault, or it needs more memory than there is",
}
"""What to do about it, for most codes. ``{option_more_time}`` becomes the name of that option."""


@dataclass(frozen=True)
class OptionNames:
    """The names that a command gives its options."""

    more_time: str
    threads: str

    def name(self, option: HelpfulOption) -> str:
        """Return the command's name of an option, followed by what it takes."""
        return {HelpfulOption.MORE_TIME: self.more_time, HelpfulOption.THREADS: self.threads}[
            option
        ]


PYTEST_OPTIONS = OptionNames("--lstm-budget SECONDS", "--lstm-threads")
RUN_OPTIONS = OptionNames("--seconds TIME", "--threads")
ASK_OPTIONS = OptionNames("--budget TIME --again", "bench.run with --threads")
CHECK_OPTIONS = OptionNames("--budget TIME", "OMP_NUM_THREADS")


class _Sentence(string.Formatter):
    """Puts values into a sentence, in more formats than Python's.

    ``#noun`` is a number with its noun. ``GiB`` is a number of bytes. ``?words`` are these words if
    the value is true, and ``one|two`` is the second alternative if it is not. A reason in a reason
    becomes its sentence, and with ``advice`` its advice.

    options: those of the command to which advice refers, None for the command that found each
    reason.
    """

    def __init__(self, options: OptionNames | None) -> None:
        self.options = options

    def format_field(self, value: Any, spec: str) -> str:
        if isinstance(value, Reason):
            return reason_texts(value, self.options)[spec == "advice"]
        if spec.startswith("#"):
            return count(value, spec[1:])
        if spec.startswith("?"):
            return spec[1:] if value else ""
        if "|" in spec:
            return spec.split("|")[not value]
        if spec == "GiB":
            gib = value / 2**30
            return f"{gib:.1f} GiB" if gib < 9.95 else f"{gib:.0f} GiB"
        if isinstance(value, list):
            return ", ".join(printable(each, 60) for each in value) or "none"
        return printable(str(super().format_field(value, spec)), LONGEST_SENTENCE)


def reason_texts(reason: Reason, options: OptionNames | None = None) -> tuple[str, str]:
    """Return the sentence of a reason, and what to do about it.

    A sentence from a file is used if the file has no values, if its code is of a later version, or
    if its values, which may be anything, do not fit. A file without sentences then has only its
    code.

    options: those of the command to which the advice refers, by default of the command that found
    the reason.
    """
    code, written = reason.code, reason.written
    names = options or (RUN_OPTIONS if reason.managed else PYTEST_OPTIONS)
    if written is None or (code in SENTENCES and (reason.values or written.text is None)):
        form = _Sentence(options).format
        values = {
            **reason.values,
            **{f"option_{each.value}": names.name(each) for each in HelpfulOption},
        }
        unfit = () if written is None else (ArithmeticError, LookupError, TypeError, ValueError)
        with contextlib.suppress(*unfit):
            return form(SENTENCES[code], **values), form(ADVICE.get(code, ""), **values)
    assert written is not None
    if written.text is None:
        return f"{code}: this version of the suite has no sentence for it", ""
    parts = (
        names.name(part) if isinstance(part, HelpfulOption) else part for part in written.advice
    )
    return written.text, "".join(parts)


def reason_line(reason: Reason, options: OptionNames | None = None) -> str:
    """Return the sentence of a reason and what to do about it in one line."""
    return "; ".join(filter(None, reason_texts(reason, options)))


def counted(reasons: Iterable[tuple[str, Reason]]) -> Counter[str]:
    """Count reasons by code, each in the words of the first, with the text before it."""
    found, texts = list(reasons), dict[tuple[str, str], str]()
    for start, reason in found:
        texts.setdefault((start, reason.code), f"{start}{clean(reason_line(reason))}")
    return Counter(texts[start, reason.code] for start, reason in found)


def no_figure(figures: Mapping[str, object]) -> str:
    """Return why memory or energy is unknown. Older files have the sentence itself."""
    how = str(figures.get("how", "not known"))
    text = reason_texts(Reason(how, figures, WrittenTexts(how)))[0]
    return f"not known: {text}" if how in SENTENCES else how


def problem_line(problem: Problem, options: OptionNames | None = None) -> str:
    """Return in one line why numbers cannot be trusted, what to do, and in how many runs."""
    text, advice = reason_texts(problem.reason, options)
    message = f"{text} ({advice})" if advice else text
    some = f" [in {problem.runs} of {problem.of} runs]" if problem.runs != problem.of else ""
    return message + some


def problem_lines(problems: Iterable[Problem]) -> str:
    """Return several problems in one line, for a cell of a table."""
    return "; ".join(map(problem_line, problems))


# Reference cases that differ between the two sides


def heterogeneity_note(heterogeneity: Heterogeneity) -> str:
    """Return by how much a reference differs between the sides, its effect, and what to do."""
    found, backends = heterogeneity.found, (heterogeneity.new, heterogeneity.base)
    new, base = (printable(each, 60) for each in backends)
    reference, wider = printable(heterogeneity.reference, 60), math.expm1(abs(found.log_ratio))
    return (
        f"{reference}, through which {new} and {base} are compared, took {found.ratio.mid:.2f} "
        f"times as long in the processes of {new} as in those of {base} ({found.ratio.low:.2f}–"
        f"{found.ratio.high:.2f}, over {count(heterogeneity.cases, 'case')}; "
        f"{intervals.REFERENCE_ALLOWANCE:.0%} is allowed for). The interval is therefore wider by "
        f"{100 * wider:.2g}% each way. To change that, measure in more processes (--processes), or "
        "use another reference (the first of --backends that needs no environment of its own)"
    )


# What an interval is based on


_PAIRINGS = {
    Pairing.ALTERNATING: "alternating blocks",
    Pairing.SEQUENTIAL: "one side after the other",
    Pairing.ADJACENT: "each with one of the other side right before or after it",
    Pairing.BRIDGED: "each measured with the same third case",
    Pairing.UNPAIRED: "unpaired",
}
_ALSO = {
    comparison.OF_NODES_APART: "none with both",
    intervals.OF_ITS_SAMPLES: "1 process, its own samples: how processes differ is not included",
    intervals.OF_ITS_CALLS: "1 process, its own calls: how processes differ is not included",
    intervals.OF_ONE_NODE: "how nodes differ is not included",
    OF_CASES_TOGETHER: "taken to err together",
    HETEROGENEOUS: "{by:.2g}% more each way, by which the third case differs from itself",
}


def basis_text(basis: Reason) -> str:
    """Return what an interval is based on: ``6 processes, alternating blocks``.

    If a spread of processes or nodes was assumed, the text states it, and also what is not
    included.
    """
    values: dict[str, Any] = dict(basis.values)
    parts = [basis_text(values["of"])] if "of" in values else []
    for key, noun in (("nodes", "node"), ("processes", "process"), ("counts", "process")):
        if number := values.get(key):
            sides = number if isinstance(number, tuple) else (number,)
            parts.append(" against ".join([*map(str, sides[:-1]), count(sides[-1], noun)]))
    if "pairing" in values:
        parts.append(_PAIRINGS[values["pairing"]])
    if allowance := values.get("allowance"):
        units = "nodes" if values.get("nodes") else "processes"
        parts.append(f"allowance of {100 * allowance:.2g}% for the spread between {units}")
    if basis.code in _ALSO:
        parts.append(_ALSO[basis.code].format(by=100 * values.get("by", 0.0)))
    cases = f"{count(values['cases'], 'case')}: " if "cases" in values else ""
    return f"{cases}{', '.join(parts)}"
