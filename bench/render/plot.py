"""Draw results as PNG, SVG or PDF: bars by shape, and times along an axis.

A backend has the same colour, marker and dashes in every picture, and nothing is shown by colour
alone. matplotlib is imported only when something is drawn; no display is needed.
"""

import contextlib
import contextvars
import functools
import importlib.util
import io
import math
import os
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine.fields import InputError, printable
from bench.render.along import UNITS
from bench.render.along import work_text as series_work
from bench.render.escape import clean
from bench.render.labels import (
    FASTEST,
    RATIO_INTERVAL,
    REFERENCE_TITLE,
    TIME_INTERVAL,
    UNRELIABLE,
    heading,
    machine_facts,
    spread_text,
)
from bench.render.palette import COLOURS, DASHES, LIGHT, MARKERS, Theme
from bench.render.quantities import rate, scale, shape_texts, size, times_as_fast
from bench.stats.comparison import Verdict
from bench.stats.intervals import CASE_CONFIDENCE, speed
from bench.verdicts.along import AxisSeries, BackendCost, unit_interval, value
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Section, ranked_backends
from lstm_impl.frameworks import list_frameworks

FORMATS = ("png", "svg", "pdf")
INSTALL = "pip install 'lstm-benchmark-suite[plots]'"

Figure = Any  # matplotlib has no stubs that are checked here, and is not imported for its types.
Axes = Any

RESERVED = 24
"""Looks with a number below this belong to one backend each.

Names without a look of their own share the others. This number must therefore never change.
"""

_DPI = 200
_STYLE = Path(__file__).with_name("pictures.mplstyle")
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def is_available() -> bool:
    """Return whether matplotlib is installed, without importing it."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raise InputError if pictures cannot be drawn here.

    The error names the command that installs matplotlib.
    """
    if not is_available():
        raise InputError(f"a picture needs matplotlib; install it with: {INSTALL}")


def picture_format(path: Path) -> str | None:
    """Return the format that the suffix of a picture names.

    The result is None if the suffix is none of ``FORMATS``.
    """
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMATS else None


def label(text: str, limit: int = 60) -> str:
    """Return text on one short line. A name that begins with ``_`` is indented.

    matplotlib's legends would otherwise omit it.
    """
    found = clean(text, limit)
    return f" {found}" if found.startswith("_") else found


_theme = contextvars.ContextVar("theme", default=LIGHT)


def current_theme() -> Theme:
    """Return the colours to draw with, which are those of the innermost ``style``."""
    return _theme.get()


@contextlib.contextmanager
def apply_style(theme: Theme = LIGHT) -> Iterator[None]:
    """Set the style of the pictures for figures that are made, drawn and written inside.

    A letter that the font lacks is drawn as a box, without a warning.
    """
    # The variable may name a missing backend, and a file needs no window.
    named = os.environ.pop("MPLBACKEND", None)
    import matplotlib as mpl

    if named is not None:
        os.environ["MPLBACKEND"] = named
    params = mpl.rc_params_from_file(_STYLE, fail_on_error=True, use_default_template=False)
    letters = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    backs = ("figure.facecolor", "savefig.facecolor", "axes.facecolor")
    params |= dict.fromkeys(letters, theme.text) | dict.fromkeys(backs, theme.back)
    params |= {"axes.edgecolor": theme.dim, "hatch.color": theme.text}
    token = _theme.set(theme)
    try:
        with mpl.rc_context(params), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from (current )?font")
            yield
    finally:
        _theme.reset(token)


def empty_figure(width: float, height: float, dpi: float | None = None) -> Figure:
    """Return an empty figure of this width and height in inches.

    ``dpi`` defaults to that of ``style``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Empty

    back = current_theme().back
    made = Empty(figsize=(width, height), layout="constrained", dpi=dpi, facecolor=back)
    FigureCanvasAgg(made)
    return made


def encode_figure(drawn: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a PNG, SVG or PDF file."""
    file = io.BytesIO()
    drawn.savefig(file, format=kind, dpi=_DPI, metadata=_METADATA[kind])
    return file.getvalue()


class Look(NamedTuple):
    """Describe the look of a backend in every picture.

    Attributes
    ----------
    colour
        One of ``COLOURS``.
    shape
        The index of its marker in ``MARKERS``. Its dashes follow from the same number.
    marker
        matplotlib's name of the marker.
    dashes
        matplotlib's pattern of dashes.
    """

    colour: str
    shape: int
    marker: str
    dashes: tuple[int, tuple[float, ...]]


@functools.cache
def list_own_looks() -> dict[str, int]:
    """Return the numbers of the looks that descriptors of frameworks list, by backend."""
    found: dict[str, int] = {}
    for framework in list_frameworks():
        found = {**framework.looks, **found}
    return found


def choose_look(backend: str) -> Look:
    """Choose the look of a backend from the backend's name alone.

    A backend that the descriptor of its framework lists has the look listed there. Any other name
    has one of the looks that are not reserved, the same on every machine; two such names may share
    it.
    """
    return _make_look(_choose_look_number(backend))


def choose_distinct_looks(backends: Sequence[str]) -> list[Look]:
    """Return a look for each backend of one picture, so that no two share colour and marker.

    A backend keeps the look that ``choose_look`` gives, unless an earlier backend, or one that the
    descriptor of its framework lists, has that look already. Then it gets the next free look. There
    are 64 looks; if there are more backends, the last ones share looks.
    """
    total = len(COLOURS) * len(MARKERS)
    found: dict[str, int] = {}
    for backend in sorted(backends, key=lambda each: each not in list_own_looks()):
        number = _choose_look_number(backend)
        taken = set(found.values())
        free = (each % total for each in range(number, number + total))
        found[backend] = next((each for each in free if each not in taken), number)
    return [_make_look(found[each]) for each in backends]


def _choose_look_number(backend: str) -> int:
    number = list_own_looks().get(backend)
    if number is not None:
        return number
    left = len(COLOURS) * len(MARKERS) - RESERVED
    return RESERVED + zlib.crc32(backend.encode("utf-8", "replace")) % left


def _make_look(number: int) -> Look:
    shape = (number + number // len(COLOURS)) % len(MARKERS)
    return Look(COLOURS[number % len(COLOURS)], shape, MARKERS[shape], DASHES[shape % len(DASHES)])


# Inches. A wider picture does not fit a page, and a narrower one has no space for bars.
NARROWEST, WIDEST = 3.0, 30.0


class PlotKind(NamedTuple):
    """Describe a kind of figure. ``lacking`` is the error where no row has what it shows."""

    title: str
    has: Callable[[RankedRow], bool]
    lacking: str


KIND_OF = {
    "throughput": PlotKind(
        "Sequences per second", lambda row: row.result.measured, "no case was measured"
    ),
    "speedup": PlotKind(
        "Speed-up", lambda row: row.to_baseline is not None, "no case is compared with a baseline"
    ),
    "memory": PlotKind(
        "Peak memory (MiB)",
        lambda row: "peak_bytes" in row.result.memory,
        "no case has figures of memory; this version of the suite did not measure it yet",
    ),
}


@dataclass(frozen=True)
class Plot:
    """Describe what to draw: a figure of some rows of a session, with its width in inches.

    ``is_reference`` says whether the results are the project's own, from another machine. The title
    then says so.
    """

    what: str
    section: Section
    rows: tuple[RankedRow, ...]
    width: float = 7.0
    is_reference: bool = False


def choose(section: Section, what: str, pattern: str = "*") -> tuple[RankedRow, ...]:
    """Return the rows of a section to draw, in the order of the report.

    Rows that lack the figure are left blank if another row of their group has it.

    Parameters
    ----------
    section
        The session to draw.
    what
        The kind of figure, a key of ``KIND_OF``.
    pattern
        A pattern of the cases' ids, as in a shell.

    Raises
    ------
    InputError
        If no row is left.
    """
    rows = [
        row for row in section.rows if row.result.measured and fnmatchcase(row.case.id, pattern)
    ]
    if not rows:
        there = next((row.case.id for row in section.rows if row.result.measured), "")
        if not there:
            raise InputError(KIND_OF["throughput"].lacking)
        raise InputError(
            "no measured case matches the filters; the id of a case is like "
            f"{printable(there, 120)}"
        )
    groups = {row.case.group for row in rows if KIND_OF[what].has(row)}
    if not groups:
        raise InputError(f"--what {what}: {KIND_OF[what].lacking}")
    return tuple(row for row in rows if row.case.group in groups)


MOST_PANELS = 24
"""The number of panels that fit a page. --case, --mode and --device select them."""

_COLUMN = 1.4  # The inches that a panel needs next to the names.
_BAR, _HEAD = 0.19, 0.78  # Inches.
_NAME = 26  # Letters of the name of a backend.
_EDGES = {"height": 0.72, "linewidth": 0.5}


def draw_picture(plot: Plot, kind: str, theme: Theme = LIGHT) -> bytes:
    """Return the plot as a PNG, SVG or PDF file."""
    with apply_style(theme):
        return encode_figure(_bars(plot), kind)


# Bars


@dataclass(frozen=True)
class _Bar:
    """Hold a bar, its whiskers in the unit of the axis, and the text next to it."""

    value: float
    low: float
    high: float
    text: str


def _bar(plot: Plot, row: RankedRow) -> _Bar | None:
    bad = " INVALID" * _invalid(plot, row)
    if plot.what == "throughput":
        interval, batch = row.result.interval, row.case.workload.batch
        assert interval is not None
        low, mid, high = (batch / each for each in (interval.high, interval.mid, interval.low))
        sign = UNRELIABLE if row.result.validity.of_time else ""
        return _Bar(mid, low, high, f"{sign}{rate(mid)}{bad}")
    if plot.what == "memory":
        if (peak := row.result.memory.get("peak_bytes")) is None:
            return None
        mid = peak / 2**20
        return _Bar(mid, mid, mid, size(peak) + bad)
    if row.case.backend == plot.section.baseline:
        return _Bar(1.0, 1.0, 1.0, bad)
    if (found := row.to_baseline) is None:
        return None
    text = f"{times_as_fast(found.ratio.mid)}×"
    if found.verdict is not Verdict.FASTER:
        spread = spread_text(found)
        text += f" {found.verdict}{spread and f' ({spread})'}"
    low, mid, high = (speed(getattr(found.ratio, each)) for each in ("high", "mid", "low"))
    return _Bar(mid, low, high, text + bad)


def _invalid(plot: Plot, row: RankedRow) -> bool:
    return bool(row.result.invalid) or (plot.what == "speedup" and not row.trusted)


def _bars(plot: Plot) -> Figure:
    groups: dict[str, dict[str, RankedRow]] = {}
    for row in plot.rows:
        groups.setdefault(row.case.group, {})[row.case.backend] = row
    shown = list(groups.values())[:MOST_PANELS]
    rows = [row for panel in shown for row in panel.values()]
    names = ranked_backends(rows, plot.section.baseline)
    margin = 0.25 + 0.062 * max(len(label(name, _NAME)) for name in names)
    columns = max(1, min(len(shown), 4, int((plot.width - margin) / _COLUMN)))
    # Every line gets about the same number of panels: 6 panels are 3 and 3, not 4 and 2.
    lines = math.ceil(len(shown) / columns)
    columns = math.ceil(len(shown) / lines)
    figure = empty_figure(plot.width, lines * (_HEAD + _BAR * len(names) + 0.2) + 1.1)
    text = KIND_OF[plot.what].title
    if plot.what == "speedup":
        text += f" over {label(plot.section.baseline, 40)}"
    if left_out := len(groups) - len(shown):
        text += f" (of {MOST_PANELS} shapes; {left_out} more not drawn)"
    letters = int(plot.width * 14)
    kinds = {row.case.device.partition(":")[0] for row in plot.rows}
    facts = machine_facts(plot.section)
    hardware = "; ".join(fact.text for fact in facts if fact.part in kinds)
    places = [label(each, letters) for each in (heading(plot.section), hardware)]
    if plot.is_reference:
        places = [REFERENCE_TITLE, *places]
    text = "\n".join(filter(None, [text, *places]))
    figure.suptitle(text, fontsize=8.5, x=0.01, ha="left", linespacing=1.4)
    grid = figure.subplots(lines, columns, squeeze=False)
    for number, panel in enumerate(shown):
        axes = grid[number // columns][number % columns]
        width = (plot.width - margin) / columns - 0.15
        _panel(axes, plot, panel, names, named=number % columns == 0, width=width)
    for axes in grid.flatten()[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel(_below(plot, rows), fontsize=7, x=0.01, ha="left", color=current_theme().dim)
    return figure


def _below(plot: Plot, rows: Sequence[RankedRow]) -> str:
    """Return how to read the picture."""
    words = []
    if plot.what in ("throughput", "speedup"):
        words.append("a longer bar is faster")
        interval = {"throughput": TIME_INTERVAL, "speedup": RATIO_INTERVAL}[plot.what]
        alone = plot.what == "throughput" and any(len(row.result.runs) == 1 for row in rows)
        words.append(f"whiskers: {interval}{' within one process' if alone else ''}")
        if any(row.fastest for row in rows):
            words.append(f"{FASTEST} FASTER than each of the others")
    if plot.what == "speedup" and any(
        row.to_baseline and row.to_baseline.heterogeneous for row in rows
    ):
        words.append(
            "some ratios go through a reference that differs between environments; the whiskers "
            "include that (see bench.report)"
        )
    if plot.what == "throughput" and any(row.result.validity.of_time for row in rows):
        words.append(f"{UNRELIABLE} an unreliable time")
    if any(_invalid(plot, row) for row in rows):
        words.append("hatched: INVALID, do not rely on it")
    return textwrap.fill(" · ".join(words), int(plot.width * 17), break_long_words=False)


def bar_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a different colour for the bar of each backend, by its name.

    There are fewer colours than backends. Each further backend of a colour gets a lighter tint, so
    that no two bars look the same. The outline of a bar keeps its contrast.
    """
    found: dict[str, str] = {}
    for name in names:
        colour = choose_look(name).colour
        before = sum(choose_look(each).colour == colour for each in found)
        kept = 0.55**before
        channels = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        found[name] = "#" + "".join(f"{round(255 - kept * (255 - each)):02X}" for each in channels)
    return found


def _text_width(text: str) -> float:
    """Return the largest width in inches that the text of a bar takes."""
    return 0.06 + 0.044 * len(text)  # The width of a digit or a capital of 6.5 points.


def _panel(
    axes: Axes,
    plot: Plot,
    panel: Mapping[str, RankedRow],
    names: Sequence[str],
    *,
    named: bool,
    width: float,
) -> None:
    """Draw one shape. ``width`` is that of the axes in inches."""
    case = next(iter(panel.values())).case
    words = shape_texts(case)
    last = f"{case.workload.mode}, {case.spec.dtype}"
    if len({row.case.device for row in plot.rows}) > 1:
        last += f", {label(case.device, 12)}"
    if case.workload.window is not None:
        words.append(f"windows of {case.workload.window}")
    axes.set_title("\n".join([*words, last]), loc="left", fontsize=7)
    bars = {name: bar for name in panel if (bar := _bar(plot, panel[name])) is not None}
    longest = max((bar.value for bar in bars.values()), default=1.0)
    # The whisker of one process is long. Beyond twice the longest bar it is cut.
    most = max((min(bar.high, 2 * longest) for bar in bars.values()), default=1.0) or 1.0
    theme = current_theme()
    colours, ends = bar_colours(names), {}
    for name, bar in bars.items():
        look = {**_EDGES, "edgecolor": theme.text, "facecolor": colours[name]}
        if _invalid(plot, panel[name]):
            look |= {"facecolor": theme.hatched, "hatch": "/////"}
        place = names.index(name)
        axes.barh(place, bar.value, **look)
        if bar.high > bar.low:
            # A wider line of the other colour below makes the whisker visible on any bar.
            for colour, width in ((theme.back, 2.4), (theme.text, 0.9)):
                axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=width)
                for end in (bar.low, bar.high):
                    across = [place - 0.18, place + 0.18]
                    axes.plot([end, end], across, color=colour, linewidth=width)
        ends[name] = min(max(bar.value, bar.high), most)
        if plot.what == "speedup" and bar.text:
            # The text stands to the right of the dashed line, which would otherwise cross it.
            ends[name] = max(ends[name], 1.0)
    # The longest bar with its text fills the axes.
    room = [(end, max(0.3, width - _text_width(bars[name].text))) for name, end in ends.items()]
    longest_axis = 1.03 * max((end * width / left for end, left in room), default=1.0)
    for name, end in ends.items():
        place = names.index(name)
        axes.text(end + 0.02 * longest_axis, place, bars[name].text, va="center", fontsize=6.5)
    if plot.what == "speedup":
        axes.axvline(1.0, color=theme.text, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, longest_axis)
    # A star before a name marks the fastest of this panel. Inner panels have only the star.
    stars = plot.what in ("throughput", "speedup")
    won = [stars and name in panel and panel[name].fastest for name in names]
    labels = [
        f"{FASTEST} " * star + label(name, _NAME) * named
        for name, star in zip(names, won, strict=True)
    ]
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=6.5)
    if plot.what == "throughput":
        axes.xaxis.set_major_formatter(lambda value, _: rate(value) if value else "0")


# Along an axis

_MOST_SERIES = 4
_PANEL = (3.4, 2.3)  # The inches of a panel.


def draw_series(
    found: Sequence[AxisSeries],
    kind: str,
    width: float | None = None,
    theme: Theme = LIGHT,
    *,
    is_reference: bool = False,
) -> bytes:
    """Draw the time per unit, and memory where it is known, against the values of an axis.

    Each series has a column, and each backend a line with the band of its intervals. Both axes are
    logarithmic. ``is_reference`` is as in ``Plot``.

    Returns
    -------
    bytes
        A PNG, SVG or PDF file.
    """
    drawn = [each for each in found if each.values][:_MOST_SERIES]
    title = f"\n{REFERENCE_TITLE}" if is_reference else ""
    with apply_style(theme):
        return encode_figure(_along(drawn, len(found) - len(drawn), width, title), kind)


def _along(found: Sequence[AxisSeries], left_out: int, width: float | None, title: str) -> Figure:
    sized = any("peak_bytes" in row.result.memory for each in found for row in each.rows)
    costs = [of for each in found for of in each.backends if of.measured]
    names = list(dict.fromkeys(of.backend for of in costs))
    width = width or max(7.0, _PANEL[0] * len(found))
    columns = max(1, int(width / (0.5 + 0.075 * max(map(len, names)))))
    lines = math.ceil(len(names) / columns)
    figure = empty_figure(width, _PANEL[1] * (1 + sized) + 1.2 + 0.18 * lines)
    grid = figure.subplots(1 + sized, len(found), squeeze=False, sharex="col")
    handles: dict[str, object] = {}
    for column, each in enumerate(found):
        panel = grid[0][column]
        text = label(series_work(each), 160)
        panel.set_title(textwrap.fill(text, int(16 * width / len(found))), loc="left", fontsize=7)
        _times(panel, each)
        handles.update(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
        if sized:
            _memory(grid[1][column], each)
        _values(grid[-1][column], each)
    text = f"What a {UNITS[found[0].axis]} costs along {found[0].axis}"
    text += f" ({left_out} more not drawn)" if left_out else ""
    text += f"{title}\n{label(heading(found[0].section), int(width * 16))}"
    figure.suptitle(text, fontsize=8.5, x=0.01, ha="left")
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower left", ncols=columns, frameon=False
    )
    below = f"bands: {100 * CASE_CONFIDENCE:g}% intervals; hollow: INVALID or an unreliable time"
    if any(of.unreached for of in costs):
        below += "; ×: the last value that was reached"
    corner = grid[-1][0]
    corner.text(
        0, -0.32, below, fontsize=6.5, color=current_theme().dim, transform=corner.transAxes
    )
    return figure


def _times(axes: Axes, found: AxisSeries) -> None:
    lines = {
        of.backend: {
            value(row.case, found.axis): interval
            for row in of.measured
            if (interval := unit_interval(row.result, found.axis)) is not None
        }
        for of in found.backends
        if of.measured
    }
    middle = sorted(interval.mid for points in lines.values() for interval in points.values())
    size, name = scale(middle[len(middle) // 2])
    for of in (of for of in found.backends if of.measured):
        points = lines[of.backend]
        low, high = ([getattr(i, end) / size for i in points.values()] for end in ("low", "high"))
        colour = choose_look(of.backend).colour
        axes.fill_between(list(points), low, high, color=colour, alpha=0.18, linewidth=0)
        _line(axes, found, of, {x: interval.mid / size for x, interval in points.items()})
    axes.set_ylabel(f"per {UNITS[found.axis]} ({name})", fontsize=7)
    _plain(axes)


def _memory(axes: Axes, found: AxisSeries) -> None:
    for of in (of for of in found.backends if of.measured):
        sized = {
            value(row.case, found.axis): row.result.memory.get("peak_bytes") for row in of.measured
        }
        _line(axes, found, of, {at: size / 2**20 for at, size in sized.items() if size})
    axes.set_ylabel("peak memory (MiB)", fontsize=7)
    _plain(axes)


def _line(axes: Axes, found: AxisSeries, of: BackendCost, points: Mapping[int, float]) -> None:
    look = choose_look(of.backend)
    invalid = {
        value(row.case, found.axis)
        for row in of.measured
        if row.result.invalid or row.result.validity.time
    }
    axes.plot(
        list(points),
        list(points.values()),
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.3,
        marker=look.marker,
        markersize=3.2,
        label=label(of.backend),
    )
    point = {"linestyle": "none", "markeredgecolor": look.colour, "zorder": 4}
    for x in invalid & set(points):
        marker = {"marker": look.marker, "markersize": 3.2, "markerfacecolor": current_theme().back}
        axes.plot([x], [points[x]], **marker, **point)
    last = max(points, default=0)
    if points and any(value(row.case, found.axis) > last for row in of.unreached):
        axes.plot([last], [points[last]], marker="x", markersize=7, markeredgewidth=1.6, **point)


def _plain(axes: Axes) -> None:
    """Use a logarithmic axis with plain numbers, at least at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=6.5)
    axes.grid(visible=True, axis="y", color=current_theme().line, linewidth=0.5, alpha=0.6)


def _values(axes: Axes, found: AxisSeries) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = found.values
    axes.set_xscale("log")
    shown = [values[-1]]
    for each in reversed(values[:-1]):  # Only numbers that fit next to one another are shown.
        if shown[-1] / each >= (values[-1] / values[0]) ** 0.07:
            shown.append(each)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(found.axis, fontsize=7)
