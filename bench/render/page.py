"""Write the report as one HTML page: findings, tables, and a form and plots over its data.

The page needs no network, and no script to show its findings: ``page.html`` is a Jinja2 template
that escapes every text, and the page's policy allows only ``page.js`` and Plotly's script. The page
holds a compressed copy of Plotly's script, which ``plotly/`` has. Needs the extra ``html``.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.case.cases import Case
from bench.machine.fields import require
from bench.records.hdr import decode
from bench.render import labels, messages, palette, plot, quantities
from bench.render.data import COLUMNS
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.report import text_table
from bench.render.table import Column, Standing, TableCell
from bench.stats.bound import NOT_KNOWN
from bench.verdicts.pairs import plain_values
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Report, Section
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import list_cells
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import MODES, OPTIMIZERS

if TYPE_CHECKING:
    from jinja2 import Template

Samples = npt.NDArray[np.float64]

PLOTLY = Path(__file__).parent / "plotly/plotly-cartesian.min.js"
"""The script that draws the plots: the part of Plotly that has lines, boxes and bars."""

MOST_CASES = 100_000
"""The most cases of a page. A browser opens this number in a second or two. If there are more,
select some of them with --device and --kind."""

# These samples take about half a megabyte. If there are more, the page keeps order statistics only.
_MOST_SAMPLES = 200_000
# A page with more rows is slow on a phone. CSV has every case.
_MOST_SKIPPED = 1000
_MOST_ROWS = 1500
# Each table has at least this many rows, however many tables there are.
_FEWEST_ROWS = 20
# At most this many sessions are not folded.
_MOST_OPEN = 4
# The list of the form has at most this many shapes.
_MOST_LISTED = 1000

SIZES = {
    "batch": "Batch",
    "timesteps": "Steps",
    "input_size": "Input",
    "hidden_size": "Units",
    "num_layers": "Layers",
    "window": "Window",
}
"""The numbers of the form, with their labels."""

CHOICES = {
    "dtype": "Precision",
    "optimizer": "Optimizer",
    "device": "Device",
    "mode": "Mode",
    "variant": "Variant",
}
"""The selections of the form, with their labels."""

FILTERS = {"session": "Session", **CHOICES, "kind": "Kind", **SIZES}
"""The filters of the cases below the form, with their labels."""

TABS = {
    "answer": ("Answer", False),
    "compare": ("Compare", True),
    "scaling": ("Scaling", True),
    "tail-latency": ("Tail latency", True),
    "processes": ("Processes", True),
    "all-cases": ("All cases", False),
    "about": ("About", False),
}
"""The tabs by their names in the page's address: each label, and whether the tab needs a script."""

NO_OPTIMIZER = "none"


def page(report: Report) -> str:
    """Return the page. Raise InputError if jinja2 is not installed."""
    require("jinja2", "--format html", "html")
    from markupsafe import Markup

    folder = Path(__file__).parent
    style, script = (Markup((folder / f).read_text("utf-8")) for f in ("page.css", "page.js"))
    plotly = PLOTLY.read_bytes()
    digests = [
        base64.b64encode(hashlib.sha256(each).digest()).decode()
        for each in (script.encode(), plotly)
    ]
    sections = report.sections
    nodes = [host for each in sections for host in (each.nodes.values() or [each.run.machine])]
    hosts, suites = dict.fromkeys(nodes), dict.fromkeys(each.run.suite for each in sections)
    tables = sum(len(section.tables) for section in sections)
    data = PageData(report)
    # JSON inside an HTML element must not end that element.
    text = json.dumps(data.columns(), separators=(",", ":"), allow_nan=False)
    block = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return _template(folder).render(
        report=report,
        about=f"{', '.join(map(labels.name, suites))} on {', '.join(map(labels.name, hosts))}",
        hashes=Markup(" ".join(f"'sha256-{each}'" for each in digests)),
        style=Markup(palette.css()) + style,
        script=script,
        plotly=Markup(_compress(plotly)),
        licence=Markup(PLOTLY.with_name("LICENSE").read_text("utf-8")),
        reference_title=labels.REFERENCE_TITLE,
        data=Markup(block),
        works=data.listed(),
        options=data.options(),
        choices=data.choices(),
        backends=data.backends,
        tabs=TABS,
        sizes=SIZES,
        marks=labels.MARKS,
        most_open=_MOST_OPEN,
        most_rows=max(_FEWEST_ROWS, _MOST_ROWS // max(1, tables)),
        most_skipped=_MOST_SKIPPED,
    )


def _template(folder: Path) -> Template:
    """Return the page's template, which escapes every text, with the functions that it calls."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # All text is cleaned first, except our own HTML.
        finalize=lambda value: clean(value, LONGEST_SENTENCE) if type(value) is str else value,
    )
    made.filters["name"] = labels.name
    made.globals |= {
        "heading": labels.heading,
        "machine": labels.machine,
        "details": _details,
        "describe_source": describe_source,
        "method": messages.method,
        "summary": messages.summary,
        "findings": messages.findings,
        "title": labels.title,
        "text_table": text_table,
        "kind": _kind,
        "notes": lambda section: [*labels.notes(section.rows), labels.BARS],
        "count": quantities.count,
        "problems": _problems,
        "fastest": labels.FASTEST,
    }
    return made.get_template("page.html")


def _compress(text: bytes) -> str:
    """Return text as base64 of gzip, which the browser unpacks.

    Plotly's script then takes a third of its size.
    """
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


# The tables


_CLASSES: dict[Standing | None, str] = {
    Standing.FASTER: "good",
    Standing.SLOWER: "bad",
    Standing.UNCLEAR: "unclear",
    Standing.INVALID: "invalid",
}


def _kind(cell: TableCell, column: Column) -> str:
    """Return the CSS classes of a cell."""
    kinds = ["right" if column.right else "words", "time" if cell.strong else ""]
    return " ".join(filter(None, [*kinds, _CLASSES.get(cell.state, "")]))


def _problems(section: Section) -> list[tuple[str, str, str]]:
    """Return each case that has no time or is unreliable, with what is wrong and why."""
    found = []
    for row in section.rows:
        kinds = {"INVALID": row.result.invalid, "INVALID ratio": row.ratio_problems}
        kinds["unreliable time"] = row.result.validity.of_time
        what, problems = next((each for each in kinds.items() if each[1]), ("", ()))
        if not row.result.measured:
            text, advice = messages.reason_texts(row.result.reason)
            why = ". ".join(filter(None, (text.rstrip("."), advice)))
            found.append((row.case.id, row.result.outcome.replace("_", " "), why))
        elif problems:
            found.append((row.case.id, what, messages.problem_lines(problems)))
    return found


def describe_source(section: Section) -> list[tuple[str, str]]:
    """Return where and when a section was measured, with a label for each part of the answer."""
    when = f"{section.started:%Y-%m-%d %H:%M} UTC"
    runs = quantities.count(len(section.runs), "process")
    suite = labels.name(section.run.suite) or "unnamed suite"
    measured = f"{labels.where(section)}, {when}, {suite}, {runs}"
    return [("Measured on", measured), *labels.machine(section)]


_DETAILS = ("kernel", "container", "cpu", "memory", "gpus", "threads", "tensorflow", "variables")


def _details(section: Section) -> list[tuple[str, str]]:
    """Return what else the first run recorded about the machine, by the names in its file."""
    before, after = section.run.before, section.run.after
    late = {key: after[key] for key in ("threads", "tensorflow") if key in after}
    found: dict[str, list[str]] = {key: [] for key in _DETAILS}
    for name, text in plain_values({**before, **late}):
        label, _, rest = name.partition(".")
        found.get(label.partition("[")[0], []).append(labels.name(f"{rest} {text}".strip()))
    return [
        (label, ", ".join(facts[: labels.MOST_FACTS])) for label, facts in found.items() if facts
    ]


# The data of the form and the plots


_FIGURES = {
    "time": "time_s",
    "low": "time_low_s",
    "high": "time_high_s",
    "speed": "speedup",
    "speed_low": "speedup_low",
    "speed_high": "speedup_high",
    "first": "first_result_s",
    "build": "build_s",
    "trace": "trace_s",
    "compile": "compile_s",
    "memory": "peak_memory_bytes",
    "operations": "operations",
    "bytes": "bytes_moved",
}
"""The columns of the report, by their names in the script."""


class PageData:
    """The data of the page's script: columns of cases and of works, with each text only once.

    A work is a shape on a device in one session. Its cases differ only in their backend.
    """

    def __init__(self, report: Report) -> None:
        pairs = [(number, row) for number, each in enumerate(report.sections) for row in each.rows]
        self._report = report
        self._left_out = max(0, len(pairs) - MOST_CASES)
        self._pairs = pairs[:MOST_CASES]
        self._backends: dict[str, int] = {}  # each text once, with its number
        self._whys: dict[str, int] = {}
        groups: dict[tuple[int, str], list[tuple[int, RankedRow]]] = {}
        for place, (section, row) in enumerate(self._pairs):
            groups.setdefault((section, row.case.group), []).append((place, row))
        self._works = groups
        self._requests = [
            {"session": section, **form_fields(rows[0][1].case)}
            for (section, _), rows in groups.items()
        ]

    def columns(self) -> dict[str, object]:
        """Return everything as plain data."""
        works = {place: number for number, of in enumerate(self._works.values()) for place, _ in of}
        cases: dict[str, list[object]] = {}
        for place, (section, row) in enumerate(self._pairs):
            found = {"work": works[place], **self._case(self._report.sections[section], row)}
            for key, value in found.items():
                cases.setdefault(key, []).append(value)
        samples, complete = self._samples()
        return {
            "sections": [
                {
                    "title": clean(labels.heading(each)),
                    "baseline": labels.name(each.baseline),
                    "started": f"{each.started:%Y-%m-%d %H:%M}",
                    "facts": [[clean(part) for part in fact] for fact in describe_source(each)],
                }
                for each in self._report.sections
            ],
            "backends": self.backends,
            "looks": [
                [look.colour, look.shape]
                for look in plot.choose_distinct_looks(list(self._backends))
            ],
            "whys": list(map(clean, self._whys)),
            "cases": cases,
            "works": self._work_columns(),
            "samples": samples,
            "complete": complete,
            "latency": {
                place: calls
                for place, (_, row) in enumerate(self._pairs)
                if (calls := _latency(row)) is not None
            },
            "left_out": self._left_out,
            "fastest": labels.FASTEST,
            "filters": {key: self._values(key) for key in FILTERS},
            "sizes": list(SIZES),
            "choices": list(CHOICES),
            "cells": _other_cells(),
        }

    @property
    def backends(self) -> list[str]:
        """Names of backends; ``columns`` must have been called before."""
        return list(map(labels.name, self._backends))

    def listed(self) -> list[tuple[int, str]]:
        """Return number and text of the first works that have a time, each shape once."""
        found: dict[str, tuple[int, str]] = {}
        for number, (requested, rows) in enumerate(
            zip(self._requests, self._works.values(), strict=True)
        ):
            if any(row.result.measured for _, row in rows):
                key = str([requested[each] for each in (*SIZES, *CHOICES)])
                found.setdefault(key, (number, work_text(rows[0][1].case)))
        return list(found.values())[:_MOST_LISTED]

    def choices(self) -> dict[str, tuple[str, list[object]]]:
        """Return label and choices of each selection of the form, measured or not."""
        usual: dict[str, list[object]] = {
            "dtype": list(PRECISIONS),
            "optimizer": [NO_OPTIMIZER, *OPTIMIZERS],
            "device": ["cpu", "gpu:0"],
            "mode": list(MODES),
            "variant": ["", *_other_cells()],
        }
        return {
            key: (label, list(dict.fromkeys([*usual[key], *self._values(key)])))
            for key, label in CHOICES.items()
        }

    def options(self) -> dict[str, tuple[str, list[object]]]:
        """Return label and values of each filter that has more than one."""
        found = {key: (label, self._values(key)) for key, label in FILTERS.items()}
        sessions: list[object] = [labels.heading(each) for each in self._report.sections]
        found["session"] = found["session"][0], sessions
        return {key: each for key, each in found.items() if len(each[1]) > 1}

    def _values(self, key: str) -> list[object]:
        values = dict.fromkeys(each[key] for each in self._requests)
        return sorted(values, key=lambda each: (isinstance(each, str), 0 if each is None else each))

    def _case(self, section: Section, row: RankedRow) -> dict[str, object]:
        ratio, result = row.to_baseline, row.result
        interval, start = result.interval, result.first_result
        peak = result.memory.get("peak_bytes")
        baseline = result.measured and row.case.backend == section.baseline
        problems = (*result.invalid, *row.ratio_problems, *result.validity.of_time)
        reasons = (*map(messages.problem_line, problems), *messages.reason_texts(result.reason))
        why = "; ".join(dict.fromkeys(filter(None, reasons)))
        trust = 1 if not row.trusted else 2 if result.validity.of_time else 3
        outcome = result.outcome.replace("_", " ")
        found = {
            key: _short(COLUMNS[column].value(section, row)) for key, column in _FIGURES.items()
        }
        found["speed"] = 1 if baseline else found["speed"]
        return found | {
            "backend": self._backends.setdefault(row.case.backend, len(self._backends)),
            # ``trust`` says whether the verdict is reliable.
            "verdict": "baseline" if baseline else ratio.verdict.value if ratio else "",
            "mark": labels.mark(row),
            "trust": trust if result.measured else 0,
            "outcome": outcome,
            "why": self._whys.setdefault(why, len(self._whys)),
            "peak": _short(result.roofs.get("matmul_per_s")),
            "bandwidth": _short(result.roofs.get("bandwidth_per_s")),
            "texts": [
                quantities.seconds(result.time) if result.measured else outcome,
                labels.bounds_of_time(interval, result.time) if interval else "",
                "1" if baseline else quantities.times_as_fast(ratio.ratio.mid) if ratio else "",
                quantities.times_bounds(ratio.ratio.low, ratio.ratio.high) if ratio else "",
                labels.compact_verdict(ratio) if ratio else "baseline" if baseline else "",
                quantities.seconds(start) if start is not None else "",
                quantities.size(peak) if peak is not None else "",
            ],
        }

    def _work_columns(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = {key: [] for key in FILTERS}
        found |= {key: [] for key in ("text", "group", "answer", "why")}
        for requested, ((section, group), pairs) in zip(
            self._requests, self._works.items(), strict=True
        ):
            rows = sorted((row for _, row in pairs), key=lambda row: row.rank or math.inf)
            for key in FILTERS:
                found[key].append(requested[key])
            of = replace(self._report.sections[section], rows=tuple(rows))
            found["text"].append(work_text(rows[0].case))
            found["group"].append(clean(group, 150))
            found["answer"].append(messages.answer(of) if rows[0].result.measured else [])
            known = rows[0].result.bound is not None and rows[0].result.bound.kind != NOT_KNOWN
            found["why"].append(messages.bound_sentence(rows[0]) if known else "")
        return found

    def _samples(self) -> tuple[list[PackedSamples], bool]:
        """Return each case's packed samples, or their order statistics if there are too many."""
        total = sum(row.result.samples for _, row in self._pairs)
        share = max(1, _MOST_SAMPLES // max(1, len(self._pairs)))
        found = []
        for _, row in self._pairs:
            most = max(2, share // max(1, len(row.result.runs)))
            case = []
            for run in row.result.runs if row.result.measured else ():
                values = np.asarray(run.samples, dtype=np.float64)
                if total > _MOST_SAMPLES and values.size > most:
                    places = np.linspace(0, values.size - 1, most).round().astype(int)
                    values = np.sort(values)[places]
                case.append(values)
            found.append(pack_samples(case))
        return found, total <= _MOST_SAMPLES


PackedSamples = tuple[float, float, list[int], str]

# In seconds. No clock measures less, and a logarithm needs a number above 0.
_SMALLEST = 1e-12


def pack_samples(processes: Sequence[Samples]) -> PackedSamples:
    """Return a case's samples in a third of the space that JSON numbers take.

    A sample is a 16-bit step on a logarithmic scale from the shortest to the longest sample. If
    the longest sample is 100 times the shortest, a step is 0.007%.

    Parameters
    ----------
    processes
        The samples of each process, in seconds.

    Returns
    -------
    tuple
        The shortest and the longest sample in seconds, the number of samples of each process,
        and the base64 text of all steps as little-endian 16-bit numbers.
    """
    sizes = [values.size for values in processes]
    if not sum(sizes):
        return 0.0, 0.0, sizes, ""
    values = np.maximum(np.concatenate(list(processes)), _SMALLEST)
    low, high = float(f"{values.min():.8g}"), float(f"{values.max():.8g}")
    range_ = math.log(high / low) or 1.0
    steps = np.clip(np.log(values / low) / range_ * 65535, 0, 65535).round().astype("<u2")
    return low, high, sizes, base64.b64encode(steps.tobytes()).decode()


def form_fields(case: Case) -> dict[str, object]:
    """Return the fields of the form that select a case."""
    spec, work = case.spec, case.workload
    return {
        **{key: getattr(work, key) for key in ("batch", "timesteps", "window")},
        **{key: getattr(spec, key) for key in ("input_size", "hidden_size", "num_layers")},
        "dtype": labels.name(spec.dtype),
        "optimizer": labels.name(work.optimizer or NO_OPTIMIZER),
        "device": labels.name(case.device),
        "mode": labels.name(work.mode),
        "variant": variant(case),
        "kind": case.kind,
    }


def work_text(case: Case) -> str:
    """Return a case's work as text: ``batch 32 × 100 timesteps, ...; training on cpu, float32``."""
    window = case.workload.window
    words = [*quantities.shape_texts(case), *([] if window is None else [f"windows of {window}"])]
    mode, device, dtype = map(labels.name, (case.workload.mode, case.device, case.spec.dtype))
    return f"{', '.join(words)}; {mode} on {device}, {dtype}"


def _other_cells() -> list[str]:
    """Return the names of all cells except the LSTM, which the id of a case does not name."""
    return [each for each in list_cells() if each != DEFAULT_CELL.name]


def variant(case: Case) -> str:
    """Return the settings that no other field of the form shows; empty if they are usual."""
    work = case.workload
    found = quantities.unusual(case)
    if work.streaming:
        found.append(quantities.period_text(work.period))
    if work.training and work.gradients != "weights":
        found.append(quantities.GRADIENT_TEXTS[work.gradients])
    return ", ".join(found)


def _short(value: object) -> float | int | None:
    """Return a number with six digits, None for what JSON does not have."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return float(f"{float(value):.6g}")


BINS_PER_DECADE = 20
"""The bins of the latencies' histogram in each power of ten: each bin is 12% wide."""


def _latency(row: RankedRow) -> dict[str, object] | None:
    """Return percentiles and histogram of a stream's calls; None for any other case.

    parts: ``[percentile, seconds, its text]`` for each percentile that has enough calls. bins:
    ``[seconds, calls]``.
    """
    stream = row.result.stream
    if stream is None:
        return None
    try:
        histograms = list(map(decode, stream.histograms))
    except ValueError:
        histograms = []
    # The middle of each bin in nanoseconds. No clock measures less than one nanosecond.
    middles = [np.maximum(0.5e9 * (each.low + each.high), 1.0) for each in histograms]
    places = [np.floor(BINS_PER_DECADE * np.log10(middle)).astype(np.int64) for middle in middles]
    none = np.zeros(0, np.int64)
    counts = np.bincount(
        np.concatenate([none, *places]),
        np.concatenate([none, *(each.number for each in histograms)]),
    )
    return {
        "parts": [
            [part, _short(each.mid), quantities.seconds(each.mid)]
            for part, each in stream.latency.items()
        ],
        "bins": [
            [float(f"{1e-9 * 10 ** ((place + 0.5) / BINS_PER_DECADE):.4g}"), int(counts[place])]
            for place in np.flatnonzero(counts).tolist()
        ],
        "calls": stream.calls,
        "missed": stream.missed,
    }
