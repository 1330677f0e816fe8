"""A history as data: CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.comparing.history import History, Line, Machine, Moved, Point
from bench.render import table
from bench.render.messages import doubt_lines
from bench.stats.intervals import speed
from bench.stats.trust import Doubt

CSV_COLUMNS = (
    *("host", "machine_id", "case_id", "session", "number", "started", "suite", "outcome"),
    *("processes", "time_s", "time_low_s", "time_high_s", "valid", "invalid_reasons"),
    *("time_valid", "time_reasons"),
    *("ratio", "ratio_low", "ratio_high", "speedup", "speedup_low", "speedup_high"),
    *("ratio_confidence", "verdict", "ratio_valid", "ratio_reasons"),
    *("versions_changed", "also_changed"),
    *("moved", "moved_verdict", "moved_ratio", "moved_ratio_low", "moved_ratio_high"),
)


def comma_separated(history: History) -> Iterator[str]:
    """One row a case and session, in seconds and plain ratios."""
    return table.records(
        CSV_COLUMNS,
        (
            _record(machine, line, point) | _moved(moves.get(point.session.number))
            for machine in history.machines
            for line in machine.lines
            for moves in [_moves(machine, line)]
            for point in line.points
        ),
    )


def _record(machine: Machine, line: Line, point: Point) -> dict[str, object]:
    session = point.session
    record: dict[str, object] = {
        "host": session.runs[0].host,
        "machine_id": machine.id,
        "case_id": line.case.id,
        "session": session.id,
        "number": session.number,
        "started": session.started.isoformat(),
        "suite": session.suites,
        "outcome": point.outcome or "measured",
    }
    for name, wanted in (("versions_changed", True), ("also_changed", False)):
        told = [change.words for change in point.changes if change.version is wanted]
        record[name] = "; ".join(told)
    if point.time is not None:
        record |= {
            "processes": point.time.processes,
            "time_s": point.time.mid,
            "time_low_s": point.time.low,
            "time_high_s": point.time.high,
            "valid": not point.reasons,
            "invalid_reasons": _joined(point.reasons),
            "time_valid": not (point.reasons or point.of_time),
            "time_reasons": _joined((*point.reasons, *point.of_time)),
        }
    if (found := point.to_before) is not None:
        record |= {
            "ratio": found.ratio.mid,
            "ratio_low": found.ratio.low,
            "ratio_high": table.finite(found.ratio.high),
            "speedup": speed(found.ratio.mid),
            "speedup_low": speed(found.ratio.high),
            "speedup_high": table.finite(speed(found.ratio.low)),
            "ratio_confidence": found.ratio.confidence,
            "verdict": found.verdict.value,
            "ratio_valid": not point.of_ratio,
            "ratio_reasons": _joined(point.of_ratio),
        }
    return record


def _moves(machine: Machine, line: Line) -> dict[int, Moved]:
    """The lasting changes of a case, by the number of the first of its sessions after each."""
    found: dict[int, Moved] = {}
    for moved in machine.moved or ():
        later = [
            point.session.number
            for point in line.measured
            if point.session.number >= moved.session.number
        ]
        if line.case in moved.cases and later:
            found[later[0]] = moved  # of two at once the second is that of fewer cases
    return found


def _moved(moved: Moved | None) -> dict[str, object]:
    if moved is None:
        return {}
    ratio = moved.movement.ratio
    return {
        "moved": moved.movement.scope.value,
        "moved_verdict": moved.movement.verdict.value,
        "moved_ratio": ratio.mid,
        "moved_ratio_low": ratio.low,
        "moved_ratio_high": table.finite(ratio.high),
    }


def _joined(doubts: Sequence[Doubt]) -> str:
    return doubt_lines(doubts)
