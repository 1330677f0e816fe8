"""Make covering arrays: rows of some axes' values in which every pair of values occurs.

They find an error of one value or of a pair of values as the full product does, in far fewer rows.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from allpairspy import AllPairs

Row = dict[str, Any]
_Picked = dict[str, int]
"""The index of each axis's value in a row."""


def pairwise(
    axes: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda _: True
) -> list[Row]:
    """Return rows, a value for each axis, that cover each pair of values of an allowed row.

    allowed: whether a row may exist; also called with the first axes of a row only, and true for
        the beginnings of each allowed row.
    """

    def values(picked: _Picked) -> Row:
        return {axis: axes[axis][at] for axis, at in picked.items()}

    def may_be(indexes: Sequence[int]) -> bool:
        return allowed(values(dict(zip(axes, indexes, strict=False))))

    def completed(wanted: _Picked, begun: _Picked) -> _Picked | None:
        """Complete a row with the wanted values and as many new pairs as possible."""
        if len(begun) == len(axes):
            return begun
        axis = list(axes)[len(begun)]
        known = {**begun, **wanted}.items()

        def old(at: int) -> int:
            return sum(frozenset([one, (axis, at)]) in seen for one in known)

        options = [wanted[axis]] if axis in wanted else sorted(range(len(axes[axis])), key=old)
        for at in options:
            row = {**begun, axis: at}
            if allowed(values(row)) and (found := completed(wanted, row)) is not None:
                return found
        return None

    table = AllPairs([list(range(len(each))) for each in axes.values()], filter_func=may_be)
    rows = [dict(zip(axes, row, strict=True)) for row in table]
    seen = {pair for row in rows for pair in _pairs(row)}
    # The table may end early where some pairs are not allowed: add the others one by one.
    for one, other in itertools.combinations(axes, 2):
        for picked in itertools.product(range(len(axes[one])), range(len(axes[other]))):
            wanted = dict(zip((one, other), picked, strict=True))
            if _pairs(wanted) <= seen:
                continue
            if (row := completed(wanted, {})) is not None:
                rows.append(row)
                seen |= _pairs(row)
    return [values(row) for row in rows]


def each_value(
    axes: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda _: True
) -> list[Row]:
    """Return the first rows of such a table that together contain each value.

    For code that shares its path with code tested by the complete table.
    """
    rows = pairwise(axes, allowed)
    missing = [
        (axis, value)
        for axis, values in axes.items()
        for value in values
        if any(row[axis] == value for row in rows)
    ]
    found = []
    for row in rows:
        left = [(axis, value) for axis, value in missing if row[axis] != value]
        if len(left) < len(missing):
            found.append(row)
        missing = left
    return found


def _pairs(picked: _Picked) -> set[frozenset[tuple[str, int]]]:
    return {frozenset(pair) for pair in itertools.combinations(picked.items(), 2)}


def row_id(row: Row) -> str:
    """Return a row as the name of a test."""
    return "-".join(map(str, row.values()))


def slow_ones_run(config: pytest.Config) -> bool:
    """Return whether slow tests run: their large tables take seconds to make."""
    return bool(config.getoption("markexpr") != "not slow")
