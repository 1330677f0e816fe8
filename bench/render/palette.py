"""Hold the colours, markers and dashes of all pictures: of the page, the plots and the documents.

Nothing is shown by colour alone: a backend also has a name, a marker and dashes, and a verdict has
a sign. Still, readers with any form of colour blindness should be able to distinguish the colours.
``tests/bench/render/test_palette.py`` simulates these readers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

# Found by a search near the colours of Okabe & Ito: each has a contrast of at least 3:1 on the
# backgrounds of both themes, and the smallest difference that any reader sees is as large as
# possible.
COLOURS = (
    *("#626262", "#4166AC", "#0D9370", "#E07716"),
    *("#8A55E5", "#B27CB1", "#9D6516", "#3399EF"),
)
"""The colours of backends: grey, blue, green, orange, violet, mauve, brown and sky."""

GREY, BLUE, GREEN, ORANGE, VIOLET, MAUVE, BROWN, SKY = COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""The markers of backends, by matplotlib's names."""

# Dashes distinguish lines where there is no colour, as markers and names do.
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
)


@dataclass(frozen=True)
class Theme:
    """The colours of everything but backends, as ``#RRGGBB``.

    text and dim are for letters on back and band. good, bad and unclear are for verdicts. edge is
    for outlines, grid and line for lines that only help the eye. bar is for bars without a backend.
    hatched is for bars that are not to be trusted.
    """

    back: str
    text: str
    dim: str
    line: str
    band: str
    bar: str
    good: str
    bad: str
    unclear: str
    grid: str
    edge: str
    focus: str
    hatched: str
    faster: str = SKY
    slower: str = ORANGE


LIGHT = Theme(
    back="#ffffff",
    text="#1b1b1b",
    dim="#565656",
    line="#c9c9c9",
    band="#f4f4f4",
    bar="#9dbbe0",
    good="#0a6330",
    bad="#a3161c",
    unclear="#735000",
    grid="#dcdcdc",
    edge="#767676",
    focus="#0b57d0",
    hatched="#f2f2f2",
)
DARK = Theme(
    back="#141414",
    text="#ececec",
    dim="#b4b4b4",
    line="#4a4a4a",
    band="#212121",
    bar="#37577f",
    good="#82dca0",
    bad="#ff9d9d",
    unclear="#f0c56c",
    grid="#363636",
    edge="#8c8c8c",
    focus="#8ab4f8",
    hatched="#2b2b2b",
)
THEMES = {"light": LIGHT, "dark": DARK}


def css() -> str:
    """Return the themes as CSS variables, such as ``--back``. What is printed has the light one."""

    def variables(theme: Theme) -> str:
        return " ".join(f"--{name}: {colour};" for name, colour in asdict(theme).items())

    return (
        f":root {{ color-scheme: light dark; {variables(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {variables(LIGHT)} }} }}\n"
    )
