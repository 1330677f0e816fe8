"""Draw results as PNG, SVG or PDF: bars by shape, the roofline, and times along an axis.

Also what all pictures share: a backend has the same colour, marker and dashes in each of them, and
nothing is said by colour alone, so that a grey print and colour-blind readers lose nothing.
matplotlib is imported when something is drawn; no display is needed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import sys
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from bench.machine.fields import InputError, printable
from bench.render import INSTALL_PICTURES, PICTURES
from bench.render.along import UNITS
from bench.render.along import title as series_title
from bench.render.escape import clean
from bench.render.labels import DOUBTFUL, FASTEST, RATIO_INTERVAL, TIME_INTERVAL, heading, machine
from bench.render.quantities import percent, rate, ratio, seconds, shape_words
from bench.stats.along import AxisSeries, BackendCost, peak_bytes, unit_interval, value
from bench.stats.comparison import Verdict
from bench.stats.intervals import CASE_CONFIDENCE
from bench.stats.rows import Row, Section, ranked_backends

FORMATS = PICTURES
INSTALL = INSTALL_PICTURES

Figure = Any  # matplotlib has no stubs that are checked here, and is not imported for its types
Axes = Any

# Okabe & Ito's colours, which colour-blind eyes distinguishes; their orange, sky and black are
# moved until each of them stands out by 3:1 on white and on the page's dark ground, and their
# yellow is left out, which cannot.
COLOURS = (
    *("#757575", "#0072B2", "#009E73", "#D55E00"),
    *("#7E57C2", "#CC79A7", "#A87900", "#2A96D4"),
)
HATCHES = ("", "////", "....", "\\\\\\\\", "xx", "--", "oo", "++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
# A line's dashes tell it apart where there is no colour, next to its marker and its name.
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
)

USUAL = (
    # Those that are next to one another in most suites have a colour each.
    *("keras", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla"),
    *("cudnn", "torch", "jax_scan", "onnxruntime"),
    # Below a name one of its kin.
    *("keras+xla", "while_loop+xla", "while_loop+preproject", "while_loop+preproject+xla"),
    *("jax_cudnn", "torch_compile", "flax", "litert"),
    # Below what runs on GPUs alone, and in inference alone: what the truncation suite has instead.
    *("block_lstm", "scan", "numpy", "flashrnn"),
    *("static_unroll", "static_rnn", "dynamic_rnn", "partial_unroll@10"),
)
"""Backends in the order of their looks. A name may be added at the end, but none moved: who has
seen one picture reads the next by its colours."""

INK, SUBTLE, FAINT = "#222222", "#555555", "#CCCCCC"

_DPI = 200
_STYLE = Path(__file__).with_name("pictures.mplstyle")
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def available() -> bool:
    """Whether matplotlib is installed; it is not imported."""
    return importlib.util.find_spec("matplotlib") is not None


def kind_of(path: Path) -> str | None:
    """Which of ``FORMATS`` a file's name asks for, None if none of them."""
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMATS else None


def label(text: str, limit: int = 60) -> str:
    """Text of a result file as a label: on one line and cut short.

    Formulas in it are no matter, since none are read (``text.parse_math``); but matplotlib leaves
    out of a legend what begins with an underscore.
    """
    found = clean(text, limit)
    return f" {found}" if found.startswith("_") else found


def matplotlib() -> Any:
    """The library; what $MPLBACKEND names does not stop it, for a file needs no window."""
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as found
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named:
        with contextlib.suppress(ValueError):
            found.rcParams["backend"] = named
    return found


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Within it, figures are made, drawn and written with the look of this suite's pictures.

    Nothing is left changed. A letter that the font lacks is drawn as a box, without a word.
    """
    mpl = matplotlib()
    params = mpl.rc_params_from_file(_STYLE, fail_on_error=True, use_default_template=False)
    with mpl.rc_context(params), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def empty_figure(
    width: float,
    height: float,
    layout: Literal["constrained"] | None = "constrained",
    dpi: float | None = None,
) -> Figure:
    """An empty figure of so many inches, for a file: it belongs to no window.

    layout: who places what is in it, matplotlib or, with None, whoever draws. dpi: by default that
    of ``style``.
    """
    matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Empty

    made = Empty(figsize=(width, height), layout=layout, dpi=dpi, facecolor="white")
    FigureCanvasAgg(made)
    return made


def encoded(drawn: Figure, kind: str) -> bytes:
    """A figure as the bytes of a PNG, SVG or PDF file."""
    file = io.BytesIO()
    drawn.savefig(file, format=kind, dpi=_DPI, metadata=_METADATA[kind])
    return file.getvalue()


@dataclass(frozen=True)
class Look:
    """How a backend looks in every picture.

    number: its place among all looks, whatever else they are made of.
    """

    number: int

    @property
    def colour(self) -> str:
        """``#RRGGBB``, with a contrast of at least 3:1 to a white and to a dark ground."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def shape(self) -> int:
        """Which marker and hatch go with the colour: the place in ``MARKERS`` and ``HATCHES``."""
        return (self.number + self.number // len(COLOURS)) % len(MARKERS)

    @property
    def marker(self) -> str:
        """Of a point, as matplotlib names it."""
        return MARKERS[self.shape]

    @property
    def hatch(self) -> str:
        """Of a surface, as matplotlib names it."""
        return HATCHES[self.shape]

    @property
    def dashes(self) -> tuple[int, tuple[float, ...]]:
        """Of a line, as matplotlib names it."""
        return DASHES[self.shape % len(DASHES)]


def look_of(backend: str) -> Look:
    """How this backend looks: by its name alone, never by its place in a result.

    Those of ``USUAL`` have one of their own. Any other has one of those left over, the same on
    every machine; two such names may share it, so a picture names what it draws.
    """
    if backend in USUAL:
        return Look(USUAL.index(backend))
    left = len(COLOURS) * len(MARKERS) - len(USUAL)
    return Look(len(USUAL) + zlib.crc32(backend.encode("utf-8", "replace")) % left)


def scale(seconds: Sequence[float]) -> tuple[float, str]:
    """The unit in which these times are plain to read: its size in seconds, and its name."""
    largest = max(seconds, default=1.0)
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if largest >= size:
            return size, unit
    return 1e-9, "ns"


# A picture that is wider than this is no picture of a page, and one narrower has no room for bars.
NARROWEST, WIDEST = 3.0, 30.0


@dataclass(frozen=True)
class PlotKind:
    """What a picture can be of.

    title: over it. has: whether a row has what is drawn. lacking: said where no row has.
    """

    title: str
    has: Callable[[Row], bool]
    lacking: str


KIND_OF = {
    "throughput": PlotKind(
        "Sequences per second", lambda row: row.measured, "no case was measured"
    ),
    "speedup": PlotKind(
        "Speed-up", lambda row: row.to_baseline is not None, "no case has a baseline beside it"
    ),
    "setup": PlotKind(
        "Time to the first result",
        lambda row: bool(setup_parts(row)),
        "no case says what building, tracing and the first call took",
    ),
    "memory": PlotKind(
        "Peak memory",
        lambda row: "peak_bytes" in row.memory,
        "no case has figures of memory: they are of a version that did not measure it",
    ),
    "roofline": PlotKind(
        "Roofline",
        lambda row: row.measured and all(row.roofs.get(key) for key in ("operations", "bytes")),
        "no case has figures of roofs: they are of a version that did not measure them",
    ),
}

SETUP = {"build_s": "build", "trace_s": "trace", "first_call_s": "first call, compiling included"}
"""What comes before the first result, in its order, and how it is called."""


def setup_parts(row: Row) -> dict[str, float]:
    """Seconds of each part of ``SETUP`` that is known, by its key."""
    setup = row.setup or {}
    return {key: value for key in SETUP if (value := setup.get(key)) is not None}


@dataclass(frozen=True)
class Plot:
    """What is drawn: which figure of which rows of a session, on so many inches of width.

    skipped: how many sessions are not drawn.
    """

    what: str
    section: Section
    rows: tuple[Row, ...]
    width: float = 7.0
    skipped: int = 0

    @property
    def kind(self) -> PlotKind:
        """Of what it is."""
        return KIND_OF[self.what]


def choose(section: Section, what: str, pattern: str = "*") -> tuple[Row, ...]:
    """The rows of a section that a picture is of, in the report's order.

    pattern: of the ids of the cases, as a shell's. With a row come the rows of its group that were
    measured: a picture of a figure that some of them lack leaves them blank.

    Raises InputError if there is none.
    """
    rows = [row for row in section.rows if row.measured and fnmatchcase(row.case.id, pattern)]
    if not rows:
        there = next((row.case.id for row in section.rows if row.measured), "")
        if not there:
            raise InputError(KIND_OF["throughput"].lacking)
        raise InputError(
            f"no measured case fits what was chosen; a case is named like {printable(there, 120)}"
        )
    groups = {row.case.group for row in rows if KIND_OF[what].has(row)}
    if not groups:
        raise InputError(f"--what {what}: {KIND_OF[what].lacking}")
    return tuple(row for row in rows if row.case.group in groups)


MOST_PANELS = 24
"""More are no picture of a page; --case, --mode and --device choose."""

_COLUMN = 1.4  # inches that a panel needs next to the names
_BAR, _HEAD = 0.19, 0.78  # inches
_ENTRY = 1.75  # inches of a legend's column, of the parts of a setup
_NAME = 26  # letters of a backend
_PARTS = (("#0B3C6F", ""), ("#FFFFFF", "...."), ("#6FA8D6", ""))  # of a setup: colour and hatch
_HOLLOW = "#F2F2F2"
_EDGES = {"height": 0.72, "edgecolor": INK, "linewidth": 0.5}


def picture(plot: Plot, kind: str) -> bytes:
    """The plot as a PNG, SVG or PDF file."""
    with style():
        figure = roofline(plot) if plot.what == "roofline" else _bars(plot)
        return encoded(figure, kind)


# Bars


@dataclass(frozen=True)
class _Bar:
    """A bar and its whiskers, in the axis's unit; text: next to it."""

    value: float
    low: float
    high: float
    text: str


def _bars(plot: Plot) -> Figure:
    groups: dict[str, dict[str, Row]] = {}
    for row in plot.rows:
        groups.setdefault(row.case.group, {})[row.case.backend] = row
    shown = list(groups.values())[:MOST_PANELS]
    names = ranked_backends(
        (row for panel in shown for row in panel.values()), plot.section.baseline
    )
    longest = max(len(label(name, _NAME)) for name in names)
    margin = 0.25 + 0.062 * longest
    columns = max(1, min(len(shown), 4, int((plot.width - margin) / _COLUMN)))
    # Rows of one length look best: 6 panels are 3 and 3, not 4 and 2.
    lines = math.ceil(len(shown) / columns)
    columns = math.ceil(len(shown) / lines)
    height = lines * (_HEAD + _BAR * len(names) + 0.2) + 1.1
    figure = empty_figure(plot.width, height)
    title(figure, plot, _bars_title(plot, len(groups) - len(shown)))
    grid = figure.subplots(lines, columns, squeeze=False)
    for number, panel in enumerate(shown):
        axes = grid[number // columns][number % columns]
        _panel(axes, plot, panel, names, named=number % columns == 0)
    for axes in grid.flatten()[len(shown) :]:
        axes.set_axis_off()
    if plot.what == "setup":
        from matplotlib.patches import Patch

        handles = [
            Patch(facecolor=colour, hatch=hatch, edgecolor=INK, linewidth=0.5, label=word)
            for (colour, hatch), word in zip(_PARTS, SETUP.values(), strict=True)
        ]
        ncols = max(1, int(plot.width / _ENTRY))
        if described := _below(plot, shown):
            handles.append(Patch(alpha=0, label=described))
        figure.legend(handles=handles, loc="outside lower left", ncols=ncols, frameon=False)
    else:
        described = _below(plot, shown)
        figure.supxlabel(described, fontsize=7, x=0.01, ha="left", color=SUBTLE)
    return figure


def _bars_title(plot: Plot, left_out: int) -> str:
    text = plot.kind.title
    if plot.what == "speedup":
        text += f" over {label(plot.section.baseline, 40)}"
    if left_out:
        text += f" (of {MOST_PANELS} shapes; {left_out} more not drawn)"
    return text


def _stars(plot: Plot) -> bool:
    """Whether it is about speed, so that the fastest has a star."""
    return plot.what in ("throughput", "speedup")


def _below(plot: Plot, panels: Sequence[dict[str, Row]]) -> str:
    """How to read it."""
    rows = [row for panel in panels for row in panel.values()]
    words = []
    if _stars(plot):
        words.append("the longer the faster")
        interval = {"throughput": TIME_INTERVAL, "speedup": RATIO_INTERVAL}[plot.what]
        alone = plot.what == "throughput" and any(len(row.runs) == 1 for row in rows)
        words.append(f"whiskers: {interval}{' of one process alone' if alone else ''}")
    if _stars(plot) and any(row.fastest for row in rows):
        words.append(f"{FASTEST} FASTER than each of the others")
    if plot.what == "speedup" and any(row.to_baseline and row.to_baseline.uneven for row in rows):
        words.append(
            "some over an uneven bridge, whose difference is in the whiskers: bench.report"
        )
    if plot.what == "throughput" and any(row.validity.of_time for row in rows):
        words.append(f"{DOUBTFUL} an unreliable time")
    if plot.what != "setup":
        if any(_spoilt(plot, row) for row in rows):
            words.append("hatched: INVALID, not to be trusted")
        words.append("a colour for each backend, the same in every picture")
    elif any(_spoilt(plot, row) for row in rows):
        words.append("INVALID: not to be trusted")
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > plot.width * 17:
            lines.append("")
        lines[-1] += f" · {word}" if lines[-1] else word
    return "\n".join(lines)


def _panel(
    axes: Axes, plot: Plot, panel: dict[str, Row], names: Sequence[str], *, named: bool
) -> None:
    first = next(iter(panel.values()))
    case = first.case
    words = shape_words(case)
    last = f"{case.workload.mode}, {case.spec.dtype}"
    if len({row.case.device for row in plot.rows}) > 1:
        last += f", {label(case.device, 12)}"
    if case.workload.window is not None:
        words.append(f"windows of {case.workload.window}")
    axes.set_title("\n".join([*words, last]), loc="left", fontsize=7)
    places = {name: place for place, name in enumerate(names)}
    if plot.what == "setup":
        reach = _setup_bars(axes, panel, places)
    else:
        reach = _value_bars(axes, plot, panel, places)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, reach)
    # Before a name stands a star where it won in this panel; on inner panels only the star.
    labels = []
    for name in names:
        won = _stars(plot) and name in panel and panel[name].fastest
        star = f"{FASTEST} " if won else ""
        labels.append(star + label(name, _NAME) if named else star)
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=6.5)
    if plot.what == "throughput":
        axes.xaxis.set_major_formatter(lambda value, _: rate(value) if value else "0")


def _value_bars(axes: Axes, plot: Plot, panel: dict[str, Row], places: dict[str, int]) -> float:
    """Draw them, and return how far the axis must reach for bars, whiskers and words."""
    bars = {name: bar for name, row in panel.items() if (bar := _bar(plot, row)) is not None}
    longest = max((bar.value for bar in bars.values()), default=1.0)
    # A whisker of one process reaches far: beyond twice the longest bar it leaves the panel.
    most = max((min(bar.high, 2 * longest) for bar in bars.values()), default=1.0) or 1.0
    for name, bar in bars.items():
        row, place = panel[name], places[name]
        axes.barh(place, bar.value, **_look(plot, row))
        if bar.high > bar.low:
            # Black on white, so that it is seen on a dark bar too.
            for colour, width in (("white", 2.4), ("black", 0.9)):
                axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=width)
                for end in (bar.low, bar.high):
                    across = [place - 0.18, place + 0.18]
                    axes.plot([end, end], across, color=colour, linewidth=width)
        end = min(max(bar.value, bar.high), most)
        words = f"{bar.text}{' INVALID' if _spoilt(plot, row) else ''}"
        axes.text(end + 0.03 * most, place, words, va="center", fontsize=6.5)
    if plot.what == "speedup":
        axes.axvline(1.0, color="black", linewidth=0.9, linestyle=(0, (3, 2)))
    # Some letters fit into the part beyond the longest whisker.
    return (2.1 if plot.what == "speedup" else 1.75) * most


def _spoilt(plot: Plot, row: Row) -> bool:
    """Whether what this plot shows of a row is not to be trusted: its ratio, or all of it."""
    return bool(row.invalid) or (plot.what == "speedup" and not row.trusted)


def _look(plot: Plot, row: Row) -> dict[str, object]:
    if _spoilt(plot, row):
        return {**_EDGES, "facecolor": _HOLLOW, "hatch": "/////"}
    return {**_EDGES, "facecolor": look_of(row.case.backend).colour}


def _bar(plot: Plot, row: Row) -> _Bar | None:
    """What is drawn of a row, None where it lacks that."""
    if plot.what == "throughput":
        assert row.interval is not None
        batch = row.case.workload.batch
        value = batch / row.time
        words = f"{DOUBTFUL if row.validity.of_time else ''}{rate(value)}"
        return _Bar(value, batch / row.interval.high, batch / row.interval.low, words)
    if plot.what == "speedup":
        if row.case.backend == plot.section.baseline:
            return _Bar(1.0, 1.0, 1.0, "")
        found = row.to_baseline
        if found is None:
            return None
        value = 1 / found.ratio.mid
        high = 1 / found.ratio.low if found.ratio.low > 0 else math.inf
        words = f"{ratio(value)}×"
        if found.verdict is not Verdict.FASTER:
            words += f" {found.verdict}"
            if found.verdict is Verdict.UNCLEAR and found.spread is not None and not found.uneven:
                words += f" ({percent(found.spread)})"
        return _Bar(value, 1 / found.ratio.high, high, words)
    peak = row.memory.get("peak_bytes")
    if peak is None:
        return None
    return _Bar(peak / 2**20, peak / 2**20, peak / 2**20, f"{peak / 2**20:.3g} MiB")


def _setup_bars(axes: Axes, panel: dict[str, Row], places: dict[str, int]) -> float:
    parts = {name: setup_parts(row) for name, row in panel.items()}
    longest = max((sum(found.values()) for found in parts.values()), default=1.0) or 1.0
    size, unit = scale([longest])
    for index, (key, (colour, hatch)) in enumerate(zip(SETUP, _PARTS, strict=True)):
        look = {**_EDGES, "facecolor": colour, "hatch": hatch}
        for name, found in parts.items():
            if key in found:
                before = sum(found[each] for each in list(SETUP)[:index] if each in found)
                axes.barh(places[name], found[key] / size, left=before / size, **look)
    for name, found in parts.items():
        whole = sum(found.values())
        if found:
            text = seconds(whole) + (" INVALID" if panel[name].invalid else "")
            axes.text(
                (whole + 0.03 * longest) / size, places[name], text, va="center", fontsize=6.5
            )
    axes.set_xlabel(unit, fontsize=7)
    return 1.5 * longest / size


def title(figure: Figure, plot: Plot, message: str) -> None:
    """What it is, then where and when it was measured."""
    letters = int(plot.width * 14)
    kinds = {row.case.device.partition(":")[0].upper() for row in plot.rows}
    hardware = [text for label, text in machine(plot.section) if label[:3] in kinds]
    lines = [
        message,
        label(heading(plot.section), letters),
        label("; ".join(hardware), letters),
    ]
    figure.suptitle(
        "\n".join(line for line in lines if line), fontsize=8.5, x=0.01, ha="left", linespacing=1.4
    )


# The roofline

_CHAIN = {"linestyle": "none", "marker": "_", "markersize": 9, "color": SUBTLE}


def roofline(plot: Plot) -> Figure:
    """Rate of operations over operations a byte, below what the device can do at best.

    Williams, Waterman & Patterson 2009. The roofs are taken back from how near to them the cases
    came, so they are those that were measured next to them.
    """
    rows = [row for row in plot.rows if plot.kind.has(row)]
    devices = list(dict.fromkeys(row.case.device for row in rows))
    figure = empty_figure(plot.width, 3.6 * len(devices))
    title(figure, plot, "Roofline: how near to the device's measured best")
    names = ranked_backends(rows, plot.section.baseline)
    grid = figure.subplots(len(devices), 1, squeeze=False).flatten()
    for axes, device in zip(grid, devices, strict=True):
        _roofs(axes, [row for row in rows if row.case.device == device], names)
        axes.set_title(label(device, 20), loc="left")
    entries: dict[str, object] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    longest = max(map(len, entries))
    ncols = max(1, int(plot.width / (0.4 + 0.058 * longest)))
    figure.set_figheight(0.9 + 2.7 * len(devices) + 0.165 * math.ceil(len(entries) / ncols))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower left", ncols=ncols, frameon=False
    )
    return figure


def _roofs(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    xs = [row.roofs["operations"] / row.roofs["bytes"] for row in rows]
    ys = [row.roofs["operations"] / row.time for row in rows]
    _points(axes, rows, xs, ys, names)
    rates = [y / part for y, r in zip(ys, rows, strict=True) if (part := r.roofs.get("of_matmul"))]
    widths = [
        r.roofs["bytes"] / r.time / part for r in rows if (part := r.roofs.get("of_bandwidth"))
    ]
    low, high = min(xs) / 4, max(xs) * 4
    _lines(axes, low, high, rates, widths)
    if any(row.roofs.get("of_chain") for row in rows):
        axes.plot([], [], label="chain of waiting products", **_CHAIN)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    # matplotlib's own labels of a log axis are formulas, and none are read here.
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: rate(value))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("operations/s")


def _points(
    axes: Axes, rows: Sequence[Row], xs: Sequence[float], ys: Sequence[float], names: Sequence[str]
) -> None:
    """Each case by its backend and mode, with the roof of its own chain."""
    for name in names:
        look = look_of(name)
        for mode, filled in (("training", True), ("inference", False)):
            here = [
                (x, y)
                for x, y, row in zip(xs, ys, rows, strict=True)
                if (row.case.backend, row.case.workload.mode) == (name, mode)
            ]
            if here:
                axes.plot(
                    *zip(*here, strict=True),
                    linestyle="none",
                    marker=look.marker,
                    markersize=5,
                    markeredgewidth=1.2,
                    color=look.colour,
                    markerfacecolor=look.colour if filled else "white",
                    label=f"{label(name, 24)}, {mode}",
                )
    for x, y, row in zip(xs, ys, rows, strict=True):
        if row.invalid:
            axes.annotate("INVALID", (x, y), xytext=(4, -7), textcoords="offset points", fontsize=6)
        if chain := row.roofs.get("of_chain"):
            axes.plot(x, y / chain, **_CHAIN)


def _lines(
    axes: Axes, low: float, high: float, rates: Sequence[float], widths: Sequence[float]
) -> None:
    """The highest rate of products and the widest memory, from ``low`` to ``high``."""
    line = {"color": INK, "linewidth": 1.2}
    words = {"textcoords": "offset points", "fontsize": 7}
    if rates:
        top = max(rates)
        axes.plot([low, high], [top] * 2, **line)
        text = f"matrix products: {rate(top)}/s"
        axes.annotate(text, (low, top), xytext=(6, 2), va="bottom", **words)
    if widths:
        width = max(widths)
        # Where it passes the other roof it is none any more.
        until = min(high, max(rates) / width) if rates else high
        if until > low:
            axes.plot([low, until], [low * width, until * width], linestyle=(0, (5, 2)), **line)
            text = f"memory: {rate(width)}B/s"
            axes.annotate(text, (low, low * width), xytext=(6, 0), va="top", **words)


# Along an axis

_MOST_SERIES = 4
_PANEL = (3.4, 2.3)  # inches


def along(found: Sequence[AxisSeries], kind: str, width: float | None = None) -> bytes:
    """Draw time per unit, and memory where it is known, against the values of an axis.

    A column a series, a line a backend with the band of its intervals, both axes logarithmic.
    Returns the bytes of a PNG, SVG or PDF file.
    """
    drawn = [each for each in found if each.values][:_MOST_SERIES]
    with style():
        return encoded(_along(drawn, len(found) - len(drawn), width), kind)


def _along(found: Sequence[AxisSeries], left_out: int, width: float | None) -> Figure:
    sized = any("peak_bytes" in row.memory for each in found for row in each.rows)
    names = list(dict.fromkeys(of.backend for each in found for of in _costs(each)))
    width = width or max(7.0, _PANEL[0] * len(found))
    columns = max(1, int(width / (0.5 + 0.075 * max(map(len, names)))))
    lines = math.ceil(len(names) / columns)
    height = _PANEL[1] * (1 + sized) + 1.2 + 0.18 * lines
    figure = empty_figure(width, height)
    grid = figure.subplots(1 + sized, len(found), squeeze=False, sharex="col")
    for column, each in enumerate(found):
        panel = grid[0][column]
        text = textwrap.fill(
            label(series_title(each).partition(";")[0], 160), int(16 * width / len(found))
        )
        panel.set_title(text, loc="left", fontsize=7)
        _times(panel, each)
        if sized:
            _memory(grid[1][column], each)
        _values(grid[-1][column], each)
    unit = UNITS[found[0].axis]
    text = f"What a {unit} costs along {found[0].axis}"
    if left_out:
        text += f" ({left_out} more not drawn)"
    figure.suptitle(
        f"{text}\n{label(heading(found[0].section), int(width * 16))}",
        fontsize=8.5,
        x=0.01,
        ha="left",
    )
    handles: dict[str, object] = {}
    for panel in grid[0]:
        handles.update(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower left", ncols=columns, frameon=False
    )
    below = f"bands: {100 * CASE_CONFIDENCE:g}% intervals; hollow: INVALID or an unreliable time"
    if any(of.unreached for each in found for of in _costs(each)):
        below += "; ×: the last value that was reached"
    grid[-1][0].text(0, -0.32, below, fontsize=6.5, color=SUBTLE, transform=grid[-1][0].transAxes)
    return figure


def _costs(found: AxisSeries) -> list[BackendCost]:
    return [of for of in found.backends if of.measured]


def _times(axes: Axes, found: AxisSeries) -> None:
    intervals = {
        of.backend: [
            (value(row, found.axis), interval)
            for row in of.measured
            if (interval := unit_interval(row, found.axis)) is not None
        ]
        for of in _costs(found)
    }
    middle = sorted(interval.mid for points in intervals.values() for _, interval in points)
    size, name = scale([middle[len(middle) // 2]])
    for of in _costs(found):
        points = intervals[of.backend]
        xs = [x for x, _ in points]
        low, high = ([getattr(i, end) / size for _, i in points] for end in ("low", "high"))
        colour = look_of(of.backend).colour
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
        _line(axes, found, of, xs, [interval.mid / size for _, interval in points])
    axes.set_ylabel(f"per {UNITS[found.axis]} ({name})", fontsize=7)
    _plain(axes)


def _memory(axes: Axes, found: AxisSeries) -> None:
    for of in _costs(found):
        sized = [row for row in of.measured if row.memory.get("peak_bytes")]
        values = [value(row, found.axis) for row in sized]
        _line(axes, found, of, values, [peak_bytes(row) / 2**20 for row in sized])
    axes.set_ylabel("peak memory (MiB)", fontsize=7)
    _plain(axes)


def _line(
    axes: Axes, found: AxisSeries, of: BackendCost, xs: Sequence[int], ys: Sequence[float]
) -> None:
    look = look_of(of.backend)
    spoilt = {value(row, found.axis) for row in of.measured if row.invalid or row.validity.time}
    axes.plot(
        xs,
        ys,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.3,
        marker=look.marker,
        markersize=3.2,
        label=label(of.backend),
    )
    point = {"linestyle": "none", "markeredgecolor": look.colour, "zorder": 4}
    hollow = [(x, y) for x, y in zip(xs, ys, strict=True) if x in spoilt]
    for x, y in hollow:
        axes.plot([x], [y], marker=look.marker, markersize=3.2, markerfacecolor="white", **point)
    if xs and any(value(row, found.axis) > xs[-1] for row in of.unreached):
        axes.plot(xs[-1:], ys[-1:], marker="x", markersize=7, markeredgewidth=1.6, **point)


def _plain(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, at 1, 2 and 5 of a decade or more densely."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=6.5)
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.5, alpha=0.6)


def _values(axes: Axes, found: AxisSeries) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = found.values
    axes.set_xscale("log")
    shown = [values[-1]]
    for each in reversed(values[:-1]):  # numbers that have room next to one another
        if shown[-1] / each >= (values[-1] / values[0]) ** 0.07:
            shown.append(each)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(found.axis, fontsize=7)
