"""What the pictures of results share: letters, colours, axes of units, and how they reach a file.

For slides and papers: letters that can be read at a column's width, colours that colour-blind eyes
tell apart, and never colour alone, so that a grey print says the same. Drawn into files, no display
is needed. This room knows matplotlib, which is imported when something is drawn and not before.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.render.escape import clean

FORMATS = ("png", "svg", "pdf")
INSTALL = "pip install 'lstm-benchmark-suite[plots]'"

Figure = Any  # matplotlib has no stubs that are checked here, and is not imported for its types
Axes = Any

# Okabe & Ito's colours, which colour-blind eyes tell apart; their orange, sky and black are moved
# until each of them stands out by 3:1 on white and on the page's dark ground, and their yellow is
# left out, which cannot.
COLOURS = (
    *("#757575", "#0072B2", "#009E73", "#D55E00"),
    *("#7E57C2", "#CC79A7", "#A87900", "#2A96D4"),
)
HATCHES = ("", "////", "....", "\\\\\\\\", "xx", "--", "oo", "++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
# A line's dashes tell it apart where there is no colour, beside its marker and its name.
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
)

USUAL = (
    # Those that stand beside one another in most suites have a colour each.
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


def figure(
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


def look(backend: str) -> Look:
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
