"""The site's own copy of what it shows: the tidy table of each machine, as Parquet.

One folder a machine, ``machine=ID/cases.parquet``, which DuckDB, pandas and pyarrow read as one
table. A machine is read and judged again only where a file of it has changed, so that a site of
many machines is made anew in the time of those that are new. An index beside them says of each file
what it was when it was read, and whose it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine.fields import ResultError
from bench.machine.folder import holds_no_cases
from bench.machine.writing import write, write_bytes
from bench.records.files import collect, read, result_names
from bench.render.data import parquet
from bench.render.page import data, explorer
from bench.stats.columns import COLUMNS
from bench.stats.ranking import build
from bench.stats.rows import NothingToReportError

DATA, MACHINES = "data", "machines"
"""Folders of the site: the tables, and a page for each."""

_BACK = "<p><a href='../index.html'>All machines and shapes</a></p>"

CASES = "cases.parquet"
INDEX = ".files.json"


@dataclass
class Store:
    """The tables of a site. errors: of files that could not be read; judged: machines made anew."""

    site: Path
    errors: list[ResultError] = field(default_factory=list)
    judged: int = 0

    @property
    def folder(self) -> Path:
        """Of all tables."""
        return self.site / DATA

    def update(self, results: Path) -> None:
        """Bring it to what lies in a folder of results, at whatever depth.

        Raises ResultWriteError.
        """
        before = self._index()
        now = {str(path.relative_to(results)): path for path in _result_files(results)}
        machines: dict[str, dict[str, str]] = {}
        for name, path in now.items():
            mark = _mark(path)
            old = before.get(name, {})
            try:
                same = old.get("mark") == mark
                machine = old["machine"] if same else identity(read(path).run.machine_id)
            except ResultError as error:
                self.errors.append(error)
                continue
            machines.setdefault(machine, {})[name] = mark
        for machine, files in machines.items():
            known = {n: e["mark"] for n, e in before.items() if e["machine"] == machine}
            if files != known or not (self._place(machine) / CASES).is_file():
                self._judge(machine, [now[name] for name in files])
        for gone in {each["machine"] for each in before.values()} - set(machines):
            self._forget(gone)
        kept = {
            name: {"mark": mark, "machine": machine}
            for machine, files in machines.items()
            for name, mark in files.items()
        }
        write(self.folder / INDEX, {"columns": list(COLUMNS), "files": kept})

    def _judge(self, machine: str, paths: list[Path]) -> None:
        found = collect(paths)
        self.errors += found.errors
        try:
            report = build(found)
        except NothingToReportError:
            self._forget(machine)
            return
        self.judged += 1
        place = self._place(machine)
        place.mkdir(parents=True, exist_ok=True)
        write_bytes(place / CASES, parquet(report))
        page = self.site / MACHINES / f"{machine}.html"
        text = explorer.page_of(report, data.data(report), above=_BACK)
        write_bytes(page, text.encode("utf-8", "replace"))

    def _forget(self, machine: str) -> None:
        shutil.rmtree(self._place(machine), ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.site / MACHINES / f"{machine}.html").unlink(missing_ok=True)

    def _place(self, machine: str) -> Path:
        return self.folder / f"machine={machine}"

    def _index(self) -> Mapping[str, Mapping[str, str]]:
        """What each file was when it was read; nothing where that is not known or not whole."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            index = json.loads((self.folder / INDEX).read_bytes())
            # Tables of another version have other columns.
            found = index["files"] if index["columns"] == list(COLUMNS) else {}
            return {
                str(name): {"mark": str(each["mark"]), "machine": identity_of(each["machine"])}
                for name, each in found.items()
            }
        return {}


def identity(machine_id: str) -> str:
    """A machine's as the name of a file: what stands in results may be any text."""
    return hashlib.sha256(machine_id.encode("utf-8", "replace")).hexdigest()[:12]


def identity_of(text: object) -> str:
    """One that was written before. Raises ValueError for what ``identity`` does not make."""
    if not isinstance(text, str) or len(text) != 12 or set(text) - set("0123456789abcdef"):
        raise ValueError("no machine's")
    return text


def _result_files(folder: Path) -> Iterator[Path]:
    for place in sorted({folder, *(path for path in folder.rglob("*") if path.is_dir())}):
        if any(part.startswith(".") for part in place.relative_to(folder).parts):
            continue
        names = result_names(path.name for path in place.iterdir() if path.is_file())
        yield from (place / name for name in names if not holds_no_cases(place / name))


def _mark(path: Path) -> str:
    with contextlib.suppress(OSError):
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    return ""
