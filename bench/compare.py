"""``python -m bench.compare``: which cases became faster or slower, between what.

Joins measurements by case into pairs (two devices, two sets of runs, two backends), has ``stats``
judge each, and says what else differs between the two sides, since that may be the cause. This
room knows results and statistics; ``compare_output`` knows how a comparison is shown. No framework.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import command_line, crossover
from bench.cases import Case
from bench.folder import DEFAULT_FOLDER, RESULTS_VARIABLE, default_folder
from bench.result_fields import printable
from bench.results import Measurement, Outcome, Results, Run, collect, latest
from bench.stats import Comparison, RunSamples, Verdict, compare_all, geometric_mean, holm
from bench.validity import Validity, each_together, of_ratio

FORMATS = ("terminal", "markdown", "csv", "json")
PICTURES = ("svg", "png")  # of the maps of two devices

EPILOG = """\
exit codes:
  0  the comparison was made, and no --fail-on rule was broken
  1  a case broke the --fail-on rule
  2  bad input, whatever else was found: an option, a file that cannot be read (the good
     files beside it are still shown), nothing that --fail-on could have judged; or the
     output cannot be written

verdicts: FASTER and SLOWER where the 99.5% interval of time_new / time_base excludes 1,
SAME where it lies within 2% of 1, else UNCLEAR. --fail-on corrects for the number of cases
(Holm): where nothing became slower it fails in at most 1 of 400 runs, from 6 processes on. It
counts cases that are marked INVALID too, and says so: else it would pass whenever the machine was
busy.
docs/verdicts.md has the reasons and the rates.
"""

PUBLISHED_EPILOG = """\
exit codes:
  0  the times were shown, or there is no shared shape
  2  bad input: an option, a file that cannot be read (the good files beside it are still shown)

Published times are other people's, on other machines: no ratio and no verdict is made of them.
"""

# What users start from comes first; then the plain loop, which runs everywhere.
USUAL_BASELINES = ("keras", "while_loop")

NO_MAP = (
    "No map of batch × hidden size: no two shapes that both devices measured differ in these "
    f"alone. `pytest --benchmark-only --lstm-suite {crossover.SUITE}` measures a grid of them."
)

# Words in the names of an environment's values that change from minute to minute and explain no
# lasting difference; a measurement that they spoilt is marked INVALID instead. The reasons why a
# value could not be read say less than that it is not there.
_PASSING = re.compile(
    r"(?<![a-z])(load|time|date|uptime|temperature|utilization|used|available|power|energy|clock"
    r"|throttle|processes|pid|unread)(?![a-z])"
)
# These parts of an environment last as long as their process, and so do highest values and sizes.
_LASTING = re.compile(
    r"^(libraries|variables|threads|options)\b|(?<![a-z])(max|limit|total)(?![a-z])"
)
_KNOWN_LATE = ("threads", "tensorflow")
# An environment is free-form data of a file: what is longer than any real one is cut.
_MOST_LEAVES = 2000


class UsageError(ValueError):
    """What was asked cannot be done; one line that says why and what to do."""


@dataclass(frozen=True)
class Row:
    """One shared case: new against base.

    heading: under which it is shown; base_label, new_label: what the two sides are called;
    reasons: why its ratio is INVALID: what spoils one of its sides, or the ratio alone. What is
        doubtful in the times alone is no reason.
    """

    heading: str
    base_label: str
    new_label: str
    base_case: Case
    case: Case
    comparison: Comparison
    reasons: tuple[str, ...] = ()

    @property
    def base_s(self) -> float:
        """Seconds per step on the base side: the geometric mean of its processes' medians."""
        logs = self.comparison.base_logs.values()
        return math.exp(sum(logs) / len(logs))

    @property
    def new_s(self) -> float:
        """Seconds per step on the new side, likewise."""
        logs = self.comparison.new_logs.values()
        return math.exp(sum(logs) / len(logs))


@dataclass(frozen=True)
class Mean:
    """The geometric mean over the cases that two sides share; invalid: how many are INVALID."""

    base_label: str
    new_label: str
    cases: int
    invalid: int
    comparison: Comparison


@dataclass(frozen=True)
class OneSided:
    """A case that only one side has, and why the other has not, as far as its files say."""

    label: str
    case: Case
    why: str


@dataclass(frozen=True)
class Unmeasured:
    """Cases without a time that share a reason."""

    outcome: str
    reason: str
    advice: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Difference:
    """What differs between the environments of two sides: name, base, new; possibly nothing."""

    base_label: str
    new_label: str
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rule:
    """A ``--fail-on`` rule: slower by more than ``threshold`` (0.05 is 5%); None: just SLOWER."""

    text: str
    threshold: float | None


@dataclass(frozen=True)
class Gate:
    """What a rule found: the rows that broke it, of all that were judged together.

    unclear: how many of these are UNCLEAR, and so pass without being known not to be slower.
    """

    rule: Rule
    judged: int
    unclear: int
    failed: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """A comparison, ready to be shown."""

    title: str
    finding: str = ""  # why there is nothing to compare, and what to do
    rows: tuple[Row, ...] = ()
    means: tuple[Mean, ...] = ()
    one_sided: tuple[OneSided, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    gate: Gate | None = None
    maps: tuple[crossover.Map, ...] = ()
    no_map: str = ""  # why two devices have no map, and what would make one
    over_time: bool = False  # whether SLOWER is a change for the worse, of which CI is warned


@dataclass
class _Side:
    """One side of a comparison: what it is called, and what it has by case."""

    label: str
    measured: dict[str, list[Measurement]] = field(default_factory=dict)
    unmeasured: dict[str, list[Outcome]] = field(default_factory=dict)

    def add(self, key: str, item: Measurement | Outcome) -> None:
        if isinstance(item, Measurement):
            self.measured.setdefault(key, []).append(item)
        else:
            self.unmeasured.setdefault(key, []).append(item)

    def processes(self, key: str) -> tuple[list[Measurement], list[Outcome]]:
        """Those that measured a case, and those in which it got no time."""
        return self.measured[key], self.unmeasured.get(key, [])

    @property
    def runs(self) -> list[Run]:
        found = {item.run.id: item.run for items in self.measured.values() for item in items}
        return list(found.values())


def compare_runs(base: Results, new: Results, names: tuple[str, str] = ("BASE", "NEW")) -> Report:
    """Each case of the new runs against the same case of the base runs, the largest change first.

    Raises UsageError if one run is on both sides: it has not changed against itself.
    """
    sides = []
    for results, name in zip((base, new), names, strict=True):
        side = _Side(name)
        for item in _entries(results):
            side.add(item.case.id, item)
        sides.append(side)
    common = {file.run.id: file for file in base.files}
    for file in new.files:
        if file.run.id in common:
            raise UsageError(
                f"{_path(file.path)} holds the same run as {_path(common[file.run.id].path)}; "
                f"{names[0]} and {names[1]} must be different runs"
            )
    rows, one_sided = _join(sides[0], sides[1])
    rows.sort(key=lambda row: -abs(row.comparison.log_ratio))
    notes = [
        f"{side.label} holds runs of {len(machines)} machines ({', '.join(sorted(machines))})"
        for side in sides
        if len(machines := {run.host for run in side.runs}) > 1
    ]
    notes += _other_gradients(*sides)
    finding = (
        "" if rows else f"{names[0]} and {names[1]} share no case: there is nothing to compare."
    )
    title = f"{names[1]} against {names[0]}"
    report = _report(title, rows, one_sided, (base, new), sides, notes, finding)
    return replace(report, over_time=True)


def _other_gradients(base: _Side, new: _Side) -> list[str]:
    """That training cases of two sides differ in nothing but what is differentiated, if some do."""

    def by_work(side: _Side) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for case in (items[0].case for items in side.measured.values()):
            work = replace(case.workload, gradients="all")
            found.setdefault(replace(case, workload=work).id, set()).add(case.workload.gradients)
        return found

    ours, theirs = by_work(new), by_work(base)
    apart = [work for work in ours if work in theirs and not ours[work] & theirs[work]]
    if not apart:
        return []
    asked = [sorted(set().union(*(side[work] for work in apart))) for side in (ours, theirs)]
    return [
        f"{len(apart)} training case(s) of {new.label} differ from those of {base.label} in "
        f"nothing but what is differentiated ({', '.join(asked[0])}; {', '.join(asked[1])}): that "
        'is other work and is not compared. Results from before suites had the key have "all"'
    ]


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
        raise UsageError(f"--baseline {printable(baseline)}: {_one_of('device', labels)}")
    rows: list[Row] = []
    one_sided: list[OneSided] = []
    maps: list[crossover.Map] = []
    pairs = _device_pairs(list(places), places, baseline)
    for one, other in pairs:
        base, new = places[one], places[other]
        maps.extend(crossover.maps(base.label, new.label, _timed(base), _timed(new)))
        heading = f"{_with_hardware(new, other[1])} against {_with_hardware(base, one[1])}"
        found, missing = _join(base, new, heading)
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
    report = _report(title, rows, one_sided, (results,), sides, finding=finding)
    no_map = "" if maps or not pairs else NO_MAP
    return replace(report, maps=tuple(maps), no_map=no_map)


def _timed(side: _Side) -> list[crossover.Timed]:
    """What one device measured, as a map takes it."""
    validities = each_together([side.processes(key) for key in side.measured])
    return [
        crossover.Timed(
            items[0].case, tuple(_samples(items, in_turn=False)), bool(validity.unpaired)
        )
        for items, validity in zip(side.measured.values(), validities, strict=True)
    ]


def compare_backends(results: Results, baseline: str | None = None) -> Report:
    """Each backend against the baseline, on each shape, mode and device, paired within the runs.

    Without a baseline: ``keras`` if it was measured, or else ``while_loop``, or else the backend
    that is in most groups.

    Raises UsageError for a baseline that was not measured.
    """
    groups: dict[tuple[str, str], dict[str, _Side]] = {}
    machines = {item.run.machine_id: item.run for item in results.measurements}
    devices = {item.case.device for item in results.measurements}
    for item in _entries(results):
        sides = groups.setdefault((item.run.machine_id, item.case.group), {})
        name = item.case.backend
        sides.setdefault(name, _Side(name)).add(item.case.group, item)
    counts = Counter(item.case.backend for item in results.measurements)
    if baseline is None:
        usual = [name for name in USUAL_BASELINES if name in counts]
        baseline = usual[0] if usual else max(counts, key=counts.__getitem__, default="")
    elif baseline not in counts:
        raise UsageError(f"--baseline {printable(baseline)}: {_one_of('backend', counts)}")
    names = machine_names(machines)
    pairs: list[_Pair] = []
    places: list[tuple[int, str]] = []  # of each pair: the number of its group, and where that is
    one_sided: list[OneSided] = []
    for number, ((machine, group), sides) in enumerate(groups.items()):
        on_machine = f" on {names[machine]}" if len(machines) > 1 else ""
        # A mean over devices or machines would be nobody's: their sides bear different labels.
        where = f" on {group.rsplit('/', 1)[1]}" * (len(devices) > 1) + on_machine
        base = sides.get(baseline, _Side(baseline))
        for name, side in sides.items():
            if name == baseline or not side.measured:
                continue
            if not base.measured:
                why = _why(base, group) or f"{baseline} was not measured there"
                case = side.measured[group][0].case
                one_sided.append(OneSided(name + where, case, why))
            else:
                pairs.append(_Pair(group + on_machine, base, side, group))
                places.append((number, where))
    judged = [
        (number, replace(row, base_label=row.base_label + where, new_label=row.new_label + where))
        for row, (number, where) in zip(_rows(pairs), places, strict=True)
    ]
    judged.sort(key=lambda item: (item[0], item[1].comparison.log_ratio))
    rows = [row for _, row in judged]
    finding = ""
    if not rows:
        have = f"Only {baseline} has results" if len(counts) == 1 else "No group has two backends"
        finding = (
            f"{have if counts else 'No backend has results'}: there is nothing to compare. "
            "To add backends, run `pytest --benchmark-only --lstm-backends all`."
        )
    title = f"Backends against {baseline}" if baseline else "Backends"
    return _report(title, rows, one_sided, (results,), finding=finding)


def judge(rule: Rule, rows: Sequence[Row]) -> Gate:
    """Which rows break the rule, with the number of rows accounted for (Holm).

    Without a threshold a row must also have the verdict SLOWER: what is slower by less than 2%
    for certain is the SAME.
    """
    p_values = [row.comparison.p_slower(rule.threshold or 0.0) for row in rows]
    failed = [
        row
        for row, rejected in zip(rows, holm(p_values), strict=True)
        if rejected and (rule.threshold is not None or row.comparison.verdict is Verdict.SLOWER)
    ]
    unclear = sum(row.comparison.verdict is Verdict.UNCLEAR for row in rows)
    return Gate(rule, len(rows), unclear, tuple(failed))


def parse_rule(text: str) -> Rule:
    """The ``--fail-on`` rule ``slower`` or ``slower:5%``.

    Raises UsageError for anything else.
    """
    found = re.fullmatch(r"slower(?::(\d+(?:\.\d+)?)%)?", text)
    if found is None:
        raise UsageError(
            f"--fail-on {printable(text)!r}: expected slower, or slower:5% (by more than 5%)"
        )
    return Rule(text, None if found[1] is None else float(found[1]) / 100)


# Joining


def _entries(results: Results) -> list[Measurement | Outcome]:
    return [*results.measurements, *results.outcomes]


def _join(base: _Side, new: _Side, heading: str = "") -> tuple[list[Row], list[OneSided]]:
    pairs = [_Pair(heading, base, new, key) for key in base.measured if key in new.measured]
    one_sided = []
    for has, lacks in ((base, new), (new, base)):
        for key, items in has.measured.items():
            if key not in lacks.measured:
                one_sided.append(OneSided(has.label, items[0].case, _why(lacks, key)))
    return _rows(pairs), one_sided


@dataclass(frozen=True)
class _Pair:
    """A case that two sides have, under the key that both have it by."""

    heading: str
    base: _Side
    new: _Side
    key: str

    @property
    def samples(self) -> tuple[list[RunSamples], list[RunSamples]]:
        """Of the new side and of the base."""
        new, base = self.new.measured[self.key], self.base.measured[self.key]
        # Rounds of different groups are numbered alike but were not taken in turn.
        in_turn = new[0].case.group == base[0].case.group
        return _samples(new, in_turn), _samples(base, in_turn)


def _rows(pairs: Sequence[_Pair]) -> list[Row]:
    """A row for each pair, in this order; all are judged in one go."""
    samples = [pair.samples for pair in pairs]
    comparisons = compare_all(samples)
    of_base = each_together([pair.base.processes(pair.key) for pair in pairs])
    of_new = each_together([pair.new.processes(pair.key) for pair in pairs])
    return [
        Row(
            pair.heading,
            pair.base.label,
            pair.new.label,
            pair.base.measured[pair.key][0].case,
            pair.new.measured[pair.key][0].case,
            comparison,
            (
                *_told(pair.base.label, there),
                *_told(pair.new.label, here),
                *map(str, of_ratio((here, new), (there, base))),
            ),
        )
        for pair, (new, base), comparison, there, here in zip(
            pairs, samples, comparisons, of_base, of_new, strict=True
        )
    ]


def _samples(items: Iterable[Measurement], in_turn: bool) -> list[RunSamples]:
    return [
        RunSamples(item.run.id, item.samples, item.rounds if in_turn else None) for item in items
    ]


def _told(label: str, validity: Validity) -> list[str]:
    """Why the processes of a case on one side are not to be trusted, each reason once."""
    return [f"{label}: {doubt}" for doubt in validity.invalid]


def _why(side: _Side, key: str) -> str:
    found = side.unmeasured.get(key)
    return f"{side.label}: {found[0].outcome}: {found[0].reason}" if found else ""


def _report(
    title: str,
    rows: Sequence[Row],
    one_sided: Sequence[OneSided],
    results: Sequence[Results],
    sides: Sequence[_Side] = (),
    notes: Sequence[str] = (),
    finding: str = "",
) -> Report:
    by_pair: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_pair.setdefault((row.base_label, row.new_label), []).append(row)
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
        unmeasured(item for each in results for item in each.outcomes),
        tuple(differences),
        (*notes, *(note for each in results for note in each.notes)),
    )


def unmeasured(outcomes: Iterable[Outcome]) -> tuple[Unmeasured, ...]:
    """Cases without a time, those with the same reason together."""
    found: dict[tuple[str, str, str], dict[str, Case]] = {}
    for each in outcomes:
        key = (each.outcome, each.reason, each.advice)
        found.setdefault(key, {})[each.case.id] = each.case
    return tuple(Unmeasured(*key, tuple(cases.values())) for key, cases in found.items())


# Devices and machines

_Place = tuple[str, str]  # machine_id, device


def _places(results: Results) -> dict[_Place, _Side]:
    """What was measured where, in the order of the files, a machine's CPU before its GPUs."""
    machines = {item.run.machine_id: item.run for item in results.measurements}
    names = machine_names(machines)
    order = list(machines)
    found: dict[_Place, _Side] = {}
    for each in results.measurements:
        place = (each.run.machine_id, each.case.device)
        label = each.case.device + (f" on {names[place[0]]}" if len(machines) > 1 else "")
        found.setdefault(place, _Side(label))
    for item in _entries(results):
        side = found.get((item.run.machine_id, item.case.device))
        if side is not None:
            side.add(item.case.on("any").id, item)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def machine_names(machines: Mapping[str, Run]) -> dict[str, str]:
    """Host names, with the machine's id where two machines have the same."""
    hosts = Counter(run.host for run in machines.values())
    return {
        machine: run.host if hosts[run.host] == 1 and run.host else f"{run.host}#{machine}"
        for machine, run in machines.items()
    }


def _device_pairs(
    places: Sequence[_Place], sides: Mapping[_Place, _Side], baseline: str | None
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


def _with_hardware(side: _Side, device: str) -> str:
    """``gpu:0 (NVIDIA H100)``, as far as the environment says what it is."""
    name = hardware(side.runs[0], device)
    return f"{side.label} ({name})" if name else side.label


def hardware(run: Run, device: str) -> str:
    """What a device of a run's machine is, empty if its environment does not say."""
    before = run.environment.get("before")
    name: object = None
    if isinstance(before, Mapping):
        kind, _, index = device.partition(":")
        gpus = before.get("gpus")
        if kind == "cpu" and isinstance(before.get("cpu"), Mapping):
            name = before["cpu"].get("name")
        elif kind == "gpu" and isinstance(gpus, list) and index.isdecimal():
            found = gpus[int(index)] if int(index) < len(gpus) else None
            name = found.get("name") if isinstance(found, Mapping) else None
    return name if isinstance(name, str) else ""


# Environments


def environment_differences(base: Sequence[Run], new: Sequence[Run]) -> list[tuple[str, str, str]]:
    """What the environments and options of two sets of runs do not share: name, base, new.

    What changes from minute to minute (load, temperatures, clocks) is left out. Where the runs of
    one side differ among themselves, each of their values is named.
    """
    # Known only once the framework is there, so at the end: its threads, its build, its precision.
    # A run that never came to its end does not differ in them, it does not say.
    late = [
        name
        for name in _KNOWN_LATE
        if all(any(name in _state(run, "after") for run in runs) for runs in (base, new))
    ]
    columns = []
    for runs in (base, new):
        values: dict[str, dict[str, None]] = {}
        for run in {run.id: run for run in runs}.values():
            state: dict[str, object] = {"host": run.host, "options": run.options}
            state |= _state(run, "before")
            after = _state(run, "after")
            state |= {name: after[name] for name in late if name in after}
            for name, text in _leaves(state):
                values.setdefault(name, {})[text] = None
        columns.append(values)
    names = dict.fromkeys([*columns[0], *columns[1]])
    found = []
    for name in names:
        there, here = (values.get(name, {}) for values in columns)
        if set(there) != set(here):
            found.append((name, _either(there), _either(here)))
    return found


def _state(run: Run, when: str) -> Mapping[str, object]:
    found = run.environment.get(when)
    return found if isinstance(found, Mapping) else {}


def _leaves(state: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """The environment's plain values under dotted names; at most some thousands of them."""
    stack: list[tuple[str, object]] = [(str(key), value) for key, value in state.items()][::-1]
    for _ in range(_MOST_LEAVES):
        if not stack:
            return
        name, value = stack.pop()
        if _PASSING.search(name.lower()) and not _LASTING.search(name.lower()):
            continue
        if isinstance(value, Mapping):
            stack.extend([(f"{name}.{key}", each) for key, each in value.items()][::-1])
        elif isinstance(value, list):
            stack.extend([(f"{name}[{i}]", each) for i, each in enumerate(value)][::-1])
        elif value is not None:
            yield name, _in_words(name, value)


def _in_words(name: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name.endswith("_hz"):
            return f"{value / 1e9:.3g} GHz"
        if name.endswith("_bytes"):
            return f"{value / 2**30:.3g} GiB"
    return str(value)


def _either(texts: Mapping[str, None]) -> str:
    return " or ".join(texts) if texts else "not recorded"


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        if options.what == "published":
            return _published(options)
        rule = None if options.fail_on is None else parse_rule(options.fail_on)
        report, whole = _compare(options)
        if report is None:
            return 2
        if rule is not None:
            report = replace(report, gate=judge(rule, report.rows))
        from bench import compare_output

        target = compare_output.Target(options.output, os.environ)
        compare_output.show(report, options.format, target)
        if rule is not None and not report.rows:
            raise UsageError(f"--fail-on {rule.text}: there is no shared case to judge")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not whole:
        return 2
    return 1 if report.gate is not None and report.gate.failed else 0


def _published(options: argparse.Namespace) -> int:
    from bench import compare_output, compare_published, published

    results = _of_paths(options, "pytest --benchmark-only --lstm-suite braun")
    if not results.files:
        return 2
    theirs = published.steps(published.read())
    report = compare_published.beside_published(results, theirs)
    target = compare_output.Target(options.output, os.environ)
    compare_published.show(report, options.format, target)
    return 2 if results.errors else 0


def _compare(options: argparse.Namespace) -> tuple[Report | None, bool]:
    """The report, or None if no file could be read; and whether all files could."""
    if options.what == "runs":
        base, new = _collect([options.base]), _collect([options.new])
        if not (base.files and new.files):
            return None, False
        report = compare_runs(base, new)
        title = f"NEW ({_path(options.new)}) against BASE ({_path(options.base)})"
        return replace(report, title=title), not (base.errors or new.errors)
    results = _of_paths(options, "pytest --benchmark-only")
    if not results.files:
        return None, False
    make = {"devices": compare_devices, "backends": compare_backends}[options.what]
    return make(results, options.baseline), not results.errors


def _of_paths(options: argparse.Namespace, command: str) -> Results:
    """The results that were named, or else the latest; command: what would make some."""
    folder = default_folder()
    paths = options.paths or latest(folder)
    if not paths:
        raise UsageError(
            f"there are no results in {_path(folder)}/; make some with "
            f"`{command}`, or name result files or folders"
        )
    return _collect(paths)


def _collect(paths: Iterable[str | os.PathLike[str]]) -> Results:
    results = collect(paths)
    for error in results.errors:
        print(f"error: {error}", file=sys.stderr)
    return results


def _parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser(add_help=False)
    drawn = argparse.ArgumentParser(add_help=False)
    for parent, formats in ((shown, FORMATS), (drawn, (*FORMATS, *PICTURES))):
        parent.add_argument(
            "--format",
            choices=formats,
            default=FORMATS[0],
            help="what is written (default: %(default)s"
            + ("; svg and png draw the maps, with matplotlib)" if parent is drawn else ")"),
        )
        parent.add_argument(
            "--output", metavar="FILE", type=Path, help="write there, not to the terminal"
        )
    rule = argparse.ArgumentParser(add_help=False)
    rule.add_argument(
        "--fail-on",
        metavar="RULE",
        help="exit with 1 if a case is SLOWER (slower), or SLOWER by more than 5%% (slower:5%%)",
    )
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="The ratio of each shared case with its interval, and a verdict.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="what", required=True, metavar="{devices,runs,backends,published}"
    )

    def command(
        name: str,
        told: str,
        parents: Sequence[argparse.ArgumentParser] = (shown, rule),
        epilog: str = EPILOG,
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=list(parents),
            help=told,
            description=told[0].upper() + told[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    paths = (
        f"result files or folders (default: the latest in ${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/)"
    )
    devices = command(
        "devices", "compare CPU and GPU of a machine, and machine with machine", (drawn, rule)
    )
    devices.add_argument("paths", nargs="*", help=paths)
    devices.add_argument(
        "--baseline", metavar="DEVICE", help="compare all with this one: cpu, or 'cpu on HOST'"
    )
    runs = command("runs", "compare new runs with older ones, the largest change first")
    runs.add_argument("base", metavar="BASE", help="result file or folder of the older runs")
    runs.add_argument("new", metavar="NEW", help="result file or folder of the newer runs")
    backends = command("backends", "compare the backends of each shape, mode and device")
    backends.add_argument("paths", nargs="*", help=paths)
    backends.add_argument(
        "--baseline",
        metavar="NAME",
        help=f"the backend to compare with (default: {', or '.join(USUAL_BASELINES)} if measured)",
    )
    theirs = command(
        "published",
        "show times beside published ones of the same shapes",
        (shown,),
        PUBLISHED_EPILOG,
    )
    theirs.add_argument("paths", nargs="*", help=paths)
    return parser


def _path(path: str | os.PathLike[str]) -> str:
    return printable(os.fspath(path))


def _one_of(what: str, names: Iterable[str]) -> str:
    known = ", ".join(printable(name, 80) for name in names)
    return f"no {what} of that name has results; there are: {known or 'none'}"


if __name__ == "__main__":
    # The rooms that show a comparison raise bench.compare's errors, which __main__'s are not.
    from bench import compare as itself

    command_line.end(itself.main)
