"""Find where one device starts to win over another, on the map of batch by hidden size.

A map holds cases that differ in nothing but these two and were measured on both devices; what was
not measured stays blank, and nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.case.cases import Case
from bench.stats.comparison import Comparison, Verdict
from bench.stats.ratios import RunSamples, compare

INVALID = "INVALID"

SUITE = "crossover"
"""The suite whose shapes make a map."""


@dataclass(frozen=True)
class DeviceTime:
    """A case as it was measured on one device.

    samples: a process's each, without rounds, since two devices are never measured in turn.
    invalid: whether a ratio of its time to that of another device is not to be trusted.
    """

    case: Case
    samples: tuple[RunSamples, ...]
    invalid: bool

    @cached_property
    def log_time(self) -> float:
        """The mean of the processes' log medians: of its time on this device, to rank by."""
        return float(np.mean([np.log(np.median(run.samples)) for run in self.samples]))


@dataclass(frozen=True)
class CrossoverCell:
    """One shape on both devices: the new one's time over the base's.

    base_case, case: which backend stands for each device.
    """

    base_case: Case
    case: Case
    comparison: Comparison
    invalid: bool

    @property
    def batch(self) -> int:
        """Its row."""
        return self.case.workload.batch

    @property
    def hidden_size(self) -> int:
        """Its column."""
        return self.case.spec.hidden_size

    @property
    def state(self) -> str:
        """Its verdict, or INVALID."""
        return INVALID if self.invalid else self.comparison.verdict.value

    @property
    def wins(self) -> bool:
        """Whether the new device is FASTER, and that can be trusted."""
        return self.state == Verdict.FASTER


@dataclass(frozen=True)
class Map:
    """Shapes that differ in batch and hidden size alone, on two devices.

    backend: with which both were measured; empty where each device has its own fastest one.
    square: whether the input is as wide as the layer, or of one width. cells: by batch, then hidden
    size; at least two.
    """

    base_label: str
    new_label: str
    backend: str
    square: bool
    cells: tuple[CrossoverCell, ...]

    @cached_property
    def batches(self) -> tuple[int, ...]:
        """Its rows."""
        return tuple(sorted({cell.batch for cell in self.cells}))

    @cached_property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Its columns."""
        return tuple(sorted({cell.hidden_size for cell in self.cells}))

    @cached_property
    def by_place(self) -> dict[tuple[int, int], CrossoverCell]:
        """Its cells by batch and hidden size."""
        return {(cell.batch, cell.hidden_size): cell for cell in self.cells}

    def row(self, batch: int) -> list[CrossoverCell]:
        """What was measured of a batch, the narrowest first."""
        return [cell for cell in self.cells if cell.batch == batch]

    def starts(self, cell: CrossoverCell) -> bool:
        """Whether the line runs before this cell: it is won, and the one before it is not.

        The one before is the next narrower that was measured.
        """
        row = self.row(cell.batch)
        place = row.index(cell)
        return place > 0 and cell.wins != row[place - 1].wins

    def first_win(self, batch: int) -> tuple[tuple[int, ...], CrossoverCell | None]:
        """Return the hidden sizes that are won with this batch, and the cell before them.

        The cell is the next narrower one that was measured, if all from the first on are won.
        """
        row = self.row(batch)
        won = tuple(cell.hidden_size for cell in row if cell.wins)
        first = next((i for i in range(len(row)) if all(cell.wins for cell in row[i:])), len(row))
        above = 0 < first < len(row) and len(won) == len(row) - first
        return won, row[first - 1] if above else None


def maps(
    base_label: str, new_label: str, base: Iterable[DeviceTime], new: Iterable[DeviceTime]
) -> tuple[Map, ...]:
    """The maps that two devices share: first the best of each, then each backend on both.

    The best of a device is its fastest backend on a shape, of those that are not INVALID unless all
    are. With one backend in all there is no other best.
    """
    sides = (_by_work(base), _by_work(new))
    shared = [work for work in sides[0] if work in sides[1]]
    best = []
    alike: dict[str, list[CrossoverCell]] = {}
    for work in shared:
        there, here = sides[0][work], sides[1][work]
        best.append(_cell(_fastest(there.values()), _fastest(here.values())))
        for name in there:
            if name in here:
                alike.setdefault(name, []).append(_cell(there[name], here[name]))
    found = []
    names = {name for side in sides for work in shared for name in side[work]}
    for backend, cells in [("", best)] * (len(names) > 1) + sorted(alike.items()):
        for square, family in _families(cells):
            ordered = sorted(family, key=lambda cell: (cell.batch, cell.hidden_size))
            found.append(Map(base_label, new_label, backend, square, tuple(ordered)))
    return tuple(found)


def _by_work(items: Iterable[DeviceTime]) -> dict[Case, dict[str, DeviceTime]]:
    """By what is computed, then by backend; the device is said elsewhere."""
    found: dict[Case, dict[str, DeviceTime]] = {}
    for item in items:
        work = replace(item.case, backend="any", device="any")
        found.setdefault(work, {})[item.case.backend] = item
    return found


def _fastest(items: Iterable[DeviceTime]) -> DeviceTime:
    return min(items, key=lambda item: (item.invalid, item.log_time))


def _cell(base: DeviceTime, new: DeviceTime) -> CrossoverCell:
    found = compare(new.samples, base.samples)
    return CrossoverCell(base.case, new.case, found, base.invalid or new.invalid)


def _families(cells: Sequence[CrossoverCell]) -> list[tuple[bool, list[CrossoverCell]]]:
    """Cells that differ in batch and hidden size alone, and whether their input is square.

    The input is of one width, or as wide as the layer: a cell may fit both, and what is within
    another family is left out.
    """
    groups: dict[tuple[Case, bool], dict[tuple[int, int], CrossoverCell]] = {}
    for cell in cells:
        case = cell.case
        alike = replace(
            case,
            backend="any",
            device="any",
            spec=replace(case.spec, hidden_size=1),
            workload=replace(case.workload, batch=1),
        )
        place = cell.batch, cell.hidden_size
        groups.setdefault((alike, False), {})[place] = cell
        if case.spec.input_size == case.spec.hidden_size:
            square = replace(alike, spec=replace(alike.spec, input_size=1))
            groups.setdefault((square, True), {})[place] = cell
    sets = {key: set(map(id, found.values())) for key, found in groups.items()}
    families = []
    for key, found in groups.items():
        if len(found) < 2 or any(sets[key] < other for other in sets.values()):
            continue
        # The same cells either way: as wide as the layer is one width where there is one layer.
        if key[1] and any(sets[key] == sets[other] for other in sets if other != key):
            continue
        families.append((key[1], list(found.values())))
    return families
