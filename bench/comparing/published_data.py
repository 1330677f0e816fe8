"""Our times beside what others published, as data."""

from __future__ import annotations

from collections.abc import Iterator

from bench.comparing.beside_published import CAUTION, TITLE, Ours, Report
from bench.suites.published import PublishedShape, PublishedStep
from bench.telling import sheet

CSV_COLUMNS = (
    *("kind", "source", "where", "file", "implementation", "device", "hardware", "dtype", "mode"),
    *("batch", "timesteps", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("seconds", "seconds_low", "seconds_high", "processes", "valid"),
    *("measured", "how", "note", "reason"),
)


def comma_separated(report: Report) -> Iterator[str]:
    """One row a time, in seconds; ``kind`` says whose."""
    return sheet.records(
        CSV_COLUMNS,
        (
            {**row, **_sizes(each.shape)}
            for each in report.shared
            for row in (*map(_our_record, each.ours), *map(_their_record, each.theirs))
        ),
    )


def as_json(report: Report) -> str:
    """The whole report, times in seconds."""
    document = {
        "title": TITLE,
        "caution": CAUTION,
        "finding": report.finding,
        "shapes": [
            {
                **_sizes(each.shape),
                "ours": [_our_record(ours) for ours in each.ours],
                "published": [
                    {
                        **_their_record(step),
                        "figures": [
                            {"measured": figure.measured, "seconds": figure.seconds}
                            for figure in step.figures
                        ],
                    }
                    for step in each.theirs
                ],
            }
            for each in report.shared
        ],
        "unmeasured": [
            {
                "outcome": group.outcome,
                "reason": group.reason,
                "advice": group.advice,
                "cases": [case.id for case in group.cases],
            }
            for group in report.unmeasured
        ],
        "notes": list(report.notes),
    }
    return sheet.json_text(document)


def _sizes(shape: PublishedShape) -> dict[str, object]:
    return {
        "mode": shape.mode,
        "batch": shape.batch,
        "timesteps": shape.timesteps,
        "input_size": shape.input_size,
        "hidden_size": shape.hidden_size,
        "num_layers": shape.num_layers,
        "bidirectional": shape.bidirectional,
    }


def _our_record(ours: Ours) -> dict[str, object]:
    return {
        "kind": "ours",
        "implementation": ours.case.backend,
        "device": ours.place,
        "hardware": ours.hardware,
        "dtype": ours.case.spec.dtype,
        "seconds": ours.time.mid,
        "seconds_low": ours.time.low,
        "seconds_high": ours.time.high,
        "processes": ours.time.processes,
        "valid": not ours.reasons,
        "reason": "; ".join(ours.reasons),
    }


def _their_record(step: PublishedStep) -> dict[str, object]:
    first = step.first
    return {
        "kind": "published",
        "source": first.source.name,
        "where": first.source.where,
        "file": first.file,
        "implementation": first.implementation,
        "device": first.device,
        "dtype": first.dtype,
        "seconds": step.seconds,
        "measured": step.measured,
        "how": step.how,
        "note": first.source.note,
    }
