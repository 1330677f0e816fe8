"""A report's groups as decisions for ``backend="auto"``: what was measured once, a team may use.

A decision holds for the machine that the results are of, in the words of ``lstm_impl.tuning``, with
the versions that were installed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.machine.fields import mapping, printable
from bench.records.schema import Run
from bench.stats.rows import NothingToReportError, Report, Row, Section
from lstm_impl.tuning import Decision, Machine, Question, Raced, folder, save
from lstm_impl.tuning.machine import DISTRIBUTIONS, cpu_words

BY = "bench.report --teach"


def write(report: Report) -> tuple[Path, list[Decision]]:
    """Write the decisions of a report to where ``backend="auto"`` looks for them; there, and which.

    Raises NothingToReportError where there are none, or the folder cannot be written to.
    """
    found = list({each.question.digest: each for each in decisions(report)}.values())
    if not found:
        raise NothingToReportError(
            "nothing to teach: no shape has two backends with times that are VALID on a machine "
            "that its file describes"
        )
    place = folder()
    try:
        for each in found:
            save(each, place)
    except OSError as error:
        raise NothingToReportError(f"{printable(str(place))} cannot be written: {error}") from error
    return place, found


def decisions(report: Report) -> Iterator[Decision]:
    """A decision for each group in which two backends or more have a time to be trusted.

    The newest session's comes last, so that of two on the same question it stays. A run that was
    told how many threads to use says nothing of one that was not, and teaches nothing.
    """
    for section in reversed(report.sections):
        if any(run.options.get("threads") for run in section.runs):
            continue
        for table in section.tables:
            for group in table.groups:
                if (decision := _decision(section, group)) is not None:
                    yield decision


def _decision(section: Section, group: tuple[Row, ...]) -> Decision | None:
    first = group[0]
    machine = _machine(section.run, first.case.device)
    if machine is None or first.invalid:
        return None
    raced = [_raced(first, first)]
    raced += [_raced(row, first) for row in group[1:] if row.case.backend in first.behind]
    if len(raced) < 2:
        return None
    # Whose median is shortest is not always who was the fastest in pairs, where the two are level.
    raced.sort(key=lambda each: each.ratio)
    asked = Question(first.case.spec, first.case.workload, "model", machine)
    made = section.started.isoformat(timespec="seconds")
    return Decision(asked, tuple(raced), "", made, BY)


def _raced(row: Row, first: Row) -> Raced:
    first_call = float((row.setup or {}).get("first_call_s") or 0.0)
    if row is first:
        return Raced(row.case.backend, row.time, 1.0, 1.0, 1.0, row.samples, first_call)
    ratio = first.behind[row.case.backend].ratio
    return Raced(
        row.case.backend, row.time, ratio.mid, ratio.low, ratio.high, row.samples, first_call
    )


def _machine(run: Run, device: str) -> Machine | None:
    """Where a run measured; None where its file does not say enough."""
    before = mapping(run.environment.get("before"))
    installed = mapping(before.get("libraries"))
    versions = {
        name: str(installed[name]) for name in DISTRIBUTIONS if isinstance(installed.get(name), str)
    }
    if device == "cpu":
        cpu = mapping(before.get("cpu"))
        name, usable = cpu.get("name"), cpu.get("usable")
        if not isinstance(name, str) or not isinstance(usable, int):
            return None
        return Machine(cpu_words(name, usable), versions)
    gpus, index = before.get("gpus"), device.partition(":")[2]
    if not isinstance(gpus, list) or not index.isdigit() or int(index) >= len(gpus):
        return None
    name = mapping(gpus[int(index)]).get("name")
    return Machine(name, versions) if isinstance(name, str) else None
