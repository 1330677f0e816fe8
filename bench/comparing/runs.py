"""Two sets of results of the same cases: before and after."""

from __future__ import annotations

from dataclasses import replace

from bench.cli.command_line import UsageError
from bench.comparing.comparison import Report
from bench.comparing.sides import Side, entries, join_sides, path_words, report_of
from bench.records.schema import Results


def compare_runs(
    base: Results,
    new: Results,
    names: tuple[str, str] = ("BASE", "NEW"),
    *,
    adjacent: bool = False,
) -> Report:
    """Each case of the new runs against the same case of the base runs, the largest change first.

    adjacent: whether the two took turns, a process of each right after one of the other.

    Raises UsageError if one run is on both sides: it has not changed against itself.
    """
    sides = []
    for results, name in zip((base, new), names, strict=True):
        side = Side(name)
        for item in entries(results):
            side.add(item.case.id, item)
        sides.append(side)
    common = {file.run.id: file for file in base.files}
    for file in new.files:
        if file.run.id in common:
            known = common[file.run.id].path
            raise UsageError(
                f"{path_words(file.path)} holds the same run as {path_words(known)}; "
                f"{names[0]} and {names[1]} must be different runs"
            )
    rows, one_sided = join_sides(sides[0], sides[1], adjacent=adjacent)
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
    report = report_of(title, rows, one_sided, (base, new), sides, notes, finding)
    return replace(report, over_time=True)


def _other_gradients(base: Side, new: Side) -> list[str]:
    """That training cases of two sides differ in nothing but what is differentiated, if some do."""

    def by_work(side: Side) -> dict[str, set[str]]:
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
