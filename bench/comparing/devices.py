"""Two devices on the shapes that both measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.cli.command_line import UsageError
from bench.comparing import crossover
from bench.comparing.comparison import OneSided, Report, Row
from bench.comparing.environments import hardware
from bench.comparing.sides import Side, entries, join_sides, one_of, report_of, samples_of
from bench.machine.fields import printable
from bench.records.schema import Results
from bench.stats.nodes import machine_names
from bench.stats.trust import each_together

NO_MAP = (
    "No map of batch × hidden size: no two shapes that both devices measured differ in these "
    f"alone. `pytest --benchmark-only --lstm-suite {crossover.SUITE}` measures a grid of them."
)


def compare_devices(results: Results, baseline: str | None = None) -> Report:
    """Each case on one device against the same case on another: in a machine and across machines.

    Compared are the devices of each machine with its first (the CPU, if it is there), and each
    device with the same device of the first machine that has it; what has neither is compared
    with the first device of all. With a baseline (``cpu``, or ``cpu on HOST`` where there are
    several machines) everything is compared with that.

    Raises UsageError for a baseline that is not there.
    """
    places = _places(results)
    labels = [side.label for side in places.values()]
    if baseline is not None and baseline not in labels:
        raise UsageError(f"--baseline {printable(baseline)}: {one_of('device', labels)}")
    rows: list[Row] = []
    one_sided: list[OneSided] = []
    maps: list[crossover.Map] = []
    pairs = _device_pairs(list(places), places, baseline)
    for one, other in pairs:
        base, new = places[one], places[other]
        maps.extend(crossover.maps(base.label, new.label, _timed(base), _timed(new)))
        heading = f"{_with_hardware(new, other[1])} against {_with_hardware(base, one[1])}"
        found, missing = join_sides(base, new, heading)
        rows.extend(found)
        one_sided.extend(missing)
    finding = ""
    if not pairs:
        have = f"Only one device has results ({labels[0]})" if labels else "No device has results"
        finding = (
            f"{have}: there is nothing to compare. To add another device, run "
            "`pytest --benchmark-only --lstm-device gpu:0` on a machine with a GPU, or copy a "
            "result file of another machine here and name it beside the others."
        )
    elif not rows:
        finding = f"The devices ({', '.join(labels)}) share no case: there is nothing to compare."
    sides = [place for pair in pairs for place in (places[pair[0]], places[pair[1]])]
    title = "Devices" if not pairs else f"Devices: {', '.join(labels)}"
    report = report_of(title, rows, one_sided, (results,), sides, finding=finding)
    no_map = "" if maps or not pairs else NO_MAP
    return replace(report, maps=tuple(maps), no_map=no_map)


def _timed(side: Side) -> list[crossover.Timed]:
    """What one device measured, as a map takes it."""
    validities = each_together([side.processes(key) for key in side.measured])
    return [
        crossover.Timed(
            items[0].case, tuple(samples_of(items, in_turn=False)), bool(validity.unpaired)
        )
        for items, validity in zip(side.measured.values(), validities, strict=True)
    ]


# Devices and machines

_Place = tuple[str, str]  # machine_id, device


def _places(results: Results) -> dict[_Place, Side]:
    """What was measured where, in the order of the files, a machine's CPU before its GPUs."""
    machines = {item.run.machine_id: item.run for item in results.measurements}
    names = machine_names(machines)
    order = list(machines)
    found: dict[_Place, Side] = {}
    for each in results.measurements:
        place = (each.run.machine_id, each.case.device)
        label = each.case.device + (f" on {names[place[0]]}" if len(machines) > 1 else "")
        found.setdefault(place, Side(label))
    for item in entries(results):
        side = found.get((item.run.machine_id, item.case.device))
        if side is not None:
            side.add(item.case.on("any").id, item)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def _device_pairs(
    places: Sequence[_Place], sides: Mapping[_Place, Side], baseline: str | None
) -> list[tuple[_Place, _Place]]:
    """Which place is compared with which: (base, new), every place linked to every other."""
    if baseline is not None:
        base = next(place for place in places if sides[place].label == baseline)
        return [(base, place) for place in places if place != base]
    pairs = []
    group = {place: index for index, place in enumerate(places)}
    for place in places:
        firsts = [next(other for other in places if other[part] == place[part]) for part in (0, 1)]
        for first in firsts:
            if first != place:
                pairs.append((first, place))
                _merge(group, first, place)
    for place in places:
        if group[place] != group[places[0]]:
            pairs.append((places[0], place))
            _merge(group, places[0], place)
    return pairs


def _merge(group: dict[_Place, int], one: _Place, other: _Place) -> None:
    old, kept = group[other], group[one]
    for place in group:
        if group[place] == old:
            group[place] = kept


def _with_hardware(side: Side, device: str) -> str:
    """``gpu:0 (NVIDIA H100)``, as far as the environment says what it is."""
    name = hardware(side.runs[0], device)
    return f"{side.label} ({name})" if name else side.label
