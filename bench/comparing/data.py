"""A comparison as data for other programs: CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator

from bench.comparing.comparison import Report
from bench.comparing.words import case_fields
from bench.render import table
from bench.render.data import OF_BRIDGE
from bench.stats.comparison import Comparison
from bench.stats.intervals import speed

_BRIDGE = {name.removeprefix("ratio_"): get for name, get in OF_BRIDGE.items()}
"""The report's columns on bridges; here every row is of a ratio."""

CSV_COLUMNS = (
    *("kind", "base", "new", "base_backend", "backend", "shape", "dtype", "mode"),
    *("base_device", "device", "base_s", "new_s"),
    *("ratio", "ratio_low", "ratio_high", "speedup", "speedup_low", "speedup_high"),
    *("confidence", "verdict", "spread", "nodes", "spread_between_nodes", "valid"),
    *("processes", "pairing", "allowance", "how", *_BRIDGE, "reason"),
)


def comma_separated(report: Report) -> Iterator[str]:
    """One row a case, seconds and plain ratios; what has no time stands there with its reason."""
    return table.records(CSV_COLUMNS, [*_records(report), *_map_records(report)])


def as_json(report: Report) -> str:
    """The whole report, seconds and plain ratios; a bound beyond every number is null."""
    gate = report.gate
    document = {
        "title": report.title,
        "finding": report.finding,
        "opening": list(report.opening),
        "cases": _records(report),
        "differences": [
            {
                "base": each.base_label,
                "new": each.new_label,
                "items": [
                    {"name": name, "base": base, "new": new} for name, base, new in each.items
                ],
            }
            for each in report.differences
        ],
        "crossover": [
            {
                "base": found.base_label,
                "new": found.new_label,
                "backend": found.backend or None,
                "work": found.work,
                "cells": [
                    {
                        "batch": cell.batch,
                        "hidden_size": cell.hidden_size,
                        "base_backend": cell.base_case.backend,
                        "new_backend": cell.case.backend,
                        **_numbers(cell.comparison),
                        "valid": not cell.invalid,
                    }
                    for cell in found.cells
                ],
                "wins_from": {str(batch): found.wins_from(batch) for batch in found.batches},
            }
            for found in report.maps
        ],
        "notes": list(report.notes),
        "fail_on": gate
        and {
            "rule": gate.rule.text,
            "judged": gate.judged,
            "failed": [row.case.id for row in gate.failed],
        },
    }
    return table.json_text(document)


def _records(report: Report) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for row in report.rows:
        records.append(
            {
                "kind": "case",
                "base": row.base_label,
                "new": row.new_label,
                "base_backend": row.base_case.backend,
                **case_fields(row.case),
                "base_device": row.base_case.device,
                "base_s": row.base_s,
                "new_s": row.new_s,
                **_numbers(row.comparison),
                "valid": not row.reasons,
                "reason": "; ".join(row.reasons),
            }
        )
    for mean in report.means:
        records.append(
            {
                "kind": "geometric mean",
                "base": mean.base_label,
                "new": mean.new_label,
                **_numbers(mean.comparison),
                "valid": not mean.invalid,
                "reason": f"{mean.invalid} of {mean.cases} cases INVALID" if mean.invalid else "",
            }
        )
    for one in report.one_sided:
        records.append({"kind": f"only {one.label}", **case_fields(one.case), "reason": one.why})
    for group in report.unmeasured:
        reason = " ".join(text for text in (group.reason, group.advice) if text)
        for case in group.cases:
            records.append({"kind": group.outcome, **case_fields(case), "reason": reason})
    return records


def _map_records(report: Report) -> list[dict[str, object]]:
    """The maps of each device's fastest backend; of one backend a cell is a case of its own."""
    return [
        {
            "kind": "fastest of each",
            "base": found.base_label,
            "new": found.new_label,
            "base_backend": cell.base_case.backend,
            **case_fields(cell.case),
            "base_device": cell.base_case.device,
            **_numbers(cell.comparison),
            "valid": not cell.invalid,
        }
        for found in report.maps
        if not found.backend
        for cell in found.cells
    ]


def _numbers(found: Comparison) -> dict[str, object]:
    ratio = found.ratio
    return {
        "ratio": table.finite(ratio.mid),
        "ratio_low": table.finite(ratio.low),
        "ratio_high": table.finite(ratio.high),
        "speedup": table.finite(speed(ratio.mid)),
        "speedup_low": table.finite(speed(ratio.high)),
        "speedup_high": table.finite(speed(ratio.low)),
        "confidence": ratio.confidence,
        "verdict": found.verdict.value,
        "spread": found.spread,
        "nodes": found.nodes or None,
        "spread_between_nodes": found.between,
        "processes": found.processes,
        "pairing": found.pairing.value,
        "allowance": found.allowance,
        "how": found.how,
        **{name: table.finite(get(found.apart)) for name, get in _BRIDGE.items() if found.apart},
    }
