"""A static site of many machines' results: files that any server, or none, can show.

``index.html`` leads by device and by shape to a page for each machine and each shape, and to the
explorer over all of them; ``data/`` has the tables that they are made from. What comes from files
is escaped, and a page may load nothing and run nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine.fields import ResultError, error_at, printable
from bench.machine.writing import ResultWriteError, unfinished_name
from bench.records.grouping import grouped
from bench.render.data import check_parquet
from bench.render.escape import markup
from bench.render.page import explorer
from bench.render.page.static import document
from bench.render.quantities import count, seconds
from bench.sharing.store import MACHINES, Store
from bench.sharing.tables import Machine, Tables
from bench.stats.rows import Report


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
    return _written(store)


def _written(store: Store) -> Made:
    tables = Tables(store.folder)
    machines = tables.machines()
    works = by_work(tables.fastest())
    place = store.site / SHAPES
    wanted = {file_of(key): key for key in works}
    for file, key in wanted.items():
        _write(place / file, of_shape(key, works[key]))
    for path in place.glob("*.html"):  # of shapes that are gone, and nobody else's
        if path.name not in wanted and is_of_shape(path.name):
            path.unlink()
    _write(store.site / "index.html", index(machines, works))
    cases = sum(each.cases for each in machines)
    found, shown = tables.explored()
    above = above_explorer(shown, cases)
    about = count(len(machines), "machine")
    _write(store.site / EXPLORER, explorer.page_of(Report(()), found, about, above))
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


# The pages that lead to the others: an index by device and shape, and one a shape

SHAPES = "shapes"
"""The folder of the pages of shapes."""

EXPLORER = "explorer.html"

Row = Mapping[str, Any]


def index(machines: Sequence[Machine], works: Mapping[str, Sequence[Row]]) -> str:
    """The first page: machines, then shapes; works: the fastest of each, by what is computed."""
    cases = sum(each.cases for each in machines)
    told = f"{count(cases, 'case')} on {count(len(machines), 'machine')}"
    return _page(
        "LSTM benchmark: many machines",
        f"<p>{told}. <a href='{EXPLORER}'>Explore all of them</a>; the tables are Parquet files in "
        "<code>data/</code>, one a machine.</p>"
        + _table(
            "By device",
            ("machine", "devices", "sessions", "cases", "newest"),
            (
                (
                    _link(f"{MACHINES}/{each.id}.html", each.host or "an unnamed machine"),
                    markup(", ".join(each.devices)),
                    f"{each.sessions:,}",
                    f"{each.cases:,}",
                    markup(each.newest[:10]),
                )
                for each in machines
            ),
        )
        + _table(
            "By shape",
            ("work", "machines", "shortest time", "by", "on"),
            (_shape(key, rows) for key, rows in works.items()),
        ),
    )


def of_shape(key: str, rows: Sequence[Row]) -> str:
    """The page of one shape: on which machine which backend is fastest, the shortest time first."""
    return _page(
        f"LSTM benchmark: {key}",
        "<p><a href='../index.html'>All machines and shapes</a></p>"
        + _table(
            key,
            ("machine", "device", "fastest", "time of a step", "against the baseline"),
            (
                (
                    _link(f"../{MACHINES}/{row['machine']}.html", row["host"] or "unnamed"),
                    markup(row["device"]),
                    f"<code>{markup(row['backend'])}</code>",
                    seconds(row["time_s"]),
                    _speedup(row),
                )
                for row in sorted(rows, key=lambda row: float(row["time_s"]))
            ),
        ),
    )


def above_explorer(shown: int, cases: int) -> str:
    """What the explorer has, of how many cases."""
    return (
        "<p><a href='index.html'>All machines and shapes</a>. Of each amount of work on each "
        "machine here is the fastest backend and the baseline, of the newest sessions first: "
        f"{shown:,} of {count(cases, 'case')}. The page of a machine has all of its.</p>"
    )


def by_work(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by what is computed, whatever the device: ``training b32-t100-i128-h256 float32``."""
    found = grouped(rows, lambda row: f"{row['mode']} {row['shape']} {row['dtype']}")
    return dict(sorted(found.items()))


def file_of(key: str) -> str:
    """The name of a shape's page: of plain letters, and no other shape's."""
    plain = re.sub(r"[^a-z0-9-]+", "-", key.lower())[:80].strip("-")
    return f"{plain}-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:6]}.html"


def is_of_shape(name: str) -> bool:
    """Whether it is a name that ``file_of`` makes."""
    return re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{6}\.html", name) is not None


def _shape(key: str, rows: Sequence[Row]) -> tuple[str, ...]:
    best = min(rows, key=lambda row: float(row["time_s"]))
    return (
        _link(f"{SHAPES}/{file_of(key)}", key),
        f"{len({row['machine'] for row in rows}):,}",
        seconds(best["time_s"]),
        f"<code>{markup(best['backend'])}</code>",
        markup(best["host"] or "unnamed"),
    )


def _speedup(row: Row) -> str:
    if row["speedup"] is None:
        return ""
    told = f"{row['speedup']:.3g} times as fast as {row['baseline']} ({row['verdict']})"
    return markup(f"{told}; over an uneven bridge" if row["ratio_note"] else told)


def _link(place: str, text: str) -> str:
    # Places are of our own making; texts may be anything.
    return f'<a href="{place}">{markup(text)}</a>'


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th scope="col">{each}</th>' for each in headings)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(map(_cell, rest))}</tr>\n'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{markup(caption)}"><table>'
        f"<caption>{markup(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(inside: str) -> str:
    return f'<td class="words">{inside}</td>'


def _page(title: str, body: str) -> str:
    return document(markup(title), f"<h1>{markup(title)}</h1>\n{body}")
