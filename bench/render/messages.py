"""Compose every sentence of a report: verdicts, warnings, reasons and what to do about them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.case.cases import Case
from bench.machine.fields import printable
from bench.records.grouping import grouped
from bench.records.schema import MORE_TIME, Outcome, advice_for
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import (
    RATIO_INTERVAL,
    TIME_INTERVAL,
    bounds_of_time,
    name,
    title,
    versus,
    where,
)
from bench.render.quantities import count, listed, part_of, percent, seconds
from bench.render.table import Finding
from bench.stats import bound as step
from bench.stats import comparison, intervals, trust
from bench.stats.comparison import SAME_WITHIN, Comparison, Heterogeneity, Pairing, Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, Reason
from bench.stats.outliers import outliers
from bench.stats.ratios import HETEROGENEOUS, OF_CASES_TOGETHER, all_slower, geometric_mean
from bench.stats.rows import (
    KINDS,
    MEASURED,
    Row,
    Section,
    Table,
    all_problems,
    compare_rows,
)
from bench.stats.trust import Problem
from lstm_impl.names import framework

_MOST_PROBLEMS = 2  # in an answer; the report has all

FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "flax": "Flax"}
"""Their names in sentences."""


# The answer for one shape


def answer(section: Section, advice: Callable[[str], str] = str) -> list[str]:
    """Return what to use, how much faster it is with its interval, and where it was measured.

    Where another framework's is the fastest, the best of the baseline's own is next to it.

    section: of one amount of work, the fastest first, with a row or more that has a time. advice:
    words advice for the command that was run.
    """
    measured = [row for row in section.rows if row.measured]
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
            text = f"{name(best.case.backend)}{itself}, {seconds(best.time)}"
            text += f", {versus(best.to_baseline, section.baseline)}" if best.to_baseline else ""
            lines.append(f"Inside {FRAMEWORKS.get(home, home)}: {text}.")
    for row in unranked if ranked is not unranked else ():
        text = "approximates" if row.case.approximate else "has no rank"
        text = f"{name(row.case.backend)} {text}, {_cost(row)}"
        text += "" if row.error is None else f", with outputs {row.error:.2%} off the reference"
        text += f": {versus(row.to_baseline, section.baseline)}" if row.to_baseline else ""
        lines.append(f"{text}.")
    problems = dict.fromkeys(map(problem_line, (*first.validity.invalid, *first.ratio_problems)))
    if problems:
        text = "; ".join(clean(advice(each)) for each in list(problems)[:_MOST_PROBLEMS])
        lines.append(f"Do not rely on it yet: {text}.")
    lines += [f"{text}." for text in heterogeneous_references(ranked)]
    runs, started = count(len(section.runs), "process"), f"{section.started:%Y-%m-%d %H:%M}"
    return [*lines, f"From {runs} on {where(section)}, {started} UTC."]


def _use(first: Row, second: Row, baseline: str) -> str:
    parts = [] if first.to_baseline is None else [versus(first.to_baseline, baseline)]
    if second.case.backend != baseline and (ahead := first.behind.get(second.case.backend)):
        parts.append(versus(ahead.inverse, second.case.backend, ", the next"))
    text = f": {'; '.join(parts)}" if parts else ""
    if first.fastest:
        return f"Use {name(first.case.backend)}, {_cost(first)}{text}."
    near = (Verdict.SAME, Verdict.UNCLEAR)
    equal = [name(other) for other, found in first.behind.items() if found.verdict in near]
    also = f", not significantly different from {listed(equal)}" if equal else ""
    return f"{name(first.case.backend)} has the shortest times, {_cost(first)}{also}{text}."


def _cost(row: Row) -> str:
    assert row.interval is not None
    around = bounds_of_time(row.interval, row.time)
    return f"{seconds(row.time)} per step{around and f' ({TIME_INTERVAL} {around})'}"


# CSV and JSON have every case.
_MOST_LINES = 12
_MOST_REMARKS = 4


def findings(section: Section) -> list[Finding]:
    """Return which backend is the fastest, what went wrong, and what has no time and why."""
    rows, tables = section.rows, section.timed_tables
    found = [Finding(_answer(table), answer=True) for table in tables]
    if not found:
        found.append(Finding("Nothing was measured.", warning=True))
    found += [Finding(text) for table in tables for text in _fallbacks(table)]
    found += [Finding(text, warning=True) for text in of_nodes(section)]
    if not section.complete:
        found.append(Finding("A run did not finish: cases may be missing.", warning=True))
    found += [Finding(f"{text}.", warning=True) for text in heterogeneous_references(rows)]
    found += [*unreliable(rows), *_remarks(rows), *_without_time(rows)]
    if text := unmeasured_summary(unmeasured(section), "python -m bench.report --unmeasured"):
        found.append(Finding(f"{text}."))
    return found


def summary(found: Sequence[Finding]) -> list[Finding]:
    """Return the answers among findings, and how many warnings the others hold."""
    answers, wrong = [each for each in found if each.answer], sum(each.warning for each in found)
    text = f"{count(wrong, 'warning')} below, under Findings: read before you rely on this."
    return [*answers, *[Finding(text, warning=True)] * bool(wrong)]


def unmeasured(section: Section) -> tuple[UnmeasuredCases, ...]:
    """Return the cases without a time, by reason."""
    return group_unmeasured(row for row in section.rows if row.outcome != MEASURED)


def _answer(table: Table) -> str:
    """Return which backend is the fastest over all the work of a table, if one is."""
    start, places = f"{title(table)}: ", count(len(table.groups), table.noun)
    if not table.backends:
        return f"{start}only backends that approximate were measured."
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({places})."
    rows: dict[str, list[Row]] = {backend: [] for backend in table.backends}
    for row in (row for group in table.groups for row in group if row.measured):
        rows.setdefault(row.case.backend, []).append(row)
    counts = Counter(group[0].case.backend for group in table.groups)
    led = [
        f"{name(each)} in {number} of {len(table.groups)}" for each, number in counts.most_common()
    ]
    leaders = f" By {table.noun}, the shortest times: {listed(led)}."
    # Only a backend that was measured on all the work can lead over all of it.
    complete = sorted(
        (each for each in table.backends if len(rows[each]) == len(table.groups)),
        key=lambda backend: sum(math.log(row.time) for row in rows[backend]),
    )
    if len(complete) < 2:
        which = f"only {name(complete[0])}" if complete else "no backend"
        return f"{start}{which} was measured on all {places}.{leaders}"
    first, second, *others = complete
    among = "" if len(complete) == len(table.backends) else f"of those measured on all {places}, "
    ahead = _over_all(rows[first], rows[second])
    # A backend that is not even ahead of the next is not compared with the others.
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
    text += versus(ahead, second, ", the next")
    text += "." if len(table.groups) == 1 or among else f" over {places}."
    if ahead.verdict is Verdict.FASTER and not fastest:
        near = [name(each) for each, of in ratios.items() if of.verdict is not Verdict.FASTER]
        text += f" It is not significantly faster than {listed(near or ['all others jointly'])}."
    if unreliable:
        text += f" Do not rely on it: {part_of(unreliable, len(pairs), 'ratio')} INVALID."
    return text + (leaders if {*counts} != {first} else "")


def _over_all(new: Sequence[Row], base: Sequence[Row]) -> Comparison:
    """Return the ratio over all groups, which both sides have in the same order."""
    found = [one.behind.get(other.case.backend) for one, other in zip(new, base, strict=True)]
    known = [each for each in found if each is not None]
    if len(known) == len(found):  # the leader of every group is compared with all others already
        return geometric_mean(known).inverse
    return geometric_mean(compare_rows(list(zip(new, base, strict=True))))


# Unreliable numbers, and cases without a time


def unreliable(rows: Sequence[Row]) -> list[Finding]:
    """Return what is INVALID or unreliable: measurements, then ratios alone, then times alone."""
    measured = [row for row in rows if row.measured]
    compared = [row for row in measured if row.to_baseline is not None]
    unreliable = "Unreliable: {} (ratios are judged separately)"
    found = _by_reason(measured, lambda row: row.invalid, "INVALID: {}", "measurement")
    found += _by_reason(
        compared,
        lambda row: [each for each in row.ratio_problems if each.code in trust.OF_RATIO],
        *("INVALID: {}", "ratio"),
    )
    found += _by_reason(
        measured, lambda row: row.validity.of_time, unreliable, "time", warning=False
    )
    return _not_too_many(found)


def _by_reason(
    rows: Sequence[Row],
    problems_of: Callable[[Row], Iterable[Problem]],
    start: str,
    noun: str,
    warning: bool = True,
) -> list[Finding]:
    """Return a line for each kind of reason, in the words of its first case.

    start: with a place for how many of the rows there are.
    """
    found = []
    pairs = [(row, problem) for row in rows for problem in problems_of(row)]
    for problems in grouped(pairs, lambda each: each[1].code).values():
        first = problems[0][1]
        differ = any((each.text, each.values) != (first.text, first.values) for _, each in problems)
        text = start.format(part_of(len(problems), len(rows), noun))
        reason, advice = problem_texts(first)
        text += f": {'for one, ' * differ}{clean(reason)}"
        if differ or len(problems) < len(rows):
            cases = [name(row.case.id) for row, _ in problems]
            text += f" ({listed(cases[:1] if differ else cases, 2)})"
        most = max(problem.runs for _, problem in problems)
        if most < first.of:
            text += f", in {'up to ' if len(problems) > 1 else ''}{most} of {first.of} processes"
        found.append(Finding(_with_advice(text, advice), warning=warning))
    return found


def _with_advice(text: str, advice: str) -> str:
    return (
        f"{_with_stop(text)} To change that: {_with_stop(clean(advice))}"
        if advice
        else _with_stop(text)
    )


def _without_time(rows: Iterable[Row]) -> list[Finding]:
    """Return what went wrong, a line for each backend."""
    wrong = [row for row in rows if row.outcome in FAILURES]
    groups = grouped(wrong, lambda row: (row.outcome, row.case.backend, row.case.device))
    found = []
    for outcome, backend, device in sorted(groups, key=lambda key: FAILURES.index(key[0])):
        cases = groups[outcome, backend, device]
        reasons = list(dict.fromkeys(row.reason for row in cases))
        text = (
            f"{outcome.upper().replace('_', ' ')}: {count(len(cases), 'case')} "
            f"({name(backend)} on {name(device)}): {clean(reasons[0]) or 'no reason was recorded'}"
        )
        if len(reasons) > 1:
            text = f"{_with_stop(text)} And {count(len(reasons) - 1, 'other reason')}."
        advice = next((row.advice for row in cases if row.advice), "")
        found.append(Finding(_with_advice(text, advice), warning=True))
    return _not_too_many(found)


def _remarks(rows: Iterable[Row]) -> list[Finding]:
    """Return a line on warnings of backends and on what they changed in their process."""
    by_text = grouped(((text, row) for row in rows for text in row.remarks), lambda each: each[0])
    messages = []
    for text, found in by_text.items():
        backends = list(dict.fromkeys(name(row.case.backend) for _, row in found))
        messages.append(f"{clean(text)} ({listed(backends, 3)}, {count(len(found), 'case')})")
    text = f"Warnings from the backends: {listed(messages, _MOST_REMARKS)}" if messages else ""
    return [Finding(_with_stop(text))] if text else []


def _not_too_many(found: list[Finding]) -> list[Finding]:
    more = len(found) - _MOST_LINES
    if more > 0:
        text = f"And {count(more, 'more reason')}; --format csv has every case."
        found = [*found[:_MOST_LINES], Finding(text, warning=any(f.warning for f in found))]
    return found


def _with_stop(text: str) -> str:
    """Return a sentence with a full stop, unless it ends in a command or another mark."""
    return text if text.endswith((".", "!", "?", "'", '"', "`")) else f"{text}."


UNCLEAR_REASONS = {
    comparison.PROCESSES_SHIFTED: "the difference of the two sides shifted during the session, so "
    "its earlier and later processes disagree; measure again, or in more processes",
    comparison.PLAIN_MEAN_OPPOSED: "a few outlying processes decide which side is faster, and the "
    "mean of all processes says the opposite; measure in more processes",
}
"""Why a ratio is UNCLEAR though its processes agree, by the code of the reason."""


def unclear(ratios: Iterable[Comparison | None]) -> list[str]:
    """Return why ratios are UNCLEAR, and whether more processes would decide.

    Ratios over a heterogeneous reference are left out: more processes do not help them.
    """
    judged = [ratio for ratio in ratios if ratio is not None and not ratio.heterogeneous]
    open_ones = [ratio for ratio in judged if ratio.verdict is Verdict.UNCLEAR]
    counts = Counter(reason.code for ratio in open_ones for reason in ratio.reasons)
    why = [(number, UNCLEAR_REASONS[code]) for code, number in counts.items()]
    if by_spread := [ratio for ratio in open_ones if not ratio.reasons]:
        why.append((len(by_spread), _why_unclear(by_spread)))
    return [f"UNCLEAR: {part_of(number, len(judged), 'ratio')}: {text}" for number, text in why]


def _why_unclear(ratios: Sequence[Comparison]) -> str:
    """Return how far the processes of UNCLEAR ratios spread, and how many would decide."""
    spreads = [ratio.spread for ratio in ratios if ratio.spread is not None]
    between = [ratio.between for ratio in ratios if ratio.between is not None]
    if not spreads or (any(ratio.nodes for ratio in ratios) and not between):
        return (
            f"one process does not show how many are needed; measure in {ENOUGH_PROCESSES} "
            f"(python -m bench.run --processes {ENOUGH_PROCESSES})"
        )
    spread = statistics.median(spreads)
    text = f"processes spread by {percent(spread)}{' (median)' * (len(spreads) > 1)}"
    if between:
        nodes = percent(statistics.median(between))
        return f"on a node {text}, nodes beyond that by {nodes}; measure on more nodes"
    small, large = (
        comparison.processes_needed(spread, effect) or f"over {comparison.MOST_NEEDED}"
        for effect in (0.05, 0.1)
    )
    return f"{text}, so a difference of 5% needs {small} processes and one of 10% {large}"


def heterogeneous(ratios: Iterable[Comparison | None]) -> list[str]:
    """Return the references that differ between the two sides of a ratio, without full stops."""
    found: dict[object, Heterogeneity] = {}
    for each in (ratio.heterogeneity for ratio in ratios if ratio is not None):
        if each is not None and each.significant:
            # On another device the difference is another.
            by = round(abs(each.found.log_ratio), 9)
            found.setdefault((each.reference, frozenset((each.new, each.base)), by), each)
    return [
        f"Heterogeneous reference: {clean(heterogeneity_note(each), LONGEST_SENTENCE)}"
        for each in found.values()
    ]


_METHOD = {
    "times": f"Times are medians of one step with their {TIME_INTERVAL}. Inference is the forward "
    "pass; training is forward and backward. The first result includes building, tracing, "
    "compiling and one step.",
    "ratios": "vs {base}: the speedup over {base} on the same work, above 1 is faster. FASTER and "
    f"SLOWER: the whole {RATIO_INTERVAL} is on that side of 1 (statistically significant); SAME: "
    f"it is within ±{100 * SAME_WITHIN:g}%; UNCLEAR: anything else. Over several shapes the "
    "speedup is the geometric mean.",
    KINDS[1]: "Per timestep: the time of a step divided by its timesteps, for the whole batch.",
    KINDS[2]: "Streaming: each call is timed by itself, from when it was due (or back to back, "
    "from when it began) until its output is there. A percentile is the median over the "
    "processes, shown where each process has enough calls. late: calls that missed their deadline.",
    "load": "The suite kept {processors} busy while streams were timed (--load).",
    "memory": "Memory is the peak of what a case needs beyond its framework: on a CPU in a process "
    "of its own, on a GPU what the framework's allocator held.",
    "nodes": "Nodes are machines of one kind. Each has the same weight in every interval, by the "
    "mean over its processes: an interval describes a machine of this kind.",
}


def method(section: Section) -> list[str]:
    """Return how to read the numbers, and what their intervals are based on."""
    rows = [row for row in section.rows if row.measured]
    if not rows:
        return []
    lines = [_METHOD["times"]]
    if any(row.to_baseline for row in rows):
        lines.append(_METHOD["ratios"].format(base=name(section.baseline)))
        lines += [f"{each}." for each in unclear(row.to_baseline for row in rows)]
    kinds = {row.case.kind for row in rows}
    lines += [_METHOD[kind] for kind in KINDS[1:] if kind in kinds]
    if load := max((row.stream.load for row in rows if row.stream is not None), default=0):
        lines.append(_METHOD["load"].format(processors=count(load, "processor")))
    lines += [_METHOD["memory"]] * any("peak_bytes" in row.memory for row in rows)
    lines += [_METHOD["nodes"]] * bool(section.nodes)
    return lines + [f"{each}." for each in (*over_references(rows), *assumptions(rows))]


def over_references(rows: Sequence[Row]) -> list[str]:
    """Return which ratios are over a third backend, measured in the processes of both sides."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.reference and row.to_baseline and row.to_baseline.pairing is Pairing.BRIDGED:
            found.setdefault(name(row.reference.case.backend), {})[name(row.case.backend)] = None
    return [
        f"Over {reference}, which is in the processes of both sides: the ratios of "
        f"{listed(list(backends))}, measured in processes of another environment than the baseline"
        for reference, backends in found.items()
    ]


def heterogeneous_references(rows: Sequence[Row]) -> list[str]:
    """Return the references that differ between the two sides of a ratio of these rows."""
    return heterogeneous(
        [
            *(row.to_baseline for row in rows),
            *(ratio for row in rows for ratio in row.behind.values()),
            *(row.helper_ratio for row in rows),
        ]
    )


def assumptions(rows: Sequence[Row]) -> list[str]:
    """Return what the intervals assume of fewer than six processes or nodes, without full stops."""
    known = [row.interval for row in rows if row.interval is not None]
    ratios = [row.to_baseline for row in rows if row.to_baseline is not None]
    found = []
    if any(each.processes == 1 for each in known):
        found.append(
            "1 process: the interval of a time covers the samples of this process only; medians of "
            f"other processes were seen to differ by {percent(intervals.LEAST_SPREAD)} to "
            f"{percent(intervals.MOST_SPREAD)} on one machine"
        )
    for noun, of_nodes in (("process", False), ("node", True)):
        assumed = []
        for what, judged in (("times", known), ("ratios", ratios)):
            here = {e.allowance for e in judged if e.allowance and (e.nodes > 1) == of_nodes}
            if here:
                assumed.append(f"{' and '.join(map(percent, sorted(here)))} for {what}")
        if assumed:
            found.append(
                f"Fewer than {count(ENOUGH_PROCESSES, noun)} do not show how far they differ: the "
                f"intervals assume {', '.join(assumed)}, on which the verdicts depend"
            )
    return found


def _fallbacks(table: Table) -> list[str]:
    """Return what backends ran in place of what their names suggest."""
    fallen = [row for row in table.rows if row.measured and row.fallback]
    found = grouped(fallen, lambda row: (row.case.backend, row.fallback))
    return [
        f"{title(table)}: {name(backend)} ran {clean(ran)} ({count(len(rows), table.noun)})."
        for (backend, ran), rows in found.items()
    ]


LOOK = (
    "Its results are included in every interval. Check its clock, temperature and other load "
    "(python -m bench.doctor there); to exclude it, name the files of the other nodes"
)
"""What to do about an outlying node."""


def of_nodes(section: Section) -> Iterable[str]:
    """Yield which of several machines of one kind differs from the others or was disturbed."""
    if not section.nodes:
        return
    rows = [row for row in section.rows if row.measured]
    for found in outliers(rows):
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
    node_of = section.node_of
    invalid = [row for row in rows if row.invalid]
    processes = Counter(node_of[run.run] for row in invalid for run in row.runs)
    disturbed = Counter(node_of[run] for row in invalid for run in row.disturbed if run in node_of)
    bad = [node for node, number in disturbed.items() if number > trust.MINORITY * processes[node]]
    if bad and len(bad) < len(section.nodes):
        yield (
            f"INVALID because of {listed([name(section.nodes[node]) for node in bad])}: on the "
            "other nodes no more than a quarter of the processes were disturbed. Measure there "
            "again when it is quiet, or name the other nodes' files."
        )


FAILURES = ("failed", "crashed", "timed_out")
"""Outcomes that are errors, the most severe first."""

_OUTCOMES = {
    "refused": "refused by the backend",
    "not_measured": "not measured",
    "timed_out": "over their time limit",
}


@dataclass(frozen=True)
class UnmeasuredCases:
    """Cases without a time that share a reason. outcome: one of ``results.OUTCOMES``."""

    outcome: str
    reason: str
    advice: str
    cases: tuple[Case, ...]

    @property
    def failed(self) -> bool:
        """Whether the outcome is an error."""
        return self.outcome in FAILURES

    @property
    def text(self) -> str:
        """Return outcome and reason: ``not measured: no gpu:0: this machine has no GPU``."""
        parts = [clean(text, 300).rstrip(".") for text in (self.reason, self.advice) if text]
        return f"{_outcome(self.outcome)}: {'. '.join(parts) or 'no reason was recorded'}"

    @property
    def which(self) -> str:
        """Return backends and devices: ``cudnn and torch on gpu:0``."""
        backends = sorted({name(case.backend) for case in self.cases})
        return f"{listed(backends)} on {listed(sorted({name(case.device) for case in self.cases}))}"


def group_unmeasured(items: Iterable[Row | Outcome]) -> tuple[UnmeasuredCases, ...]:
    """Group cases without a time by outcome, reason and advice, each case once."""
    found = grouped(items, lambda item: (item.outcome, item.reason, item.advice))
    return tuple(
        UnmeasuredCases(*key, tuple({item.case.id: item.case for item in same}.values()))
        for key, same in found.items()
    )


def unmeasured_summary(groups: Sequence[UnmeasuredCases], option: str = "--unmeasured") -> str:
    """Return how many cases have no time, and why if there is one reason; empty if none.

    ``108 cases have no time: 98 not measured, 10 refused by the backend (--unmeasured lists
    them)``. option: what lists them here.
    """
    quiet = [group for group in groups if not group.failed]
    cases = [case for group in quiet for case in group.cases]
    if not quiet:
        return ""
    text = f"{count(len(cases), 'case')} {'has' if len(cases) == 1 else 'have'} no time"
    if len(quiet) == 1:
        return f"{text}, {quiet[0].text} ({quiet[0].which})"
    counts = Counter(group.outcome for group in quiet for _ in group.cases)
    messages = [f"{number:,} {_outcome(outcome)}" for outcome, number in counts.most_common()]
    return f"{text}: {', '.join(messages)} ({option} lists them)"


def unmeasured_heading(group: UnmeasuredCases) -> str:
    """Return a heading: ``98 cases not measured: no gpu:0: this machine has no GPU``."""
    return f"{count(len(group.cases), 'case')} {group.text}"


def _outcome(outcome: str) -> str:
    return _OUTCOMES.get(outcome, name(outcome.replace("_", " ")))


# What bounds a case


_BOUND_KINDS = {step.CHAIN: "the chain of products", step.HOST: "the host"}
"""Their names after "bound by", where these are not their codes."""

_BOUND_PARTS = {
    step.LAUNCHES: "starting its operators",
    step.HOST: "calling its operators from Python",
    step.CHAIN: "the chain of products",
    step.PRODUCTS: "its products",
    step.MEMORY: "moving its data",
    step.WAITING: "waiting",
}
"""Their names where none of them is most of a step."""

_BOUND = {
    step.LAUNCHES: "starting as many operators ({launches}) that do nothing takes {part} of the "
    "step",
    step.HOST: "calling as many operators ({launches}) that do nothing from Python takes {part} of "
    "the step",
    step.CHAIN: "those that wait for one another take {part} of the step at the best that was seen "
    "here",
    "above_chain": "it is as fast as those that wait for one another at the best that was seen "
    "here ({part})",
    step.PRODUCTS: "they take {part} of the step at the best rate that was seen here",
    "too_many": "it makes {times} times the multiplications that the step needs, {part} of the "
    "step at the best that was seen here",
    step.MEMORY: "moving its data once takes {part} of the step at the best bandwidth that was "
    "seen here",
    step.WAITING: "for {part} of the step no processor computes",
    step.PADDING: "{part} of the timesteps are padding, and with them {of} would take {padded} of "
    "the step",
}

_BOUND_BY_PROFILE = {
    step.LAUNCHES: "for {part} of the step no operator was at work",
    step.HOST: "for {part} of the step no operator was at work, which Python calls",
    step.PRODUCTS: "{part} of the step by its profile",
    step.COPIES: "{part} of the step by its profile moves, transposes, cuts and joins",
    step.GATES: "{part} of the step by its profile is computed number by number",
}


def bound_sentence(row: Row) -> str:
    """Return ``bound by launches: ...`` or ``not known: ...``; empty if not measured.

    With what was faster on the same work, or else what is worth a try.
    """
    if row.bound is None:
        return ""
    if row.invalid:
        return "not known: what was measured of it is INVALID"
    text = bound_text(row.bound, row.roofs)
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
    """Return what the sentences on what bounds the cases of a section lack, a line for each."""
    timed = [row for row in section.rows if row.measured]
    open_cases = [row for row in timed if row.bound is None or row.bound.kind == step.NOT_KNOWN]
    found = []
    if open_cases:
        found.append(
            f"What limits {len(open_cases):,} of {count(len(timed), 'case')} is not known; in "
            "TensorFlow, PyTorch and JAX python -m bench.profile CASE_ID --output FILE shows it"
        )
    if silent := {row.case.backend for row in open_cases if "of_launch" not in row.roofs}:
        found.append(f"How many operators these start is not known: {listed(sorted(silent))}")
    return [*found, *filter(None, [unmeasured_summary(unmeasured(section))])]


def bound_text(bound: step.Bound, figures: Mapping[str, float]) -> str:
    """Return what bounds a case, and how that is known. figures: of its roofs."""
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


# Why numbers are not to be trusted


def problem_line(problem: Problem) -> str:
    """Return in a line why numbers are not to be trusted, what to do, and in how many runs."""
    text, advice = problem_texts(problem)
    message = f"{text} ({advice})" if advice else text
    return (
        message
        if problem.runs == problem.of
        else f"{message} [in {problem.runs} of {problem.of} runs]"
    )


def problem_lines(problems: Iterable[Problem]) -> str:
    """Return several problems in one line, for a cell of a table."""
    return "; ".join(map(problem_line, problems))


def problem_texts(problem: Problem) -> tuple[str, str]:
    """Return why numbers are not to be trusted and what to do, as recorded or by the code."""
    if problem.text or not problem.values:
        return problem.text, problem.advice
    if problem.code == trust.FEW_PROCESSES:
        return (
            f"{count(round(problem.values[0]), 'process')}: a median over processes has no 95% "
            f"interval of its own under {ENOUGH_PROCESSES}",
            "go on with python -m bench.run --resume",
        )
    if problem.code == trust.UNSTEADY_RATIO:
        text = "the earlier and the later half of the rounds have different ratios"
        return text, advice_for(MORE_TIME, bool(problem.values[0]))
    if problem.code == trust.FEW_ROUNDS:
        text = (
            f"fewer than {intervals.FEWEST_SAMPLES} rounds: a median of so few has no 95% interval"
        )
        return text, advice_for(MORE_TIME, bool(problem.values[0]))
    width, processes, nodes = problem.values
    over = count(round(nodes), "node") if nodes else f"{processes:.0f} processes"
    text = f"the interval of the median over {over} is ±{width:.1%}"
    if width > trust.WIDE_OVER_PROCESSES:
        more = "on more nodes" if nodes else "in more processes"
        text += f", over ±{trust.WIDE_OVER_PROCESSES:.0%}"
        return text, f"measure {more}, or on a machine of its own"
    text += f": {'nodes' if nodes else 'the speed of the machine'} differed"
    unit = "node" if nodes else "process"
    return text, f"ratios to other backends come from inside each {unit} and differ less"


# Why a command has nothing to show


_ERRORS = {
    "no_case": "the files hold no case: nothing was measured or left out. Measure first, as with "
    "`python -m bench.run quick`, or name other files",
    "no_measured_case": "the files hold no measured case; `python -m bench.report --unmeasured` "
    "shows why each case has no time",
    "no_case_of_kind": "--kind {kind}: the results hold no such case, only {kinds}; choose one of "
    "these, or all",
    "unknown_name": "{option} {name}: the results hold no {what} of that name; choose one of "
    "{known}",
    "nothing_to_name": "{option} {name}: the results hold no {what} with a time, so none can be "
    "chosen; leave {option} out",
    "no_case_fits": "--case {pattern}: no measured case fits; a case is named like {example}, and "
    "* stands for any part. The measured backends are {known}",
    "no_session_since": "--since {moment:%Y-%m-%d %H:%M} (UTC): no session began then or later, "
    "the last began at {last:%Y-%m-%d %H:%M}; name that time or an earlier one",
    "same_run": "{new} of NEW holds the same run as {base} of BASE; they must be different runs",
}


def error_text(reason: Reason) -> str:
    """Return what was wrong with what was requested, where, and what to do."""
    return _ERRORS[reason.code].format(**{k: _as_shown(v) for k, v in reason.values.items()})


def _as_shown(value: object) -> object:
    """Return names that are safe in a terminal, several in one line; times as they are."""
    if isinstance(value, list):
        return ", ".join(printable(each, 60) for each in value)
    return printable(value, 120) if isinstance(value, str) else value


# Reference cases that differ between the two sides


def heterogeneity_note(heterogeneity: Heterogeneity) -> str:
    """Return by how much a reference differs between the sides, its effect, and what to do."""
    found, backends = heterogeneity.found, (heterogeneity.new, heterogeneity.base)
    new, base = (printable(each, 60) for each in backends)
    reference, wider = printable(heterogeneity.reference, 60), math.expm1(abs(found.log_ratio))
    return (
        f"{reference}, over which {new} and {base} are compared, took {found.ratio.mid:.2f} times "
        f"as long in the processes of {new} as in those of {base} ({found.ratio.low:.2f}–"
        f"{found.ratio.high:.2f}, over {count(heterogeneity.cases, 'case')}; "
        f"{intervals.REFERENCE_ALLOWANCE:.0%} is allowed for), so the interval is wider by "
        f"{100 * wider:.2g}% each way. To change that: measure more processes (--processes), or "
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

    Then come the spread that was assumed of processes or nodes, if any, and what is not included.
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
