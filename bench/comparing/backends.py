"""Two backends on the same shapes; those of different environments over a third, the bridge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.cli.command_line import UsageError
from bench.comparing.comparison import OneSided, Report, Row
from bench.comparing.sides import (
    Pair,
    Side,
    entries,
    one_of,
    report_of,
    rows_of_pairs,
    samples_of,
    why_missing,
)
from bench.machine.fields import printable
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, Results
from bench.render.quantities import listed
from bench.stats.comparison import Comparison, Pairing
from bench.stats.nodes import in_one_kind, machine_names, machines
from bench.stats.ratios import Case, Evenness, allowing
from bench.stats.rows import usual_baseline
from bench.stats.trust import each_together

Key = tuple[str, str]
"""Of a group: the place where it was measured, and its id, which ends with the device."""


class Bridges:
    """Whether bridges are the same in both environments, as ``judging.bridges`` asks it of rows.

    Asked of all cases of a place and device when one is needed. groups: of each its sides, by
    backend.
    """

    def __init__(self, groups: Mapping[Key, Mapping[str, Side]]) -> None:
        self._groups = groups
        self._known: dict[Key, Evenness] = {}

    def allowing(self, found: Comparison, pair: Pair, group: Key) -> Comparison:
        """The comparison of a pair of a group, with what is known of its bridge if it has one."""
        if pair.bridge is None or found.pairing is not Pairing.BRIDGED:
            return found
        place = group[0], _device(group)
        if place not in self._known:
            self._known[place] = Evenness(self._cases(*place))
        sides = pair.bridge.label, pair.new.label, pair.base.label
        return allowing(found, [self._known[place].apart(*sides)])

    def _cases(self, place: str, device: str) -> Iterator[Case]:
        cases = [
            (side, key[1])
            for key, sides in self._groups.items()
            if (key[0], _device(key)) == (place, device)
            for side in sides.values()
            if side.measured
        ]
        node = machines(item.run for side, key in cases for item in side.measured[key])
        nodes = node if len(set(node.values())) > 1 else None
        judged = each_together([side.processes(key) for side, key in cases])
        for (side, key), validity in zip(cases, judged, strict=True):
            yield side.label, samples_of(side.measured[key], True, nodes), bool(validity.invalid)


def _device(group: Key) -> str:
    return group[1].rsplit("/", 1)[1]


def compare_backends(results: Results, baseline: str | None = None) -> Report:
    """Each backend against the baseline, on each shape, mode and device, paired within the runs.

    Machines of one kind are nodes: they are compared together, inside each of them.

    Without a baseline: ``keras`` if it was measured, or else ``while_loop``, or else the backend
    that is in most groups.

    Raises UsageError for a baseline that was not measured.
    """
    groups: dict[tuple[str, str], dict[str, Side]] = {}
    places = _places(entries(results))
    devices = {item.case.device for item in results.measurements}
    for item in entries(results):
        sides = groups.setdefault((places[item.run.machine_id], item.case.group), {})
        name = item.case.backend
        sides.setdefault(name, Side(name)).add(item.case.group, item)
    counts = Counter(item.case.backend for item in results.measurements)
    baseline = _chosen(baseline, counts)
    pairs: list[Pair] = []
    found: list[tuple[int, str]] = []  # of each pair: the number of its group, and where that is
    several = len({place for place, _ in groups}) > 1
    one_sided: list[OneSided] = []
    for number, ((place, group), sides) in enumerate(groups.items()):
        on_machine = f" on {place}" if several else ""
        # A mean over devices or machines would be nobody's: their sides bear different labels.
        where = f" on {group.rsplit('/', 1)[1]}" * (len(devices) > 1) + on_machine
        base = sides.get(baseline, Side(baseline))
        # In the most processes: where backends need environments of their own, that is in all.
        bridge = max(sides.values(), key=lambda side: len(side.measured.get(group, ())))
        for name, side in sides.items():
            if name == baseline or not side.measured:
                continue
            if not base.measured:
                why = why_missing(base, group) or f"{baseline} was not measured there"
                case = side.measured[group][0].case
                one_sided.append(OneSided(name + where, case, why))
            else:
                third = None if bridge is base or bridge is side else bridge
                pairs.append(Pair(group + on_machine, base, side, group, third))
                found.append((number, where))
    rows = _judged(groups, pairs, found)
    finding = ""
    if not rows:
        have = f"Only {baseline} has results" if len(counts) == 1 else "No group has two backends"
        finding = (
            f"{have if counts else 'No backend has results'}: there is nothing to compare. "
            "To add backends, run `pytest --benchmark-only --lstm-backends all`."
        )
    title = f"Backends against {baseline}" if baseline else "Backends"
    return report_of(title, rows, one_sided, (results,), finding=finding)


def _chosen(baseline: str | None, counts: Mapping[str, int]) -> str:
    if baseline is None:
        return usual_baseline(counts)
    if baseline not in counts:
        raise UsageError(f"--baseline {printable(baseline)}: {one_of('backend', counts)}")
    return baseline


def _judged(
    groups: Mapping[Key, Mapping[str, Side]],
    pairs: Sequence[Pair],
    found: Sequence[tuple[int, str]],
) -> list[Row]:
    """A row for each pair, those of a group by their ratios.

    found: of each pair the number of its group, and where that is.
    """
    bridges, keys = Bridges(groups), list(groups)
    judged = [
        (
            number,
            replace(
                row,
                base_label=row.base_label + where,
                new_label=row.new_label + where,
                comparison=bridges.allowing(row.comparison, pair, keys[number]),
            ),
        )
        for row, pair, (number, where) in zip(rows_of_pairs(pairs), pairs, found, strict=True)
    ]
    judged.sort(key=lambda item: (item[0], item[1].comparison.log_ratio))
    return [row for _, row in judged]


def _places(items: Sequence[Measurement | Outcome]) -> dict[str, str]:
    """What the place of each machine is called: its name, or those of all of its kind."""
    machines = {item.run.machine_id: item.run for item in items}
    names = machine_names(machines)
    first_of = in_one_kind(item.run for item in items)
    kinds = grouped(first_of, first_of.__getitem__)
    return {
        machine: names[machine]
        if len(kind) == 1
        else f"{len(kind)} nodes ({listed([names[each] for each in kind])})"
        for kind in kinds.values()
        for machine in kind
    }
