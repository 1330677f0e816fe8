"""What a study shows: a table of rates, each line named in its first column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.render.table import Cell, Column, Sheet


def table(headings: Sequence[str], rows: Iterable[Iterable[Cell | str]]) -> Sheet:
    """Of our own words, which are Markdown; the numbers to the right."""
    columns = (Column(each, right=index > 0, ours=True) for index, each in enumerate(headings))
    return Sheet.of(columns, rows)


def percent(value: float) -> str:
    """A rate in per cent, with one digit after the point."""
    return f"{100 * value:.1f}%"


def beside(rate: float, other: float) -> str:
    """A rate, and in brackets another to compare it with."""
    return f"{percent(rate)} ({percent(other)})"
