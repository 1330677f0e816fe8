"""The report as the data that its page explores: columns of plain numbers, and words by number.

A page may hold many thousands of cases and must still open at once, so each column is one list,
names stand once and are referred to by number, and of the samples only so many are taken as the
page can hold. What is answered for each amount of work comes in words, so that the page says what
the terminal says. This room knows the report's rows; the page's script is the only reader.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.case.cases import Case
from bench.records.hdr import decode
from bench.render import drawing
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import heading, name
from bench.render.marks import MARKS
from bench.render.messages import answer
from bench.render.quantities import GRADIENT_WORDS, pace_words, shape_words, unusual
from bench.stats.bound import NOT_KNOWN
from bench.stats.columns import Value
from bench.stats.rows import Report, Row, Section
from bench.stats.table import records
from bench.stats.why import sentence
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import MODES, OPTIMIZERS

# Of so many a browser has the answer and the tables in some two seconds, and a page of some fifty
# megabytes; beyond it --device and --kind choose.
MOST_CASES = 100_000
# About a megabyte of the page. Fewer samples than this are all there.
MOST_SAMPLES = 200_000
# A sample is kept as a whole number of ten-thousandths of its case's median.
_PARTS = 10_000

BINS_PER_DECADE = 20
"""Of the histogram of a stream's latencies: each bin is 12% wide, a few points on a screen. The
result file has three digits."""
_NANOSECOND = 1e-9

# Columns of the tidy table that the page shows as numbers, by the same names.
_NUMBERS = (
    *("batch", "timesteps", "window", "min_length", "input_size", "hidden_size", "num_layers"),
    *("processes", "samples", "rank", "build_s", "trace_s", "compile_s", "first_call_s"),
    *("operations", "bytes_moved", "energy_j"),
    *("of_matmul_roof", "of_bandwidth_roof", "of_chain_roof"),
)
# Those that the terminal tells too: with every digit, so that the page rounds them alike.
_EXACT = (
    *("time_s", "time_low_s", "time_high_s", "confidence", "timesteps_per_s"),
    *("speedup", "speedup_low", "speedup_high", "first_result_s", "peak_memory_bytes"),
)
# Figures of the roofs that no column has: the ceilings themselves.
_ROOFS = ("matmul_per_s", "bandwidth_per_s")
_FLAGS = ("bidirectional", "batch_major", "valid", "time_valid", "ratio_valid", "fastest")
_NAMES = ("backend", "device", "mode", "kind", "dtype", "optimizer", "outcome", "verdict")
_WORDS = ("reason", "advice", "invalid_reasons", "time_reasons", "ratio_reasons")
READ = (*_NUMBERS, *_EXACT, *_FLAGS, *_NAMES, *_WORDS)
"""The columns of the tidy table that the page has."""


@dataclass
class _Words:
    """Words by number: each text once, also where two that differ are shown alike."""

    numbers: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def number(self, text: str, show: Callable[[str], str]) -> int:
        """show: how it is shown, asked once for each text."""
        if text not in self.numbers:
            self.numbers[text] = len(self.shown)
            self.shown.append(show(text))
        return self.numbers[text]


@dataclass(frozen=True)
class Item:
    """A case of the page: the number of its section, its columns, and the ceilings of its roofs."""

    section: int
    case: Case
    record: Mapping[str, Value]
    roofs: Mapping[str, float] = field(default_factory=dict)


def as_block(found: Mapping[str, object]) -> str:
    """Data of the page as JSON that may stand in an HTML element: no letter of it can end that."""
    text = json.dumps(found, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _of_item(item: Item, words: Mapping[str, _Words]) -> dict[str, float | int | bool | None]:
    """What is carried of a case: numbers, and its names and words as places in their lists."""
    record = item.record
    found: dict[str, float | int | bool | None] = {"section": item.section}
    for key in _NUMBERS:
        found[key] = _short(record[key])
    for key in _EXACT:
        found[key] = _exact(record[key])
    for key in _ROOFS:
        found[key] = _short(item.roofs.get(key))
    for key in _FLAGS:
        value = record[key]
        found[key] = None if value is None else int(bool(value))
    for key in (*_NAMES, *_WORDS):
        text = str(record[key] or "")
        show = name if key in _NAMES else clean
        found[key] = words[key].number(text, show) if text else -1
    return found


def data(report: Report) -> dict[str, object]:
    """What the page's script reads of a report: ``carried``, and what is its alone.

    ``works``: of each its shape in words, its id, what of it has no field of its own
    (``variant``), what is answered for it, and ``why`` its fastest takes that long, if that is
    known. ``latency``: of each stream, by the number of its case, what ``_latency`` gives.
    ``samples``: for each case its processes, each ``[process, median in seconds,
    [ten-thousandths of the case's median, ...]]``. ``left_out``: cases beyond ``MOST_CASES``.
    """
    pairs = [
        (number, row) for number, section in enumerate(report.sections) for row in section.rows
    ]
    kept = list(zip(pairs, records(report), strict=True))[:MOST_CASES]
    found, works = carried(
        [(heading(section), section.baseline) for section in report.sections],
        [Item(section, row.case, record, row.roofs) for (section, row), record in kept],
    )
    samples, whole = _samples(report.sections, [pair for pair, _ in kept])
    return {
        **found,
        "works": _works(report, works),
        "latency": {
            number: calls
            for number, ((_, row), _) in enumerate(kept)
            if (calls := _latency(row)) is not None
        },
        "bins_per_decade": BINS_PER_DECADE,
        "samples": samples,
        "whole_samples": whole,
        "left_out": len(pairs) - len(kept),
    }


def carried(
    sections: Sequence[tuple[str, str]], items: Iterable[Item]
) -> tuple[dict[str, object], dict[tuple[int, str], int]]:
    """The cases as the page's script reads them; and the number of each work, by section and group.

    sections: of each its title and the backend that its ratios refer to. ``cases``: columns, each a
    list with a value for each of ``count`` cases, and in ``same`` those of one value for all; those
    of ``_NAMES`` and ``_WORDS`` hold numbers into the list of the same name in ``words``, -1 for
    nothing; ``work`` into ``works``. A work is what is computed where; cases of one work differ in
    their backend alone. ``looks``: of each backend the colour, and which marker goes with it.
    ``choices``: what may be asked for, measured or not.
    """
    words = {key: _Words() for key in (*_NAMES, *_WORDS)}
    works: dict[tuple[int, str], int] = {}
    columns: dict[str, list[float | int | bool | None]] = {}
    count = 0
    for item in items:
        count += 1
        found = _of_item(item, words)
        found["work"] = works.setdefault((item.section, item.case.group), len(works))
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    return {
        "sections": [
            {"title": clean(title), "baseline": words["backend"].numbers.get(baseline, -1)}
            for title, baseline in sections
        ],
        "words": {key: found.shown for key, found in words.items()},
        "looks": [
            [look.colour, look.shape]
            for look in map(drawing.look, map(str, words["backend"].numbers))
        ],
        "count": count,
        "cases": {key: values for key, values in columns.items() if len(set(values)) > 1},
        # One value that all have, or none, which is not carried, stands once.
        "same": {
            key: values[0]
            for key, values in columns.items()
            if len(set(values)) == 1 and values[0] is not None
        },
        "choices": {"dtype": list(PRECISIONS), "optimizer": OPTIMIZERS, "mode": MODES},
        "marks": MARKS,
    }, works


def _latency(row: Row) -> dict[str, object] | None:
    """Of a stream its percentiles, and how often which latency came; None of another case.

    ``parts``: of each percentile that can be told ``[percentile, low, mid, high]`` in seconds.
    ``first``, ``counts``: how many calls of all processes are in each bin, the first of which is
    ``10**(first / BINS_PER_DECADE)`` ns; none of a histogram that cannot be read. ``calls``,
    ``most``, ``deadline``, ``missed``: as in ``judging.latency``.
    """
    stream = row.stream
    if stream is None:
        return None
    counts: Counter[int] = Counter()
    for text in stream.histograms:
        try:
            bins = decode(text)
        except ValueError:
            counts.clear()
            break
        for each in bins:
            middle = max((each.low + each.high) / 2 / _NANOSECOND, 1.0)
            counts[math.floor(BINS_PER_DECADE * math.log10(middle))] += each.number
    first, last = (min(counts), max(counts)) if counts else (0, -1)
    return {
        "parts": [
            [part, *(float(f"{value:.5g}") for value in (each.low, each.mid, each.high))]
            for part, each in stream.latency.items()
        ],
        "first": first,
        "counts": [counts[place] for place in range(first, last + 1)],
        "calls": stream.calls,
        "most": stream.most,
        "deadline": stream.deadline,
        "missed": stream.missed,
    }


def _works(report: Report, numbers: dict[tuple[int, str], int]) -> dict[str, list[object]]:
    groups: list[list[Row]] = [[] for _ in numbers]
    sections: list[Section] = [report.sections[section] for section, _ in numbers]
    for number, section in enumerate(report.sections):
        for row in section.rows:
            if (place := numbers.get((number, row.case.group))) is not None:
                groups[place].append(row)
    for rows in groups:
        rows.sort(key=lambda row: row.rank or math.inf)
    return {
        "text": [work_words(rows[0].case) for rows in groups],
        "group": [clean(rows[0].case.group, 150) for rows in groups],
        "variant": [variant_words(rows[0].case) for rows in groups],
        "said": [
            answer(replace(section, rows=tuple(rows))) if rows[0].measured else []
            for section, rows in zip(sections, groups, strict=True)
        ],
        "why": [_why(rows[0]) for rows in groups],
    }


def _why(row: Row) -> str:
    """What binds the fastest of a work, in a sentence; empty where that is not known."""
    known = row.bound is not None and row.bound.kind != NOT_KNOWN
    return clean(sentence(row), LONGEST_SENTENCE) if known else ""


def work_words(case: Case) -> str:
    """What is computed, in words; device, mode and precision stand elsewhere."""
    window = case.workload.window
    return ", ".join([*shape_words(case), *([] if window is None else [f"windows of {window}"])])


def variant_words(case: Case) -> str:
    """What the question's fields leave open, in words; empty where nothing of it is unusual.

    A training step is taken to have the gradients of the weights: that is what trains a layer.
    """
    work = case.workload
    parts = unusual(case)
    if work.streaming:
        parts.append(pace_words(work.period))
    if work.training and work.gradients != "weights":
        parts.append(GRADIENT_WORDS[work.gradients])
    return ", ".join(parts)


def _exact(value: object) -> float | int | None:
    """With all its digits; whole where it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def _short(value: object) -> float | int | None:
    """Five digits are more than any measurement here has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return float(f"{float(value):.5g}") if abs(value) < 1e300 else None


def _samples(
    sections: tuple[Section, ...], pairs: list[tuple[int, Row]]
) -> tuple[list[list[list[object]]], bool]:
    """Each case's samples by process; where all are too many, of each its order statistics."""
    total = sum(row.samples for _, row in pairs)
    whole = total <= MOST_SAMPLES
    share = max(1, MOST_SAMPLES // max(1, len(pairs)))
    processes = [{run.id: n for n, run in enumerate(each.runs, 1)} for each in sections]
    found: list[list[list[object]]] = []
    for number, row in pairs:
        case: list[list[object]] = []
        most = max(2, share // max(1, len(row.runs)))
        for run in row.runs if row.measured else ():
            values = np.asarray(run.samples, dtype=np.float64)
            if not whole and values.size > most:
                places = np.linspace(0, values.size - 1, most).round().astype(int)
                values = np.sort(values)[places]
            parts = np.minimum(np.round(values / row.time * _PARTS), 2**53).astype(np.int64)
            median = float(np.median(run.samples))
            case.append([processes[number].get(run.run, 0), median, parts.tolist()])
        found.append(case)
    return found, whole
