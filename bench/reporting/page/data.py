"""The report as the data that its page explores: columns of plain numbers, and words by number.

A page may hold many thousands of cases and must still open at once, so each column is one list,
names stand once and are referred to by number, and of the samples only so many are taken as the
page can hold. This room knows the report's rows; the page's script is the only reader.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from bench.judging.rows import Report, Row, Section
from bench.judging.table import records
from bench.telling.headings import heading, name
from bench.telling.inert import clean
from bench.telling.quantities import shape_words

# A browser lays out so many cases in under two seconds; beyond it --device and --kind choose.
MOST_CASES = 20_000
# About a megabyte of the page. Fewer samples than this are all there.
MOST_SAMPLES = 200_000
# A sample is kept as a whole number of ten-thousandths of its case's median.
_PARTS = 10_000

# Columns of the tidy table that the page shows as numbers, by the same names.
_NUMBERS = (
    *("batch", "timesteps", "window", "min_length", "input_size", "hidden_size", "num_layers"),
    *("processes", "samples", "time_s", "time_low_s", "time_high_s"),
    *("sequences_per_s", "timesteps_per_s", "time_per_timestep_s"),
    *("ratio", "ratio_low", "ratio_high", "rank"),
    *("build_s", "trace_s", "compile_s", "first_call_s", "first_result_s"),
    *("peak_memory_bytes", "operations", "bytes_moved"),
    *("of_matmul_roof", "of_bandwidth_roof", "of_chain_roof", "energy_j"),
)
# Figures of the roofs that no column has: the ceilings themselves.
_ROOFS = ("matmul_per_s", "bandwidth_per_s")
_FLAGS = ("bidirectional", "batch_major", "valid", "time_valid", "ratio_valid", "fastest")
_NAMES = ("backend", "device", "mode", "kind", "dtype", "outcome", "verdict", "ahead")
_WORDS = ("reason", "advice", "invalid_reasons", "time_reasons", "ratio_reasons")


@dataclass
class _Words:
    """Words by number: each text once, also where two that differ are shown alike."""

    numbers: dict[Hashable, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def number(self, key: Hashable, text: str) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.shown)
            self.shown.append(text)
        return self.numbers[key]


def block(report: Report) -> str:
    """``data`` as JSON that may stand in an HTML element: no letter of it can end that."""
    text = json.dumps(data(report), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data(report: Report) -> dict[str, object]:
    """What the page's script reads.

    ``cases``: columns, each a list with a value a case; those of ``_NAMES`` and ``_WORDS`` hold
    numbers into the list of the same name in ``words``, -1 for nothing. ``work`` numbers what is
    computed where: cases of one work differ in their backend; ``shape`` has it in short.
    ``samples``: for each case its
    processes, each ``[process, [ten-thousandths of the median, ...]]``. ``left_out``: cases beyond
    ``MOST_CASES``.
    """
    words = {key: _Words() for key in (*_NAMES, *_WORDS, "work", "shape")}
    columns: dict[str, list[float | int | bool | None]] = {}
    pairs = [
        (number, row) for number, section in enumerate(report.sections) for row in section.rows
    ]
    kept = list(zip(pairs, records(report), strict=True))[:MOST_CASES]
    for (section, row), record in kept:
        found: dict[str, float | int | bool | None] = {"section": section}
        for key in _NUMBERS:
            found[key] = _short(record[key])
        for key in _ROOFS:
            found[key] = _short(row.roofs.get(key))
        for key in _FLAGS:
            value = record[key]
            found[key] = None if value is None else int(bool(value))
        for key in (*_NAMES, *_WORDS):
            text = str(record[key] or "")
            short = name(text) if key in _NAMES else clean(text)
            found[key] = words[key].number(text, short) if text else -1
        found["work"] = words["work"].number((section, row.case.group), _work(row))
        words["shape"].number((section, row.case.group), row.case.shape)
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    samples, whole = _samples(report.sections, [pair for pair, _ in kept])
    return {
        "sections": [
            {
                "title": clean(heading(section)),
                "baseline": words["backend"].numbers.get(section.baseline, -1),
            }
            for section in report.sections
        ],
        "words": {key: found.shown for key, found in words.items()},
        # What no case has is not carried: the script takes a missing column for empty.
        "cases": {key: values for key, values in columns.items() if set(values) != {None}},
        "samples": samples,
        "whole_samples": whole,
        "left_out": len(pairs) - len(kept),
    }


def _work(row: Row) -> str:
    """What is computed, in words; device, mode and precision stand elsewhere."""
    window = row.case.workload.window
    return ", ".join([*shape_words(row.case), *([] if window is None else [f"window {window}"])])


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
            case.append([processes[number].get(run.run, 0), parts.tolist()])
        found.append(case)
    return found, whole
