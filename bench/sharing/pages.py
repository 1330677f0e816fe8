"""The pages of the site that lead to the others: an index by device and shape, and one a shape.

What comes from files is escaped, and a page may load nothing and run nothing. This module knows
HTML and the rows that it is given.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.reporting.page.static import document
from bench.sharing.store import MACHINES
from bench.sharing.tables import Machine
from bench.telling.inert import markup
from bench.telling.quantities import count, seconds

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
    found: dict[str, list[Row]] = {}
    for row in rows:
        key = f"{row['mode']} {row['shape']} {row['dtype']}"
        found.setdefault(key, []).append(row)
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
