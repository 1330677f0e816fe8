"""The two sides of a comparison: results to cases, and cases to pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.comparing.comparison import Difference, Mean, OneSided, Report, Row
from bench.comparing.environments import environment_differences
from bench.machine.copying import named
from bench.machine.fields import printable
from bench.machine.folder import is_url
from bench.machine.remote import shown
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.render.messages import doubt_line, gathered
from bench.stats.nodes import by_machine, machines
from bench.stats.pooling import RunSamples, Sides
from bench.stats.random_effects import intervals
from bench.stats.ratios import compare_all, geometric_mean
from bench.stats.trust import each_together, of_ratio


@dataclass
class Side:
    """One side of a comparison: what it is called, and what it has by case."""

    label: str
    measured: dict[str, list[Measurement]] = field(default_factory=dict)
    unmeasured: dict[str, list[Outcome]] = field(default_factory=dict)

    def add(self, key: str, item: Measurement | Outcome) -> None:
        """Take in what one process says of a case."""
        if isinstance(item, Measurement):
            self.measured.setdefault(key, []).append(item)
        else:
            self.unmeasured.setdefault(key, []).append(item)

    def processes(self, key: str) -> tuple[list[Measurement], list[Outcome]]:
        """Those that measured a case, and those in which it got no time."""
        return self.measured[key], self.unmeasured.get(key, [])

    @property
    def runs(self) -> list[Run]:
        """The runs that measured anything."""
        found = {item.run.id: item.run for items in self.measured.values() for item in items}
        return list(found.values())


# Joining


def entries(results: Results) -> list[Measurement | Outcome]:
    """All that results say of cases, measured or not."""
    return [*results.measurements, *results.outcomes]


def join_sides(
    base: Side, new: Side, heading: str = "", *, adjacent: bool = False
) -> tuple[list[Row], list[OneSided]]:
    """The cases that both sides have, and those that one lacks; adjacent: as of ``Pair``."""
    pairs = [
        Pair(heading, base, new, key, adjacent=adjacent)
        for key in base.measured
        if key in new.measured
    ]
    one_sided = []
    for has, lacks in ((base, new), (new, base)):
        for key, items in has.measured.items():
            if key not in lacks.measured:
                one_sided.append(OneSided(has.label, items[0].case, why_missing(lacks, key)))
    return rows_of_pairs(pairs), one_sided


@dataclass(frozen=True)
class Pair:
    """A case that two sides have, under the key that both have it by.

    bridge: a third side that has it, over which they are compared if they share no process.
    adjacent: whether the two took turns, a process of each right after one of the other.
    """

    heading: str
    base: Side
    new: Side
    key: str
    bridge: Side | None = None
    adjacent: bool = False

    @property
    def sides(self) -> Sides:
        """What ``ratios.compare_all`` takes."""
        new, base = self.new.measured[self.key], self.base.measured[self.key]
        if self.adjacent:
            return _by_turn(new), _by_turn(base)
        # Rounds of different groups are numbered alike but were not taken in turn.
        in_turn = new[0].case.group == base[0].case.group
        nodes = self._nodes
        both = samples_of(new, in_turn, nodes), samples_of(base, in_turn, nodes)
        if self.bridge is None:
            return both
        return (*both, samples_of(self.bridge.measured[self.key], True, nodes))

    @property
    def _nodes(self) -> Mapping[str, str]:
        """The machine of each machine's id, where those of a side are several; else nothing."""
        sides = [side.measured[self.key] for side in (self.new, self.base)]
        found = machines(item.run for side in sides for item in side)
        each = ({found[item.run.machine_id] for item in side} for side in sides)
        return found if any(len(side) > 1 for side in each) else {}


def rows_of_pairs(pairs: Sequence[Pair]) -> list[Row]:
    """A row for each pair, in this order; all are judged in one go."""
    sides = [pair.sides for pair in pairs]
    comparisons = compare_all(sides)
    times = _times(pairs)
    of_base = each_together([pair.base.processes(pair.key) for pair in pairs])
    of_new = each_together([pair.new.processes(pair.key) for pair in pairs])
    return [
        Row(
            pair.heading,
            pair.base.label,
            pair.new.label,
            pair.base.measured[pair.key][0].case,
            pair.new.measured[pair.key][0].case,
            times[id(pair.base), pair.key],
            times[id(pair.new), pair.key],
            comparison,
            (
                *(f"{pair.base.label}: {doubt}" for doubt in there.invalid),
                *(f"{pair.new.label}: {doubt}" for doubt in here.invalid),
                *map(doubt_line, of_ratio((here, new), (there, base))),
            ),
        )
        for pair, (new, base, *_), comparison, there, here in zip(
            pairs, sides, comparisons, of_base, of_new, strict=True
        )
    ]


def _times(pairs: Sequence[Pair]) -> dict[tuple[int, str], float]:
    """Seconds per step of each side's cases, each reckoned once: a base has many pairs."""
    found = {
        (id(side), pair.key): by_machine(side.measured[pair.key])
        for pair in pairs
        for side in (pair.base, pair.new)
    }
    each = intervals(list(found.values()))
    return {key: interval.mid for key, interval in zip(found, each, strict=True)}


def samples_of(
    items: Iterable[Measurement], in_turn: bool, nodes: Mapping[str, str] | None = None
) -> list[RunSamples]:
    """The samples of each process; paired by round only if both sides took theirs in turn.

    nodes: of each machine's id its node, where machines are told apart.
    """
    return [
        RunSamples(
            item.run.id,
            item.samples,
            item.rounds if in_turn else None,
            node=nodes.get(item.run.machine_id, item.run.machine_id) if nodes else "",
            started=item.run.started.timestamp(),
        )
        for item in items
    ]


def _by_turn(items: Iterable[Measurement]) -> list[RunSamples]:
    """The first of each side are a pair, then the second."""
    ordered = sorted(items, key=lambda item: (item.run.started, item.run.id))
    return [
        RunSamples(f"turn {turn}", item.samples, adjacent=True, started=turn)
        for turn, item in enumerate(ordered)
    ]


def why_missing(side: Side, key: str) -> str:
    """Why a side has no time for a case, as far as it says."""
    found = side.unmeasured.get(key)
    return f"{side.label}: {found[0].outcome}: {found[0].reason}" if found else ""


def report_of(
    title: str,
    rows: Sequence[Row],
    one_sided: Sequence[OneSided],
    results: Sequence[Results],
    sides: Sequence[Side] = (),
    notes: Sequence[str] = (),
    finding: str = "",
) -> Report:
    """A comparison from its rows, with means, differences of the machines, and what has no time."""
    by_pair = grouped(rows, lambda row: (row.base_label, row.new_label))
    means = [
        Mean(
            base,
            new,
            len(group),
            sum(bool(row.reasons) for row in group),
            geometric_mean([row.comparison for row in group]),
        )
        for (base, new), group in by_pair.items()
        if len(group) > 1
    ]
    differences = [
        Difference(base.label, new.label, tuple(environment_differences(base.runs, new.runs)))
        for base, new in zip(sides[::2], sides[1::2], strict=True)
    ]
    return Report(
        title,
        finding,
        tuple(rows),
        tuple(means),
        tuple(one_sided),
        gathered(
            (item.case, item.outcome, item.reason, item.advice)
            for each in results
            for item in each.outcomes
        ),
        tuple(differences),
        (*notes, *(note for each in results for note in each.notes)),
    )


def path_words(path: str | os.PathLike[str]) -> str:
    """A path as text, a URL without what is nobody's business in it."""
    text = named(os.fspath(path))
    return shown(text) if is_url(text) else printable(text)


def one_of(what: str, names: Iterable[str]) -> str:
    """That no such name has results, and which have."""
    known = ", ".join(printable(name, 80) for name in names)
    return f"no {what} of that name has results; there are: {known or 'none'}"
