"""Compare tables of the studies with those of ``research/verdicts.md``."""

import functools
import math
import re
from collections.abc import Iterator

import pytest

from bench.render.table import TextTable
from tests.places import ROOT

DOCUMENT = ROOT / "research" / "verdicts.md"


@functools.cache
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def shown(table: TextTable) -> list[str]:
    """Return the lines of the document's table with the same first heading."""
    heading = table.columns[0].heading
    lines = text().splitlines()
    (start,) = (at for at, line in enumerate(lines) if line.startswith(f"| {heading} "))
    return lines[start : lines.index("", start)]


def words(cell: str) -> str:
    """Return a cell without its numbers: brackets, the sign of a rate, a star."""
    return re.sub(r"[\d.]+", "", cell)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def beside(table: TextTable) -> Iterator[tuple[str, str]]:
    """Yield the cells of a table with those of the document; both have the same shape."""
    made = [cells(line) for line in table.markdown(aligned=True).splitlines()]
    lines = [cells(line) for line in shown(table)]
    assert made[0] == lines[0]
    assert [name for name, *_ in made[2:]] == [name for name, *_ in lines[2:]]
    for one, other in zip(made[2:], lines[2:], strict=True):
        yield from zip(one[1:], other[1:], strict=True)


def assert_same(table: TextTable, within: float = 0.0) -> None:
    """Assert that a table is in the document, or that its numbers differ by at most so much."""
    printed = table.markdown(aligned=True)
    if not within:
        assert printed in text()
        return
    lines = "\n".join(shown(table))
    assert numbers(printed) == pytest.approx(numbers(lines), abs=within), table.columns[0].heading
    assert re.sub(r"[\d.]+", "", printed) == re.sub(r"[\d.]+", "", lines)


def assert_near(table: TextTable, trials: int) -> None:
    """Each rate, in per cent, is the document's as far as this number of trials can say.

    They are always the same, so this is no matter of chance: four standard errors, and what one
    trial makes of a rate that is next to nothing.
    """
    for made, cell in beside(table):
        assert words(made) == words(cell)
        for ours, theirs in zip(numbers(made), numbers(cell), strict=True):
            rate = theirs / 100
            error = math.sqrt(rate * (1 - rate) / trials)
            assert abs(ours - theirs) <= 100 * (4 * error + 1.5 / trials), (made, cell)
