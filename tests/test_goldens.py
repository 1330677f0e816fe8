"""Test figures over the reference results, which were frozen before the code was rebuilt.

A golden holds columns of numbers, flags or verdicts, and no texts; rows may be in any order. Where
a figure changes on purpose, run ``python -m tests.test_goldens NAME`` and say why in the commit.
"""

import csv
import gzip
import importlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.case import available, load
from tests.places import ROOT

FOLDER = ROOT / "tests" / "golden"
RESULTS = str(ROOT / "results" / "reference")

_TEXTS = """
advice also_changed base bound_by bridge differences host how invalid_reasons learnable_distance
machine measure new note pairing ratio_note ratio_reasons reason reasons time_reasons
versions_changed why
"""
TEXTS = set(_TEXTS.split())
"""Columns that hold prose or names of machines."""

COMMANDS = {
    "report": ("bench.report", RESULTS),
    "truncation": ("bench.report", RESULTS, "--along", "window"),
    "history": ("bench.history", RESULTS),
    "compare-devices": ("bench.compare", "devices", RESULTS),
    "compare-backends": ("bench.compare", "backends", RESULTS),
    "recommend-training": (
        *("bench.recommend", RESULTS, "--dependency", "15", "--batch", "8", "--hidden", "128"),
    ),
    "recommend-inference": (
        *("bench.recommend", RESULTS, "--steps", "100", "--batch", "32", "--hidden", "256"),
        *("--mode", "inference"),
    ),
}
"""The command of each golden."""


def written(name: str, folder: Path) -> str:
    """Return what the command of a golden prints today."""
    module, *words = COMMANDS[name]
    kind = "json" if name.startswith("recommend") else "csv"
    file = folder / f"{name}.{kind}"
    importlib.import_module(module).main([*words, "--format", kind, "--output", str(file)])
    return file.read_text(encoding="utf-8")


def flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Yield the leaves of plain data with their paths."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in TEXTS:
                yield from flat(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from flat(each, f"{name}[{number}]")
    else:
        yield name, str(value)


def rows(name: str, text: str) -> list[dict[str, str]]:
    """Return the sorted rows of a golden's data without texts."""
    if name.startswith("recommend"):
        return [dict(flat(json.loads(text)))]
    found = [
        {key: value for key, value in row.items() if key not in TEXTS}
        for row in csv.DictReader(io.StringIO(text))
    ]
    return sorted(found, key=lambda row: [(key, rounded(row[key])) for key in sorted(row)])


def rounded(value: str) -> str:
    """Round a number to seven digits; return other texts unchanged."""
    try:
        return f"{float(value):.7g}"
    except ValueError:
        return value


def is_same(value: str, golden: str) -> bool:
    try:
        one, other = float(value), float(golden)
    except ValueError:
        return value == golden
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15) or (one != one and other != other)


def differences(now: list[dict[str, str]], golden: list[dict[str, str]]) -> list[str]:
    """Return where rows differ from a golden. New columns are ignored."""
    if len(now) != len(golden):
        return [f"{len(now)} rows; {len(golden)} in the golden"]
    return [
        f"row {number} {row.get('case_id', row.get('shape'))}: {key} is {one.get(key)}, was {was}"
        for number, (one, row) in enumerate(zip(now, golden, strict=True))
        for key, was in row.items()
        if not is_same(one.get(key, "no column"), was)
    ]


def golden(name: str) -> list[dict[str, str]]:
    text = gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes())
    found: list[dict[str, str]] = json.loads(text)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_reference_figures_and_verdicts_match_golden(name: str, tmp_path: Path) -> None:
    before = golden(name)
    now = rows(name, written(name, tmp_path))
    kept = [{key: row[key] for key in before[0] if key in row} for row in now]
    ordered = sorted(kept, key=lambda row: [(key, rounded(row[key])) for key in sorted(row)])
    assert differences(ordered, before)[:20] == []


def test_suites_expand_to_the_same_cases() -> None:
    before = json.loads(gzip.decompress((FOLDER / "case_ids.json.gz").read_bytes()))
    # A suite that names all backends has cases of those that are newer than the file too.
    known = {id_.partition("/")[0] for ids in before.values() for id_ in ids}
    found = {name: [case.id for case in load(name).cases] for name in before}
    assert {
        name: [id_ for id_ in ids if id_.partition("/")[0] in known] for name, ids in found.items()
    } == before


def test_golden_difference_is_named_with_row_and_column() -> None:
    before = [{"case_id": "a", "time_s": "1.0", "verdict": "SAME"}]
    assert (
        differences([{"case_id": "a", "time_s": "1.0000000000001", "verdict": "SAME"}], before)
        == []
    )
    assert differences([{"case_id": "a", "time_s": "1.1", "verdict": "SAME"}], before) == [
        "row 0 a: time_s is 1.1, was 1.0"
    ]
    assert differences([{"case_id": "a", "time_s": "1.0"}], before) == [
        "row 0 a: verdict is None, was SAME"
    ]
    assert differences([], before) == ["0 rows; 1 in the golden"]


def freeze(names: Iterable[str]) -> None:
    """Write goldens again."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        if name == "case_ids":
            ids = {suite: [case.id for case in load(suite).cases] for suite in available()}
            (FOLDER / "case_ids.json.gz").write_bytes(
                gzip.compress(json.dumps(ids).encode(), mtime=0)
            )
            continue
        with tempfile.TemporaryDirectory() as folder:
            data = json.dumps(rows(name, written(name, Path(folder)))).encode()
        (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    freeze(sys.argv[1:])
