"""Compose every sentence of a report: verdicts, warnings, reasons and what to do about them."""

from __future__ import annotations

import functools
import itertools
import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case.cases import Case
from bench.machine.fields import printable, without_secrets
from bench.machine.reading import is_url
from bench.machine.remote import named
from bench.records.advice import MORE_TIME, worded
from bench.records.grouping import grouped
from bench.render.escape import LONGEST_NAME, LONGEST_SENTENCE, clean
from bench.render.labels import (
    RATIO_INTERVAL,
    TIME_INTERVAL,
    bounds_of_time,
    name,
    title,
    versus,
    where,
)
from bench.render.quantities import (
    capital,
    count,
    first_few,
    listed,
    percent,
    seconds,
    shape_words,
    share,
    signed_seconds,
    signed_seconds_range,
)
from bench.render.table import (
    missed_text,
)
from bench.stats.along import (
    NEAR_CHEAPEST,
    OF_FEWER_WINDOWS,
    OF_LINES,
    OF_RATIOS_OF_LINES,
    AxisSeries,
    BackendCost,
    Fit,
    cost,
    series,
    value,
)
from bench.stats.bound import (
    CHAIN,
    COPIES,
    GATES,
    HOST,
    LAUNCHES,
    MEMORY,
    NOT_KNOWN,
    PADDING,
    PRODUCTS,
    WAITING,
    Bound,
)
from bench.stats.comparison import (
    MOST_NEEDED,
    OF_NODES,
    OF_NODES_APART,
    OF_PROCESSES,
    PLAIN_MEAN_OPPOSED,
    PROCESSES_SHIFTED,
    SAME_WITHIN,
    Comparison,
    Heterogeneity,
    Pairing,
    Verdict,
    processes_needed,
)
from bench.stats.intervals import (
    BRIDGE_APART,
    CASE_CONFIDENCE,
    ENOUGH_PROCESSES,
    FEWEST_SAMPLES,
    LEAST_SPREAD,
    MOST_SPREAD,
    OF_ITS_CALLS,
    OF_ITS_SAMPLES,
    OF_MEDIANS,
    Interval,
    Reason,
    count_nodes,
    count_words,
)
from bench.stats.outliers import Outlier, outliers
from bench.stats.pooling import RunSamples
from bench.stats.random_effects import MOST_NODES, OF_NODES_MEDIANS, OF_ONE_NODE, EffectPlan, plan
from bench.stats.ratios import (
    OF_CASES,
    OF_CASES_TOGETHER,
    OF_PROCESSES_MEANS,
    UNEVEN,
    all_slower,
    compare_all,
    together,
)
from bench.stats.rows import (
    KINDS,
    MEASURED,
    BreakEven,
    Row,
    Section,
    Table,
    all_doubts,
    break_even,
    compare_rows,
)
from bench.stats.trust import (
    FEW_PROCESSES,
    FEW_ROUNDS,
    MINORITY,
    OF_RATIO,
    UNSTEADY_RATIO,
    WIDE_INTERVAL,
    WIDE_OVER_PROCESSES,
    Doubt,
)
from lstm_impl.registry import get_backend, strategies
from lstm_impl.spec import UnsupportedError

MOST = 3
"""Lines. A decision that takes more is a table."""

_MOST_DOUBTS = 2  # in an answer; the report has all

FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "flax": "Flax"}
"""As they write themselves."""


def decisions(section: Section) -> list[Finding]:
    """At most ``MOST`` lines: a decision for each of the first tables, and what went wrong."""
    tables = section.timed_tables
    if not tables:
        return [Finding("Nothing was measured: the findings say why.", loud=True)]
    wrong = sum(found.loud for found in findings(section))
    space = MOST - bool(wrong)
    decided = [Finding(decision(table), answer=True) for table in tables[:space]]
    if wrong:
        described, them = count(wrong, "warning"), "it" if wrong == 1 else "them"
        decided.append(
            Finding(
                f"{described} below, under Findings: read {them} before you rely on this.",
                loud=True,
            )
        )
    return decided


def decision(table: Table) -> str:
    """Say which backend to use for the work of one table, and which for parts of it."""
    start = f"{title(table)}: "
    places, described = len(table.groups), count(len(table.groups), table.noun)
    counts = Counter(group[0].case.backend for group in table.groups)
    if not table.backends:
        return f"{start}only backends that approximate were measured."
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({described})."
    best, led = counts.most_common(1)[0]
    groups = [group for group in table.groups if group[0].case.backend == best]
    parts = [f"use {name(best)}"]
    if (over := _over_baseline([group[0] for group in groups])) is not None:
        parts.append(f", {versus(over, table.baseline)}")
    if places > 1:
        parts.append(
            f"; it has the shortest times at {f'{led} of' if led < places else 'all'} {described}"
        )
    sure = sum(group[0].fastest for group in groups)
    if sure < led and places > 1:
        where = f"each of the others at {sure} of them" if sure else "the others at any of them"
        parts.append(f" and is {'' if sure else 'not '}significantly faster than {where}")
    elif sure < led:
        parts.append(
            f"; not significantly different from {name(groups[0][1].case.backend)}, the next"
        )
    others = [f"{name(each)} at {number}" for each, number in counts.most_common()[1:]]
    if others:
        parts.append(f"; {listed(others, 3)}")
    return f"{start}{''.join(parts)}."


def _over_baseline(rows: Sequence[Row]) -> Comparison | None:
    """Over all these rows that were held against the baseline; None if none was."""
    found = [row.to_baseline for row in rows if row.to_baseline is not None]
    return together(found) if found else None


# The answer for one shape


def answer(section: Section, advice: Callable[[str], str] = str) -> list[str]:
    """Say what to use, how much faster it is with its interval, and where it was measured.

    Where another framework's is the fastest, the best of the baseline's own is next to it.

    section: of one amount of work, the fastest first, with a row or more that has a time. advice:
    words advice for the command that was run.
    """
    measured = [row for row in section.rows if row.measured]
    approximate = [row for row in measured if row.case.approximate]
    ranked = measured[: len(measured) - len(approximate)] or approximate
    first = ranked[0]
    if len(ranked) == 1:
        lines = [f"Only {name(first.case.backend)} was measured: {_cost(first)}."]
    else:
        lines = [_use(first, ranked[1], section.baseline)]
        inside = _inside(ranked, section.baseline)
        if inside is not None:
            lines.append(inside)
    if ranked is not approximate:
        lines += [_approximation(row, section.baseline) for row in approximate]
    doubts = dict.fromkeys(map(doubt_line, (*first.validity.invalid, *first.ratio_doubts)))
    if doubts:
        text = "; ".join(clean(advice(each)) for each in list(doubts)[:_MOST_DOUBTS])
        lines.append(f"Do not rely on it yet: {text}.")
    lines += [f"{text}." for text in uneven_bridges(ranked)]
    lines.append(
        f"From {count(len(section.runs), 'process')} on {where(section)}, "
        f"{section.started:%Y-%m-%d %H:%M} UTC."
    )
    return lines


def _approximation(row: Row, baseline: str) -> str:
    off = "" if row.error is None else f", with outputs {row.error:.2%} off the reference"
    text = "" if row.to_baseline is None else f": {versus(row.to_baseline, baseline)}"
    return f"{name(row.case.backend)} approximates, {_cost(row)}{off}{text}."


def _use(first: Row, second: Row, baseline: str) -> str:
    cost = _cost(first)
    who = name(first.case.backend)
    parts = []
    if first.to_baseline is not None:
        parts.append(versus(first.to_baseline, baseline))
    if second.case.backend != baseline and (ahead := first.behind.get(second.case.backend)):
        parts.append(versus(ahead.inverse, second.case.backend, ", the next"))
    text = f": {'; '.join(parts)}" if parts else ""
    if first.fastest:
        return f"Use {who}, {cost}{text}."
    alike = [
        name(other)
        for other, found in first.behind.items()
        if found.verdict in (Verdict.SAME, Verdict.UNCLEAR)
    ]
    adjacent = f", not significantly different from {listed(alike)}" if alike else ""
    return f"{who} has the shortest times, {cost}{adjacent}{text}."


def _inside(ranked: Sequence[Row], baseline: str) -> str | None:
    """The best of the baseline's framework, if another framework's is the fastest."""
    home = _framework(baseline)
    if not home or _framework(ranked[0].case.backend) == home:
        return None
    best = next((row for row in ranked if _framework(row.case.backend) == home), None)
    if best is None:
        return None
    itself = " itself" if best.case.backend == baseline else ""
    text = f"{name(best.case.backend)}{itself}, {seconds(best.time)}"
    if best.to_baseline is not None:
        text += f", {versus(best.to_baseline, baseline)}"
    return f"Inside {FRAMEWORKS.get(home, home)}: {text}."


@functools.cache  # a page asks for thousands of rows
def _framework(backend: str) -> str:
    """Whose a backend is; empty for one of a package that is not here."""
    if backend.partition("+")[0].partition("@")[0] not in strategies():
        return ""
    try:
        return get_backend(backend).framework
    except UnsupportedError:
        return ""


def _cost(row: Row) -> str:
    assert row.interval is not None
    around = bounds_of_time(row.interval, row.time)
    return f"{seconds(row.time)} per step{around and f' ({TIME_INTERVAL} {around})'}"


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
    found.extend(Finding(text, answer=True) for text in of_devices(section))
    bound = (of_winner(table) for table in section.tables)
    found.extend(Finding(f"{text}.") for text in bound if text)
    found.extend(Finding(text) for table in section.tables for text in fallbacks(table))
    found.extend(Finding(text) for table in section.tables for text in stream_sentences(table))
    found.extend(_costs(section))
    found.extend(_paybacks(section))
    found.extend(Finding(text, loud=loud) for text, loud in of_nodes(section))
    if not section.complete:
        text = "A run did not finish: cases may be missing."
        found.append(Finding(text, loud=True))
    found.extend(Finding(f"{text}.", loud=True) for text in uneven_bridges(section.rows))
    found.extend(_doubtful(section.rows))
    found.extend(_noted(section.rows))
    found.extend(_remarks(section.rows))
    found.extend(_without_time(section.rows))
    if text := one_line(unmeasured(section), "python -m bench.report --unmeasured"):
        found.append(Finding(f"{text}."))
    return found


def unmeasured(section: Section) -> tuple[UnmeasuredCases, ...]:
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
    if not table.backends:
        return f"{start}only backends that approximate were measured."
    if len(table.backends) == 1:
        return f"{start}only {name(table.backends[0])} was measured ({places})."
    # Only who was measured on all the work can lead over all of it.
    rows = {backend: _rows(table, backend) for backend in table.backends}
    whole = [backend for backend in rows if len(rows[backend]) == len(table.groups)]
    if not whole:
        return f"{start}no backend was measured on all {places}. {_leaders(table)}"
    whole.sort(key=lambda backend: sum(math.log(row.time) for row in rows[backend]))
    first = whole[0]
    if len(whole) == 1:
        text = f"only {name(first)} was measured on all {places}. {_leaders(table)}"
        return start + text
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
        lead = f"{name(first)} and {name(second)} have the shortest times, equal within 2%"
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
        others = listed(behind) if behind else "all others jointly"
        parts.append(f" It is not significantly faster than {others}.")
    if doubtful:
        parts.append(f" Do not rely on it: {share(doubtful, len(pairs), 'ratio')} INVALID.")
    if {group[0].case.backend for group in table.groups} != {first}:
        parts.append(f" {_leaders(table)}")
    return start + "".join(parts)


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
    messages = [f"{name(backend)} in {number} of {of}" for backend, number in counts.most_common()]
    return f"By {table.noun}, the shortest times: {listed(messages)}."


def _costs(section: Section) -> list[Finding]:
    """From which window on the leader of each stream is cheap, and what a step costs it."""
    found = []
    cut = [each for each in series([section]) if each.values]
    for each in cut:
        leader = cost(each.ranked[0], each.rows)
        if leader.cheapest is not None:
            case = each.rows[0].case
            work = f"{name(case.device)}, {case.workload.mode}, {', '.join(shape_words(case))}: "
            found.append(f"{work if len(cut) > 1 else ''}{cheap_from(leader)}.")
    rest = "; python -m bench.report --along window has them all."
    return [Finding(described) for described in first_few(found, _MOST_STREAMS, "stream", rest)]


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
            text = least if least == most else f"{least} to {most}"
            later = seconds(max(each.later for each in after[backend]))
            alone = len(steps) == 1
            shapes = "one shape" if alone else count(len(steps), "shape")
            where = f" at the {shapes} where it is FASTER"
            where *= len(table.groups) > 1
            found.append(
                Finding(
                    f"{title(table)}: {name(backend)} starts {'' if alone else 'up to '}{later} "
                    f"later than {name(section.baseline)}{where}, and has "
                    f"made up for it after {text} steps."
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
        "Unreliable: {} (ratios are judged separately)",
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
        which = f"{len(doubts)} of {of}"
        if len(doubts) == among:
            which = f"both {noun}s" if among == 2 else f"all {of}"
        which = f"the only {noun}" if among == 1 else which
        differ = any(
            (doubt.text, doubt.values) != (first.text, first.values) for _, doubt in doubts
        )
        text = f"{start.format(which)}: {'for one, ' * differ}{clean(doubt_text(first))}"
        if differ:
            text += f" ({name(row.case.id)})"
        elif len(doubts) < among:
            text += f" ({listed([name(row.case.id) for row, _ in doubts], 2)})"
        most = max(doubt.runs for _, doubt in doubts)
        if most < first.of:
            text += f", in {'up to ' if len(doubts) > 1 else ''}{most} of {first.of} processes"
        text = _ended(text)
        if advice := doubt_advice(first):
            text += f" To change that: {_ended(clean(advice))}"
        found.append(Finding(text, loud=loud))
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
        messages = [
            f"{clean(doubt_text(doubts[0]))} ({count(len(doubts), 'case')})"
            for doubts in by_code.values()
        ]
        found.append(
            Finding(
                "Noted in at most a quarter of a case's processes, too few to move its "
                f"median: {_ended('; '.join(messages))}"
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
        text = (
            f"{_OUTCOME_WORDS[outcome]}: {count(len(cases), 'case')} ({_which(cases)}): "
            f"{_ended(clean(next(iter(reasons))) or 'no reason was recorded')}"
        )
        if len(reasons) > 1:
            text += f" And {count(len(reasons) - 1, 'other reason')}."
        if advice:
            text += f" To change that: {_ended(clean(advice))}"
        found.append(Finding(text, loud=True))
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
    messages = [
        f"{clean(text)} ({listed(list(map(name, dict.fromkeys(found))), 3)}, "
        f"{count(len(found), 'case')})"
        for text, found in itertools.islice(by_text.items(), _MOST_REMARKS)
    ]
    if (more := len(by_text) - _MOST_REMARKS) > 0:
        messages.append(f"and {more} more in the result files")
    return (
        [Finding(f"Warnings from the backends: {_ended('; '.join(messages))}")] if messages else []
    )


def _not_too_many(found: list[Finding]) -> list[Finding]:
    more = len(found) - _MOST_LINES
    if more > 0:
        text = f"And {count(more, 'more reason')}; --format csv has every case."
        found = [*found[:_MOST_LINES], Finding(text, loud=any(f.loud for f in found))]
    return found


def _ended(text: str) -> str:
    """With a full stop, unless a command or another mark stands at its end."""
    return text if text.endswith((".", "!", "?", "'", '"', "`")) else f"{text}."


def unclear(ratios: Iterable[Comparison | None]) -> list[str]:
    """How far the processes of UNCLEAR ratios spread, and whether more of them would decide.

    Without those over an uneven bridge (``uneven``), which more processes do not make even.
    """
    judged = [ratio for ratio in ratios if ratio is not None and not ratio.uneven]
    open_ones = [ratio for ratio in judged if ratio.verdict is Verdict.UNCLEAR]
    counts = Counter(reason.code for ratio in open_ones for reason in ratio.reasons)
    lines = [
        UNCLEAR_REASONS[code].format(ratios=capital(share(number, len(judged), "ratio")))
        for code, number in counts.items()
    ]
    by_spread = [ratio for ratio in open_ones if not ratio.reasons]
    return [*lines, *_unclear_by_spread(by_spread, len(judged))] if by_spread else lines


UNCLEAR_REASONS = {
    PROCESSES_SHIFTED: "{ratios} UNCLEAR: the two sides shifted apart during the session, "
    "so its earlier and later processes disagree; measure again, or in more processes",
    PLAIN_MEAN_OPPOSED: "{ratios} UNCLEAR: a few outlying processes decide which side is "
    "faster, and the mean of all processes says the opposite; measure in more processes",
}
"""Why a ratio is UNCLEAR though its processes agree, by the code of the reason."""


def _unclear_by_spread(open_ones: Sequence[Comparison], judged: int) -> list[str]:
    """Return how far the processes of UNCLEAR ratios spread, and how many would decide."""
    if on_nodes := [ratio for ratio in open_ones if ratio.nodes]:
        return _unclear_on_nodes(on_nodes, judged)
    start = capital(f"{share(len(open_ones), judged, 'ratio')} UNCLEAR")
    spreads = sorted(ratio.spread for ratio in open_ones if ratio.spread is not None)
    if not spreads:
        return [
            f"{start}: one process does not show how many are needed; measure in "
            f"{ENOUGH_PROCESSES} (python -m bench.run --processes {ENOUGH_PROCESSES})"
        ]
    middle = statistics.median(spreads)
    reach = percent(middle)
    if len(spreads) > 1:
        reach = f"{percent(spreads[0])} to {percent(spreads[-1])} (median {reach})"
    for_small, for_large = (
        f"{'over' if number is None else 'about'} {number or MOST_NEEDED}"
        for effect in (0.05, 0.1)
        for number in [processes_needed(middle, effect)]
    )
    return [
        f"{start}: their processes spread by {reach}, so a difference of 5% needs {for_small} "
        f"processes and one of 10% {for_large}"
    ]


def uneven(ratios: Iterable[Comparison | None]) -> list[str]:
    """Each bridge of these ratios that is not the same on both sides, in a line without its stop.

    ``Uneven bridge: torch, over which keras_jax and keras are compared, took itself 0.88 times as
    long in the processes of keras_jax as in those of keras (0.80–0.97, over 10 cases), and ...``
    """
    found: dict[tuple[str, frozenset[str], float], Heterogeneity] = {}
    for ratio in ratios:
        heterogeneity = None if ratio is None else ratio.heterogeneity
        if heterogeneity is not None and heterogeneity.uneven:
            # The same backends on another device are another difference.
            sides = frozenset((heterogeneity.new, heterogeneity.base))
            found.setdefault(
                (heterogeneity.bridge, sides, round(abs(heterogeneity.found.log_ratio), 9)),
                heterogeneity,
            )
    return [
        f"Uneven bridge: {clean(uneven_note(each), LONGEST_SENTENCE)}" for each in found.values()
    ]


def _unclear_on_nodes(ratios: Sequence[Comparison], judged: int) -> list[str]:
    """The same on several nodes: whether more of these would decide, or more processes on each."""
    start = capital(f"{share(len(ratios), judged, 'ratio')} UNCLEAR")
    known = [
        (ratio, ratio.spread, ratio.between)
        for ratio in ratios
        if ratio.spread is not None and ratio.between is not None
    ]
    if not known:
        return [
            f"{start}: nodes with one process each do not show how far processes spread; measure "
            f"{ENOUGH_PROCESSES} on each"
        ]
    nodes = round(statistics.median(ratio.nodes for ratio, *_ in known))
    processes = max(1, round(statistics.median(r.processes / r.nodes for r, *_ in known)))
    within = statistics.median(spread for _, spread, _ in known)
    between = statistics.median(spread for *_, spread in known)
    messages = [
        f"a difference of {percent(effect)} takes {_takes(plan_, nodes)}"
        for effect in (0.05, 0.1)
        for plan_ in [plan(effect, nodes, processes, between, within)]
    ]
    return [
        f"{start}: within a node their processes spread by {percent(within)}, nodes beyond that by "
        f"{percent(between)} (medians), so that on {count(nodes, 'node')} of "
        f"{count(processes, 'process')} each {', and '.join(messages)}"
    ]


def _takes(found: EffectPlan, nodes: int) -> str:
    if found.nodes == nodes:
        return "no more than that"
    more = f"over {MOST_NODES} nodes" if found.nodes is None else f"about {found.nodes} nodes"
    if found.processes is None:
        return f"{more}, and more processes on these would not show it"
    return f"{more}, or on these about {found.processes} processes each"


def method(section: Section) -> list[str]:
    """How to read the numbers, and what stands behind their intervals."""
    rows = [row for row in section.rows if row.measured]
    if not rows:
        return []
    on = [
        "Nodes are machines of one kind. Each has the same weight in every interval, by the mean "
        "over its processes: an interval describes a machine of this kind."
    ]
    kinds = {row.case.kind for row in rows}
    lines = [
        f"Times are medians of one step with their {TIME_INTERVAL}. "
        "Inference is the forward pass; training is forward and backward. The first result "
        "includes building, tracing, compiling and one step."
    ]
    if any(row.to_baseline for row in rows):
        base = name(section.baseline)
        lines.append(
            f"vs {base}: the speedup over {base} on the same work, above 1 is faster. FASTER and "
            f"SLOWER: the whole {RATIO_INTERVAL} is on that side of 1 (statistically significant); "
            f"SAME: it is within ±{100 * SAME_WITHIN:g}%; UNCLEAR: anything else. Over several "
            "shapes the speedup is the geometric mean."
        )
        lines += [f"{described}." for described in unclear([row.to_baseline for row in rows])]
    if KINDS[1] in kinds:
        lines.append(
            "Per timestep: the time of a step divided by its timesteps, for the whole batch."
        )
    if KINDS[2] in kinds:
        lines.append(
            "Streaming: each call is timed by itself, from when it was due (or back to back, from "
            "when it began) until its output is there. A percentile is the median over the "
            "processes, shown where each process has enough calls. late: calls that missed their "
            "deadline."
        )
    loads = sorted({row.stream.load for row in rows if row.stream is not None and row.stream.load})
    if loads:
        described = count(loads[-1], "processor")
        lines.append(f"The suite kept {described} busy while streams were timed (--load).")
    if any("peak_bytes" in row.memory for row in rows):
        lines.append(
            "Memory is the peak of what a case needs beyond its framework: on a CPU in a process "
            "of its own, on a GPU what the framework's allocator held."
        )
    lines += on if section.nodes else []
    lines += [f"{described}." for described in over_bridges(rows)]
    return lines + [f"{described}." for described in few(rows)]


def over_bridges(rows: Sequence[Row]) -> list[str]:
    """Whose ratios stand on a third backend, that was measured in the processes of both sides.

    And how far that one differs between these.
    """
    found: dict[str, dict[str, dict[str, Heterogeneity]]] = {}
    for row in rows:
        ratio = row.to_baseline
        if row.bridge and ratio and ratio.pairing is Pairing.BRIDGED:
            backends = found.setdefault(name(row.bridge.case.backend), {})
            known = backends.setdefault(name(row.case.backend), {})
            if ratio.heterogeneity is not None:
                known[name(row.case.device)] = ratio.heterogeneity
    return [
        f"Over {bridge}, which is in the processes of both sides: the ratios of "
        f"{listed(list(backends))}, measured in processes of another environment than the baseline"
        + _itself(bridge, backends)
        for bridge, backends in found.items()
    ]


def _itself(bridge: str, backends: Mapping[str, Mapping[str, Heterogeneity]]) -> str:
    """How long a bridge took in the processes of these backends; by device, if there are several.

    ``; torch itself took 1.01 times as long in those of keras_jax (0.94–1.08, over 10 cases) ...``
    """
    devices = {device for each in backends.values() for device in each}
    messages = [
        f"{heterogeneity.found.ratio.mid:.2f} times as long in those of {backend}"
        f"{f' on {device}' if len(devices) > 1 else ''} ({uneven_bounds(heterogeneity)})"
        for backend, each in backends.items()
        for device, heterogeneity in each.items()
    ]
    return f"; {bridge} itself took {listed(messages)} as in the baseline's" if messages else ""


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
            "1 process: the interval of a time covers the samples of this process only; medians of "
            f"other processes were seen to differ by {percent(LEAST_SPREAD)} to "
            f"{percent(MOST_SPREAD)} on one machine"
        )
    on = {row.interval.nodes for row in rows if row.interval is not None}
    for noun, plural, numbers in (("process", "processes", counts), ("node", "nodes", on)):
        if some := [each for each in numbers if 1 < each < ENOUGH_PROCESSES]:
            found.append(
                f"{count(max(some), noun)}: the interval of a time is a t-interval over the "
                f"{plural}' medians, assumed to spread by at least {percent(LEAST_SPREAD)}"
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
                f"Fewer than {count(ENOUGH_PROCESSES, noun)} do not show how far they differ: the "
                f"intervals of ratios assume {allowed}, on which the verdicts depend; from "
                f"{ENOUGH_PROCESSES} on they are based on what was measured"
            )
    return found


def speed_moved(widths: Sequence[float]) -> str:
    """That the machine's speed moved; widths: of the times' intervals that show it, one or more."""
    reach = f"±{min(widths):.0%} to ±{max(widths):.0%}" if len(widths) > 1 else f"±{widths[0]:.0%}"
    return (
        "The machine's speed changed from process to process: the intervals of "
        f"{count(len(widths), 'time')} reach {reach}. Ratios to other backends are taken inside "
        "each process and are not affected."
    )


_MOST_OF_A_KIND = 4
"""Sentences of a kind: more are a wall, and the table has them all."""


# Sentences


def stream_sentences(table: Table) -> list[str]:
    """Return which calls of streams missed their deadline."""
    if table.kind != KINDS[2]:
        return []
    return list(_missed(table))


def _missed(table: Table) -> Iterable[str]:
    late = [
        f"{name(row.case.backend)} {missed_text(row)} ({percent(stream.missed / stream.calls)})"
        for group in table.groups
        for row in group
        if (stream := row.stream) is not None and stream.missed
    ]
    if late:
        yield (
            f"{title(table)}: calls that missed their deadline, counted from when they were due: "
            f"{listed(late, 2 * _MOST_OF_A_KIND)}."
        )


def unpaired(row: Row) -> list[RunSamples]:
    """Its samples without their rounds: those of different groups were not taken in turn."""
    return [run.out_of_turn for run in row.runs]


def of_winner(table: Table) -> str:
    """What binds the backend that leads a table most; empty where that is not known of it.

    ``cpu, training: fused_cpu is bound by the chain of products at 3 of 5 shapes``
    """
    if not table.groups:
        return ""
    counts = Counter(group[0].case.backend for group in table.groups)
    best = counts.most_common(1)[0][0]
    rows = [group[0] for group in table.groups if group[0].case.backend == best]
    kinds = Counter(row.bound.kind for row in rows if row.bound is not None)
    known = [(kind, number) for kind, number in kinds.most_common() if kind != NOT_KNOWN]
    if not known:
        return ""
    start = f"{title(table)}: {name(best)} is "
    if len(rows) == 1:
        return f"{start}{clean(bound_sentence(rows[0]), LONGEST_SENTENCE)}"
    places = count(len(rows), table.noun)
    parts = [
        f"by {_BOUND_KINDS.get(kind, kind)} at {number if number < len(rows) else 'all'}"
        for kind, number in known
    ]
    return f"{start}bound {listed(parts)} of {places} (--why has each)"


def binding(row: Row) -> str:
    """Say what binds a case; empty where that is not known."""
    known = row.bound is not None and row.bound.kind != NOT_KNOWN
    return clean(bound_sentence(row), LONGEST_SENTENCE) if known else ""


def fallbacks(table: Table) -> list[str]:
    """A sentence for each backend that fell back to one thing: frameworks do so without a word.

    ``cpu, training: keras_torch ran a Python loop over time (5 shapes): 50.0× slower than torch
    (99.5% CI 45.5–55.6).``
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if row.measured and row.fallback:
            found.setdefault((row.case.backend, row.fallback), []).append(row)
    return [
        f"{title(table)}: {name(backend)} ran {clean(ran)} ({count(len(rows), table.noun)})"
        f"{_beside(rows, table.baseline)}."
        for (backend, ran), rows in found.items()
    ]


def _beside(rows: Sequence[Row], baseline: str) -> str:
    """How that compares to the baseline; nothing where a ratio is not to be trusted."""
    pairs = [(row, row.base) for row in rows if row.base is not None]
    if len(pairs) < len(rows) or any(row.ratio_doubts for row in rows):
        return ""
    return f": {versus(together(compare_rows(pairs)), baseline)}"


_MOST_DEVICES = 6
"""More sentences than this are a wall."""


def of_devices(section: Section) -> list[str]:
    """A sentence for each device but the first, in each mode, over the work both measured.

    ``gpu:0 or cpu, inference: gpu:0 is 5.20× faster than cpu (99.5% CI 4.91–5.47) over 6 shapes,
    each with its fastest backend there (cudnn, keras)``
    """
    kinds: dict[tuple[str, str, str], dict[str, dict[str, Row]]] = {}
    for table in section.tables:
        key = table.kind, table.noun, table.mode
        fastest = kinds.setdefault(key, {}).setdefault(table.device, {})
        for group in table.groups:
            timed = [row for row in group if row.measured]
            best = min(timed, key=lambda row: (bool(row.validity.unpaired), row.time))
            fastest[best.case.on("any").group] = best
    found = [
        _sentence(f"{name(new)} or {name(base)}, {_what(noun, mode)}", base, new, noun, pairs)
        for (_, noun, mode), devices in kinds.items()
        for base, new, pairs in _pairs(devices)
    ]
    return first_few(found, _MOST_DEVICES, "pair", " of devices: python -m bench.compare devices.")


_Pairs = Sequence[tuple[Row, Row]]  # the new device's fastest and the base's, of the same work


def _pairs(devices: Mapping[str, Mapping[str, Row]]) -> list[tuple[str, str, _Pairs]]:
    """Each device against the first, if they share work; (base, new, pairs)."""
    found: list[tuple[str, str, _Pairs]] = []
    base, *others = devices
    for new in others:
        shared = [
            (devices[new][work], row) for work, row in devices[base].items() if work in devices[new]
        ]
        if shared:
            found.append((base, new, shared))
    return found


def _sentence(start: str, base: str, new: str, noun: str, pairs: _Pairs) -> str:
    # Devices are never measured in turn: rounds of theirs are no pairs.
    ratios = compare_all([(unpaired(one), unpaired(other)) for one, other in pairs])
    over = f" over {count(len(pairs), noun)}" if len(pairs) > 1 else ""
    who = " and ".join(_backends([pair[side] for pair in pairs]) for side in (0, 1))
    lead = f"{name(new)} is {versus(together(ratios), base)}"
    text = f"{start}: {lead}{over}, each with its fastest backend ({who})."
    doubtful = sum(bool(row.validity.unpaired) for pair in pairs for row in pair)
    if doubtful:
        text += f" Do not rely on it: {share(doubtful, 2 * len(pairs), 'measurement')} INVALID."
    verdicts = Counter(ratio.verdict for ratio in ratios)
    if len(verdicts) > 1:
        parts = [f"{verdicts[each]} {each}" for each in Verdict if verdicts[each]]
        text += (
            f" By {noun}, {name(new)} is: {listed(parts)}; python -m bench.compare devices says "
            "where."
        )
    return text


def _backends(rows: Sequence[Row]) -> str:
    names = Counter(row.case.backend for row in rows)
    shown = [name(backend) for backend, _ in names.most_common()]
    more = " or others" if len(shown) > 3 else ""
    return f"{' or '.join(shown[:3])}{more} on {name(rows[0].case.device)}"


def _what(noun: str, mode: str) -> str:
    return f"{mode} in windows" if noun == "window" else mode


# Several machines of one kind


LOOK = (
    "Its results are included in every interval. Check its clock, temperature and other load "
    "(python -m bench.doctor there); to exclude it, name the files of the other nodes"
)
"""What to do about an outlying node."""


def of_nodes(section: Section) -> Iterable[tuple[str, bool]]:
    """Sentences, and of each whether it must not be overlooked; none of a single machine."""
    if not section.nodes:
        return
    rows = [row for row in section.rows if row.measured]
    yield from ((described, False) for described in _spreads(section, rows))
    yield from ((_apart(section, found), True) for found in outliers(rows))
    yield from ((described, True) for described in _disturbed(section, rows))
    yield from ((described, False) for described in _missing(section, rows))


def _spreads(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """How far times and ratios spread within a node and between nodes: medians over the cases."""
    times = [row.interval for row in rows if row.interval is not None and row.interval.nodes > 1]
    ratios = [row.to_baseline for row in rows if row.to_baseline and row.to_baseline.nodes > 1]
    found = [
        (
            f"the times of {count(len(times), 'case')}",
            [(each.within, each.between) for each in times],
        ),
        (
            f"their ratios to {name(section.baseline)}",
            [(each.spread, each.between) for each in ratios],
        ),
    ]
    shown = []
    for what, spreads in found:
        known = [(w, b) for w, b in spreads if w is not None and b is not None]
        if known:
            within, between = (statistics.median(side) for side in zip(*known, strict=True))
            shown.append(f"{what} by {percent(within)} and {percent(between)}")
    if shown:
        yield (
            f"Spread between the processes of a node, and between the {len(section.nodes)} nodes: "
            f"{', '.join(shown)} (medians; intervals include both)."
        )
    elif times:
        yield (
            f"With one process on each of {len(section.nodes)} nodes, differences between nodes "
            "and between processes cannot be separated; intervals include both."
        )


def _apart(section: Section, found: Outlier) -> str:
    where = name(section.nodes.get(found.node, found.node))
    slower = found.factor > 1
    factor = found.factor if slower else 1 / found.factor
    others = f"the other {found.others}"
    text = f"{factor:.2f} times as {'slow' if slower else 'fast'}"
    side = "slower" if slower else "faster"
    cases = f"{side} than each of them in {found.beyond} of {count(found.cases, 'case')}"
    if found.backend:
        start = f"Node {where} differs in one backend: {name(found.backend)} is {text} there as on"
    else:
        start = f"Node {where} is an outlier: it is {text} as"
    return f"{start} {others} ({name(found.device)}; {cases}). {LOOK}."


def _disturbed(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """Nodes that what is INVALID comes from, where others have none of it."""
    node_of = section.node_of
    processes: Counter[str] = Counter()
    disturbed: Counter[str] = Counter()
    for row in rows:
        if row.invalid:
            processes.update(node_of[run.run] for run in row.runs)
            disturbed.update(node_of[run] for run in row.disturbed if run in node_of)
    bad = [node for node, number in disturbed.items() if number > MINORITY * processes[node]]
    if bad and len(bad) < len(section.nodes):
        names = [name(section.nodes[node]) for node in bad]
        yield (
            f"INVALID because of {listed(names)}: on the other nodes no more than a quarter of the "
            "processes were disturbed. Measure there again when it is quiet, or name the other "
            "nodes' files."
        )


def _missing(section: Section, rows: Sequence[Row]) -> Iterable[str]:
    """That some cases were measured on some of the nodes only."""
    part = [
        row for row in rows if row.interval is not None and row.interval.nodes < len(section.nodes)
    ]
    if part:
        alone = sum(row.interval is not None and row.interval.nodes == 1 for row in part)
        text = f", {alone} of them on one only" if alone else ""
        were = "was" if len(part) == 1 else "were"
        yield (
            f"Nodes: {len(part)} of {count(len(rows), 'case')} {were} not measured on every "
            f"node{text}."
        )


LARGE_MISFIT = 0.1
"""From this share on a line that misses a value is mentioned next to its numbers."""


def cheap_from(of: BackendCost) -> str:
    """Say from which window on a timestep of a backend is cheap, and its line.

    ``while_loop: a timestep costs at most 5% more than the least in windows of 60 and more (30 to
    120); the line is 0.21 ms (0.20–0.22) a step + 0.11 ms (0.10–0.12) a timestep``
    """
    fit, near = of.fit, of.cheapest
    if near is None:
        return f"{name(of.backend)}: one window was measured, and two can be compared"
    if near.first == near.values[-1]:
        where = f"only in the longest windows, of {near.first}"
    elif near.first == near.values[0]:
        where = f"in windows of every measured length, from {near.first} on"
    else:
        where = f"in windows of {near.first} and more"
    if near.first_low != near.first_high:
        where += f" ({near.first_low} to {near.first_high})"
    messages = [f"{name(of.backend)}: a timestep costs at most {_NEAR} more than the least {where}"]
    if fit is not None and fit.is_line:
        fixed = with_range(fit.line.fixed, fit.fixed)
        messages.append(
            f"the line is {fixed} a step + "
            f"{with_range(fit.line.per_timestep, fit.per_timestep)} a timestep"
        )
    if fit is not None and abs(fit.misfit.residual) >= LARGE_MISFIT:
        messages.append(_misfit(fit, of.axis))
    return "; ".join(messages)


_NEAR = f"{NEAR_CHEAPEST:.0%}"


def _misfit(fit: Fit, axis: str) -> str:
    """``at window 960 the time is 12% above the line``."""
    worst = fit.misfit
    side = "above" if worst.residual > 0 else "below"
    return f"at {axis} {worst.window} the time is {abs(worst.residual):.0%} {side} the line"


def without_time(costs: Iterable[BackendCost]) -> list[str]:
    """Say of the backends that have no time at any value why, those of one reason together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one in costs:
        if not one.measured:
            reasons = tuple(dict.fromkeys(_reason(row) for row in one.rows))
            found.setdefault(reasons, []).append(name(one.backend))
    return [
        f"{listed(names)} {'has' if len(names) == 1 else 'have'} no time: {'; '.join(reasons)}"
        for reasons, names in found.items()
    ]


def _reason(row: Row) -> str:
    """Why a case has no time, and what changes that."""
    text = f"{row.outcome.replace('_', ' ')}: {clean(row.reason)}"
    return f"{text} (to change that: {clean(row.advice)})" if row.advice else text


def along_notes(found: AxisSeries) -> list[str]:
    """Say what is missing in a series and why, and where a line does not describe the times."""
    lines = without_time(found.backends)
    for of in (each for each in found.backends if each.measured):
        reasons: dict[str, list[int]] = {}
        for row in of.unreached:
            reasons.setdefault(_reason(row), []).append(value(row, found.axis))
        messages = [f"{_at(found.axis, values)} {why}" for why, values in reasons.items()]
        known = {value(row, found.axis) for row in of.rows}
        if left := [each for each in found.values if each not in known]:
            messages.append(f"{_at(found.axis, left)} not in the suite, or the run ended before it")
        if of.cheapest is not None and (later := of.cheapest.slower_later):
            worst = max(later, key=lambda each: of.cheapest.over[each].mid)  # type: ignore[union-attr]
            more = percent_more(of.cheapest.over[worst])
            messages.append(f"at {found.axis} {worst} it costs {more} more than the least again")
        if (fit := of.fit) is not None:
            if abs(fit.misfit.residual) >= LARGE_MISFIT:
                messages.append(_misfit(fit, found.axis))
            if fit.parts:
                messages.append(_bent(fit, found.axis))
            if fit.left_out:
                left_out = count(fit.left_out, "process")
                messages.append(f"the line leaves out {left_out} without a time at every value")
            if fit.fixed is None:
                messages.append("no process measured every value, so the line has no interval")
        lines += [f"{name(of.backend)}: {each}" for each in messages]
    if learned := {k: each for k in found.values if (each := found.learnable(k)) is not None}:
        pairs = [
            f"{k}: {each}{'*' * found.short_of_updates(k)}" for k, each in sorted(learned.items())
        ]
        lines.append(f"longest distance learned, by window: {', '.join(pairs)}")
    return lines


def percent_more(over: Interval) -> str:
    """How much more than the least, with its bounds: ``12% (8–16)``."""
    low, mid, high = (100 * (each - 1) for each in (over.low, over.mid, over.high))
    return f"{mid:.0f}% ({low:.0f}–{high:.0f})".replace("-", "−")


def _at(axis: str, values: Sequence[int]) -> str:
    return f"{axis} {listed([str(each) for each in values], most=12)}:"


def _bent(fit: Fit, axis: str) -> str:
    """The lines of the fewest small values and of the fewest large ones that have another."""
    first, last = fit.windows[0], fit.windows[-1]
    ends = (
        *[part for part in fit.parts if part.first == first][:1],
        *[part for part in fit.parts if part.last == last][:1],
    )
    messages = [
        f"from {part.first} to {part.last} it is {signed_seconds(part.fixed)} + "
        f"{signed_seconds(part.per_timestep)} · {axis}"
        for part in ends
    ]
    return f"the times bend away from one line: {', '.join(messages)}; the intervals include that"


def along_method(found: Sequence[AxisSeries]) -> list[str]:
    """Say how the tables along an axis are to be read."""
    axis = found[0].axis
    unit = "sequence" if axis == "batch" else "timestep"
    of = "one window" if axis == "window" else "one call or training step"
    lines = [
        f"time = fixed + slope · {axis}: {of} costs the fixed part whatever its {axis}. "
        "One line a process by least squares of relative errors, with "
        f"{100 * CASE_CONFIDENCE:g}% intervals over the processes, which include other lines that "
        "the smallest or the largest values have alone.",
        f"within {_NEAR} from: the first value from which on a {unit} costs at most {_NEAR} more "
        "than at the cheapest value, by ratios inside each process, with its interval.",
    ]
    fits = [of.fit for each in found for of in each.backends if of.fit]
    few = sorted({basis_text(fit.fixed.basis) for fit in fits if fit.fixed and fit.fixed.allowance})
    if few:
        lines.append(
            f"Intervals of the lines: {few[-1]}; from {ENOUGH_PROCESSES} processes on they are "
            "what was measured."
        )
    moved = [
        row.interval.half_width
        for each in found
        for row in each.rows
        if row.interval and any(doubt.code == WIDE_INTERVAL for doubt in row.validity.noted)
    ]
    if moved:
        lines.append(speed_moved(moved))
    if source := next((each.learned_from for each in found if each.learned_from), ""):
        lines.append(
            "Learned is a distance that every seed learned at that window, the state carried from "
            f"window to window ({source})."
        )
        if any(each.short_of_updates(k) for each in found for k in each.values):
            lines.append(
                "* A shorter window learned a longer distance, because this one makes fewer "
                "updates of as many timesteps: it is no limit of the window."
            )
    return lines


def with_range(number: float, interval: Interval | None) -> str:
    """Seconds of either sign with bounds in brackets, where there are some."""
    return signed_seconds(number) + (f" ({signed_seconds_range(interval)})" if interval else "")


LOUD = ("failed", "crashed", "timed_out")
"""Outcomes that are distinguished, each with its reason: something went wrong."""

_WORDS = {
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
    def loud(self) -> bool:
        """Whether something went wrong."""
        return self.outcome in LOUD


def gathered(items: Iterable[tuple[Case, str, str, str]]) -> tuple[UnmeasuredCases, ...]:
    """Cases with outcome, reason and advice: those with the same ones together, each case once."""
    found: dict[tuple[str, str, str], dict[str, Case]] = {}
    for case, *why in items:
        outcome, reason, advice = why
        found.setdefault((outcome, reason, advice), {})[case.id] = case
    return tuple(UnmeasuredCases(*key, tuple(cases.values())) for key, cases in found.items())


def one_line(groups: Sequence[UnmeasuredCases], option: str = "--unmeasured") -> str:
    """How many cases have no time, and why if that is one reason; empty if there are none.

    ``108 cases have no time: 98 not measured, 10 refused by the backend (--unmeasured lists
    them)``. option: what lists them here.
    """
    quiet = [group for group in groups if not group.loud]
    counts: Counter[str] = Counter()
    for group in quiet:
        counts[group.outcome] += len(group.cases)
    if not quiet:
        return ""
    total = count(counts.total(), "case")
    verb = "has" if counts.total() == 1 else "have"
    if len(quiet) == 1:
        return f"{total} {verb} no time, {_told(quiet[0])} ({_who(quiet[0])})"
    messages = [f"{number:,} {_words(outcome)}" for outcome, number in counts.most_common()]
    return f"{total} {verb} no time: {', '.join(messages)} ({option} lists them)"


def headline(group: UnmeasuredCases) -> str:
    """``98 cases not measured: no gpu:0: this machine has no GPU``, over a list of them."""
    return f"{count(len(group.cases), 'case')} {_told(group)}"


def _told(group: UnmeasuredCases) -> str:
    parts = [clean(text, 300).rstrip(".") for text in (group.reason, group.advice) if text]
    return f"{_words(group.outcome)}: {'. '.join(parts) or 'no reason was recorded'}"


def _words(outcome: str) -> str:
    return _WORDS.get(outcome, clean(outcome.replace("_", " "), LONGEST_NAME))


def _who(group: UnmeasuredCases) -> str:
    backends = sorted({clean(case.backend, LONGEST_NAME) for case in group.cases})
    devices = sorted({clean(case.device, LONGEST_NAME) for case in group.cases})
    return f"{listed(backends)} on {listed(devices)}"


# What a case is bound by


_BOUND_KINDS = {CHAIN: "the chain of products", HOST: "the host"}
"""As they are called after "bound by", where that is not their code."""

_BOUND_PARTS = {
    LAUNCHES: "starting its operators",
    HOST: "calling its operators from Python",
    CHAIN: "the chain of products",
    PRODUCTS: "its products",
    MEMORY: "moving its data",
    WAITING: "waiting",
}
"""As they are called where none of them is most of a step."""


def bound_sentence(row: Row) -> str:
    """``bound by launches: ...``, ``not known: ...``; empty for what was not measured."""
    if row.bound is None:
        return ""
    if row.invalid:
        return "not known: what was measured of it is INVALID"
    described = bound_words(row.bound, row.roofs)
    helps = _help_words(row)
    return f"{described}; {helps}" if helps else described


def bound_words(bound: Bound, figures: Mapping[str, float]) -> str:
    """What binds a case, and how that is known. figures: of its roofs."""
    if bound.kind == NOT_KNOWN and not bound.of:
        return "not known: no roofs are recorded"
    if bound.kind == NOT_KNOWN:
        return (
            f"not known: the largest known part is {_BOUND_PARTS[bound.of]}, at least "
            f"{bound.share:.0%} of the step; no part is known to take more than half"
        )
    if bound.kind == PADDING:
        computed = bound.parts[bound.of] / (1.0 - bound.share)
        return (
            f"bound by padding: {bound.share:.0%} of the timesteps are padding, and with them "
            f"{_BOUND_PARTS[bound.of]} would take {computed:.0%} of the step"
        )
    words = _PROFILED if bound.profiled else _BY_ROOFS
    described = words.get(bound.kind, _BY_ROOFS.get(bound.kind, ""))
    if bound.kind == CHAIN and bound.share >= 1.0:
        described = _ABOVE_CHAIN
    elif bound.times > 1.0 and bound.kind in (CHAIN, PRODUCTS):
        described = _TOO_MANY
    launches = f"{figures.get('launches', 0.0):,.0f}"
    return described.format(
        part=f"{bound.share:.0%}", times=f"{bound.times:.1f}", launches=launches
    )


_BY_ROOFS = {
    LAUNCHES: "bound by launches: starting as many operators ({launches}) that do nothing takes "
    "{part} of the step",
    HOST: "bound by the host: calling as many operators ({launches}) that do nothing from Python "
    "takes {part} of the step",
    CHAIN: "bound by the chain of products: those that wait for one another take {part} of the "
    "step at the best that was seen here",
    PRODUCTS: "bound by products: they take {part} of the step at the best rate that was seen here",
    MEMORY: "bound by memory: moving its data once takes {part} of the step at the best bandwidth "
    "that was seen here",
    WAITING: "bound by waiting: for {part} of the step no processor computes",
}


_PROFILED = {
    LAUNCHES: "bound by launches: for {part} of the step no operator was at work",
    HOST: "bound by the host: for {part} of the step no operator was at work, which Python calls",
    PRODUCTS: "bound by products: {part} of the step by its profile",
    COPIES: "bound by copies: {part} of the step by its profile moves, transposes, cuts and joins",
    GATES: "bound by gates: {part} of the step by its profile is computed number by number",
}


_ABOVE_CHAIN = (
    "bound by the chain of products: it is as fast as those that wait for one another at the best "
    "that was seen here ({part})"
)


_TOO_MANY = (
    "bound by products: it makes {times} times the multiplications that the step needs, {part} of "
    "the step at the best that was seen here"
)


def _help_words(row: Row) -> str:
    """Who was faster on the same work; or else what is worth a try; or nothing."""
    ratio = row.helper_ratio
    if row.helper is not None and ratio is not None and ratio.verdict is Verdict.FASTER:
        around = f"{ratio.ratio.low:.2f}–{ratio.ratio.high:.2f}"
        return (
            f"{row.helper.case.backend} takes {ratio.ratio.mid:.2f} of its time on the same work "
            f"({around}, FASTER)"
        )
    if row.untried:
        return f"not measured on this work, but worth a try: {' or '.join(row.untried)}"
    return ""


# Why numbers are not to be trusted


def doubt_line(doubt: Doubt) -> str:
    """Return in a line why numbers are not to be trusted, what to do, and in how many runs."""
    text, advice = doubt_text(doubt), doubt_advice(doubt)
    message = f"{text} ({advice})" if advice else text
    return message if doubt.runs == doubt.of else f"{message} [in {doubt.runs} of {doubt.of} runs]"


def doubt_lines(doubts: Iterable[Doubt]) -> str:
    """Return several in one line, as a cell of a table has them."""
    return "; ".join(map(doubt_line, doubts))


_DOUBTS = {
    UNSTEADY_RATIO: "the earlier and the later half of the rounds have different ratios",
    FEW_ROUNDS: "fewer than {fewest} rounds: a median of so few has no 95% interval",
    FEW_PROCESSES: "{processes}: a median over processes has no 95% interval of its own under "
    "{enough}",
}
_WIDE = "the interval of the median over {over} is ±{width:.1%}"
_WIDE_BEYOND = _WIDE + ", over ±{limit:.0%}"
_WIDE_OVER_NODES = _WIDE + ": nodes differ, or are few"
_WIDE_OVER_PROCESSES = _WIDE + ": the machine's speed changed between them"


def doubt_text(doubt: Doubt) -> str:
    """Return why numbers are not to be trusted: as it was recorded, or by its code."""
    if doubt.text or not doubt.values:
        return doubt.text
    if doubt.code == WIDE_INTERVAL:
        width, processes, nodes = doubt.values
        template = _WIDE_OVER_NODES if nodes else _WIDE_OVER_PROCESSES
        template = _WIDE_BEYOND if width > WIDE_OVER_PROCESSES else template
        over = count_nodes(round(nodes)) if nodes else f"{processes:.0f} processes"
        return template.format(over=over, width=width, limit=WIDE_OVER_PROCESSES)
    return _DOUBTS[doubt.code].format(
        fewest=FEWEST_SAMPLES,
        processes=count_words(round(doubt.values[0])),
        enough=ENOUGH_PROCESSES,
    )


def doubt_advice(doubt: Doubt) -> str:
    """Return what to do about it: as it was recorded, or by its code."""
    if doubt.text or not doubt.values:
        return doubt.advice
    if doubt.code == FEW_PROCESSES:
        return "go on with python -m bench.run --resume"
    if doubt.code != WIDE_INTERVAL:
        return worded(MORE_TIME, bool(doubt.values[0]))
    width, _, nodes = doubt.values
    if width > WIDE_OVER_PROCESSES:
        more = "on more nodes" if nodes else "in more processes"
        return f"measure {more}, or on a machine of its own"
    if nodes:
        return "ratios to other backends come from inside each node, and differ less"
    return "ratios to other backends come from inside each process, and do not move with it"


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
    "same_run": "{new} holds the same run as {base}; BASE and NEW must be different runs",
}


def error_text(reason: Reason) -> str:
    """Return what was wrong with what was requested, where, and what to do."""
    return _ERRORS[reason.code].format(**{k: _as_shown(v) for k, v in reason.values.items()})


def _as_shown(value: object) -> object:
    """Return names so that a terminal can show them, several in a row; times as they are."""
    if isinstance(value, list):
        return ", ".join(printable(each, 60) for each in value)
    if isinstance(value, Path):
        return path_words(value)
    return printable(value, 120) if isinstance(value, str) else value


def path_words(path: str | os.PathLike[str]) -> str:
    """Return a path as text, a URL without what is private in it."""
    text = named(os.fspath(path))
    return without_secrets(text) if is_url(text) else printable(text)


# Reference cases that differ between the two sides


_UNEVEN = (
    "{bridge}, over which {new} and {base} are compared, took itself {ratio:.2f} times as long in "
    "the processes of {new} as in those of {base} ({bounds}), and {allowed:.0%} is allowed for: "
    "the interval is wider by {by} each way. To change that: see in more processes (--processes) "
    "whether it stays so, or take another bridge (of the backends that need no environment of "
    "their own, the first that --backends names)"
)


def uneven_note(heterogeneity: Heterogeneity) -> str:
    """Return by how much a bridge differs from itself, what that does to ratios, and what to do."""
    bridge, new, base = (
        printable(each, 60)
        for each in (heterogeneity.bridge, heterogeneity.new, heterogeneity.base)
    )
    return _UNEVEN.format(
        bridge=bridge,
        new=new,
        base=base,
        ratio=heterogeneity.found.ratio.mid,
        bounds=uneven_bounds(heterogeneity),
        allowed=BRIDGE_APART,
        by=f"{100 * math.expm1(abs(heterogeneity.found.log_ratio)):.2g}%",
    )


def uneven_bounds(heterogeneity: Heterogeneity) -> str:
    """``0.80–0.97, over 10 cases``: the ratio's, in new's processes over base's."""
    ratio = heterogeneity.found.ratio
    return f"{ratio.low:.2f}–{ratio.high:.2f}, over {count(heterogeneity.cases, 'case')}"


# What an interval stands on


_LEFT_OUT = ", outlying processes left out"
_SIDES = {
    Pairing.ALTERNATING: "alternating blocks",
    Pairing.SEQUENTIAL: "one side after the other",
    Pairing.ADJACENT: "each with one of the other side right before or after it",
    Pairing.BRIDGED: "each measured with the same third case",
    Pairing.UNPAIRED: "unpaired",
}
_UNITS = {Pairing.UNPAIRED: "log medians", Pairing.BRIDGED: "log ratios to it"}
_ALLOWANCE = "allowance of {allowance:.2g}% for the spread between {of} added"
_ALLOWANCE_OF_ONE = "allowance of {allowance:.2g}% for what one process can be off by"
_AT_LEAST = "which are taken to spread by {allowance:g}% at least"


def _interval_of(pairing: Pairing) -> str:
    heterogeneity = pairing in (Pairing.UNPAIRED, Pairing.BRIDGED)
    return "Welch's interval on" if heterogeneity else "t-interval on"


def _spread_added(allowance: float, nodes: bool = False) -> str:
    return _ALLOWANCE.format(allowance=100 * allowance, of="nodes" if nodes else "processes")


def _of_processes(counts: Sequence[int], pairing: Pairing, allowance: float | None) -> str:
    sides = " against ".join([*map(str, counts[:-1]), count_words(counts[-1])])
    what = f"{_interval_of(pairing)} their {_UNITS.get(pairing, 'log ratios')}{_LEFT_OUT}"
    if allowance is not None and min(counts) == 1:
        what = _ALLOWANCE_OF_ONE.format(allowance=100 * allowance)
    elif allowance is not None:
        what = _spread_added(allowance)
    return f"{sides}, {_SIDES[pairing]}: {what}"


def _over_nodes(start: str, what: str, allowance: float | None) -> str:
    more = _LEFT_OUT if allowance is None else f", {_spread_added(allowance, nodes=True)}"
    return f"{start}: {what}{more}"


def _of_nodes(nodes: int, processes: int, pairing: Pairing, allowance: float | None) -> str:
    start = f"{count_nodes(nodes)}, {count_words(processes)}, {_SIDES[pairing]} in each node"
    return _over_nodes(start, "t-interval on their log ratios", allowance)


def _of_nodes_apart(nodes: tuple[int, int], pairing: Pairing, allowance: float | None) -> str:
    start = f"{nodes[0]} against {count_nodes(nodes[1])}, none with both, {_SIDES[pairing]}"
    what = f"{_interval_of(pairing)} their {_UNITS.get(pairing, 'log ratios')}"
    return _over_nodes(start, what, allowance)


def _of_medians(processes: int, allowance: float | None) -> str:
    if allowance is None:
        return f"{count_words(processes)}: order statistics of their medians"
    least = _AT_LEAST.format(allowance=100 * allowance)
    return f"{count_words(processes)}: t-interval on their log medians, {least}"


def _of_nodes_medians(nodes: int, processes: int, allowance: float | None) -> str:
    start = f"{count_nodes(nodes)}, {count_words(processes)}"
    if allowance is None:
        return f"{start}: order statistics of the nodes' medians"
    least = _AT_LEAST.format(allowance=100 * allowance)
    return f"{start}: t-interval on the nodes' log medians, {least}"


def _of_lines(processes: int, allowance: float | None, what: str = "over their lines") -> str:
    if allowance is None:
        return f"{count_words(processes)}: t-interval {what}"
    return f"{count_words(processes)}: {_spread_added(allowance)}"


def _of_cases_together(cases: int, processes: int, allowance: float | None, nodes: int) -> str:
    text = f"{count(cases, 'case')}, taken to err together; {count_words(processes)} or more each"
    return text if allowance is None else f"{text}: {_spread_added(allowance, bool(nodes))}"


def _of_processes_means(cases: int, pairing: Pairing, processes: int) -> str:
    means = f"the geometric means of {count_words(processes)}{_LEFT_OUT}"
    return f"{count(cases, 'case')}: {_interval_of(pairing)} {means}"


_BASES: Mapping[str, Callable[..., str]] = {
    OF_PROCESSES: _of_processes,
    OF_NODES: _of_nodes,
    OF_NODES_APART: _of_nodes_apart,
    OF_MEDIANS: _of_medians,
    OF_ITS_SAMPLES: lambda: (
        "1 process: order statistics of its own samples; how processes differ is not included"
    ),
    OF_ITS_CALLS: lambda: (
        "1 process: order statistics of its own calls; how processes differ is not included"
    ),
    OF_ONE_NODE: lambda of: f"{basis_text(of)}; how nodes differ is not included",
    OF_NODES_MEDIANS: _of_nodes_medians,
    OF_LINES: _of_lines,
    OF_RATIOS_OF_LINES: functools.partial(_of_lines, what="of their ratios"),
    OF_FEWER_WINDOWS: lambda of: f"{basis_text(of)}, and of those through fewer windows",
    OF_CASES: lambda cases, of: f"{count(cases, 'case')}: {basis_text(of)}",
    OF_CASES_TOGETHER: _of_cases_together,
    OF_PROCESSES_MEANS: _of_processes_means,
    UNEVEN: lambda of, by: (
        f"{basis_text(of)}; {100 * by:.2g}% more each way, by which the third case differs from "
        "itself"
    ),
}


def basis_text(basis: Reason) -> str:
    """Return what an interval stands on: how many processes, how paired, what was allowed for."""
    return _BASES[basis.code](**basis.values)
