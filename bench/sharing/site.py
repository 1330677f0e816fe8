"""A static site of many machines' results: files that any server, or none, can show.

``index.html`` leads by device and by shape to a page for each machine and each shape, and to the
explorer over all of them; ``data/`` has the tables that they are made from.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from bench.disk.fields import ResultError, error_at, printable
from bench.disk.writing import ResultWriteError, unfinished_name
from bench.judging.rows import Report
from bench.reporting.data import check_parquet
from bench.reporting.page import explorer
from bench.sharing import pages
from bench.sharing.store import Store
from bench.sharing.tables import Tables
from bench.telling.quantities import count


@dataclass(frozen=True)
class Made:
    """What a site has. judged: machines that were read anew. errors: of files that were not."""

    machines: int
    cases: int
    shapes: int
    judged: int
    errors: tuple[ResultError, ...]


def make(results: Path, site: Path) -> Made:
    """Make the site of all results in a folder and the folders in it, or bring it up to date.

    Raises NoParquetError, ResultWriteError; ResultError where there is nothing to show.
    """
    check_parquet()
    if not results.is_dir():
        raise error_at(results, "is no folder")
    store = Store(site)
    store.update(results)
    if not any(store.folder.glob("*/*")):
        told = "holds no results, nor do the folders in it"
        raise store.errors[0] if store.errors else error_at(results, told)
    tables = Tables(store.folder)
    machines = tables.machines()
    works = pages.by_work(tables.fastest())
    place = store.site / pages.SHAPES
    wanted = {pages.file_of(key): key for key in works}
    for file, key in wanted.items():
        _write(place / file, pages.of_shape(key, works[key]))
    for path in place.glob("*.html"):  # of shapes that are gone, and nobody else's
        if path.name not in wanted and pages.is_of_shape(path.name):
            path.unlink()
    _write(store.site / "index.html", pages.index(machines, works))
    cases = sum(each.cases for each in machines)
    found, shown = tables.explored()
    above = pages.above_explorer(shown, cases)
    about = count(len(machines), "machine")
    _write(store.site / pages.EXPLORER, explorer.page_of(Report(()), found, about, above))
    return Made(len(machines), cases, len(works), store.judged, tuple(store.errors))


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and only what is new.

    Without waiting for the disk, which would take longer than to make all pages: what a power cut
    spoils is made again.
    """
    data = text.encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    beside = path.with_name(unfinished_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultWriteError(f"{printable(str(path))} cannot be written: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
