"""Compare two sides of each case: backends, devices, or runs.

A comparison has a row for each shared case, geometric means, the cases that only one side has, and
the differences between the environments of the sides.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from bench.case.cases import Case
from bench.machine.fields import mapping
from bench.machine.reasons import NO_REASON, Reason, ReasonedError
from bench.records.grouping import group_by
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.stats.comparison import Comparison, Verdict, holm
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.stats.nodes import (
    Item,
    SectionItems,
    distinct,
    machines,
    map_runs_to_nodes,
    map_to_first_of_kind,
)
from bench.stats.ratios import RunSamples, compare_all, geometric_mean
from bench.stats.trust import Problem, Validity, find_ratio_problems
from bench.verdicts.case_results import CaseResult, case_results
from bench.verdicts.sections import check_known, sections, usual_baseline


@dataclass(frozen=True)
class ComparisonRow:
    """Compare one case that both sides have: new against base.

    heading: the heading of its table. base_label, new_label: the names of the two sides. base, new:
    the results of the two sides. The quotient of their times is not the ratio, because
    ``comparison`` is computed process by process. reasons: the problems that make the ratio
    INVALID, each with the side that has it, or "" for the ratio itself. Problems that concern only
    times are not among them.
    """

    heading: str
    base_label: str
    new_label: str
    base: CaseResult
    new: CaseResult
    comparison: Comparison
    reasons: tuple[tuple[str, Problem], ...] = ()

    @property
    def case(self) -> Case:
        """Return the case of the new side."""
        return self.new.case

    @property
    def state(self) -> str:
        """Return the verdict of the comparison, or INVALID."""
        return INVALID if self.reasons else self.comparison.verdict.value

    @property
    def wins(self) -> bool:
        """Return whether the new side is FASTER and the comparison is not INVALID."""
        return self.state == Verdict.FASTER


INVALID = "INVALID"

Cells = dict[tuple[int, int], ComparisonRow]
"""Rows by batch and hidden size."""


@dataclass(frozen=True)
class Map:
    """Shapes that differ only in batch and hidden size, on two devices.

    backend: the backend on both devices; empty if each device has its own fastest one. square:
    whether the input is as wide as the layer; otherwise it has one width. cells: by batch and
    hidden size, in this order; at least two.
    """

    base_label: str
    new_label: str
    backend: str
    square: bool
    cells: Cells

    @cached_property
    def batches(self) -> tuple[int, ...]:
        """Return the batch sizes, which are the rows of the map."""
        return tuple(sorted({batch for batch, _ in self.cells}))

    @cached_property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Return the hidden sizes, which are the columns of the map."""
        return tuple(sorted({hidden for _, hidden in self.cells}))

    def row(self, batch: int) -> dict[int, ComparisonRow]:
        """Return the cells of a batch by hidden size, in ascending order."""
        return {hidden: cell for (of, hidden), cell in self.cells.items() if of == batch}

    def starts(self, batch: int, hidden_size: int) -> bool:
        """Return whether exactly one of this cell and its smaller neighbour in the row wins."""
        row = self.row(batch)
        sizes = list(row)
        at = sizes.index(hidden_size)
        return at > 0 and row[hidden_size].wins != row[sizes[at - 1]].wins


@dataclass(frozen=True)
class Mean:
    """Hold the geometric mean of the ratios of all cases that two sides share.

    invalid: how many of these ratios are INVALID.
    """

    base_label: str
    new_label: str
    cases: int
    invalid: int
    comparison: Comparison


@dataclass(frozen=True)
class OneSided:
    """Hold a case of which only one side has a time.

    lacking: the name of the other side, if its files mention the case. outcome and reason are then
    what they say about it.
    """

    label: str
    case: Case
    lacking: str = ""
    outcome: str = ""
    reason: Reason = NO_REASON


@dataclass(frozen=True)
class Difference:
    """Hold the differences between the environments of two sides, possibly none.

    Each difference is the name of what differs, with its value on the base side and on the new
    side.
    """

    base_label: str
    new_label: str
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rule:
    """Say when ``--fail-on`` fails: if a case is slower by more than ``threshold``.

    threshold: a fraction (0.05 is 5%), or None to fail on every SLOWER case.
    """

    text: str
    threshold: float | None


@dataclass(frozen=True)
class Gate:
    """Hold the rows that broke a rule, among all rows that were judged.

    unclear: the number of rows that pass although they may be slower, because their ratio is
    UNCLEAR.
    """

    rule: Rule
    judged: int
    unclear: int
    failed: tuple[ComparisonRow, ...]


@dataclass(frozen=True)
class ComparisonReport:
    """Hold a comparison with everything that a report shows of it."""

    title: str
    finding: Reason | None = None  # Why there is nothing to compare.
    rows: tuple[ComparisonRow, ...] = ()
    means: tuple[Mean, ...] = ()
    one_sided: tuple[OneSided, ...] = ()
    unmeasured: tuple[Outcome, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[Reason | str, ...] = ()
    gate: Gate | None = None
    maps: tuple[Map, ...] = ()
    no_map: bool = False  # Whether two devices have no map, because no shapes make one.
    list_unmeasured: bool = False  # Whether to list unmeasured cases, not only count them.
    over_time: bool = False  # Whether SLOWER is a change for the worse, of which CI is warned.
    opening: tuple[str, ...] = ()  # What the reader must know before the first table.


def judge(rule: Rule, rows: Sequence[ComparisonRow]) -> Gate:
    """Find the rows that break a rule, corrected for the number of rows (Holm).

    Without a threshold, a row must also have the verdict SLOWER. It may therefore not be the SAME
    within 2%.
    """
    p_values = [row.comparison.p_slower(rule.threshold or 0.0) for row in rows]
    failed = [
        row
        for row, rejected in zip(rows, holm(p_values), strict=True)
        if rejected and (rule.threshold is not None or row.comparison.verdict is Verdict.SLOWER)
    ]
    unclear = sum(row.comparison.verdict is Verdict.UNCLEAR for row in rows)
    return Gate(rule, len(rows), unclear, tuple(failed))


# These words occur in names of values that change from minute to minute and explain no lasting
# difference, and in names of the reasons why a value could not be read.
_PASSING = re.compile(
    r"(?<![a-z])(load|time|date|uptime|temperature|utilization|used|available|power|energy|clock"
    r"|throttle|processes|pid|unread)(?![a-z])"
)

# Values that do not change during a process, including maxima and sizes.
_LASTING = re.compile(
    r"^(libraries|variables|threads|options)\b|(?<![a-z])(max|limit|total)(?![a-z])"
)

# Values that differ between any two sessions.
_OWN = frozenset(
    {
        *("options.session", "options.cases", "options.results", "options.judged", "boot"),
        *("installed", "installed_hash"),  # These two are among the libraries.
    }
)

_KNOWN_LATE = ("threads", "tensorflow")

# An environment is free-form data from a file, so its size is limited.
_MOST_LEAVES = 2000


def environment_differences(base: Sequence[Run], new: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Return the differences between the environments and options of runs: name, base, new.

    Values that change from minute to minute (load, temperatures, clocks) are left out. If the runs
    of one side differ among themselves, each of their values is named.
    """
    # These values are recorded at the end, when the framework is loaded. A run without an end makes
    # no difference here.
    late = [
        name
        for name in _KNOWN_LATE
        if all(any(name in run.after for run in runs) for runs in (base, new))
    ]
    # Older files have only those libraries that can change a time.
    everything = all(run.before.get("installed") for run in (*base, *new))
    sides: list[dict[str, dict[str, None]]] = [{}, {}]
    for runs, values in zip((base, new), sides, strict=True):
        for run in {run.id: run for run in runs}.values():
            installed = mapping(run.before.get("installed")) if everything else {}
            state = {
                "host": run.host,
                "options": run.options,
                **run.before,
                "libraries": {**mapping(run.before.get("libraries")), **installed},
                **{name: run.after[name] for name in late if name in run.after},
            }
            for name, text in plain_values(state):
                values.setdefault(name, {})[text] = None
    both = {name: [values.get(name, {}) for values in sides] for name in (*sides[0], *sides[1])}
    return [
        (name, " or ".join(there) or "not recorded", " or ".join(here) or "not recorded")
        for name, (there, here) in both.items()
        if set(there) != set(here)
    ]


def plain_values(state: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """Yield the plain values of an environment under dotted names, up to a limit."""
    stack: list[tuple[str, object]] = [(str(key), value) for key, value in state.items()][::-1]
    for _ in range(_MOST_LEAVES):
        if not stack:
            return
        name, value = stack.pop()
        passing = _PASSING.search(name.lower()) and not _LASTING.search(name.lower())
        if passing or name in _OWN or value is None:
            continue
        number = float(value) if isinstance(value, int | float) and abs(value) < 1e30 else None
        if isinstance(value, Mapping):
            stack.extend([(f"{name}.{key}", each) for key, each in value.items()][::-1])
        elif isinstance(value, list):
            stack.extend([(f"{name}[{i}]", each) for i, each in enumerate(value)][::-1])
        elif number is not None and name.endswith("_hz"):
            yield name, f"{number / 1e9:.3g} GHz"
        elif number is not None and name.endswith("_bytes"):
            yield name, f"{number / 2**30:.3g} GiB"
        else:
            yield name, str(value)


def select_percentile(results: Results, part: float) -> tuple[Results, tuple[Reason, ...]]:
    """Return streams with a percentile as their only sample.

    Also return a note on streams with too few calls.
    """
    streams = group_by(
        (item for item in results.measurements if item.streaming is not None),
        lambda item: (item.run.machine_id, item.case.id),
    )
    enough: dict[int, float] = {}  # The percentile of each measurement, by its id.
    few = 0
    for items in streams.values():
        known = {
            id(item): item.streaming.latency.percentiles[part].mid
            for item in items
            if item.streaming is not None and part in item.streaming.latency.percentiles
        }
        if len(known) >= ENOUGH_PROCESSES:
            enough |= known
        else:
            few += 1
    files = tuple(
        replace(
            file,
            measurements=tuple(
                replace(item, samples=np.array([enough[id(item)]]), rounds=np.array([0]))
                for item in file.measurements
                if id(item) in enough
            ),
            outcomes=tuple(each for each in file.outcomes if each.case.workload.streaming),
        )
        for file in results.files
    )
    notes = Reason("streams_left_out", {"left_out": few, "streams": len(streams), "part": part})
    return replace(results, files=files), (notes,) if few else ()


@dataclass(frozen=True)
class ComparisonSide:
    """Hold one side of a comparison: its name, and its results by case."""

    label: str
    cases: Mapping[str, Sequence[Item]]

    @property
    def runs(self) -> list[Run]:
        """Return the runs with a measurement."""
        items = (item for items in self.cases.values() for item in items)
        return list({i.run.id: i.run for i in items if isinstance(i, Measurement)}.values())

    def results(self, other: ComparisonSide | None = None) -> dict[str, CaseResult]:
        """Return the result of each case.

        It is over nodes if either side has the case on several nodes.
        """
        there = {} if other is None else other.cases
        cases = [
            (own, map_runs_to_nodes(own, there.get(key, ()))) for key, own in self.cases.items()
        ]
        return dict(zip(self.cases, case_results(cases), strict=True))


# Joining sides


def entries(results: Results) -> list[Item]:
    """Return everything that results say about cases, measured or not."""
    return [*results.measurements, *results.outcomes]


def join_sides(
    base: ComparisonSide, new: ComparisonSide, heading: str = "", *, adjacent: bool = False
) -> tuple[list[ComparisonRow], list[OneSided]]:
    """Return the cases that both sides have, and those that only one has.

    adjacent: whether the processes of the two sides took turns.
    """
    bases, news = base.results(new), new.results(base)
    measured = [{key for key, row in rows.items() if row.measured} for rows in (bases, news)]
    one_sided = [
        OneSided(label, row.case, lacking, there[key].outcome, there[key].reason)
        if key in there
        else OneSided(label, row.case)
        for label, lacking, rows, there in (
            (base.label, new.label, bases, news),
            (new.label, base.label, news, bases),
        )
        for key, row in rows.items()
        if row.measured and not (key in there and there[key].measured)
    ]
    shared = [key for key in bases if key in measured[0] & measured[1]]
    sides = [_samples(news[key], bases[key], adjacent=adjacent) for key in shared]
    rows = [
        ComparisonRow(
            heading,
            base.label,
            new.label,
            bases[key],
            news[key],
            comparison,
            _reasons(
                (base.label, bases[key].validity, runs[1]),
                (new.label, news[key].validity, runs[0]),
            ),
        )
        for key, runs, comparison in zip(shared, sides, compare_all(sides), strict=True)
    ]
    return rows, one_sided


_Judged = tuple[str, Validity, Sequence[RunSamples]]  # One side of a case, with its label.


def _reasons(base: _Judged, new: _Judged) -> tuple[tuple[str, Problem], ...]:
    """Return why a ratio is INVALID, each reason with the side whose time it spoils."""
    sides = [(label, problem) for label, validity, _ in (base, new) for problem in validity.invalid]
    return (*sides, *(("", problem) for problem in find_ratio_problems(new[1:], base[1:])))


def _samples(
    new: CaseResult, base: CaseResult, *, adjacent: bool
) -> tuple[Sequence[RunSamples], Sequence[RunSamples]]:
    """Return a case that both sides measured in the form that ``ratios.compare_all`` takes."""
    if adjacent:  # The first process of each side form a pair, then the second, and so on.
        one, other = (
            [
                RunSamples(f"{turn}", run.samples, adjacent=True, started=turn)
                for turn, run in enumerate(sorted(row.runs, key=lambda run: (run.started, run.run)))
            ]
            for row in (new, base)
        )
        return one, other
    if new.case.group != base.case.group:
        # Rounds of different groups have the same numbers, but were not taken in turn.
        return [run.without_rounds for run in new.runs], [run.without_rounds for run in base.runs]
    return new.runs, base.runs


def build_report(
    title: str,
    rows: Sequence[ComparisonRow],
    one_sided: Sequence[OneSided],
    results: Sequence[Results],
    sides: Sequence[ComparisonSide] = (),
    notes: Sequence[Reason] = (),
    finding: Reason | None = None,
) -> ComparisonReport:
    """Build the report of a comparison: its rows, means, differences and cases without a time."""
    by_pair = group_by(rows, lambda row: (row.base_label, row.new_label))
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
    return ComparisonReport(
        title,
        finding,
        tuple(rows),
        tuple(means),
        tuple(one_sided),
        tuple(item for each in results for item in each.outcomes),
        tuple(differences),
        (*notes, *(note for each in results for note in each.notes)),
    )


def compare_runs(
    base: Results, new: Results, names: tuple[str, str] = ("BASE", "NEW"), *, adjacent: bool = False
) -> ComparisonReport:
    """Compare each case of the new runs with that of the base runs, the largest change first.

    adjacent: whether the two sides took turns, so that a process of one ran right after a process
    of the other.

    Raises ReasonedError if a run is on both sides.
    """
    sides = [
        ComparisonSide(name, group_by(entries(results), lambda item: item.case.id))
        for results, name in zip((base, new), names, strict=True)
    ]
    common = {file.run.id: file for file in base.files}
    for file in new.files:
        if file.run.id in common:
            other = common[file.run.id].path.name
            raise ReasonedError("same_run", base=other, new=file.path.name)
    rows, one_sided = join_sides(sides[0], sides[1], adjacent=adjacent)
    rows.sort(key=lambda row: -abs(row.comparison.log_ratio))
    notes = [
        Reason("several_machines", {"side": side.label, "hosts": sorted(hosts)})
        for side in sides
        if len(hosts := {run.machine for run in side.runs}) > 1
    ]
    finding = None if rows else Reason("no_shared_case", {"base": names[0], "new": names[1]})
    title = f"{names[1]} against {names[0]}"
    report = build_report(title, rows, one_sided, (base, new), sides, notes, finding)
    return replace(report, over_time=True)


def _place_names(items: Sequence[Item]) -> dict[str, str]:
    """Return the name of each machine's place by the machine's id.

    The name is that of the machine, or that of all machines of its kind.
    """
    runs = {item.run.machine_id: item.run for item in items}
    of_machine = distinct({each: run.machine for each, run in runs.items()})
    of_node = distinct({each: run.host for each, run in runs.items()})
    first_of = map_to_first_of_kind(item.run for item in items)
    return {
        each: of_machine[each]
        if len(kind) == 1
        else f"{len(kind)} nodes ({', '.join(map(of_node.__getitem__, kind))})"
        for kind in group_by(first_of, first_of.__getitem__).values()
        for each in kind
    }


def compare_backends(results: Results, baseline: str | None = None) -> ComparisonReport:
    """Compare each backend with the baseline, on each shape, mode and device, paired by runs.

    Machines of one kind are nodes of one comparison. By default, the baseline is the usual one
    (``sections.usual_baseline``).

    Raises NothingToReportError for a baseline that was not measured.
    """
    counts = Counter(item.case.backend for item in results.measurements)
    check_known("--baseline", "backend", baseline, counts)
    baseline = baseline or usual_baseline(counts)
    items = entries(results)
    machine, names = machines(item.run for item in items), _place_names(items)
    by_place = group_by(items, lambda item: names[item.run.machine_id])
    judged = sections([SectionItems.of(own, machine) for own in by_place.values()], baseline)
    groups = [
        (f" on {place}" if len(by_place) > 1 else "", group, members)
        for place, own in zip(by_place, judged, strict=True)
        for group, members in group_by(own.rows, lambda row: row.case.group).items()
    ]
    several = len({item.case.device for item in results.measurements}) > 1
    rows: list[ComparisonRow] = []
    one_sided: list[OneSided] = []
    for on_machine, group, members in groups:
        base = next((row for row in members if row.case.backend == baseline), None)
        # Devices and machines have labels of their own, so that no mean is taken over them.
        where = f" on {members[0].case.device}" * several + on_machine
        others = [row for row in members if row.result.measured and row is not base]
        if base is None or not base.result.measured:
            why = (base.result.outcome, base.result.reason) if base else ("not measured", NO_REASON)
            one_sided += [
                OneSided(row.case.backend + where, row.case, baseline, *why) for row in others
            ]
            continue
        found = [
            ComparisonRow(
                group + on_machine,
                baseline + where,
                row.case.backend + where,
                base.result,
                row.result,
                row.to_baseline,
                _reasons((baseline, *base.result.side), (row.case.backend, *row.result.side)),
            )
            for row in others
            if row.to_baseline
        ]
        rows += sorted(found, key=lambda row: row.comparison.log_ratio)
    finding = None if rows else Reason("too_few_backends", {"backends": list(counts)})
    title = f"Backends against {baseline}" if baseline else "Backends"
    return build_report(title, rows, one_sided, (results,), finding=finding)


def compare_devices(results: Results, baseline: str | None = None) -> ComparisonReport:
    """Compare each case on one device with that on another, in a machine and across machines.

    The devices of a machine are compared with its first device (the CPU, if measured). Each device
    is also compared with the same device of the first machine that has it. A device without either
    is compared with the first device of all. With a baseline (``cpu``, or ``cpu on MACHINE`` if
    there are several machines), all devices are compared with the baseline.

    Raises NothingToReportError for a baseline that does not exist.
    """
    places = _device_places(results)
    labels = [side.label for side in places.values()]
    check_known("--baseline", "device", baseline, labels)
    rows: list[ComparisonRow] = []
    one_sided: list[OneSided] = []
    found_maps: list[Map] = []
    pairs = _device_pairs(list(places), places, baseline)
    for one, other in pairs:
        base, new = places[one], places[other]
        heading = f"{_with_hardware(new, other[1])} against {_with_hardware(base, one[1])}"
        found, missing = join_sides(base, new, heading)
        rows.extend(found)
        found_maps.extend(_maps(base, new, found))
        one_sided.extend(missing)
    finding = None
    if not pairs:
        finding = Reason("too_few_devices", {"devices": labels})
    elif not rows:
        compared = [(places[one], places[other]) for one, other in pairs]
        (base_label, base_work), (new_label, new_work) = _nearest_works(compared)
        if base_work == new_work:
            finding = Reason("devices_share_no_backend", {"devices": labels, "work": base_work})
        else:
            nearest = {"base": base_label, "base_work": base_work}
            nearest |= {"new": new_label, "new_work": new_work}
            finding = Reason("devices_share_no_case", {"devices": labels, **nearest})
    sides = [place for pair in pairs for place in (places[pair[0]], places[pair[1]])]
    title = "Devices" if not pairs else f"Devices: {', '.join(labels)}"
    if pairs and not rows and not found_maps:
        one_sided, sides = [], []  # All cases are one-sided, which the finding says in one line.
    report = build_report(title, rows, one_sided, (results,), sides, finding=finding)
    return replace(report, maps=tuple(found_maps), no_map=bool(rows) and not found_maps)


def _nearest_works(
    pairs: Sequence[tuple[ComparisonSide, ComparisonSide]],
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the two most similar works that were measured on different devices of a pair.

    Each is the label of its device and the work as ``shape/dtype/mode``. Works are more similar if
    they differ in fewer settings, such as the mode. Among equals, those are more similar whose
    sizes differ by smaller factors.
    """
    found = (
        (_dissimilarity(one, other), (base.label, here), (new.label, there))
        for base, new in pairs
        for here, one in _measured_works(base).items()
        for there, other in _measured_works(new).items()
    )
    _, one, other = min(found, key=lambda each: each[0])
    return one, other


def _measured_works(side: ComparisonSide) -> dict[str, Case]:
    cases = (
        item.case for of in side.cases.values() for item in of if isinstance(item, Measurement)
    )
    return {case.group.rpartition("/")[0]: case for case in cases}


def _dissimilarity(one: Case, other: Case) -> tuple[int, float]:
    """Return how many settings differ, and the sum of the logarithms of the sizes' factors."""
    sizes = [
        (case.workload.batch, case.workload.timesteps, case.spec.input_size, case.spec.hidden_size)
        for case in (one, other)
    ]
    settings = [
        {
            each.name: getattr(part, each.name)
            for part in (case.spec, case.workload)
            for each in fields(part)
        }
        | {"variant": case.variant}
        for case in (one, other)
    ]
    differ = {key for key, value in settings[0].items() if settings[1][key] != value}
    differ -= {"batch", "timesteps", "input_size", "hidden_size"}
    factors = (math.log(here / there) for here, there in zip(*sizes, strict=True))
    return len(differ), sum(map(abs, factors))


def _maps(base: ComparisonSide, new: ComparisonSide, rows: Sequence[ComparisonRow]) -> list[Map]:
    """Return the maps of two devices: first the best backend of each, then each backend on both.

    The best backend of a shape is the fastest that is not INVALID, unless all are INVALID. If there
    is only one backend, there is no map of the best.

    rows: the rows of each backend on both devices.
    """
    works = []
    best = []
    for side in (base, new):
        measured = [(key, each) for key, each in side.results().items() if each.measured]
        works.append(group_by(measured, lambda each: _work(each[1].case)))
        fastest = {
            work: min(found, key=lambda each: (bool(each[1].validity.unpaired), each[1].time))[0]
            for work, found in works[-1].items()
        }
        cases = {work: side.cases[key] for work, key in fastest.items()}
        best.append(ComparisonSide(side.label, cases))
    shared = works[0].keys() & works[1].keys()
    names = {row.case.backend for of in works for work in shared for _, row in of[work]}
    by_backend = sorted(group_by(rows, lambda row: row.case.backend).items())
    return [
        Map(base.label, new.label, backend, square, dict(sorted(cells.items())))
        for backend, found in [("", join_sides(best[0], best[1])[0])] * (len(names) > 1)
        + by_backend
        for square, cells in _families(found)
    ]


def _work(case: Case) -> str:
    """Return what a case computes, regardless of its backend and device."""
    return replace(case, backend="any", device="any").id


def _families(rows: Iterable[ComparisonRow]) -> list[tuple[bool, Cells]]:
    """Return families of rows that differ only in batch and hidden size, with square ones marked.

    The input has one width, or is as wide as the layer (square). A row may fit both. A family that
    is part of another one is left out.
    """
    groups: dict[tuple[Case, bool], Cells] = {}
    for row in rows:
        case, spec = row.case, row.case.spec
        work = replace(case.workload, batch=1)
        place = case.workload.batch, spec.hidden_size
        widths = [(spec.input_size, False), (1, True)][: 1 + (spec.input_size == spec.hidden_size)]
        for width, square in widths:
            alike = replace(spec, hidden_size=1, input_size=width)
            family = replace(case, backend="any", device="any", spec=alike, workload=work), square
            groups.setdefault(family, {})[place] = row
    sets = {key: set(map(id, found.values())) for key, found in groups.items()}
    return [
        (square, found)
        for (of, square), found in groups.items()
        if len(found) > 1
        and not any(sets[of, square] < other for other in sets.values())
        # With one hidden size, both families are equal.
        and not (square and list(sets.values()).count(sets[of, square]) > 1)
    ]


# Devices and machines

_Place = tuple[str, str]  # The id of a machine, and a device.


def _device_places(results: Results) -> dict[_Place, ComparisonSide]:
    """Return the side of each device, in the order of the files.

    The CPU of a machine comes first.
    """
    machines = {item.run.machine_id: item.run.machine for item in results.measurements}
    names, order = distinct(machines), list(machines)
    measured = {(item.run.machine_id, item.case.device) for item in results.measurements}
    items = group_by(entries(results), lambda item: (item.run.machine_id, item.case.device))
    return {
        (machine, device): ComparisonSide(
            device + (f" on {names[machine]}" if len(machines) > 1 else ""),
            group_by(items[machine, device], lambda item: item.case.on("any").id),
        )
        for machine, device in sorted(measured, key=lambda each: (order.index(each[0]), each[1]))
    }


def _device_pairs(
    places: Sequence[_Place], sides: Mapping[_Place, ComparisonSide], baseline: str | None
) -> list[tuple[_Place, _Place]]:
    """Return the pairs of places to compare, base and new."""
    if baseline is not None:
        base = next(place for place in places if sides[place].label == baseline)
        return [(base, place) for place in places if place != base]
    pairs = []
    for place in places[1:]:
        firsts = [next(other for other in places if other[part] == place[part]) for part in (0, 1)]
        others = [first for first in firsts if first != place] or [places[0]]
        pairs += [(first, place) for first in others]
    return pairs


def _with_hardware(side: ComparisonSide, device: str) -> str:
    """Return ``gpu:0 (NVIDIA H100)``, with the name if the environment has it."""
    name = side.runs[0].hardware(device)
    return f"{side.label} ({name})" if name else side.label
