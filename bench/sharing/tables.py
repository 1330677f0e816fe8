"""What the site asks of its tables: who has which machine, and who is fastest where.

pyarrow reads the columns and rows that a question is about and no others, so that a million cases
need the memory of the answer. A machine that was measured again counts as it was the last time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from bench.case.cases import Case
from bench.records.grouping import grouped
from bench.render.escape import LONGEST_SENTENCE, clean
from bench.render.labels import name
from bench.render.page import data
from bench.render.page.data import BINS_PER_DECADE, MOST_CASES, Item
from bench.render.quantities import count, seconds
from bench.sharing.store import CASES
from bench.stats.rows import MEASURED
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

_SPEC = tuple(each.name for each in fields(LSTMSpec))
_WORKLOAD = {
    each.name: "period_s" if each.name == "period" else each.name for each in fields(Workload)
}
"""The fields of a workload, and the columns that have them."""

_PLACE = ("machine", "host", "session", "started", "suite", "case_id", "shape", "baseline")


@dataclass(frozen=True)
class Machine:
    """One machine of the site.

    devices: those with a time. newest: when its last session began, as text (ISO 8601, UTC).
    """

    id: str
    host: str
    devices: tuple[str, ...]
    sessions: int
    cases: int
    newest: str


class Tables:
    """The tables in a folder of ``store``."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa
        from pyarrow import dataset

        files = sorted(str(path) for path in folder.glob(f"*/{CASES}"))
        self._found: Any = dataset.dataset(
            files,
            format="parquet",
            # As text: twelve digits would be taken for a number.
            partitioning=dataset.partitioning(pa.schema([("machine", pa.string())]), flavor="hive"),
            partition_base_dir=str(folder),
        )

    def machines(self) -> list[Machine]:
        """All of them, by their names."""
        keys = ["machine", "host", "session", "started", "device", "outcome"]
        table = self._found.to_table(columns=keys)
        counted = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
        found = grouped(counted, lambda row: str(row["machine"]))
        machines = [
            Machine(
                machine,
                str(max(rows, key=lambda row: row["started"])["host"] or ""),
                tuple(sorted({str(row["device"]) for row in rows if row["outcome"] == MEASURED})),
                len({row["session"] for row in rows}),
                sum(row["count_all"] for row in rows),
                max(str(row["started"]) for row in rows),
            )
            for machine, rows in found.items()
        ]
        return sorted(machines, key=lambda each: (each.host, each.id))

    def fastest(self) -> list[dict[str, Any]]:
        """Of each work on each machine the row of its fastest backend, of the newest session."""
        from pyarrow import compute

        wanted = (compute.field("rank") == 1) & compute.field("valid")
        shown = ("backend", "device", "time_s", "speedup", "verdict", "ratio_note")
        return list(self._newest((*_PLACE, *_SPEC, *_WORKLOAD.values(), *shown), wanted))

    def explored(self) -> tuple[dict[str, object], int]:
        """What the page over all machines reads, and how many cases that are.

        Of each work the fastest backend and the baseline: of a million cases a browser cannot have
        all.
        """
        from pyarrow import compute

        field = compute.field
        wanted = (field("rank") == 1) | (field("backend") == field("baseline"))
        columns = (*_PLACE, *_SPEC, *_WORKLOAD.values(), "why", "ratio_note", *data.READ)
        rows = islice(self._newest(columns, wanted & field("rank").is_valid()), MOST_CASES)
        sections: dict[str, int] = {}
        titles: list[tuple[str, str]] = []
        items: list[Item] = []
        said: dict[tuple[int, str], list[str]] = {}
        why: dict[tuple[int, str], str] = {}
        for row in rows:
            number = sections.setdefault(row["machine"], len(sections))
            if number == len(titles):
                titles.append((f"{name(row['host'] or '')} · {row['machine']}", row["baseline"]))
            case = case_of(row)
            items.append(Item(number, case, row))
            if row["rank"] == 1:
                key = number, case.group
                said[key], why[key] = _said(row), clean(row["why"] or "", LONGEST_SENTENCE)
        # The last work may have been cut before its fastest.
        items = [item for item in items if (item.section, item.case.group) in said]
        found, works = data.carried(titles, items)
        cases = {(item.section, item.case.group): item.case for item in items}
        return {
            **found,
            "works": {
                "text": [data.work_words(cases[key]) for key in works],
                "group": [name(group) for _, group in works],
                "variant": [data.variant_words(cases[key]) for key in works],
                "said": [said[key] for key in works],
                "why": [why[key] for key in works],
            },
            # Each call of a stream, as each sample, is on the page of its machine.
            "latency": {},
            "bins_per_decade": BINS_PER_DECADE,
            "samples": [[] for _ in items],
            "whole_samples": False,
            # The page says what it has; --device and --kind, of which its script knows, are a
            # report's.
            "left_out": 0,
        }, len(items)

    def _newest(self, columns: Sequence[str], wanted: Any) -> Iterator[dict[str, Any]]:
        """Rows, but of each work of a machine only those of its newest session."""
        names = list(dict.fromkeys(columns))
        table = self._found.to_table(columns=names, filter=wanted)
        table = table.sort_by([("started", "descending")])
        taken: dict[tuple[str, str], str] = {}
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                row["machine"] = str(row["machine"])
                # backend/shape/dtype/mode/device
                key = row["machine"], row["case_id"].partition("/")[2]
                if taken.setdefault(key, row["session"]) == row["session"]:
                    yield row


def case_of(row: Mapping[str, Any]) -> Case:
    """The case of a row of the tidy table."""
    return _case(*(row[key] for key in ("backend", "device", *_SPEC, *_WORKLOAD.values())))


@cache
def _case(backend: str, device: str, *values: Any) -> Case:
    spec = dict(zip(_SPEC, values, strict=False))
    work = dict(zip(_WORKLOAD, values[len(_SPEC) :], strict=True))
    work["gradients"] = work["gradients"] or "all"
    return Case(backend, LSTMSpec(**spec), Workload(**work), device)


def _said(row: Mapping[str, Any]) -> list[str]:
    """What is answered for a work: the decision, its doubts, where it is from.

    The rest is on the machine's own page.
    """
    who, took = name(row["backend"]), f"{seconds(row['time_s'])} a step"
    told = f"Use {who}, {took}" if row["fastest"] else f"{who} has the shortest times, {took}"
    if row["speedup"] is not None:
        told += f": {row['speedup']:.3g} times as fast as {name(row['baseline'])}"
        told += f" ({row['verdict']})"
    said = [f"{told}."]
    doubts = dict.fromkeys(filter(None, (row["invalid_reasons"], row["ratio_reasons"])))
    said += [f"INVALID: {clean(each)}." for each in doubts]
    if note := row["ratio_note"]:
        said.append(f"Uneven bridge: {clean(note, LONGEST_SENTENCE)}.")
    begun = str(row["started"])[:16].replace("T", " ")
    processes = count(row["processes"], "process")
    place = name(row["host"] or "an unnamed machine")
    return [*said, f"From {processes} on {place}, {begun} UTC."]
